//! LimitRanges.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::quantity::Quantity;
use shim_model::time::Instant;

use super::pod_template::round_list;
use super::rules::Site;
use super::{CreateContext, Strategy, cells, resource_names};
use crate::resource_list::{ResourceList, is_native};

pub(super) struct LimitRange;

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
/// The highest value that is compared in thousandths.
const MILLI_MAX: i64 = i64::MAX / 1000;

/// Limits of containers have defaults: the limit that of the maximum, the request that of the limit or of the minimum.
fn set_defaults(item: &mut Map<String, Value>) {
    let list = |item: &Map<String, Value>, name: &str| {
        item.get(name).and_then(Value::as_object).cloned().unwrap_or_default()
    };
    let fill = |into: &mut Map<String, Value>, from: &Map<String, Value>| {
        for (name, amount) in from {
            into.entry(name.clone()).or_insert_with(|| amount.clone());
        }
    };
    let (mut limits, mut requests) = (list(item, "default"), list(item, "defaultRequest"));
    fill(&mut limits, &list(item, "max"));
    fill(&mut requests, &limits);
    fill(&mut requests, &list(item, "min"));
    for (name, amounts) in [("default", limits), ("defaultRequest", requests)] {
        if !amounts.is_empty() {
            item.insert(name.into(), amounts.into());
        }
    }
}

fn validate_type(at: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (name, before) = (at.text(), errors.len());
    errors.extend(names::qualified(name).into_iter().map(|why| FieldError::invalid(at, name, why)));
    let standard = ["Pod", "Container", "PersistentVolumeClaim"].contains(&name);
    if errors.len() == before && !name.contains('/') && !standard {
        let why = "must be a standard limit type or fully qualified";
        errors.push(FieldError::invalid(at, name, why));
    }
}

