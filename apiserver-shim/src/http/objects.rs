//! The verbs on resources. One function per verb takes an authorized request to the pipeline or the cache and builds
//! the response.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;
use shim_core::kinds::Subresource;
use shim_model::field::FieldError;
use shim_model::patch::{self, PatchKind};
use shim_model::resource::{KindRef, Verb};
use shim_model::schema::{self, Media, ObjectType, Strictness};
use shim_model::status::{self, Status};

use super::body::{self, Body, Response};
use super::negotiation::{self, Accepted, Endpoint};
use super::{apply, list, measure, reply, shapes, watch};
use crate::http::service::Api;
use crate::pipeline::{DeletionOutcome, ObjectRef, RequestContext, WriteOutcome, WriteParameters};
use crate::request::info::Target;
use crate::request::query::{Query, dry_run};
use crate::storage::catalog::{Catalog, ServedResource};
use crate::storage::deletion::{DeleteOptions, Propagation};

/// A request for a resource.
#[allow(missing_docs)]
pub struct ResourceRequest<'a> {
    /// The catalog snapshot that serves the request.
    pub catalog: &'a Arc<Catalog>,
    pub resource: &'a Arc<ServedResource>,
    /// The parsed path.
    pub target: &'a Target,
    /// The query parameters.
    pub query: &'a Query,
    pub headers: &'a HeaderMap,
    /// User, request id and other attributes of the request.
    pub context: &'a RequestContext,
    pub verb: &'static str,
}

/// Maximum length of a field manager's name, in bytes.
const MANAGER_MAX: usize = 128;

impl ResourceRequest<'_> {
    /// Negotiates the response format.
    pub fn accepted(&self) -> Result<Accepted, Status> {
        let endpoint = Endpoint {
            watchable: matches!(self.verb, "list" | "watch"),
            protobuf: !self.resource.object_type.schema().is_structural(),
        };
        negotiation::accept(self.headers, endpoint)
    }

    /// The request context with the options of the write. `options` names the options object in errors.
    pub fn write_context(&self, options: &str) -> Result<RequestContext, Status> {
        self.checked_context(options, Vec::new())
    }

    /// The request context with the options of a patch.
    pub fn patch_context(&self) -> Result<RequestContext, Status> {
        let applies = negotiation::content_type(self.headers) == patch::APPLY;
        let error = match applies {
            true if self.query.text("fieldManager").is_empty() => {
                Some(FieldError::required("fieldManager", "is required for apply patch"))
            }
            false if self.query.get("force").is_some() => {
                Some(FieldError::forbidden("force", "may not be specified for non-apply patch"))
            }
            _ => None,
        };
        self.checked_context("PatchOptions", error.into_iter().collect())
    }

    fn checked_context(&self, options: &str, mut errors: Vec<FieldError>) -> Result<RequestContext, Status> {
        let parameter = self.query.text("fieldManager");
        if parameter.len() > MANAGER_MAX {
            errors.push(FieldError::too_long("fieldManager", MANAGER_MAX));
        }
        for (at, odd) in parameter.char_indices().filter(|(_, c)| !is_printable(*c)) {
            let why = format!("invalid character U+{:04X} (at position {at})", u32::from(odd));
            errors.push(FieldError::invalid("fieldManager", parameter, why));
        }
        let dry_run = self.query.dry_run_option().unwrap_or_else(|error| {
            errors.push(error);
            true
        });
        let text = self.query.text("fieldValidation");
        let strictness = Strictness::parse(text).unwrap_or_else(|| {
            errors.push(FieldError::not_supported(
                "fieldValidation",
                text,
                &["", "Ignore", "Strict", "Warn"],
            ));
            Strictness::Strict
        });
        if !errors.is_empty() {
            return Err(status::invalid("meta.k8s.io", options, "", &errors));
        }
        let agent = self.headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
        let manager = shim_model::managed_fields::manager_name(parameter, agent);
        let mut context = self.context.with_options(manager, strictness, dry_run);
        context.parameters = WriteParameters {
            field_manager: parameter.to_owned(),
            field_validation: text.to_owned(),
            force: self.query.get("force").map(|_| self.query.flag("force")),
        };
        Ok(context)
    }

    /// Decodes a request body of type `ty`.
    pub fn decode(
        &self,
        bytes: &[u8],
        ty: &ObjectType,
        context: &RequestContext,
    ) -> Result<schema::Decoded, Status> {
        let media = negotiation::body_media(self.headers)?;
        schema::decode(bytes, media, ty, context.strictness)
    }

    /// The body type of the request's subresource.
    pub fn subresource_type(&self) -> Result<&ObjectType, Status> {
        let subresource = self.resource.subresource(&self.target.subresource);
        subresource.and_then(|s| s.object_type.as_ref()).ok_or_else(status::unknown_path)
    }

    /// Responds with the result of a write.
    pub async fn answer(
        &self,
        code: u16,
        accepted: Accepted,
        outcome: WriteOutcome,
    ) -> Result<Response, Status> {
        match &outcome.stored {
            Some(object) => shapes::one(code, self.resource, accepted, self.query, object).await,
            None => {
                let object = outcome.unstored.unwrap_or_default();
                shapes::one_value(code, self.resource, accepted, self.query, object)
            }
        }
    }

    /// The object, or the part of it, that a write addresses.
    pub fn object<'b>(&'b self, subresource: Subresource<'b>) -> ObjectRef<'b> {
        ObjectRef {
            resource: self.resource,
            subresource,
            namespace: &self.target.namespace,
            name: &self.target.name,
        }
    }
}

