//! Events of both API groups, which share storage: fields of the core version, and their names in `events.k8s.io`.

mod convert;
mod fields;

pub(crate) use convert::EventConverter;

use super::{FieldName, Strategy, cells, named};
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::object::StoredObject;
use shim_model::time::{self, Instant};

pub(super) struct CoreEvent;
pub(super) struct NewEvent;

/// Maximum length of reason, action, controller and instance; of the note.
const WORD_MAX: usize = 128;
const NOTE_MAX: usize = 1024;

impl Strategy for CoreEvent {
    fn selectable_stored(&self, object: &StoredObject) -> Option<Vec<(FieldName, String)>> {
        fields::of(&object.bytes)
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let own = access::text(object, &["metadata", "namespace"]);
        let of = access::text(object, &["involvedObject", "namespace"]);
        // Events about cluster-scoped objects are in the default namespace.
        let fits = of == own || of.is_empty() && ["", "default", "kube-system"].contains(&own);
        if !fits {
            errors.push(FieldError::invalid(
                "involvedObject.namespace",
                of,
                "does not match event.namespace",
            ));
        }
        errors
    }

    fn validate_update(&self, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        row(object, "involvedObject", "source", ["firstTimestamp", "lastTimestamp", "count"], "message", now)
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        let text = |path: &[&str]| access::text(object, path).to_owned();
        let source = text(&["source", "component"]);
        let source = if source.is_empty() { text(&["reportingComponent"]) } else { source };
        named([
            ("involvedObject.kind", text(&["involvedObject", "kind"])),
            ("involvedObject.namespace", text(&["involvedObject", "namespace"])),
            ("involvedObject.name", text(&["involvedObject", "name"])),
            ("involvedObject.uid", text(&["involvedObject", "uid"])),
            ("involvedObject.apiVersion", text(&["involvedObject", "apiVersion"])),
            ("involvedObject.resourceVersion", text(&["involvedObject", "resourceVersion"])),
            ("involvedObject.fieldPath", text(&["involvedObject", "fieldPath"])),
            ("reason", text(&["reason"])),
            ("reportingComponent", text(&["reportingComponent"])),
            ("source", source),
            ("type", text(&["type"])),
        ])
    }

    fn selectable_fields(&self) -> Vec<&str> {
        vec![
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }
}

impl Strategy for NewEvent {
    /// Events of both groups are validated as those of the core group.
    fn error_group(&self) -> Option<&'static str> {
        Some("")
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let text = |key: &str| access::text(object, &[key]);
        let (own, of) = (
            access::text(object, &["metadata", "namespace"]),
            access::text(object, &["regarding", "namespace"]),
        );
        if of != own && !(of.is_empty() && ["default", "kube-system"].contains(&own)) {
            errors.push(FieldError::invalid(
                "involvedObject.namespace",
                of,
                "does not match event.namespace",
            ));
        }
        if object.get("eventTime").is_none_or(Value::is_null) {
            errors.push(FieldError::required("eventTime", ""));
        }
        let controller = text("reportingController");
        if controller.is_empty() {
            errors.push(FieldError::required("reportingController", ""));
        }
        let wrong = names::qualified(controller);
        errors.extend(wrong.into_iter().map(|d| FieldError::invalid("reportingController", controller, d)));
        for key in ["reportingInstance", "action", "reason"] {
            match text(key) {
                "" => errors.push(FieldError::required(key, "")),
                long if long.len() > WORD_MAX => {
                    errors.push(FieldError::invalid(
                        key,
                        "",
                        format!("can have at most {WORD_MAX} characters"),
                    ));
                }
                _ => {}
            }
        }
        if text("note").len() > NOTE_MAX {
            errors.push(FieldError::invalid(
                "message",
                "",
                format!("can have at most {NOTE_MAX} characters"),
            ));
        }
        if !["Normal", "Warning"].contains(&text("type")) {
            errors.push(FieldError::invalid("type", "", format!("has invalid value: {}", text("type"))));
        }
        errors
    }

    fn validate_update(&self, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let times = ["deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedCount"];
        row(object, "regarding", "deprecatedSource", times, "note", now)
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        let text = |path: &[&str]| access::text(object, path).to_owned();
        named([
            ("regarding.kind", text(&["regarding", "kind"])),
            ("regarding.namespace", text(&["regarding", "namespace"])),
            ("regarding.name", text(&["regarding", "name"])),
            ("regarding.uid", text(&["regarding", "uid"])),
            ("regarding.apiVersion", text(&["regarding", "apiVersion"])),
            ("regarding.resourceVersion", text(&["regarding", "resourceVersion"])),
            ("regarding.fieldPath", text(&["regarding", "fieldPath"])),
            ("reason", text(&["reason"])),
            ("reportingController", text(&["reportingController"])),
            ("type", text(&["type"])),
        ])
    }

    fn selectable_fields(&self) -> Vec<&str> {
        vec![
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ]
    }
}

fn row(
    object: &Value,
    about: &str,
    source: &str,
    [first, last, count]: [&str; 3],
    message: &str,
    now: Instant,
) -> Vec<Value> {
    let text = |path: &[&str]| access::text(object, path);
    let event_time = text(&["eventTime"]);
    let first = cells::or(text(&[first]), event_time);
    let series = text(&["series", "lastObservedTime"]);
    let last = if !series.is_empty() { series } else { cells::or(text(&[last]), first) };
    let count = access::int(object, &["series", "count"]).or_else(|| access::int(object, &[count]));
    let count = count.filter(|c| *c != 0).unwrap_or(1);
    let target = match (text(&[about, "kind"]).to_lowercase(), text(&[about, "name"])) {
        (kind, "") => kind,
        (kind, name) => format!("{kind}/{name}"),
    };
    let component = cells::or(
        text(&[source, "component"]),
        cells::or(text(&["reportingComponent"]), text(&["reportingController"])),
    );
    let host = cells::or(text(&[source, "host"]), text(&["reportingInstance"]));
    let from = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    vec![
        time::age(last, now).into(),
        text(&["type"]).into(),
        text(&["reason"]).into(),
        target.into(),
        text(&[about, "fieldPath"]).into(),
        from.into(),
        text(&[message]).trim().into(),
        time::age(first, now).into(),
        count.into(),
        cells::name(object),
    ]
}
