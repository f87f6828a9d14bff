//! PATCH with `application/apply-patch+yaml`: server-side apply.

use shim_core::authorization::AccessRequest;
use shim_core::kinds::Subresource;
use shim_model::schema::{self, AppliedBody};
use shim_model::status::Status;

use super::body::{self, Body, Response};
use super::objects::ResourceRequest;
use crate::auth::authorization::{refusal, resource_of};
use crate::http::service::Api;
use crate::pipeline::Configuration;

/// Serves a server-side apply of an object or of a part of it.
pub async fn apply(
    api: &Api,
    request: &ResourceRequest<'_>,
    subresource: Subresource<'_>,
    body: Body,
) -> Result<Response, Status> {
    let accepted = request.accepted()?;
    let context = request.patch_context()?.with_recorded_owners();
    let bytes = body::read(body).await?;
    let applied = schema::decode_applied(&bytes, context.strictness)?;
    let configuration = configuration(&applied, request);
    let creation = creation(request);
    if api.registry.peek(request.resource, &request.target.namespace, &request.target.name).is_none() {
        // Lets the caches of roles catch up, which the closure below cannot.
        api.access().decide(&context.user, &creation).await;
    }
    let may_create = || {
        let decision = api.access().authorize(&context.user, &creation);
        match decision.allowed {
            true => Ok(()),
            false => Err(refusal(&context.user, &creation, &decision.reason)),
        }
    };
    let target = request.object(subresource);
    let outcome = api.pipeline.apply(&context, target, configuration, may_create).await?;
    request.answer(if outcome.created { 201 } else { 200 }, accepted, outcome).await
}

/// The configuration of a request.
pub fn configuration<'a>(applied: &'a AppliedBody, request: &ResourceRequest<'_>) -> Configuration<'a> {
    let force = request.query.flag("force");
    Configuration { value: &applied.value, force, complaint: applied.complaint.as_deref() }
}

/// An apply that creates the object needs the permission to create it, too.
fn creation<'a>(request: &ResourceRequest<'a>) -> AccessRequest<'a> {
    AccessRequest::resource("create", resource_of(request.target))
}
