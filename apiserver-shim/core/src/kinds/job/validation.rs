//! Validation of Jobs: the spec, which CronJobs have too, and its updates.

use std::collections::BTreeSet;

use super::super::pod::dump;
use super::super::rules::{Check, Rule, Site, apply, domain_prefixed_path, immutable, non_negative};
use super::super::{pod_template, workload};
use super::indexes;
use serde_json::{Value, json};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::object::string_map;
use shim_model::selector::LabelSelector;

/// Bounds that keep the lists of indexes in the status short.
const PARALLELISM_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
/// From this number of completions on, the bounds are stricter.
const MANY_COMPLETIONS: i64 = 100_000;
const PARALLELISM_OF_MANY_MAX: i64 = 10_000;
const FAILED_INDEXES_OF_MANY_MAX: i64 = 10_000;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const MANAGED_BY_MAX: usize = 63;
const SUCCEEDED_INDEXES_MAX: usize = 64 * 1024;

/// The rules of a Job's spec, except the selector's.
pub(in super::super) const SPEC: &[Rule] = &[
    Rule::Field("parallelism", &[Check::NonNegative]),
    Rule::Field("completions", &[Check::NonNegative]),
    Rule::Field("activeDeadlineSeconds", &[Check::NonNegative]),
    Rule::Field("backoffLimit", &[Check::NonNegative]),
    Rule::Field("ttlSecondsAfterFinished", &[Check::NonNegative]),
    Rule::Field("backoffLimitPerIndex", &[Check::NonNegative]),
    Rule::Field("maxFailedIndexes", &[Check::NonNegative]),
    Rule::Code(failed_indexes_need_a_limit),
    Rule::Field("managedBy", &[Check::Code(domain_prefixed_path), Check::MaxBytes(MANAGED_BY_MAX)]),
    Rule::Field("completionMode", &[Check::Enum(&["NonIndexed", "Indexed"])]),
    Rule::Code(indexed),
    Rule::Code(pod_failure_policy),
    Rule::Code(success_policy),
    Rule::Code(pod_replacement_policy),
    Rule::Code(template),
];

fn is_indexed(spec: &Site<'_>) -> bool {
    spec.at("completionMode").text() == "Indexed"
}

fn failed_indexes_need_a_limit(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    if spec.at("maxFailedIndexes").is_set() && !spec.at("backoffLimitPerIndex").is_set() {
        errors.push(spec.at("backoffLimitPerIndex").required("when maxFailedIndexes is specified"));
    }
}

fn indexed(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let number = |name: &str| spec.at(name).int();
    let (completions, failed, parallelism) =
        (number("completions"), number("maxFailedIndexes"), number("parallelism"));
    if !is_indexed(spec) {
        if matches!(spec.at("completionMode").text(), "" | "NonIndexed") {
            let present =
                ["backoffLimitPerIndex", "maxFailedIndexes"].into_iter().filter(|f| spec.at(f).is_set());
            errors.extend(present.map(|f| spec.at(f).invalid("requires indexed completion mode")));
        }
        return;
    }
    let above = |name: &str, value: Option<i64>, most: i64, why: String| {
        value.filter(|v| *v > most).map(|_| spec.at(name).invalid(why))
    };
    if completions.is_none() {
        errors.push(spec.at("completions").required("when completion mode is Indexed"));
    }
    let why = format!("must be less than or equal to {PARALLELISM_MAX} when completion mode is Indexed");
    errors.extend(above("parallelism", parallelism, PARALLELISM_MAX, why));
    if let Some(completions) = completions {
        let why = "must be less than or equal to completions".to_owned();
        errors.extend(above("maxFailedIndexes", failed, completions, why));
    }
    let why = format!("must be less than or equal to {FAILED_INDEXES_MAX}");
    errors.extend(above("maxFailedIndexes", failed, FAILED_INDEXES_MAX, why));
    let many = completions.is_some_and(|c| c > MANY_COMPLETIONS);
    if many && spec.at("backoffLimitPerIndex").is_set() {
        if failed.is_none() {
            let why = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            errors.push(spec.at("maxFailedIndexes").required(&why));
        }
        let why = |most: i64| {
            format!(
                "must be less than or equal to {most} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
            )
        };
        let most = PARALLELISM_OF_MANY_MAX;
        errors.extend(above("parallelism", parallelism, most, why(most)));
        let most = FAILED_INDEXES_OF_MANY_MAX;
        errors.extend(above("maxFailedIndexes", failed, most, why(most)));
    }
}

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const EXIT_CODE_OPERATORS: &[&str] = &["In", "NotIn"];
const CONDITION_STATUSES: &[&str] = &["False", "True", "Unknown"];

