//! Every error that a client receives is a `metav1.Status`; all of them are worded here. kubectl, client-go and
//! controllers match on these messages, so they equal upstream's.

use crate::field::FieldError;
use crate::go_quote::Quoted;
use crate::resource::Resource;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// One cause in `details.causes`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Cause {
    /// Machine-readable reason; empty where upstream has none.
    pub reason: String,
    /// Human-readable message.
    pub message: String,
    pub field: String,
}

/// `details`: what the status is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Details {
    pub name: String,
    pub group: String,
    /// Resource (for most errors) or kind (for `Invalid`).
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    /// Seconds until a retry; 0 if not set.
    pub retry_after_seconds: u32,
}

/// A `metav1.Status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// HTTP status code; 200 or 201 for success.
    pub code: u16,
    /// Machine-readable reason; empty for success and unclassified failures.
    pub reason: Cow<'static, str>,
    /// Human-readable message.
    pub message: String,
    /// `None` omits the member.
    pub details: Option<Box<Details>>,
    /// `metadata.continue`: the token that continues an expired list.
    pub continue_token: String,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl Status {
    /// A failure without details and causes.
    pub fn failure(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        let reason = Cow::Borrowed(reason);
        Status { code, reason, message: message.into(), details: None, continue_token: String::new() }
    }

    /// Adds details.
    #[must_use]
    pub fn about(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    fn on(code: u16, reason: &'static str, message: String, resource: &Resource, name: &str) -> Self {
        Self::failure(code, reason, message).about(Details {
            name: name.into(),
            group: resource.group.clone(),
            kind: resource.plural.clone(),
            ..Details::default()
        })
    }

    /// Whether the code is that of an error.
    pub fn is_failure(&self) -> bool {
        self.code >= 400
    }

    /// The response body.
    pub fn to_value(&self) -> Value {
        let mut out = Map::new();
        out.insert("kind".into(), "Status".into());
        out.insert("apiVersion".into(), "v1".into());
        let mut metadata = Map::new();
        insert_text(&mut metadata, "continue", &self.continue_token);
        out.insert("metadata".into(), metadata.into());
        out.insert("status".into(), if self.is_failure() { "Failure" } else { "Success" }.into());
        insert_text(&mut out, "message", &self.message);
        insert_text(&mut out, "reason", &self.reason);
        if let Some(details) = &self.details {
            out.insert("details".into(), details.to_value());
        }
        if self.code != 200 {
            out.insert("code".into(), self.code.into());
        }
        Value::Object(out)
    }

    /// The encoded response body.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut out = Map::new();
        insert_text(&mut out, "name", &self.name);
        insert_text(&mut out, "group", &self.group);
        insert_text(&mut out, "kind", &self.kind);
        insert_text(&mut out, "uid", &self.uid);
        if !self.causes.is_empty() {
            out.insert("causes".into(), self.causes.iter().map(Cause::to_value).collect());
        }
        if self.retry_after_seconds > 0 {
            out.insert("retryAfterSeconds".into(), self.retry_after_seconds.into());
        }
        Value::Object(out)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut out = Map::new();
        insert_text(&mut out, "reason", &self.reason);
        insert_text(&mut out, "message", &self.message);
        insert_text(&mut out, "field", &self.field);
        Value::Object(out)
    }
}

fn insert_text(out: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        out.insert(key.to_owned(), text.into());
    }
}

/// A success with details of the object, such as the response to a completed delete.
pub fn success(resource: &Resource, name: &str, uid: &str) -> Status {
    Status::failure(200, "", "").about(Details {
        name: name.into(),
        group: resource.group.clone(),
        kind: resource.plural.clone(),
        uid: uid.into(),
        ..Details::default()
    })
}

/// 201 without details: the response to a binding or an eviction.
pub fn created() -> Status {
    Status::failure(201, "", "")
}

/// 404 for an object.
pub fn not_found(resource: &Resource, name: &str) -> Status {
    Status::on(
        404,
        "NotFound",
        format!("{} {} not found", resource.qualified(), Quoted(name)),
        resource,
        name,
    )
}

