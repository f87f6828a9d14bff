//! ConversionReview: the request to a conversion webhook, and the checks of its response.

use serde_json::{Map, Value, json};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::resource::split_api_version;
use shim_model::status;

use super::go_type;
use crate::kinds::metadata;

/// A request to convert objects to one version.
#[derive(Debug, Clone, PartialEq)]
pub struct Review {
    uid: String,
    version: &'static str,
    desired: String,
}

/// How upstream prints the kind of an object.
fn kind_of(object: &Value) -> String {
    let (group, version) = split_api_version(access::text(object, &["apiVersion"]));
    format!("{group}/{version}, Kind={}", access::text(object, &["kind"]))
}

impl Review {
    /// A request; `versions` are those of ConversionReview that the webhook knows, in its order of preference. `None` if
    /// it knows none of ours.
    pub fn new(versions: &[Value], desired: &str, uid: &str) -> Option<Review> {
        let known = ["v1", "v1beta1"];
        let version = versions.iter().find_map(|wanted| known.into_iter().find(|known| wanted == known))?;
        Some(Review { uid: uid.to_owned(), version, desired: desired.to_owned() })
    }

    /// The request's body.
    pub fn body(&self, objects: &[Value]) -> Value {
        json!({
            "kind": "ConversionReview",
            "apiVersion": format!("apiextensions.k8s.io/{}", self.version),
            "request": {"uid": self.uid, "desiredAPIVersion": self.desired, "objects": objects},
        })
    }

    /// The converted objects of a response, with the metadata of the originals. The error is upstream's.
    pub fn converted(&self, originals: &[Value], response: Value) -> Result<Vec<Value>, String> {
        let kind = originals.first().map(kind_of).unwrap_or_default();
        let objects =
            self.objects(response).map_err(|why| format!("conversion webhook for {kind} failed: {why}"))?;
        if objects.len() != originals.len() {
            return Err(format!(
                "conversion webhook for {kind} returned {} objects, expected {}",
                objects.len(),
                originals.len()
            ));
        }
        let many = originals.len() > 1;
        let each = originals.iter().zip(objects).enumerate();
        each.map(|(i, (original, converted))| {
            let at = |what: &str| match many {
                true => format!("converted object at index {i}"),
                false => what.to_owned(),
            };
            let invalid = |what: &str, why: String| {
                format!("conversion webhook for {kind} returned invalid {}: {why}", at(what))
            };
            self.check_type(original, &converted).map_err(|why| invalid("object at index 0", why))?;
            check_identity(original, &converted).map_err(|why| invalid("object", why))?;
            restore_metadata(original, converted).map_err(|why| match many {
                true => format!(
                    "conversion webhook for {kind} returned invalid metadata in object at index {i}: {why}"
                ),
                false => format!("conversion webhook for {kind} returned invalid metadata: {why}"),
            })
        })
        .collect()
    }

    /// The objects of a response that says that it succeeded.
    fn objects(&self, mut review: Value) -> Result<Vec<Value>, String> {
        let text = |value: &Value, path: &[&str]| access::text(value, path).to_owned();
        if self.version == "v1" {
            let (api_version, kind) = (text(&review, &["apiVersion"]), text(&review, &["kind"]));
            if api_version != "apiextensions.k8s.io/v1" || kind != "ConversionReview" {
                return Err(format!(
                    "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {}",
                    kind_of(&review)
                ));
            }
        }
        if review.get("response").is_none_or(Value::is_null) {
            return Err("no response provided".to_owned());
        }
        let uid = text(&review, &["response", "uid"]);
        if self.version == "v1" && uid != self.uid {
            return Err(format!(
                "expected response.uid={}, got {}",
                Value::from(self.uid.as_str()),
                Value::from(uid)
            ));
        }
        let outcome = text(&review, &["response", "result", "status"]);
        if outcome != "Success" {
            let message = text(&review, &["response", "result", "message"]);
            return Err(match message.is_empty() {
                true => format!("response.result.status was '{outcome}', not 'Success'"),
                false => message,
            });
        }
        match review["response"]["convertedObjects"].take() {
            Value::Array(objects) => Ok(objects),
            _ => Ok(Vec::new()),
        }
    }

    fn check_type(&self, original: &Value, converted: &Value) -> Result<(), String> {
        let found = access::text(converted, &["apiVersion"]);
        if found != self.desired {
            return Err(format!("invalid groupVersion (expected {}, received {found})", self.desired));
        }
        let kind = |object| access::text(object, &["kind"]).to_owned();
        if kind(original) != kind(converted) {
            return Err(format!("invalid kind (expected {}, received {})", kind(original), kind(converted)));
        }
        Ok(())
    }
}

fn check_identity(original: &Value, converted: &Value) -> Result<(), String> {
    for (what, member) in [("name", "name"), ("namespace", "namespace"), ("UID", "uid")] {
        let of = |object| access::text(object, &["metadata", member]).to_owned();
        if of(original) != of(converted) {
            return Err(format!("must have the same {what}: {} != {}", of(original), of(converted)));
        }
    }
    Ok(())
}

/// A webhook may change labels and annotations; the rest of the metadata is the original's.
fn restore_metadata(original: &Value, mut converted: Value) -> Result<Value, String> {
    let mut answered = match converted.get_mut("metadata").map(Value::take) {
        None => return Err("missing metadata in converted object".to_owned()),
        Some(Value::Object(members)) => members,
        Some(other) => {
            return Err(format!("invalid metadata of type {} in converted object", go_type(&other)));
        }
    };
    let mut metadata = original.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    for member in ["labels", "annotations"] {
        match answered.remove(member) {
            None | Some(Value::Null) => drop(metadata.remove(member)),
            Some(Value::Object(texts)) => {
                check_texts(member, &texts, metadata.get(member))?;
                metadata.insert(member.to_owned(), Value::Object(texts));
            }
            Some(other) => {
                let found = go_type(&other);
                return Err(format!("invalid metadata.{member} of type {found} in converted object"));
            }
        }
    }
    converted["metadata"] = Value::Object(metadata);
    Ok(converted)
}

fn check_texts(member: &str, texts: &Map<String, Value>, before: Option<&Value>) -> Result<(), String> {
    if let Some((key, value)) = texts.iter().find(|(_, value)| !value.is_string()) {
        let found = go_type(value);
        return Err(format!("metadata.{member}[{key}] must be a string, but is {found} in converted object"));
    }
    if before.and_then(Value::as_object) == Some(texts) {
        return Ok(());
    }
    let texts = Value::Object(texts.clone());
    let mut errors: Vec<FieldError> = Vec::new();
    match member {
        "labels" => metadata::labels(Some(&texts), format_args!("metadata.labels"), &mut errors),
        _ => metadata::annotations(Some(&texts), format_args!("metadata.annotation"), &mut errors),
    }
    if errors.is_empty() { Ok(()) } else { Err(status::aggregate(&errors)) }
}

#[cfg(test)]
#[path = "review/tests.rs"]
mod tests;
