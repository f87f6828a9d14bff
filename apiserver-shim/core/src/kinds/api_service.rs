//! APIServices: which server answers for a group-version, this one or a Service of the cluster.

use super::rules::{self, Check, Rule, Site};
use super::{CreateContext, Strategy, cells, metadata};
use serde_json::{Value, json};
use shim_model::access;
use shim_model::base64;
use shim_model::field::FieldError;
use shim_model::go_quote::Quoted;
use shim_model::names;
use shim_model::time::Instant;

/// The highest priorities of a group and of a version.
const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1_000;

/// The type of an APIService's one condition.
pub const AVAILABLE: &str = "Available";

pub(super) struct ApiService;

/// The rules of the spec.
pub(super) const SPEC: &[Rule] = &[
    Rule::Code(group),
    Rule::Code(version),
    Rule::Code(priorities),
    Rule::Code(local),
    Rule::Within(
        "service",
        &[
            Rule::Field("namespace", &[Check::Required]),
            Rule::Field("name", &[Check::Required]),
            Rule::Field("port", &[Check::Code(port)]),
        ],
    ),
    Rule::Code(trust),
];

fn group(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let group = spec.at("group");
    match group.text() {
        "" if spec.at("version").text() != "v1" => {
            errors.push(group.required("only v1 may have an empty group and it better be legacy kube"));
        }
        "" => {}
        _ => errors.extend(group.format(names::dns_subdomain)),
    }
}

fn version(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let version = spec.at("version");
    let wrong = names::dns_1035_label(version.text());
    errors.extend(wrong.into_iter().map(|why| FieldError::invalid(version, version.text(), why)));
}

