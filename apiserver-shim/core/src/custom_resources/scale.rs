//! Where a custom resource has its replicas, for the `/scale` subresource.

use serde_json::{Value, json};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::resource::KindRef;
use shim_model::status::{self, Status};

use super::go_type;

/// The kind of the subresource.
pub(super) const KIND: KindRef<'static> = KindRef { group: "autoscaling", version: "v1", kind: "Scale" };

/// The paths of `subresources.scale`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalePaths {
    spec: String,
    status: String,
    selector: Option<String>,
}

/// The steps of a path with dots.
fn steps(path: &str) -> Vec<&str> {
    path.strip_prefix('.').unwrap_or(path).split('.').collect()
}

/// The value at a path, or a complaint in Go's words.
fn nested<'a>(object: &'a Value, path: &str) -> Result<Option<&'a Value>, String> {
    let (mut at, steps) = (object, steps(path));
    for (i, step) in steps.iter().enumerate() {
        let Value::Object(members) = at else {
            let found = go_type(at);
            return Err(format!(
                ".{} accessor error: {} is of the type {found}, expected map[string]interface{{}}",
                steps[..=i].join("."),
                shown(at),
            ));
        };
        match members.get(*step) {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

fn wrong(path: &str, value: &Value, wanted: &str) -> String {
    let (path, found) = (steps(path).join("."), go_type(value));
    format!(".{path} accessor error: {} is of the type {found}, expected {wanted}", shown(value))
}

impl ScalePaths {
    /// The paths of a version; none if it has no scale.
    pub fn of_version(version: &Value) -> Option<ScalePaths> {
        let scale = access::get(version, &["subresources", "scale"])?;
        let text = |member: &str| access::text(scale, &[member]).to_owned();
        let selector = Some(text("labelSelectorPath")).filter(|path| !path.is_empty());
        Some(ScalePaths { spec: text("specReplicasPath"), status: text("statusReplicasPath"), selector })
    }

    /// The members that lead to the replicas.
    pub fn replicas(&self) -> Vec<&str> {
        steps(&self.spec)
    }

    fn number(object: &Value, path: &str) -> Result<Option<i64>, String> {
        match nested(object, path)? {
            None => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| wrong(path, value, "int64")),
        }
    }

    fn text<'a>(object: &'a Value, path: &str) -> Result<&'a str, String> {
        match nested(object, path)? {
            None => Ok(""),
            Some(value) => value.as_str().ok_or_else(|| wrong(path, value, "string")),
        }
    }

    /// Whether the object has a number of replicas.
    pub fn has_replicas(&self, object: &Value) -> bool {
        matches!(Self::number(object, &self.spec), Ok(Some(_)))
    }

    /// The answer of a read of an object without a number of replicas.
    pub fn missing(&self) -> Status {
        status::internal(format!(
            "the spec replicas field {} does not exist",
            Value::from(self.spec.as_str())
        ))
    }

    /// The Scale of an object.
    pub fn read(&self, object: &Value) -> Value {
        let mut metadata = serde_json::Map::new();
        for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(value) = access::get(object, &["metadata", key]) {
                metadata.insert(key.to_owned(), value.clone());
            }
        }
        let number = |path: &str| Self::number(object, path).ok().flatten().unwrap_or(0);
        let mut spec = json!({});
        if number(&self.spec) != 0 {
            spec["replicas"] = number(&self.spec).into();
        }
        let mut status = json!({"replicas": number(&self.status)});
        let selector = self.selector.as_deref().and_then(|path| Self::text(object, path).ok());
        if let Some(selector) = selector.filter(|text| !text.is_empty()) {
            status["selector"] = selector.into();
        }
        json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
    }

    /// Sets the replicas of an object from its Scale.
    pub fn write(&self, object: &mut Value, scale: &Value) -> Result<(), Status> {
        let replicas = access::get(scale, &["spec", "replicas"]);
        if replicas.is_none() && !self.has_replicas(object) {
            let why = format!("the spec replicas field {} cannot be empty", Value::from(self.spec.as_str()));
            return Err(status::bad_request(why));
        }
        let steps = self.replicas();
        let Some((last, parents)) = steps.split_last() else { return Ok(()) };
        let count = replicas.and_then(Value::as_i64).unwrap_or(0);
        access::object_mut(object, parents).insert((*last).to_owned(), count.into());
        Ok(())
    }

    /// Errors of the replicas that the spec asks for.
    pub fn spec_errors(&self, object: &Value) -> Vec<FieldError> {
        replicas_errors(object, &self.spec)
    }

    /// Errors of the replicas and the selector in the status.
    pub fn status_errors(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = replicas_errors(object, &self.status);
        if let Some(path) = &self.selector
            && let Err(why) = Self::text(object, path)
        {
            errors.push(FieldError::invalid(path, "", why));
        }
        errors
    }
}

fn replicas_errors(object: &Value, path: &str) -> Vec<FieldError> {
    let why = match ScalePaths::number(object, path) {
        Err(why) => return vec![FieldError::invalid(path, 0, why)],
        Ok(count) => match count.unwrap_or(0) {
            count if count < 0 => Some((count, "should be a non-negative integer".to_owned())),
            count if count > i64::from(i32::MAX) => {
                Some((count, format!("should be less than or equal to {}", i32::MAX)))
            }
            _ => None,
        },
    };
    why.map(|(count, why)| FieldError::invalid(path, count, why)).into_iter().collect()
}
