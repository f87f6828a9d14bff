//! The rules of ResourceSlices.

use super::super::super::persistent_volume::driver_name;
use super::super::super::pod_template;
use super::super::super::rules::{Rule, Site};
use super::{EFFECTS, binding_conditions, is_bounded, label, name_of, pool_name, qualified, unique};
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::quantity::Quantity;

/// Bounds of lists. Slices with taints or counters have fewer devices.
const DEVICES_MAX: usize = 128;
const ADVANCED_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const CONSUMPTIONS_MAX: usize = 2;
const ATTRIBUTES_MAX: usize = 32;
const VALUE_MAX: usize = 64;
const TAINTS_MAX: usize = 16;
const OPTIONS_MAX: usize = 10;
/// The longest key that a path shows in full: a domain, a slash and an identifier.
const KEY_SHOWN_MAX: usize = 63 + 1 + 32;

/// The rules of a slice's spec, before and after those of its update.
pub(in super::super::super) const SLICE_DRIVER: &[Rule] = &[Rule::Code(driver), Rule::Code(pool)];
pub(in super::super::super) const SLICE: &[Rule] =
    &[Rule::Code(nodes), Rule::Code(devices_or_counters), Rule::Code(devices), Rule::Code(shared_counters)];

fn driver(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    driver_name(&spec.at("driver"), errors);
}

fn pool(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let pool = spec.at("pool");
    pool_name(&pool.at("name"), errors);
    let number = |member: &str| pool.at(member).int().unwrap_or(0);
    let (count, generation) = (number("resourceSliceCount"), number("generation"));
    if count < 1 {
        errors.push(FieldError::invalid(pool.at("resourceSliceCount"), count, "must be greater than zero"));
    }
    if generation < 0 {
        let why = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(pool.at("generation"), generation, why));
    }
}

/// Which of the members that say on which nodes devices are is set.
fn node_choice(
    site: &Site<'_>,
    flags: &[&'static str],
    empty_name: &str,
    errors: &mut Vec<FieldError>,
) -> Vec<String> {
    let mut set = Vec::new();
    let (name, selector) = (site.at("nodeName"), site.at("nodeSelector"));
    if name.is_set() {
        if name.text().is_empty() {
            errors.push(name.invalid(empty_name));
        } else {
            set.push("`nodeName`".to_owned());
            errors.extend(name.format(names::dns_subdomain));
        }
    }
    if selector.is_set() {
        set.push("`nodeSelector`".to_owned());
        pod_template::validate_node_selector(selector.value, format_args!("{selector}"), errors);
    }
    for flag in flags {
        let site = site.at(flag);
        if site.flag() {
            set.push(format!("`{flag}`"));
        } else if site.is_set() {
            errors.push(site.invalid("must be either unset or set to true"));
        }
    }
    set
}

fn nodes(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let why = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut found = Vec::new();
    let flags = ["allNodes", "perDeviceNodeSelection"];
    let set = node_choice(spec, &flags, "must be either unset or set to a non-empty string", &mut found);
    let terms = spec.at("nodeSelector");
    let terms = terms.at("nodeSelectorTerms");
    if spec.at("nodeSelector").is_set() && terms.len() != 1 {
        // It is reported before what follows the selector.
        let after = found.iter().position(|e| flags.iter().any(|flag| e.field.ends_with(flag)));
        let error = terms.invalid("must have exactly one node selector term");
        found.insert(after.unwrap_or(found.len()), error);
    }
    errors.append(&mut found);
    match set.len() {
        0 => errors.push(spec.required(why)),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", set.join(", "));
            let why = format!("{why}, but multiple fields are set");
            errors.push(FieldError::invalid(spec, shown, why));
        }
    }
}

fn devices_or_counters(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    if spec.at("sharedCounters").is_set() && spec.at("devices").is_set() {
        errors.push(FieldError::invalid(spec, "", "only one of `sharedCounters` or `devices` is allowed"));
    }
}

fn devices(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let list = spec.at("devices");
    let is_advanced = list.items().any(|d| d.at("taints").len() > 0 || d.at("consumesCounters").len() > 0);
    if !is_bounded(&list, if is_advanced { ADVANCED_DEVICES_MAX } else { DEVICES_MAX }, errors) {
        return;
    }
    let per_device = spec.at("perDeviceNodeSelection").flag();
    for item in list.items() {
        device(&item, per_device, errors);
    }
    unique(&list, name_of, errors);
}