fn valid_values(known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|value| format!("\"{value}\"")).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

/// An error unless the text is one of `known`: a missing one names them too.
fn chosen(site: &Site<'_>, known: &[&str]) -> Option<FieldError> {
    match site.text() {
        "" => Some(site.required(&valid_values(known))),
        text if known.contains(&text) => None,
        _ => Some(site.not_supported(known)),
    }
}

fn too_many(site: &Site<'_>, most: usize) -> Option<FieldError> {
    (site.len() > most).then(|| FieldError::too_many(site, site.len(), most))
}

fn pod_failure_policy(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let policy = spec.at("podFailurePolicy");
    let rules = policy.at("rules");
    errors.extend(too_many(&rules, RULES_MAX));
    for rule in rules.items() {
        let action = rule.at("action");
        if action.text() == "FailIndex" {
            if !spec.at("backoffLimitPerIndex").is_set() {
                errors.push(action.invalid("requires the backoffLimitPerIndex to be set"));
            }
        } else {
            errors.extend(chosen(&action, ACTIONS));
        }
        let (codes, conditions) = (rule.at("onExitCodes"), rule.at("onPodConditions"));
        if codes.is_set() {
            exit_codes(spec, &codes, errors);
        }
        errors.extend(too_many(&conditions, PATTERNS_MAX));
        for pattern in conditions.items() {
            errors.extend(pattern.at("type").format(names::qualified));
            errors.extend(chosen(&pattern.at("status"), CONDITION_STATUSES));
        }
        match (codes.is_set(), conditions.len() > 0) {
            (true, true) => {
                let why = "specifying both OnExitCodes and OnPodConditions is not supported";
                errors.push(rule.wrong(why));
            }
            (false, false) => {
                errors.push(rule.wrong("specifying one of OnExitCodes and OnPodConditions is required"));
            }
            _ => {}
        }
    }
}

fn exit_codes(spec: &Site<'_>, codes: &Site<'_>, errors: &mut Vec<FieldError>) {
    errors.extend(chosen(&codes.at("operator"), EXIT_CODE_OPERATORS));
    let container = codes.at("containerName");
    if container.is_set() {
        let lists = ["containers", "initContainers"];
        let pod = access::get(spec.value, &["template", "spec"]).unwrap_or(&Value::Null);
        let known = lists.iter().flat_map(|list| access::list(pod, &[list]));
        if !known.map(|c| access::text(c, &["name"])).any(|name| name == container.text()) {
            let why = "must be one of the container or initContainer names in the pod template";
            errors.push(container.invalid(why));
        }
    }
    let values = codes.at("values");
    if values.len() == 0 {
        errors.push(values.invalid("at least one value is required"));
    }
    errors.extend(too_many(&values, EXIT_CODES_MAX));
    let mut seen: BTreeSet<i64> = BTreeSet::new();
    let (mut last, mut ordered) = (i64::MIN, true);
    for value in values.items() {
        let code = value.int().unwrap_or(0);
        if code == 0 && codes.at("operator").text() == "In" {
            errors.push(value.invalid("must not be 0 for the In operator"));
        }
        if !seen.insert(code) {
            errors.push(value.duplicate());
        }
        ordered &= last <= code;
        last = code;
    }
    if !ordered {
        errors.push(values.invalid("must be ordered"));
    }
}

fn success_policy(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let policy = spec.at("successPolicy");
    if !policy.is_set() {
        return;
    }
    if !is_indexed(spec) {
        let shown = dump::compact("SuccessPolicy", policy.value);
        return errors.push(FieldError::invalid_shown(policy, shown, "requires indexed completion mode"));
    }
    let rules = policy.at("rules");
    if rules.len() == 0 {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.push(rules.required(why));
    }
    errors.extend(too_many(&rules, RULES_MAX));
    let completions = spec.at("completions").int().unwrap_or(0);
    rules.items().for_each(|rule| success_rule(&rule, completions, errors));
}