/// 404 for an unknown path.
pub fn unknown_path() -> Status {
    Status::failure(404, "NotFound", "the server could not find the requested resource")
        .about(Details::default())
}

/// 409: the object exists already.
pub fn already_exists(resource: &Resource, name: &str) -> Status {
    Status::on(
        409,
        "AlreadyExists",
        format!("{} {} already exists", resource.qualified(), Quoted(name)),
        resource,
        name,
    )
}

/// 409: the object exists and is being deleted.
pub fn already_exists_terminating(resource: &Resource, name: &str) -> Status {
    let message =
        format!("object is being deleted: {} {} already exists", resource.qualified(), Quoted(name));
    Status::on(409, "AlreadyExists", message, resource, name)
}

/// 409: a conflict, explained by `why`.
pub fn conflict(resource: &Resource, name: &str, why: impl fmt::Display) -> Status {
    let message =
        format!("Operation cannot be fulfilled on {} {}: {why}", resource.qualified(), Quoted(name));
    Status::on(409, "Conflict", message, resource, name)
}

/// 409: the resourceVersion is outdated.
pub fn modified(resource: &Resource, name: &str) -> Status {
    const WHY: &str =
        "the object has been modified; please apply your changes to the latest version and try again";
    conflict(resource, name, WHY)
}

/// 409 for a delete's preconditions; upstream reports the kind in place of the resource.
pub fn precondition_failed(resource: &Resource, name: &str, what: &str, wanted: &str, found: &str) -> Status {
    let message = format!(
        "Operation cannot be fulfilled on {} {}: the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {}",
        kind_qualified(resource),
        Quoted(name),
        if what == "UID" { "deleted and then recreated" } else { "modified" },
    );
    Status::failure(409, "Conflict", message).about(Details {
        name: name.into(),
        group: resource.group.clone(),
        kind: resource.kind.clone(),
        ..Details::default()
    })
}

/// The same for kinds whose storage itself checks the preconditions, with upstream's other wording.
pub fn precondition_conflict(
    resource: &Resource,
    name: &str,
    what: &str,
    wanted: &str,
    found: &str,
) -> Status {
    let why =
        format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
    conflict(resource, name, why)
}

fn kind_qualified(resource: &Resource) -> String {
    if resource.group.is_empty() {
        resource.kind.clone()
    } else {
        format!("{}.{}", resource.kind, resource.group)
    }
}

/// 422: the object is invalid.
pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Status {
    let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
    let message = format!("{qualified} {} is invalid: {}", Quoted(name), aggregate(errors));
    Status::failure(422, "Invalid", message).about(Details {
        name: name.into(),
        group: group.into(),
        kind: kind.into(),
        causes: errors
            .iter()
            .map(|e| Cause { reason: e.fault.reason().into(), message: e.body(), field: e.field.clone() })
            .collect(),
        ..Details::default()
    })
}

/// Several errors as one text: one alone, more in brackets; duplicates are printed once.
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut seen = BTreeSet::new();
    let texts: Vec<String> =
        errors.iter().map(ToString::to_string).filter(|text| seen.insert(text.clone())).collect();
    match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// 400.
pub fn bad_request(message: impl Into<String>) -> Status {
    Status::failure(400, "BadRequest", message)
}

/// 401.
pub fn unauthorized() -> Status {
    Status::failure(401, "Unauthorized", "Unauthorized")
}

/// 403 for a resource, with the complete explanation.
pub fn forbidden(group: &str, plural: &str, name: &str, why: impl fmt::Display) -> Status {
    let qualified = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    let message = if name.is_empty() {
        format!("{qualified} is forbidden: {why}")
    } else {
        format!("{qualified} {} is forbidden: {why}", Quoted(name))
    };
    Status::failure(403, "Forbidden", message).about(Details {
        name: name.into(),
        group: group.into(),
        kind: plural.into(),
        ..Details::default()
    })
}