fn device(device: &Site<'_>, per_device: bool, errors: &mut Vec<FieldError>) {
    label(&device.at("name"), errors);
    let (attributes, capacity) = (device.at("attributes"), device.at("capacity"));
    let total = attributes.len() + capacity.len();
    if total > ATTRIBUTES_MAX {
        let why = format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}");
        errors.push(FieldError::invalid(device, total, why));
    }
    for (key, attribute) in attributes.entries() {
        qualified(&attributes, key, errors);
        let key = shortened(key, KEY_SHOWN_MAX);
        attribute_value(&Site::below(&format!("{attributes}[{key}]"), attribute.value), errors);
    }
    let is_shared = device.at("allowMultipleAllocations").flag();
    for (key, amount) in capacity.entries() {
        qualified(&capacity, key, errors);
        let path = format!("{capacity}[{}]", shortened(key, KEY_SHOWN_MAX));
        let amount = Site::below(&path, amount.value);
        let policy = amount.at("requestPolicy");
        match (policy.is_set(), is_shared) {
            (false, _) => {}
            (true, true) => request_policy(&policy, &amount.at("value"), errors),
            (true, false) => errors.push(policy.forbidden("allowMultipleAllocations must be true")),
        }
    }
    let taints = device.at("taints");
    if is_bounded(&taints, TAINTS_MAX, errors) {
        taints.items().for_each(|item| taint(&item, errors));
    }
    consumed_counters(&device.at("consumesCounters"), errors);
    device_nodes(device, per_device, errors);
    binding_conditions(device, errors);
}

/// A key that is too long is cut in the middle.
fn shortened(key: &str, most: usize) -> String {
    if key.len() <= most {
        return key.to_owned();
    }
    let left = most - "...".len();
    let (head, tail) = (left.div_ceil(2), key.len() - left / 2);
    let cut = |range: &[u8]| String::from_utf8_lossy(range).into_owned();
    format!("{}...{}", cut(&key.as_bytes()[..head]), cut(&key.as_bytes()[tail..]))
}

fn attribute_value(attribute: &Site<'_>, errors: &mut Vec<FieldError>) {
    let set = ["bool", "int", "string", "version"].into_iter().filter(|v| attribute.at(v).is_set()).count();
    for text in ["string", "version"] {
        let value = attribute.at(text);
        if text == "version" && value.is_set() && !is_semantic_version(value.text()) {
            errors.push(value.invalid("must be a string compatible with semver.org spec 2.0.0"));
        }
        if value.text().len() > VALUE_MAX {
            errors.push(FieldError::too_long(value, VALUE_MAX));
        }
    }
    match set {
        0 => errors.push(FieldError::invalid(attribute, "", "exactly one value must be specified")),
        1 => {}
        _ => {
            let of = |member: &str| attribute.value.get(member).cloned().unwrap_or_default();
            // As upstream prints its internal type.
            let shown = format!(
                r#"{{"IntValue":{},"BoolValue":{},"StringValue":{},"VersionValue":{},"IntValues":null,"BoolValues":null,"StringValues":null,"VersionValues":null}}"#,
                of("int"),
                of("bool"),
                of("string"),
                of("version")
            );
            errors.push(FieldError::invalid_shown(attribute, shown, "exactly one value must be specified"));
        }
    }
}

/// Three numbers, and optional identifiers after `-` and `+`.
fn is_semantic_version(text: &str) -> bool {
    let number =
        |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()) && (s == "0" || !s.starts_with('0'));
    let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, release) = rest.split_once('-').map_or((rest, None), |(core, release)| (core, Some(release)));
    let numbers: Vec<&str> = core.split('.').collect();
    let is_release = |s: &str| number(s) || word(s) && s.bytes().any(|b| !b.is_ascii_digit());
    numbers.len() == 3
        && numbers.into_iter().all(number)
        && release.is_none_or(|release| release.split('.').all(is_release))
        && build.is_none_or(|build| build.split('.').all(word))
}

fn quantity(site: &Site<'_>) -> Quantity {
    site.text().parse().unwrap_or(Quantity::ZERO)
}

fn request_policy(policy: &Site<'_>, capacity: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (values, range, default) = (policy.at("validValues"), policy.at("validRange"), policy.at("default"));
    match (values.len() > 0, range.is_set()) {
        (true, true) => {
            let why = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            errors.push(policy.forbidden(why));
        }
        (true, false) if !default.is_set() => {
            errors.push(default.required("required when validValues is defined"));
        }
        (true, false) => valid_values(&values, &default, capacity, errors),
        (false, true) if !default.is_set() => {
            errors.push(default.required("required when validRange is defined"));
        }
        (false, true) => valid_range(&range, &default, capacity, errors),
        (false, false) => {}
    }
}

fn valid_values(list: &Site<'_>, default: &Site<'_>, capacity: &Site<'_>, errors: &mut Vec<FieldError>) {
    let all: Vec<Site<'_>> = list.items().collect();
    for pair in all.windows(2) {
        if quantity(&pair[0]) > quantity(&pair[1]) {
            errors.push(pair[1].invalid("values must be sorted in ascending order"));
        }
    }
    let mut found = false;
    if is_bounded(list, OPTIONS_MAX, errors) {
        for option in &all {
            if quantity(option) > quantity(capacity) {
                errors.push(
                    option.invalid(format!("option is larger than capacity value: {}", capacity.text())),
                );
            }
            found |= quantity(option) == quantity(default);
        }
        unique(list, |option| quantity(option).units().to_string().into(), errors);
    }
    if !found {
        let why = "default value is not valid according to the requestPolicy";
        errors.push(FieldError::invalid(list, default.text(), why));
    }
}

