//! DeleteOptions: read from the body of a DELETE, or from its query if the body is empty, and validated.

use bytes::Bytes;
use serde_json::Value;
use shim_model::field::FieldError;
use shim_model::resource::KindRef;
use shim_model::schema::{self, Media};
use shim_model::status::{self, Status};

use super::negotiation;
use super::objects::ResourceRequest;
use crate::request::query::dry_run_values;
use crate::storage::deletion::{DeleteOptions, Propagation};

const KIND: &str = "DeleteOptions";

/// Reads the options of a deletion.
pub fn delete_options(request: &ResourceRequest<'_>, bytes: &Bytes) -> Result<DeleteOptions, Status> {
    let query = request.query;
    let named = |key: &str| query.get(key).filter(|text| !text.is_empty()).map(str::to_owned);
    let (grace, policy, orphan, uid, version, dry): (_, _, _, _, _, Vec<&str>);
    let body;
    if bytes.is_empty() {
        grace = query.number("gracePeriodSeconds")?;
        policy = query.get("propagationPolicy").map(str::to_owned);
        orphan = query.get("orphanDependents").map(|_| query.flag("orphanDependents"));
        (uid, version) = (named("uid"), named("resourceVersion"));
        dry = query.all("dryRun").collect();
    } else {
        body = parse_options(request, bytes)?;
        if let Some(why) = foreign_kind(&body).or_else(|| wrong_option(&body)) {
            return Err(status::bad_request(why));
        }
        let text = |v: &Value| v.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
        grace = body["gracePeriodSeconds"].as_i64();
        policy = body["propagationPolicy"].as_str().map(str::to_owned);
        orphan = body["orphanDependents"].as_bool();
        uid = text(&body["preconditions"]["uid"]);
        version = text(&body["preconditions"]["resourceVersion"]);
        dry = body["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    }
    let (dry_run, mut errors) = match dry_run_values(dry) {
        Ok(dry_run) => (dry_run, Vec::new()),
        Err(error) => (true, vec![error]),
    };
    let propagation = propagation(policy.as_deref(), orphan, &mut errors);
    if !errors.is_empty() {
        return Err(status::invalid("meta.k8s.io", KIND, "", &errors));
    }
    Ok(DeleteOptions {
        grace_period_seconds: grace,
        propagation,
        uid,
        resource_version: version,
        dry_run,
        by_old_option: orphan.is_some(),
    })
}

/// The policy of the two options that name one. Its errors come before those of the other options.
fn propagation(
    policy: Option<&str>,
    orphan: Option<bool>,
    errors: &mut Vec<FieldError>,
) -> Option<Propagation> {
    const FIELD: &str = "propagationPolicy";
    let Some(text) = policy else {
        return orphan.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background });
    };
    let known = Propagation::parse(text);
    if known.is_none() {
        let supported = ["Foreground", "Background", "Orphan", "nil"];
        errors.insert(0, FieldError::not_supported(FIELD, text, &supported));
    }
    if orphan.is_some() {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        errors.insert(0, FieldError::invalid(FIELD, text, why));
    }
    known
}

/// What is said to a body of another kind. The group and version of the options do not matter, if they are some.
fn foreign_kind(options: &Value) -> Option<String> {
    let text = |member: &str| options.get(member).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(odd) = text("apiVersion").filter(|version| version.matches('/').count() > 1) {
        return Some(format!("unexpected GroupVersion string: {odd}"));
    }
    let kind = text("kind").filter(|kind| *kind != KIND)?;
    let version = text("apiVersion").unwrap_or("meta.k8s.io/v1");
    Some(format!(
        "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
    ))
}

/// The first option of another type than Go's.
fn wrong_option(options: &Value) -> Option<String> {
    const FIELDS: [(&str, &str, &str); 8] = [
        ("", "gracePeriodSeconds", "int64"),
        ("", "preconditions", "v1.Preconditions"),
        ("", "orphanDependents", "bool"),
        ("", "propagationPolicy", "v1.DeletionPropagation"),
        ("", "dryRun", "[]string"),
        ("", "ignoreStoreReadErrorWithClusterBreakingPotential", "bool"),
        ("preconditions", "uid", "types.UID"),
        ("preconditions", "resourceVersion", "string"),
    ];
    FIELDS.into_iter().find_map(|(parent, name, ty)| {
        let of = if parent.is_empty() { options } else { options.get(parent)? };
        let value = of.get(name)?;
        let fits = match ty {
            "int64" => value.is_i64(),
            "bool" => value.is_boolean(),
            "[]string" => value.is_array(),
            "v1.Preconditions" => value.is_object(),
            _ => value.is_string(),
        };
        let found = match value {
            Value::Null => return None,
            _ if fits => return None,
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) if ty == "int64" => format!("number {number}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let field = match parent {
            "" => format!("DeleteOptions.{name}"),
            parent => format!("Preconditions.{parent}.{name}"),
        };
        Some(format!("json: cannot unmarshal {found} into Go struct field {field} of type {ty}"))
    })
}

fn parse_options(request: &ResourceRequest<'_>, bytes: &Bytes) -> Result<Value, Status> {
    const OPTIONS: KindRef<'_> = KindRef { group: "", version: "v1", kind: "DeleteOptions" };
    let media = negotiation::body_media(request.headers)?;
    let value: Option<Value> = match media {
        Media::Json => serde_json::from_slice(bytes).ok(),
        Media::Yaml => schema::plain_yaml(bytes).ok(),
        Media::Protobuf => None,
    };
    let names_kind = |v: &Value| ["apiVersion", "kind"].iter().all(|m| v[*m].is_null() || v[*m].is_string());
    if let Some(value) = value.filter(|v| v.is_null() || v.is_object() && names_kind(v)) {
        return Ok(value);
    }
    // The model provides the message; only the frame around it differs here.
    match schema::decode_untyped(bytes, media, OPTIONS) {
        Ok(value) => Ok(value),
        Err(status) => {
            let message = status.message.split_once("): ").map_or(status.message.as_str(), |(_, rest)| rest);
            let message = message.rsplit_once(" (").map_or(message, |(head, _)| head);
            Err(status::bad_request(message))
        }
    }
}