fn validate_item(item: &Site<'_>, errors: &mut Vec<FieldError>) {
    let kind = item.at("type").text().to_owned();
    let validate_name = match kind.as_str() {
        "Pod" | "Container" => resource_names::validate_of_containers,
        _ => resource_names::validate,
    };
    for name in LISTS {
        let list = item.at(name);
        if kind == "Pod" && name.starts_with("default") {
            if list.len() > 0 {
                errors.push(list.forbidden("may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        if name == "maxLimitRequestRatio" && kind == "PersistentVolumeClaim" {
            let has = |list: &str| item.at(list).at("storage").is_set();
            if !has("min") && !has("max") {
                let why = "either minimum or maximum storage value is required, but neither was provided";
                errors.push(item.at("limits").required(why));
            }
        }
        for (resource, amount) in list.entries() {
            errors.extend(validate_name(resource, &amount.to_string()));
        }
    }
    let lists = LISTS.map(|name| match name.starts_with("default") && kind == "Pod" {
        true => ResourceList::default(),
        false => ResourceList::decode(Some(item.at(name).value)),
    });
    let resources: BTreeSet<&str> = lists.iter().flat_map(ResourceList::names).collect();
    for resource in resources {
        Amounts::of(&lists, resource).validate(item, resource, errors);
    }
}

/// The amounts of one resource.
struct Amounts {
    max: Option<Quantity>,
    min: Option<Quantity>,
    default: Option<Quantity>,
    request: Option<Quantity>,
    ratio: Option<Quantity>,
}

impl Amounts {
    fn of(lists: &[ResourceList; 5], resource: &str) -> Amounts {
        let [max, min, default, request, ratio] = lists.each_ref().map(|list| list.get(resource));
        Amounts { max, min, default, request, ratio }
    }

    /// Rules across the amounts of one resource, in upstream's order.
    fn validate(&self, item: &Site<'_>, resource: &str, errors: &mut Vec<FieldError>) {
        let Amounts { max, min, default, request, ratio } = *self;
        let mut refuse = |list: &str, shown: Quantity, why: String| {
            errors.push(FieldError::invalid(
                format!("{}[{resource}]", item.at(list)),
                shown.to_string(),
                why,
            ));
        };
        let above = |a: Option<Quantity>, b: Option<Quantity>| a.zip(b).filter(|(a, b)| a > b);
        if let Some((min, max)) = above(min, max) {
            refuse("min", min, format!("min value {min} is greater than max value {max}"));
        }
        if let Some((min, request)) = above(min, request) {
            let why = format!("min value {min} is greater than default request value {request}");
            refuse("defaultRequest", request, why);
        }
        if let Some((request, max)) = above(request, max) {
            let why = format!("default request value {request} is greater than max value {max}");
            refuse("defaultRequest", request, why);
        }
        if let Some((request, default)) = above(request, default) {
            let why =
                format!("default request value {request} is greater than default limit value {default}");
            refuse("defaultRequest", request, why);
        }
        if let Some((min, default)) = above(min, default) {
            refuse("default", min, format!("min value {min} is greater than default value {default}"));
        }
        if let Some((default, max)) = above(default, max) {
            refuse("default", max, format!("default value {default} is greater than max value {max}"));
        }
        if let Some(ratio) = ratio.filter(|ratio| *ratio < Quantity::from_units(1)) {
            refuse("maxLimitRequestRatio", ratio, format!("ratio {ratio} is less than 1"));
        }
        if let (Some(ratio), Some(min), Some(max)) = (ratio, min, max) {
            let highest = highest_ratio(ratio, min, max);
            if let Some(highest) = highest {
                let why = format!("ratio {ratio} is greater than max/min = {highest:.6}");
                refuse("maxLimitRequestRatio", ratio, why);
            }
        }
        let overcommits = is_native(resource) && !resource.starts_with("hugepages-");
        if let (Some(default), Some(request)) = (default, request)
            && !overcommits
            && default != request
        {
            let why =
                format!("default value {default} must equal to defaultRequest value {request} in {resource}");
            refuse("defaultRequest", request, why);
        }
    }
}

/// The highest ratio that minimum and maximum leave, if it is below `ratio`.
#[allow(clippy::cast_precision_loss)]
fn highest_ratio(ratio: Quantity, min: Quantity, max: Quantity) -> Option<f64> {
    let precise = [ratio, min, max].iter().all(|amount| amount.units() < MILLI_MAX);
    let (wanted, low, high) = match precise {
        true => (ratio.milli() as f64 / 1000.0, min.milli(), max.milli()),
        false => (ratio.units() as f64, min.units(), max.units()),
    };
    let highest = high as f64 / low as f64;
    (wanted > highest).then_some(highest)
}

impl Strategy for LimitRange {
    fn lists_stored_as_null(&self) -> &'static [&'static [&'static str]] {
        &[&["spec", "limits"]]
    }

    fn default(&self, object: &mut Value) {
        let items = access::list_mut(object, &["spec", "limits"]).into_iter().flatten();
        for item in items.filter_map(Value::as_object_mut) {
            LISTS.iter().for_each(|list| round_list(item.get_mut(*list)));
            if item.get("type").and_then(Value::as_str) == Some("Container") {
                set_defaults(item);
            }
        }
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, context: &CreateContext<'_>) {
        if access::text(object, &["metadata", "name"]).is_empty() {
            access::object_mut(object, &["metadata"]).insert("name".into(), context.uid.into());
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let root = Site::root(object);
        let spec = root.at("spec");
        let limits = spec.at("limits");
        let mut seen = BTreeSet::new();
        for item in limits.items() {
            let kind = item.at("type");
            validate_type(&kind, &mut errors);
            if !seen.insert(kind.text().to_owned()) {
                errors.push(kind.duplicate());
            }
            validate_item(&item, &mut errors);
        }
        errors
    }

    fn cells(&self, object: &Value, _: Instant) -> Vec<Value> {
        cells::name_and_creation(object)
    }
}
