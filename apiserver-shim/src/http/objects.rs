//! The verbs on resources. One function per verb takes an authorized request to the pipeline or the cache and builds
//! the response.

use std::sync::Arc;

use http::HeaderMap;
use shim_core::kinds::{self, Subresource, VirtualResource};
use shim_model::field::FieldError;
use shim_model::patch::{self, PatchKind};
use shim_model::resource::Verb;
use shim_model::schema::{self, ObjectType, Strictness};
use shim_model::status::{self, Status};

use super::body::{self, Body, Response};
use super::delete_options::delete_options;
use super::negotiation::{self, Accepted, Endpoint};
use super::{apply, list, measure, other_versions, reply, routes, shapes, watch};
use crate::http::service::Api;
use crate::pipeline::{DeletionOutcome, ObjectRef, RequestContext, WriteOutcome, WriteParameters};
use crate::request::info::Target;
use crate::request::query::Query;
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
            tables: self.has_tables(),
            shapes: true,
        };
        negotiation::accept(self.headers, endpoint)
    }

    /// Whether the request's path has tables: some subresources of upstream have none, and reviews.
    fn has_tables(&self) -> bool {
        const WITHOUT: [(&str, &str); 7] = [
            ("pods", "ephemeralcontainers"),
            ("pods", "log"),
            ("pods", "resize"),
            ("apiservices", "status"),
            ("certificatesigningrequests", "approval"),
            ("customresourcedefinitions", "status"),
            ("resourceclaims", "status"),
        ];
        let path = (self.resource.plural.as_str(), self.target.subresource.as_str());
        let is_review = self.resource.strategy().virtual_resource() == Some(VirtualResource::Review);
        self.resource.custom.is_some() || !is_review && !WITHOUT.contains(&path)
    }

    /// The request context with the options of the write. `options` names the options object in errors.
    pub fn write_context(&self, options: &str) -> Result<RequestContext, Status> {
        self.checked_context(options, Vec::new())
    }

    /// The request context with the options of a patch.
    pub fn patch_context(&self) -> Result<RequestContext, Status> {
        let applies = negotiation::patch_type(self.headers) == patch::APPLY;
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
        let decoded = schema::decode(bytes, media, ty, context.strictness);
        match decoded {
            Err(refusal) if ty.schema().is_structural() => {
                Err(other_versions::check(self, (bytes, media), context).unwrap_or(refusal))
            }
            decoded => decoded,
        }
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
    if request.query.get("export").is_some() {
        let why = "the export parameter, deprecated since v1.14, is no longer supported";
        return Err(status::bad_request(why));
    }
    match list::revision(request.query, false)? {
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
    let (mut object, Target { namespace, name, .. }) = (decoded.value, request.target);
    if request.resource.custom.is_none() {
        kinds::check_identity(request.resource, namespace, name, &mut object)?;
        routes::check_name(request.resource, name)?;
    }
    let outcome = api.pipeline.update(&context, request.object(subresource), object).await?;
    request.answer(if outcome.created { 201 } else { 200 }, accepted, outcome).await
}

/// PATCH.
pub async fn patch(
    api: &Api,
    request: &ResourceRequest<'_>,
    subresource: Subresource<'_>,
    body: Body,
) -> Result<Response, Status> {
    if negotiation::patch_type(request.headers) == patch::APPLY {
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
    let media_type = negotiation::patch_type(headers);
    let supported = patch::media_types(ty);
    let kind = PatchKind::from_media_type(media_type).filter(|_| supported.contains(&media_type));
    kind.ok_or_else(|| {
        let mut status = Status::failure(415, "UnsupportedMediaType", "415: Unsupported Media Type");
        status.details = Some(Box::default());
        // As upstream, spaces are told from the types by what comes after the routes.
        if PatchKind::from_media_type(media_type.trim()).is_some() {
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
    warn_about_orphans(request, &options);
    let (resource, name) = (request.resource, &request.target.name);
    match api.pipeline.delete(request.context, request.object(Subresource::Main), &options).await? {
        DeletionOutcome::Deleted(last) if !resource.strategy().returns_deleted_object() => {
            let uid = last["metadata"]["uid"].as_str().unwrap_or("");
            let done = status::success(resource, name, uid);
            Ok(reply::value(200, accepted.media, &done.to_value()))
        }
        DeletionOutcome::Deleted(object) => shapes::one_value(200, resource, accepted, request.query, object),
        DeletionOutcome::Terminating(object) => {
            let cascades = options.by_old_option && options.propagation == Some(Propagation::Background);
            let code = if cascades { 202 } else { 200 };
            shapes::one_value(code, resource, accepted, request.query, object)
        }
    }
}

async fn delete_collection(api: &Api, request: &ResourceRequest<'_>, body: Body) -> Result<Response, Status> {
    let accepted = request.accepted()?;
    let bytes = body::read(body).await?;
    let options = delete_options(request, &bytes)?;
    warn_about_orphans(request, &options);
    let resource = request.resource;
    let wanted = list::options(resource, &request.target.namespace, "", request.query, false)?;
    let (items, meta) = list::read(&api.registry, resource, &wanted).await?;
    let target = request.object(Subresource::Main);
    api.pipeline.delete_collection(request.context, target, &items, &options).await?;
    shapes::many(resource, accepted, request.query, items, &meta).await
}

fn warn_about_orphans(request: &ResourceRequest<'_>, options: &DeleteOptions) {
    if options.propagation.is_none() {
        request.resource.strategy().orphaning_warning().into_iter().for_each(|why| request.context.warn(why));
    }
}