/// Whether a character is printable: no control character, and no space but U+0020.
fn is_printable(c: char) -> bool {
    c == ' ' || !c.is_control() && !c.is_whitespace()
}

/// Carries out a verb on a resource.
pub async fn serve(api: &Api, request: &ResourceRequest<'_>, body: Body) -> Result<Response, Status> {
    let allowed = |verb: Verb| match request.resource.allows(verb) {
        true => Ok(()),
        false => Err(status::method_not_allowed()),
    };
    let custom = request.resource.custom.is_some();
    match request.verb {
        // As upstream, the handlers of custom resources look at the name later.
        "update" | "patch" if custom && request.target.name.is_empty() => {
            return Err(status::bad_request("name must be provided"));
        }
        "create" if custom => {}
        "get" => allowed(Verb::Get)?,
        "list" => allowed(Verb::List)?,
        "watch" => allowed(Verb::Watch)?,
        "create" if request.target.name.is_empty() => allowed(Verb::Create)?,
        "update" if !request.target.name.is_empty() => allowed(Verb::Update)?,
        "patch" if !request.target.name.is_empty() => allowed(Verb::Patch)?,
        "delete" => allowed(Verb::Delete)?,
        "deletecollection" => allowed(Verb::DeleteCollection)?,
        _ => return Err(status::method_not_allowed()),
    }
    match request.verb {
        "get" => get(api, request).await,
        "list" | "watch" => Box::pin(collection(api, request)).await,
        "create" => Box::pin(create(api, request, body)).await,
        "update" => Box::pin(update(api, request, Subresource::Main, body)).await,
        "patch" => Box::pin(patch(api, request, Subresource::Main, body)).await,
        "delete" => Box::pin(delete(api, request, body)).await,
        _ => Box::pin(delete_collection(api, request, body)).await,
    }
}

/// Serves a GET of one object.
pub async fn get(api: &Api, request: &ResourceRequest<'_>) -> Result<Response, Status> {
    let accepted = request.accepted()?;
    let Target { namespace, name, .. } = request.target;
    match list::revision(request.query)? {
        None | Some(0) => {}
        Some(oldest) => api.registry.wait_for(oldest).await?,
    }
    let object = api.registry.get(request.resource, namespace, name).await?;
    shapes::one(200, request.resource, accepted, request.query, &object).await
}

async fn collection(api: &Api, request: &ResourceRequest<'_>) -> Result<Response, Status> {
    let accepted = request.accepted()?;
    let watching = request.verb == "watch";
    let Target { namespace, name, .. } = request.target;
    let options = list::options(request.resource, namespace, name, request.query, watching)?;
    match watching {
        true => {
            let accepted = negotiation::accept_stream(accepted)?;
            let resource = request.resource;
            let events = measure::watch_events(&api.requests, resource);
            watch::watch((&api.registry, events), resource, &options, accepted, request.query).await
        }
        false => list::list(&api.registry, request.resource, &options, accepted, request.query).await,
    }
}

async fn create(api: &Api, request: &ResourceRequest<'_>, body: Body) -> Result<Response, Status> {
    let accepted = request.accepted()?;
    let context = request.write_context("CreateOptions")?;
    negotiation::body_media(request.headers)?;
    let bytes = body::read(body).await?;
    let decode = || request.decode(&bytes, &request.resource.object_type, &context);
    let decoded = decode()?;
    if let Some(audit) = &context.audit {
        audit.complete_object(&decoded.value);
    }
    decoded.warnings.into_iter().for_each(|warning| context.warn(warning));
    let again = || decode().map(|decoded| decoded.value);
    let target = request.object(Subresource::Main);
    let outcome = api.pipeline.create_from(&context, target, decoded.value, again).await?;
    request.answer(201, accepted, outcome).await
}

/// PUT.
pub async fn update(
    api: &Api,
    request: &ResourceRequest<'_>,
    subresource: Subresource<'_>,
    body: Body,
) -> Result<Response, Status> {
    let accepted = request.accepted()?;
    let context = request.write_context("UpdateOptions")?;
    negotiation::body_media(request.headers)?;
    let bytes = body::read(body).await?;
    let decoded = request.decode(&bytes, &request.resource.object_type, &context)?;
    decoded.warnings.into_iter().for_each(|warning| context.warn(warning));
    let outcome = api.pipeline.update(&context, request.object(subresource), decoded.value).await?;
    request.answer(if outcome.created { 201 } else { 200 }, accepted, outcome).await
}