fn success_rule(rule: &Site<'_>, completions: i64, errors: &mut Vec<FieldError>) {
    let (count, listed) = (rule.at("succeededCount"), rule.at("succeededIndexes"));
    if !count.is_set() && !listed.is_set() {
        errors.push(rule.required("at least one of succeededCount or succeededIndexes must be specified"));
    }
    let mut total = 0;
    if listed.is_set() {
        if listed.text().len() > SUCCEEDED_INDEXES_MAX {
            errors.push(FieldError::too_long(listed, SUCCEEDED_INDEXES_MAX));
        }
        match indexes::count(listed.text(), completions) {
            Ok(found) => total = found,
            Err(why) => errors.push(listed.invalid(format!("error parsing succeededIndexes: {why}"))),
        }
    }
    if let Some(wanted) = count.int() {
        errors.extend(non_negative(&count));
        if wanted > completions {
            let why =
                format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.push(count.invalid(why));
        }
        if listed.is_set() && wanted > total {
            let why = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            errors.push(count.invalid(why));
        }
    }
}

fn pod_replacement_policy(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let policy = spec.at("podReplacementPolicy");
    let known: &[&str] =
        if spec.at("podFailurePolicy").is_set() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    if policy.is_set() && !known.contains(&policy.text()) {
        errors.push(policy.not_supported(known));
    }
}