fn priorities(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    for (name, most) in
        [("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)]
    {
        let (field, value) = (spec.at(name), spec.at(name).int().unwrap_or(0));
        if !(1..=most).contains(&value) {
            let detail = format!("must be positive and less than {most}");
            errors.push(FieldError::invalid(field, value, detail));
        }
    }
}

fn local(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    if spec.at("service").is_set() {
        return;
    }
    let (bundle, insecure) = (spec.at("caBundle"), spec.at("insecureSkipTLSVerify"));
    if !bundle.text().is_empty() {
        let size = base64::decode(bundle.text()).map_or(0, |bytes| bytes.len());
        let why = "local APIServices may not have a caBundle";
        errors.push(FieldError::invalid(bundle, format!("{size} bytes"), why));
    }
    if insecure.flag() {
        errors.push(insecure.invalid("local APIServices may not have insecureSkipTLSVerify"));
    }
}

fn port(port: &Site<'_>, errors: &mut Vec<FieldError>) {
    let wrong = names::port_number(port.int().unwrap_or(0));
    if !wrong.is_empty() {
        errors.push(port.invalid(format!("port is not valid: {}", wrong.join(", "))));
    }
}

fn trust(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let insecure = spec.at("insecureSkipTLSVerify");
    if spec.at("service").is_set() && insecure.flag() && !spec.at("caBundle").text().is_empty() {
        errors.push(insecure.invalid("may not be true if caBundle is present"));
    }
}

/// The rules of the status.
pub(super) const STATUS: &[Rule] =
    &[Rule::Each("conditions", &[Rule::Field("status", &[Check::Enum(&["True", "False", "Unknown"])])])];

/// `Available` of an APIService that this server answers for.
pub fn local_condition(now: Instant) -> Value {
    json!({"type": AVAILABLE, "status": "True", "lastTransitionTime": now.to_rfc3339(),
        "reason": "Local", "message": "Local APIServices are always available"})
}

/// The group-version of an APIService as its name.
pub fn name_of(group: &str, version: &str) -> String {
    format!("{version}.{group}")
}

impl Strategy for ApiService {
    fn default(&self, object: &mut Value) {
        if let Some(service) = object.pointer_mut("/spec/service").and_then(Value::as_object_mut) {
            access::set_default(service, "port", 443);
        }
    }

    fn has_status(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn prepare_create(&self, object: &mut Value, context: &CreateContext<'_>) {
        if access::get(object, &["spec", "service"]).is_none_or(Value::is_null) {
            let conditions = json!([local_condition(context.now)]);
            access::object_mut(object, &["status"]).insert("conditions".to_owned(), conditions);
        }
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        access::copy(old, new, &["spec"]);
        metadata::restore(new, old);
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let text = |path: &[&str]| access::text(object, path);
        let name = text(&["metadata", "name"]);
        let required = name_of(text(&["spec", "group"]), text(&["spec", "version"]));
        let mut errors = Vec::new();
        if !name.is_empty() && name != required {
            let detail = format!("must be `spec.version+\".\"+spec.group`: {}", Quoted(&required));
            errors.push(FieldError::invalid("metadata.name", name, detail));
        }
        errors.extend(rules::validate(&[Rule::Within("spec", SPEC)], object));
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("status", STATUS)], new)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let text = |path: &[&str]| access::text(object, path);
        let service = match text(&["spec", "service", "name"]) {
            "" => "Local".to_owned(),
            name => format!("{}/{name}", text(&["spec", "service", "namespace"])),
        };
        let conditions = access::list(object, &["status", "conditions"]).iter();
        let available = conditions.clone().find(|c| access::text(c, &["type"]) == AVAILABLE);
        let shown = match available.map(|c| (access::text(c, &["status"]), access::text(c, &["reason"]))) {
            None => "Unknown".to_owned(),
            Some((status, reason)) if status == "True" || reason.is_empty() => status.to_owned(),
            Some((status, reason)) => format!("{status} ({reason})"),
        };
        vec![cells::name(object), service.into(), shown.into(), cells::age(object, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn errors(object: &Value) -> String {
        let errors = ApiService.validate_create(object);
        errors.iter().map(|e| format!("{}: {}\n", e.field, e.body())).collect()
    }

    #[test]
    fn what_upstream_refuses() {
        let object = json!({"metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {"group": "metrics.k8s.io", "version": "v1", "groupPriorityMinimum": 30000,
                "insecureSkipTLSVerify": true, "caBundle": "QUJD", "service": {"name": "x", "port": 70000}}});
        expect![[r#"
            metadata.name: Invalid value: "v1beta1.metrics.k8s.io": must be `spec.version+"."+spec.group`: "v1.metrics.k8s.io"
            spec.groupPriorityMinimum: Invalid value: 30000: must be positive and less than 20000
            spec.versionPriority: Invalid value: 0: must be positive and less than 1000
            spec.service.namespace: Required value
            spec.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive
            spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present
        "#]].assert_eq(&errors(&object));
        let local = json!({"metadata": {"name": "v2."}, "spec": {"version": "v2", "groupPriorityMinimum": 1,
            "versionPriority": 1, "insecureSkipTLSVerify": true, "caBundle": "QUJD"}});
        expect![[r#"
            spec.group: Required value: only v1 may have an empty group and it better be legacy kube
            spec.caBundle: Invalid value: "3 bytes": local APIServices may not have a caBundle
            spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify
        "#]].assert_eq(&errors(&local));
    }

    #[test]
    fn a_local_one_is_available_at_once_and_another_is_not() {
        let context = CreateContext {
            namespace: "",
            uid: "u",
            now: Instant::parse("2026-01-02T03:04:05Z").expect("a time"),
            suffix: "x",
            is_unlabelled: true,
        };
        let mut local = json!({"metadata": {"name": "v1.a.b"}, "spec": {"group": "a.b", "version": "v1"}});
        ApiService.prepare_create(&mut local, &context);
        assert_eq!(local["status"]["conditions"][0]["reason"], "Local");
        let cells = ApiService.cells(&local, context.now);
        assert_eq!(cells[1..3], [json!("Local"), json!("True")]);
        let mut remote = json!({"metadata": {"name": "v1.a.b"},
            "spec": {"group": "a.b", "version": "v1", "service": {"namespace": "n", "name": "s"}}});
        ApiService.default(&mut remote);
        ApiService.prepare_create(&mut remote, &context);
        assert_eq!(remote["spec"]["service"]["port"], 443);
        assert_eq!(remote.get("status"), None);
        assert_eq!(ApiService.cells(&remote, context.now)[1..3], [json!("n/s"), json!("Unknown")]);
    }
}