/// 403 for a path that is not a resource.
pub fn forbidden_path(why: impl fmt::Display) -> Status {
    Status::failure(403, "Forbidden", format!("forbidden: {why}")).about(Details::default())
}

/// 405.
pub fn method_not_allowed() -> Status {
    Status::failure(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )
    .about(Details::default())
}

/// 406; `watch` adds the stream types to the listed media types.
pub fn not_acceptable(watch: bool) -> Status {
    const ALL: [&str; 5] = [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/json;stream=watch",
        "application/vnd.kubernetes.protobuf;stream=watch",
    ];
    unacceptable(if watch { &ALL } else { &ALL[..3] })
}

/// 406; `available` are the media types that the path has.
pub fn unacceptable(available: &[&str]) -> Status {
    let available = available.join(", ");
    let message = format!("406: Not Acceptable\n\nAvailable representations: {available}");
    Status::failure(406, "NotAcceptable", message).about(Details::default())
}

/// 406: objects of a kind have no protobuf message.
pub fn no_protobuf(kind: &str) -> Status {
    let message = format!(
        "object *v1.{kind} does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
    );
    Status::failure(406, "NotAcceptable", message)
}

/// 415; `accepted` lists the supported media types.
pub fn unsupported_media_type(accepted: &[&str]) -> Status {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        accepted.join(", ")
    );
    Status::failure(415, "UnsupportedMediaType", message)
}

/// 410: the requested resourceVersion is no longer available.
pub fn expired(message: impl Into<String>) -> Status {
    Status::failure(410, "Expired", message)
}

/// 410: a list at a resourceVersion that is no longer available.
pub fn list_expired() -> Status {
    expired("The resourceVersion for the provided list is too old.")
}

/// 410: the continue token has expired. `token` continues at the current resourceVersion.
pub fn continue_expired(token: String) -> Status {
    const MESSAGE: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
    Status { continue_token: token, ..expired(MESSAGE) }
}

/// 410 for a resourceVersion that was compacted away.
pub fn too_old(requested: u64, oldest: u64) -> Status {
    expired(format!("too old resource version: {requested} ({oldest})"))
}

/// 504: the requested resourceVersion is in the future.
pub fn too_large_resource_version(requested: u64, current: u64) -> Status {
    let message = format!("Timeout: Too large resource version: {requested}, current: {current}");
    Status::failure(504, "Timeout", message).about(Details {
        causes: vec![Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        }],
        retry_after_seconds: 1,
        ..Details::default()
    })
}

/// 413.
pub fn too_large(limit: usize) -> Status {
    Status::failure(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
}

/// 504.
pub fn timeout(message: impl Into<String>, retry_after_seconds: u32) -> Status {
    let message = format!("Timeout: {}", message.into());
    Status::failure(504, "Timeout", message).about(Details { retry_after_seconds, ..Details::default() })
}

/// 429.
pub fn too_many_requests(message: impl Into<String>, causes: Vec<Cause>, retry_after_seconds: u32) -> Status {
    let details = Details { causes, retry_after_seconds, ..Details::default() };
    Status::failure(429, "TooManyRequests", message).about(details)
}

/// 500 with upstream's prefix.
pub fn internal(message: impl fmt::Display) -> Status {
    let message = message.to_string();
    Status::failure(500, "InternalError", format!("Internal error occurred: {message}")).about(Details {
        causes: vec![Cause { reason: String::new(), message, field: String::new() }],
        ..Details::default()
    })
}

/// 500 without a reason: what upstream answers where it has not classified the error.
pub fn unclassified(message: impl Into<String>) -> Status {
    Status::failure(500, "", message)
}

/// 503.
pub fn service_unavailable(message: impl Into<String>) -> Status {
    Status::failure(503, "ServiceUnavailable", message)
}

/// 422 for a patch that could not be applied to the object.
pub fn unprocessable(message: Option<String>) -> Status {
    const PLAIN: &str = "the server rejected our request due to an error in our request";
    Status::failure(422, "Invalid", message.unwrap_or_else(|| PLAIN.to_owned())).about(Details::default())
}
