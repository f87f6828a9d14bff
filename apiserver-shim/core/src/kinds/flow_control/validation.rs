//! Validation of FlowSchemas and PriorityLevelConfigurations.

use super::super::rules::{Check, Rule, Site, apply};
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;

const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
/// Bits of entropy that shuffle sharding may draw per request.
const ENTROPY_MAX: f64 = 60.0;

/// The rules of a FlowSchema's spec.
pub(in super::super) const SCHEMA: &[Rule] = &[
    Rule::Field(
        "matchingPrecedence",
        &[
            Check::AtLeast(1, "must be a positive value"),
            Check::AtMost(PRECEDENCE_MAX, "must not be greater than 10000"),
        ],
    ),
    Rule::Within("distinguisherMethod", &[Rule::Code(distinguisher)]),
    Rule::Code(level_name),
    Rule::Each("rules", &[Rule::Code(rule)]),
];

fn distinguisher(method: &Site<'_>, errors: &mut Vec<FieldError>) {
    const KNOWN: &[&str] = &["ByNamespace", "ByUser"];
    let kind = method.at("type");
    if !KNOWN.contains(&kind.text()) {
        let mut error = kind.not_supported(KNOWN);
        error.shown = format!("{{\"Type\":{}}}", Value::from(kind.text()));
        errors.push(error);
    }
}

fn level_name(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let level = spec.at("priorityLevelConfiguration");
    let name = level.at("name");
    if name.text().is_empty() {
        errors.push(name.required("must reference a priority level"));
    } else {
        errors.extend(name.format(names::dns_subdomain));
    }
}

fn rule(rule: &Site<'_>, errors: &mut Vec<FieldError>) {
    let subjects = rule.at("subjects");
    if subjects.len() == 0 {
        errors.push(subjects.required("subjects must contain at least one value"));
    }
    subjects.items().for_each(|s| subject(&s, errors));
    let (resources, others) = (rule.at("resourceRules"), rule.at("nonResourceRules"));
    if resources.len() == 0 && others.len() == 0 {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(rule.required(why));
    }
    resources.items().for_each(|resource| resource_rule(&resource, errors));
    for other in others.items() {
        verbs(&other.at("verbs"), errors);
        let urls = other.at("nonResourceURLs");
        if urls.len() == 0 {
            errors.push(urls.required("nonResourceURLs must contain at least one value"));
        } else if !star_alone(&urls, "non-resource URLs", errors) {
            urls.items().for_each(|url| url_path(&url, errors));
        }
    }
}

fn resource_rule(resource: &Site<'_>, errors: &mut Vec<FieldError>) {
    verbs(&resource.at("verbs"), errors);
    for (list, why, what) in [
        ("apiGroups", "resource rules must supply at least one api group", "api groups"),
        ("resources", "resource rules must supply at least one resource", "resources"),
    ] {
        let list = resource.at(list);
        if list.len() == 0 {
            errors.push(list.required(why));
        } else {
            star_alone(&list, what, errors);
        }
    }
    let namespaces = resource.at("namespaces");
    if namespaces.len() == 0 && !resource.at("clusterScope").flag() {
        let why = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(namespaces.required(why));
    } else if !star_alone(&namespaces, "namespaces", errors) {
        for namespace in namespaces.items() {
            let wrong = names::dns_label(namespace.text()).into_iter();
            let intro = "each member of this list must be '*' or a DNS-1123 label; ";
            errors.extend(wrong.map(|why| namespace.invalid(format!("{intro}{why}"))));
        }
    }
}

/// Whether a list has a star, which must be alone.
fn star_alone(list: &Site<'_>, what: &str, errors: &mut Vec<FieldError>) -> bool {
    let star = list.items().any(|item| item.text() == "*");
    if star && list.len() > 1 {
        errors.push(list.invalid(format!("if '*' is present, must not specify other {what}")));
    }
    star
}

fn verbs(verbs: &Site<'_>, errors: &mut Vec<FieldError>) {
    const KNOWN: &[&str] =
        &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
    if verbs.len() == 0 {
        errors.push(verbs.required("verbs must contain at least one value"));
    } else if !star_alone(verbs, "verbs", errors) && verbs.items().any(|verb| !KNOWN.contains(&verb.text())) {
        errors.push(FieldError::not_supported(verbs, verbs.value.clone(), KNOWN));
    }
}

fn url_path(url: &Site<'_>, errors: &mut Vec<FieldError>) {
    let text = url.text();
    let stars = text.matches('*').count();
    let why = match text {
        "" => "must not be empty",
        "/" => return,
        _ if !text.starts_with('/') => "must start with slash",
        _ if text.contains(' ') => "must not contain white-space",
        _ if text.contains("//") => "must not contain double slash",
        _ if stars > 1 || stars == 1 && !text.ends_with("/*") => "wildcard can only do suffix matching",
        _ => return,
    };
    errors.push(FieldError::invalid(url, text, why));
}

fn subject(subject: &Site<'_>, errors: &mut Vec<FieldError>) {
    const KNOWN: &[&str] = &["Group", "ServiceAccount", "User"];
    let kind = subject.at("kind");
    let member = match kind.text() {
        "Group" => "group",
        "User" => "user",
        "ServiceAccount" => "serviceAccount",
        _ => return errors.push(kind.not_supported(KNOWN)),
    };
    let (site, names) = (subject.at(member), ["user", "group", "serviceAccount"]);
    if !site.is_set() {
        let why = format!("{member} is required when subject kind is '{}'", kind.text());
        errors.push(site.required(&why));
    } else {
        subject_name(&site, member == "serviceAccount", errors);
    }
    for other in names.into_iter().filter(|other| *other != member && subject.at(other).is_set()) {
        let why = format!("{other} is forbidden when subject kind is not '{}'", kind_of(other));
        errors.push(subject.at(other).forbidden(why));
    }
}