fn valid_range(range: &Site<'_>, default: &Site<'_>, capacity: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (min, max, step) = (range.at("min"), range.at("max"), range.at("step"));
    if !min.is_set() {
        return errors.push(min.required("required when validRange is defined"));
    }
    let (least, wanted, most) = (quantity(&min), quantity(default), quantity(capacity));
    let mut refuse = |site: &Site<'_>, shown: &Site<'_>, why: String| {
        errors.push(FieldError::invalid(site, shown.text(), why));
    };
    if least > most {
        refuse(&min, &min, format!("min is larger than capacity value: {}", capacity.text()));
    }
    if wanted < least {
        refuse(&min, default, format!("default is less than min: {}", min.text()));
    }
    if max.is_set() {
        if least > quantity(&max) {
            refuse(&max, &min, format!("min is larger than max: {}", max.text()));
        }
        if quantity(&max) > most {
            refuse(&max, &max, format!("max is larger than capacity value: {}", capacity.text()));
        }
        if wanted > quantity(&max) {
            refuse(&max, default, format!("default is more than max: {}", max.text()));
        }
    }
    if !step.is_set() {
        return;
    }
    let sum = least.plus(quantity(&step));
    if sum > most {
        refuse(&step, &step, format!("one step {sum} is larger than capacity value: {}", capacity.text()));
    }
    for value in [default, &max].into_iter().filter(|value| value.is_set()) {
        let size = quantity(&step).units();
        let rest = (quantity(value).units() - least.units()).checked_rem(size);
        if rest.is_none_or(|rest| rest != 0) {
            let (step_text, min_text) = (step.text(), min.text());
            let why = format!("value is not a multiple of a given step ({step_text}) from ({min_text})");
            refuse(&step, value, why);
        }
    }
}

fn taint(taint: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (key, value, effect) = (taint.at("key"), taint.at("value"), taint.at("effect"));
    errors.extend(
        names::qualified(key.text()).into_iter().map(|why| FieldError::invalid(key, key.text(), why)),
    );
    if !value.text().is_empty() {
        errors.extend(value.format(names::label_value));
    }
    match effect.text() {
        "" => errors.push(effect.required("")),
        known if EFFECTS.contains(&known) => {}
        _ => errors.push(effect.not_supported(&EFFECTS)),
    }
}

fn named_set(name: &Site<'_>, counters: &Site<'_>, errors: &mut Vec<FieldError>) {
    if name.text().is_empty() {
        errors.push(name.required(""));
    } else {
        label(name, errors);
    }
    if counters.len() == 0 {
        return errors.push(counters.required(""));
    }
    if is_bounded(counters, COUNTERS_MAX, errors) {
        for (key, _) in counters.entries() {
            let wrong = names::dns_label(key).into_iter();
            errors.extend(wrong.map(|why| FieldError::invalid(counters, key, why)));
        }
    }
}

fn consumed_counters(list: &Site<'_>, errors: &mut Vec<FieldError>) {
    if is_bounded(list, CONSUMPTIONS_MAX, errors) {
        for item in list.items() {
            named_set(&item.at("counterSet"), &item.at("counters"), errors);
        }
        unique(list, |item| item.at("counterSet").text().into(), errors);
    }
}

fn shared_counters(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let list = spec.at("sharedCounters");
    if is_bounded(&list, COUNTER_SETS_MAX, errors) {
        for item in list.items() {
            named_set(&item.at("name"), &item.at("counters"), errors);
        }
        unique(&list, name_of, errors);
    }
}

fn device_nodes(device: &Site<'_>, per_device: bool, errors: &mut Vec<FieldError>) {
    let choices = ["nodeName", "nodeSelector", "allNodes"];
    if !per_device {
        if choices.iter().any(|choice| device.at(choice).is_set()) {
            let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errors.push(FieldError::invalid_shown(device, "null", why));
        }
        return;
    }
    let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    let set = node_choice(device, &["allNodes"], "must not be empty", errors);
    match set.len() {
        0 => errors.push(device.required(why)),
        1 => {}
        _ => errors.push(FieldError::invalid(device, format!("{{{}}}", set.join(", ")), why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semantic() {
        for good in ["1.2.3", "0.0.0", "1.0.0-alpha.1", "1.0.0-0a.x-y+001.b"] {
            assert!(is_semantic_version(good), "{good}");
        }
        for bad in ["1.2", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3", "1.2.3-a..b"] {
            assert!(!is_semantic_version(bad), "{bad}");
        }
    }

    #[test]
    fn long_keys_are_cut_in_the_middle() {
        let key = "k".repeat(97);
        assert_eq!(shortened(&key, KEY_SHOWN_MAX), format!("{}...{}", "k".repeat(47), "k".repeat(46)));
        assert_eq!(shortened("k", KEY_SHOWN_MAX), "k");
    }
}
