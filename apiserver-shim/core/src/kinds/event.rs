//! Events of both API groups, which share storage: fields of the core version, and their names in `events.k8s.io`.

mod convert;
mod fields;

pub(crate) use convert::EventConverter;

use super::{FieldName, Strategy, cells, metadata, named};
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::object::StoredObject;
use shim_model::resource::Resource;
use shim_model::status::{self, Status};
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

    fn validates_metadata(&self) -> bool {
        false
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        legacy(object, CORE_NAMES)
    }

    fn validate_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        legacy(new, CORE_NAMES)
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

    fn precondition_failed(
        &self,
        resource: &Resource,
        name: &str,
        what: &str,
        wanted: &str,
        found: &str,
    ) -> Status {
        let of_core = Resource { group: String::new(), ..resource.clone() };
        status::precondition_failed(&of_core, name, what, wanted, found)
    }

    fn validates_metadata(&self) -> bool {
        false
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = legacy(object, NEW_NAMES);
        errors.extend(metadata::validate_namespaced(self, object));
        series(object, &mut errors);
        if zero_time(object, "eventTime") {
            errors.push(FieldError::required("eventTime", ""));
        }
        let kind = access::text(object, &["type"]);
        if !["Normal", "Warning"].contains(&kind) {
            errors.push(FieldError::invalid("type", "", format!("has invalid value: {kind}")));
        }
        let source = &object["deprecatedSource"];
        let named = ["component", "host"].iter().any(|member| !access::text(source, &[member]).is_empty());
        for (field, set) in [
            ("firstTimestamp", !zero_time(object, "deprecatedFirstTimestamp")),
            ("lastTimestamp", !zero_time(object, "deprecatedLastTimestamp")),
            ("count", access::int(object, &["deprecatedCount"]).unwrap_or(0) != 0),
            ("source", named),
        ] {
            if set {
                errors.push(FieldError::invalid(field, "", "needs to be unset"));
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = legacy(new, NEW_NAMES);
        if new.get("series") != old.get("series") {
            series(new, &mut errors);
        }
        for (field, member) in FIXED {
            let value = |event: &Value| event.get(*member).filter(|value| !access::is_zero(value)).cloned();
            if value(new) != value(old) {
                let shown = unset_or(new.get(*member), old.get(*member));
                errors.push(FieldError { shown, ..FieldError::invalid(*field, "", "field is immutable") });
            }
        }
        errors
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

/// Names of members in the core group and in `events.k8s.io`: what the Event is about, its text, its controller.
type Names = [&'static str; 3];
const CORE_NAMES: Names = ["involvedObject", "message", "reportingComponent"];
const NEW_NAMES: Names = ["regarding", "note", "reportingController"];

/// What no update changes through `events.k8s.io`: names in messages and in the object.
/// A value as Go prints it; one that is missing is the zero value of what it was.
fn unset_or(new: Option<&Value>, old: Option<&Value>) -> String {
    let object = |value: &Value| {
        let members = [
            ("Kind", "kind"),
            ("Namespace", "namespace"),
            ("Name", "name"),
            ("UID", "uid"),
            ("APIVersion", "apiVersion"),
            ("ResourceVersion", "resourceVersion"),
            ("FieldPath", "fieldPath"),
        ];
        let text = |member| Value::from(access::text(value, &[member]));
        let shown: Vec<String> =
            members.iter().map(|(go, json)| format!("\"{go}\":{}", text(json))).collect();
        format!("{{{}}}", shown.join(","))
    };
    match (new, old) {
        (Some(reference @ Value::Object(_)), Some(Value::Object(was))) if was.contains_key("kind") => {
            object(reference)
        }
        (None | Some(Value::Null), Some(Value::String(was))) if Instant::parse(was).is_none() => {
            "\"\"".to_owned()
        }
        (new, _) => new.cloned().unwrap_or_default().to_string(),
    }
}

const FIXED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("reason", "reason"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reason", "reason"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingController", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];

fn zero_time(event: &Value, member: &str) -> bool {
    event.get(member).is_none_or(Value::is_null)
}

/// The rules of both groups: few for Events without time, which old clients write.
fn legacy(event: &Value, [about, note, controller]: Names) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let text = |path: &[&str]| access::text(event, path);
    let (own, of) = (text(&["metadata", "namespace"]), text(&[about, "namespace"]));
    let timed = !zero_time(event, "eventTime");
    // Events about cluster-scoped objects are in the default namespace.
    let fits = match (timed, of) {
        (false, "") => ["", "default"].contains(&own),
        (false, of) => of == own,
        (true, "") => ["default", "kube-system"].contains(&own),
        (true, _) => true,
    };
    if !fits {
        errors.push(FieldError::invalid("involvedObject.namespace", of, "does not match event.namespace"));
    }
    if !timed {
        return errors;
    }
    let by = text(&[controller]);
    if by.is_empty() {
        errors.push(FieldError::required(controller, ""));
    }
    errors.extend(names::qualified(by).into_iter().map(|why| FieldError::invalid(controller, by, why)));
    let long = |field: &str, most: usize| {
        FieldError::invalid(field, "", format!("can have at most {most} characters"))
    };
    for field in ["reportingInstance", "action", "reason"] {
        match text(&[field]).len() {
            0 => errors.push(FieldError::required(field, "")),
            length if length > WORD_MAX => errors.push(long(field, WORD_MAX)),
            _ => {}
        }
    }
    if text(&[note]).len() > NOTE_MAX {
        errors.push(long("message", NOTE_MAX));
    }
    errors
}

fn series(event: &Value, errors: &mut Vec<FieldError>) {
    let Some(series) = event.get("series").filter(|series| !series.is_null()) else { return };
    if access::int(series, &["count"]).unwrap_or(0) < 2 {
        errors.push(FieldError::invalid("series.count", "", "should be at least 2"));
    }
    if zero_time(series, "lastObservedTime") {
        errors.push(FieldError::required("series.lastObservedTime", ""));
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
