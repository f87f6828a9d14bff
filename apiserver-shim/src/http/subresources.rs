//! Routes subresources. Those that are a part of the object use the pipeline directly; the others have a file each.

use serde_json::Value;
use shim_core::kinds::Subresource;
use shim_model::access;
use shim_model::resource::Verb;
use shim_model::status::{self, Status};

use super::body::{Body, Request, Response};
use super::objects::{self, ResourceRequest};
use crate::http::service::Api;

mod binding;
mod eviction;
mod proxy;
pub mod reviews;
mod scale;
mod streams;
mod token;

pub use proxy::proxy_client;

/// Carries out a verb on a subresource. `request` is the HTTP request, for subresources that upgrade the connection.
pub async fn serve(api: &Api, asked: &ResourceRequest<'_>, request: Request) -> Result<Response, Status> {
    let Some(subresource) = asked.resource.subresource(&asked.target.subresource) else {
        return Err(match asked.resource.custom {
            Some(_) => status::not_found(asked.resource, &asked.target.name),
            None => status::unknown_path(),
        });
    };
    let beyond = asked.target.rest.is_some() && subresource.name != "proxy";
    if beyond {
        return Err(status::unknown_path());
    }
    let verb = match asked.verb {
        "get" => Verb::Get,
        "create" => Verb::Create,
        "update" => Verb::Update,
        "patch" => Verb::Patch,
        "delete" => Verb::Delete,
        // OPTIONS has no verb; a proxy passes it on.
        "" if subresource.name == "proxy" => Verb::Get,
        _ => return Err(status::method_not_allowed()),
    };
    if !subresource.verbs.contains(&verb) {
        return Err(status::method_not_allowed());
    }
    let kind = (asked.resource.kind.as_str(), subresource.name.as_str());
    match kind {
        (_, "scale") => scale::serve(api, asked, request.into_body()).await,
        ("Pod", "binding") => binding::serve(api, asked, request.into_body()).await,
        ("Pod", "eviction") => eviction::serve(api, asked, request.into_body()).await,
        ("ServiceAccount", "token") => token::serve(api, asked, request.into_body()).await,
        ("Pod", "log" | "exec" | "attach" | "portforward") => streams::serve(api, asked, request).await,
        (_, "proxy") => proxy::serve(api, asked, request).await,
        (_, "status") => view(api, asked, Subresource::Status, request.into_body()).await,
        (_, name) => view(api, asked, Subresource::Other(name), request.into_body()).await,
    }
}

/// Refuses an object of another namespace than the request's.
fn check_namespace(object: &Value, namespace: &str) -> Result<(), Status> {
    let given = access::text(object, &["metadata", "namespace"]);
    if given.is_empty() || given == namespace {
        return Ok(());
    }
    let why = "the namespace of the provided object does not match the namespace sent on the request";
    Err(status::bad_request(why))
}

/// Serves the resource `bindings`, the older form of `pods/binding`.
pub async fn serve_binding(api: &Api, asked: &ResourceRequest<'_>, body: Body) -> Result<Response, Status> {
    match asked.verb {
        "create" => binding::serve(api, asked, body).await,
        _ => Err(status::method_not_allowed()),
    }
}

/// A subresource that has the object's own type and writes a part of it, such as `status`.
async fn view(
    api: &Api,
    asked: &ResourceRequest<'_>,
    subresource: Subresource<'_>,
    body: Body,
) -> Result<Response, Status> {
    match asked.verb {
        "get" => objects::get(api, asked).await,
        "update" => objects::update(api, asked, subresource, body).await,
        _ => objects::patch(api, asked, subresource, body).await,
    }
}