fn template(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let template = spec.at("template");
    errors.extend(pod_template::validate_template(template.value, format_args!("{template}")));
    let (pod, policy) = (template.at("spec"), "restartPolicy");
    let policy = pod.at(policy);
    match policy.text() {
        "" | "Always" => errors.push(policy.required("valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" if spec.at("podFailurePolicy").is_set() => {
            errors.push(policy.invalid("only \"Never\" is supported when podFailurePolicy is specified"));
        }
        "OnFailure" | "Never" => {}
        _ => errors.push(policy.not_supported(&["OnFailure", "Never"])),
    }
}

/// Validates a Job's spec with its selector.
pub(super) fn spec(job: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Site::root(job);
    let spec = root.at("spec");
    apply(SPEC, &spec, &mut errors);
    let selector = spec.at("selector");
    if selector.is_set() {
        errors.extend(workload::label_selector(selector.value, format_args!("{selector}")));
    } else {
        errors.push(selector.required(""));
    }
    let labels = access::get(job, &["spec", "template", "metadata", "labels"]);
    let matches = match selector.is_set().then(|| LabelSelector::from_value(selector.value)) {
        None => false,
        Some(Ok(selector)) => selector.matches(&labels.map(string_map).unwrap_or_default()),
        // The errors above say it.
        Some(Err(_)) => true,
    };
    if !matches {
        let why = "`selector` does not match template `labels`";
        let shown = labels.cloned().unwrap_or_default();
        errors.push(FieldError::invalid("spec.template.metadata.labels", shown, why));
    }
    errors
}

/// Validates what a create adds: the generated selector, and the host names of indexed Pods.
pub(super) fn identity(job: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !access::flag(job, &["spec", "manualSelector"]) && access::get(job, &["spec", "selector"]).is_some() {
        generated(job, &mut errors);
    }
    errors
}

fn generated(job: &Value, errors: &mut Vec<FieldError>) {
    let text = |key: &str| access::text(job, &["metadata", key]);
    let (uid, name) = (text("uid"), text("name"));
    let expected = [
        (super::OLD_CONTROLLER_UID, uid),
        (super::OLD_JOB_NAME, name),
        (super::CONTROLLER_UID, uid),
        (super::JOB_NAME, name),
    ];
    let labels = access::get(job, &["spec", "template", "metadata", "labels"]);
    for (key, value) in expected {
        let found = labels.and_then(|l| l.get(key)).and_then(Value::as_str);
        let (path, why) = (format!("spec.template.metadata.labels[{key}]"), format!("must be '{value}'"));
        match found {
            None => errors.push(FieldError::required(path, why)),
            Some(found) if found != value => {
                errors.push(FieldError::invalid(path, labels.cloned().unwrap_or_default(), why));
            }
            Some(_) => {}
        }
    }
    let expected: Value = expected.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    let selector = &job["spec"]["selector"];
    if LabelSelector::from_value(selector).is_ok_and(|s| !s.matches(&string_map(&expected))) {
        let why = "`selector` not auto-generated";
        errors.push(FieldError::invalid("spec.selector", selector.clone(), why));
    }
}

/// The Pods of an indexed Job have its name and their index as host name.
pub(super) fn host_names(job: &Value) -> Vec<FieldError> {
    let completions = workload::number(job, &["spec", "completions"]);
    if access::text(job, &["spec", "completionMode"]) != "Indexed" || completions <= 0 {
        return Vec::new();
    }
    let name = access::text(job, &["metadata", "name"]);
    let longest = format!("{name}-{}", completions - 1);
    if names::dns_label(&longest).is_empty() {
        return Vec::new();
    }
    let why = format!("will not able to create pod with invalid DNS label: {longest}");
    vec![FieldError::invalid("metadata.name", name, why)]
}

/// Validates the change of a Job's spec.
pub(super) fn change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = completions(new, old);
    errors.extend(immutable(new, old, &["spec.selector"]));
    errors.extend(template_change(new, old));
    errors.extend(immutable(new, old, &["spec.completionMode"]));
    for (field, ty) in [
        ("podFailurePolicy", "PodFailurePolicy"),
        ("backoffLimitPerIndex", ""),
        ("managedBy", ""),
        ("successPolicy", "SuccessPolicy"),
    ] {
        let (now, before) = (&new["spec"][field], &old["spec"][field]);
        if now != before {
            let shown = dump::compact(ty, now);
            errors.push(FieldError::invalid_shown(format!("spec.{field}"), shown, "field is immutable"));
        }
    }
    errors
}

fn completions(new: &Value, old: &Value) -> Vec<FieldError> {
    let indexed = access::text(new, &["spec", "completionMode"]) == "Indexed";
    let of = |job| access::int(job, &["spec", "completions"]);
    match of(new) {
        Some(now) if indexed => {
            let apart = access::int(new, &["spec", "parallelism"]) != Some(now);
            let why = "can only be modified in tandem with spec.parallelism";
            let wrong = of(old) != Some(now) && apart;
            Vec::from_iter(wrong.then(|| FieldError::invalid("spec.completions", now, why)))
        }
        None if indexed => Vec::new(),
        _ => immutable(new, old, &["spec.completions"]),
    }
}

/// A suspended Job without active Pods may change what decides where its Pods run, and their resources.
fn template_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let template = |job| access::get(job, &["spec", "template"]).cloned().unwrap_or_default();
    let (now, mut before) = (template(new), template(old));
    let suspended = access::flag(old, &["spec", "suspend"]);
    let free = suspended
        && (access::get(old, &["status", "startTime"]).is_none() || is_suspended(old))
        && workload::number(old, &["status", "active"]) == 0;
    if free {
        for path in [
            &["spec", "affinity", "nodeAffinity"][..],
            &["spec", "nodeSelector"],
            &["spec", "tolerations"],
            &["spec", "schedulingGates"],
            &["metadata", "annotations"],
            &["metadata", "labels"],
        ] {
            access::copy(&now, &mut before, path);
        }
        let empty = access::get(&before, &["spec", "affinity"]).is_some_and(access::is_zero);
        if empty && access::get(&now, &["spec", "affinity"]).is_none() {
            access::remove(&mut before, &["spec", "affinity"]);
        }
        copy_resources(&now, &mut before);
    }
    if now == before || free && now.get("spec") == before.get("spec") {
        return Vec::new();
    }
    let (field, shown) = match free {
        true => ("spec.template.spec", dump::compact_spec(now.get("spec").unwrap_or(&Value::Null))),
        false => ("spec.template", dump::compact_template(&now)),
    };
    vec![FieldError::invalid_shown(field, shown, "field is immutable")]
}

fn is_suspended(job: &Value) -> bool {
    access::list(job, &["status", "conditions"])
        .iter()
        .any(|one| access::text(one, &["type"]) == "Suspended" && access::text(one, &["status"]) == "True")
}

/// Takes over the resources of containers, where the containers are the same.
fn copy_resources(now: &Value, before: &mut Value) {
    for list in ["containers", "initContainers"] {
        let new = access::list(now, &["spec", list]);
        let old = access::list_mut(before, &["spec", list]).map_or(&mut [][..], Vec::as_mut_slice);
        if new.len() != old.len() {
            continue;
        }
        for (new, old) in new.iter().zip(old).filter(|(new, old)| new.get("name") == old.get("name")) {
            access::copy(new, old, &["resources"]);
        }
    }
}