/// PATCH.
pub async fn patch(
    api: &Api,
    request: &ResourceRequest<'_>,
    subresource: Subresource<'_>,
    body: Body,
) -> Result<Response, Status> {
    if negotiation::content_type(request.headers) == patch::APPLY {
        return apply::apply(api, request, subresource, body).await;
    }
    let accepted = request.accepted()?;
    let kind = patch_kind(request.headers, &request.resource.object_type)?;
    let context = request.patch_context()?;
    let bytes = body::read(body).await?;
    let outcome = api.pipeline.patch(&context, request.object(subresource), kind, &bytes).await?;
    request.answer(200, accepted, outcome).await
}

/// The patch type that a Content-Type names.
pub fn patch_kind(headers: &HeaderMap, ty: &ObjectType) -> Result<PatchKind, Status> {
    let media_type = negotiation::content_type(headers);
    let supported = patch::media_types(ty);
    let kind = PatchKind::from_media_type(&media_type).filter(|_| supported.contains(&media_type.as_ref()));
    kind.ok_or_else(|| {
        let mut status = Status::failure(415, "UnsupportedMediaType", "415: Unsupported Media Type");
        status.details = Some(Box::default());
        if PatchKind::from_media_type(&media_type).is_some() {
            status.details = None;
            status.message = format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                supported.join(", ")
            );
        }
        status
    })
}

async fn delete(api: &Api, request: &ResourceRequest<'_>, body: Body) -> Result<Response, Status> {
    let accepted = request.accepted()?;
    let bytes = body::read(body).await?;
    let options = delete_options(request, &bytes)?;
    let (resource, name) = (request.resource, &request.target.name);
    match api.pipeline.delete(request.context, request.object(Subresource::Main), &options).await? {
        DeletionOutcome::Deleted(last) if !resource.strategy().returns_deleted_object() => {
            let uid = last["metadata"]["uid"].as_str().unwrap_or("");
            let done = status::success(resource, name, uid);
            Ok(reply::value(200, accepted.media, &done.to_value()))
        }
        DeletionOutcome::Deleted(object) | DeletionOutcome::Terminating(object) => {
            shapes::one_value(200, resource, accepted, request.query, object)
        }
    }
}

async fn delete_collection(api: &Api, request: &ResourceRequest<'_>, body: Body) -> Result<Response, Status> {
    let accepted = request.accepted()?;
    let bytes = body::read(body).await?;
    let options = delete_options(request, &bytes)?;
    let resource = request.resource;
    let wanted = list::options(resource, &request.target.namespace, "", request.query, false)?;
    let (items, meta) = list::read(&api.registry, resource, &wanted).await?;
    let target = request.object(Subresource::Main);
    api.pipeline.delete_collection(request.context, target, &items, &options).await?;
    shapes::many(resource, accepted, request.query, items, &meta).await
}

/// Reads DeleteOptions from the body, or from the query if the body is empty.
pub fn delete_options(request: &ResourceRequest<'_>, bytes: &Bytes) -> Result<DeleteOptions, Status> {
    const KIND: &str = "DeleteOptions";
    let query = request.query;
    let (grace, policy, orphan, uid, version, dry);
    if bytes.is_empty() {
        grace = query.number("gracePeriodSeconds")?;
        policy = query.get("propagationPolicy").map(str::to_owned);
        orphan = query.get("orphanDependents").map(|_| query.flag("orphanDependents"));
        (uid, version) = (None, None);
        dry = query.dry_run(KIND)?;
    } else {
        let value = parse_options(request, bytes)?;
        if let Some(why) = foreign_kind(&value).or_else(|| wrong_option(&value)) {
            return Err(status::bad_request(why));
        }
        let text = |v: &Value| v.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
        grace = value["gracePeriodSeconds"].as_i64();
        policy = text(&value["propagationPolicy"]);
        orphan = value["orphanDependents"].as_bool();
        uid = text(&value["preconditions"]["uid"]);
        version = text(&value["preconditions"]["resourceVersion"]);
        let asked: Vec<&str> =
            value["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        dry = dry_run(asked.into_iter(), KIND)?;
    }
    let invalid = |error| Err(status::invalid("meta.k8s.io", KIND, "", &[error]));
    if let (Some(policy), Some(_)) = (&policy, orphan) {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        return invalid(FieldError::invalid("propagationPolicy", policy.as_str(), why));
    }
    let propagation = match &policy {
        None => orphan.map(|o| if o { Propagation::Orphan } else { Propagation::Background }),
        Some(text) => match Propagation::parse(text) {
            Some(known) => Some(known),
            None => {
                let supported = ["Background", "Foreground", "Orphan"];
                return invalid(FieldError::not_supported("propagationPolicy", text.as_str(), &supported));
            }
        },
    };
    Ok(DeleteOptions {
        grace_period_seconds: grace,
        propagation,
        uid,
        resource_version: version,
        dry_run: dry,
    })
}

/// What is said to a body of another kind. The group and version of the options do not matter.
fn foreign_kind(options: &Value) -> Option<String> {
    let text = |member: &str| options.get(member).and_then(Value::as_str).filter(|text| !text.is_empty());
    let kind = text("kind").filter(|kind| *kind != "DeleteOptions")?;
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
