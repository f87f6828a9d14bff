//! Roles, ClusterRoles and their bindings. Names are free except for `/` and `%`; `roleRef` is immutable. That nobody grants
//! more than they hold is checked in admission, because it depends on the user.

use serde_json::{Value, json};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::selector::LabelSelector;
use shim_model::time::Instant;

use super::workload::label_selector;
use super::{Strategy, cells};

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// Roles and ClusterRoles.
pub(super) struct Role {
    /// Whether it is a Role, whose rules apply in one namespace.
    pub namespaced: bool,
}

impl Strategy for Role {
    fn lists_stored_as_null(&self) -> &'static [&'static [&'static str]] {
        &[&["rules"]]
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (i, rule) in access::list(object, &["rules"]).iter().enumerate() {
            validate_rule(rule, self.namespaced, &format!("rules[{i}]"), &mut errors);
        }
        if !self.namespaced
            && let Some(aggregation) = object.get("aggregationRule").filter(|rule| rule.is_object())
        {
            validate_aggregation(aggregation, &mut errors);
        }
        errors
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn cells(&self, object: &Value, _: Instant) -> Vec<Value> {
        vec![cells::name(object), access::text(object, &["metadata", "creationTimestamp"]).into()]
    }
}

fn validate_rule(rule: &Value, namespaced: bool, at: &str, errors: &mut Vec<FieldError>) {
    let is_empty = |member: &str| access::list(rule, &[member]).is_empty();
    if is_empty("verbs") {
        let why = "verbs must contain at least one value";
        errors.push(FieldError::required(format!("{at}.verbs"), why));
    }
    if !is_empty("nonResourceURLs") {
        let field = format!("{at}.nonResourceURLs");
        let mut refuse = |why: &str| {
            errors.push(FieldError::invalid(&field, rule["nonResourceURLs"].clone(), why));
        };
        if namespaced {
            refuse("namespaced rules cannot apply to non-resource URLs");
        }
        if !is_empty("apiGroups") || !is_empty("resources") || !is_empty("resourceNames") {
            refuse("rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if is_empty("apiGroups") {
        let why = "resource rules must supply at least one api group";
        errors.push(FieldError::required(format!("{at}.apiGroups"), why));
    }
    if is_empty("resources") {
        let why = "resource rules must supply at least one resource";
        errors.push(FieldError::required(format!("{at}.resources"), why));
    }
}

fn validate_aggregation(aggregation: &Value, errors: &mut Vec<FieldError>) {
    let selectors = access::list(aggregation, &["clusterRoleSelectors"]);
    if selectors.is_empty() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required("aggregationRule.clusterRoleSelectors", why));
    }
    for (i, selector) in selectors.iter().enumerate() {
        let at = format_args!("aggregationRule.clusterRoleSelectors[{i}]");
        errors.extend(label_selector(selector, at));
        if LabelSelector::from_value(selector).is_err() {
            errors.push(FieldError::invalid(at, Value::Null, "invalid label selector."));
        }
    }
}

/// RoleBindings and ClusterRoleBindings.
pub(super) struct RoleBinding {
    /// Whether it is a RoleBinding, which applies in one namespace.
    pub namespaced: bool,
}

impl Strategy for RoleBinding {
    fn default(&self, object: &mut Value) {
        access::set_if_zero(access::object_mut(object, &["roleRef"]), "apiGroup", GROUP);
        for subject in access::list_mut(object, &["subjects"]).into_iter().flatten() {
            if matches!(access::text(subject, &["kind"]), "User" | "Group") {
                access::set_if_zero(access::as_object(subject), "apiGroup", GROUP);
            }
        }
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let reference = |member: &str| access::text(object, &["roleRef", member]);
        if reference("apiGroup") != GROUP {
            errors.push(FieldError::not_supported("roleRef.apiGroup", reference("apiGroup"), &[GROUP]));
        }
        let kinds: &[&str] = if self.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
        if !kinds.contains(&reference("kind")) {
            errors.push(FieldError::not_supported("roleRef.kind", reference("kind"), kinds));
        }
        let name = reference("name");
        if name.is_empty() {
            errors.push(FieldError::required("roleRef.name", ""));
        }
        let wrong = names::path_segment(name).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid("roleRef.name", name, why)));
        for (i, subject) in access::list(object, &["subjects"]).iter().enumerate() {
            validate_subject(subject, self.namespaced, &format!("subjects[{i}]"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        if new.get("roleRef") != old.get("roleRef") {
            let of = |member: &str| json!(access::text(new, &["roleRef", member]));
            // As upstream prints it, with Go's member names.
            let shown =
                format!(r#"{{"APIGroup":{},"Kind":{},"Name":{}}}"#, of("apiGroup"), of("kind"), of("name"));
            errors.push(FieldError::invalid_shown("roleRef", shown, "cannot change roleRef"));
        }
        errors
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let reference = |member: &str| access::text(object, &["roleRef", member]);
        let subjects = access::list(object, &["subjects"]);
        let of_kind =
            |kind: &'static str| subjects.iter().filter(move |s| access::text(s, &["kind"]) == kind);
        let name = |subject: &Value| access::text(subject, &["name"]).to_owned();
        let names = |kind| of_kind(kind).map(name).collect::<Vec<_>>().join(", ");
        let account =
            |subject: &Value| format!("{}/{}", access::text(subject, &["namespace"]), name(subject));
        let accounts: Vec<String> = of_kind("ServiceAccount").map(account).collect();
        vec![
            cells::name(object),
            format!("{}/{}", reference("kind"), reference("name")).into(),
            cells::age(object, now),
            names("User").into(),
            names("Group").into(),
            accounts.join(", ").into(),
        ]
    }
}

fn validate_subject(subject: &Value, namespaced: bool, at: &str, errors: &mut Vec<FieldError>) {
    let of = |member: &str| access::text(subject, &[member]);
    let (kind, name, group) = (of("kind"), of("name"), of("apiGroup"));
    if name.is_empty() {
        errors.push(FieldError::required(format!("{at}.name"), ""));
    }
    let group_must_be = |wanted: &str, errors: &mut Vec<FieldError>| {
        if group != wanted {
            errors.push(FieldError::not_supported(format!("{at}.apiGroup"), group, &[wanted]));
        }
    };
    match kind {
        "ServiceAccount" => {
            if !name.is_empty() {
                let wrong = names::dns_subdomain(name).into_iter();
                errors.extend(wrong.map(|why| FieldError::invalid(format!("{at}.name"), name, why)));
            }
            group_must_be("", errors);
            if !namespaced && of("namespace").is_empty() {
                errors.push(FieldError::required(format!("{at}.namespace"), ""));
            }
        }
        "User" | "Group" => {
            group_must_be(GROUP, errors);
        }
        _ => {
            let kinds = ["ServiceAccount", "User", "Group"];
            errors.push(FieldError::not_supported(format!("{at}.kind"), kind, &kinds));
        }
    }
}