fn subject_name(subject: &Site<'_>, account: bool, errors: &mut Vec<FieldError>) {
    let (name, namespace) = (subject.at("name"), subject.at("namespace"));
    match name.text() {
        "" => errors.push(name.required("")),
        text if account && text != "*" => errors.extend(name.format(names::dns_subdomain)),
        _ => {}
    }
    match namespace.text() {
        _ if !account => {}
        "" => errors.push(namespace.required("must specify namespace for service account")),
        _ => errors.extend(namespace.format(names::dns_label)),
    }
}

fn kind_of(member: &str) -> &'static str {
    match member {
        "group" => "Group",
        "user" => "User",
        _ => "ServiceAccount",
    }
}

/// Validates a FlowSchema.
pub(super) fn schema(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Site::root(object);
    let spec = root.at("spec");
    let precedence = spec.at("matchingPrecedence");
    if precedence.int() == Some(1) && access::text(object, &["metadata", "name"]) != "exempt" {
        errors.push(precedence.invalid("only the schema named 'exempt' may have matchingPrecedence 1"));
    }
    apply(SCHEMA, &spec, &mut errors);
    errors
}

/// The rules of a PriorityLevelConfiguration's spec.
pub(in super::super) const LEVEL: &[Rule] = &[Rule::Code(level)];

const LIMITED: &[Rule] = &[
    Rule::Field("nominalConcurrencyShares", &[Check::AtLeast(0, "must be a non-negative integer")]),
    Rule::Code(limit_response),
    Rule::Field("lendablePercent", &[Check::Code(percent)]),
    Rule::Field(
        "borrowingLimitPercent",
        &[Check::AtLeast(0, "if specified, must be a non-negative integer")],
    ),
];

const EXEMPT: &[Rule] = &[
    Rule::Field("nominalConcurrencyShares", &[Check::AtLeast(0, "must be a non-negative integer")]),
    Rule::Field("lendablePercent", &[Check::Code(percent)]),
];

fn percent(number: &Site<'_>, errors: &mut Vec<FieldError>) {
    if !(0..=100).contains(&number.int().unwrap_or(0)) {
        errors.push(number.invalid("must be between 0 and 100, inclusive"));
    }
}

fn level(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (kind, exempt, limited) = (spec.at("type"), spec.at("exempt"), spec.at("limited"));
    match kind.text() {
        "Exempt" => {
            if limited.is_set() {
                errors.push(limited.forbidden("must be nil if the type is Exempt"));
            }
            if exempt.is_set() {
                apply(EXEMPT, &exempt, errors);
            }
        }
        "Limited" => {
            if exempt.is_set() {
                errors.push(exempt.forbidden("must be nil if the type is Limited"));
            }
            if limited.is_set() {
                apply(LIMITED, &limited, errors);
            } else {
                errors.push(limited.required("must not be empty when type is Limited"));
            }
        }
        _ => errors.push(kind.not_supported(&["Exempt", "Limited"])),
    }
}

fn limit_response(limited: &Site<'_>, errors: &mut Vec<FieldError>) {
    let response = limited.at("limitResponse");
    let (kind, queuing) = (response.at("type"), response.at("queuing"));
    match kind.text() {
        "Reject" if queuing.is_set() => {
            errors.push(queuing.forbidden("must be nil if limited.limitResponse.type is not Limited"));
        }
        "Reject" => {}
        "Queue" if queuing.is_set() => queues(&queuing, errors),
        "Queue" => {
            errors.push(queuing.required("must not be empty if limited.limitResponse.type is Limited"));
        }
        _ => errors.push(kind.not_supported(&["Queue", "Reject"])),
    }
}

fn queues(queuing: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (length, queues, hand) =
        (queuing.at("queueLengthLimit"), queuing.at("queues"), queuing.at("handSize"));
    let (deck, hands) = (queues.int().unwrap_or(0), hand.int().unwrap_or(0));
    if length.int().unwrap_or(0) <= 0 {
        errors.push(length.invalid("must be positive"));
    }
    if deck <= 0 {
        errors.push(queues.invalid("must be positive"));
    } else if deck > QUEUES_MAX {
        errors.push(queues.invalid("must not be greater than 10000000"));
    }
    if hands <= 0 {
        errors.push(hand.invalid("must be positive"));
    } else if hands > deck {
        errors.push(hand.invalid(format!("should not be greater than queues ({deck})")));
    } else if entropy(deck, hands) > ENTROPY_MAX {
        let why = format!(
            "required entropy bits of deckSize {deck} and handSize {hands} should not be greater than 60"
        );
        errors.push(hand.invalid(why));
    }
}

/// Bits that choose a hand out of a deck.
fn entropy(deck: i64, hand: i64) -> f64 {
    (0..hand).map(|dealt| ((deck - dealt) as f64).log2()).sum::<f64>().ceil()
}

/// Validates a PriorityLevelConfiguration.
pub(super) fn priority_level(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Site::root(object);
    let spec = root.at("spec");
    let kind = spec.at("type");
    if (access::text(object, &["metadata", "name"]) == "exempt") != (kind.text() == "Exempt") {
        errors.push(kind.invalid("must be 'Exempt' if and only if `name` is 'exempt'"));
    }
    apply(LEVEL, &spec, &mut errors);
    errors
}
