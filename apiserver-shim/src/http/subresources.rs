//! Routes subresources. Those that are a part of the object use the pipeline directly; the others have a file each.

use shim_core::controllers::served;
use shim_core::kinds::Subresource;
use shim_model::access;
use shim_model::resource::Verb;
use shim_model::status::{self, Status};

use super::body::{Body, Request, Response};
use super::objects::{self, ResourceRequest};
use crate::http::service::Api;

mod binding;
mod eviction;
pub mod reviews;
mod scale;
mod streams;
mod token;

/// Carries out a verb on a subresource. `request` is the HTTP request, for subresources that upgrade the connection.
pub async fn serve(api: &Api, asked: &ResourceRequest<'_>, request: Request) -> Result<Response, Status> {
    let Some(subresource) = asked.resource.subresource(&asked.target.subresource) else {
        return Err(status::unknown_path());
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
        (_, "proxy") => proxy(api, asked).await,
        (_, "status") => view(api, asked, Subresource::Status, request.into_body()).await,
        (_, name) => view(api, asked, Subresource::Other(name), request.into_body()).await,
    }
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

/// Proxying to Pods, Services and nodes is not supported yet. Invalid requests get upstream's errors.
async fn proxy(api: &Api, asked: &ResourceRequest<'_>) -> Result<Response, Status> {
    streams::admit_connect(api, asked).await?;
    let (kind, place) = (&asked.resource.singular, asked.target.name.as_str());
    let name = proxied_name(place)
        .ok_or_else(|| status::bad_request(format!("invalid {kind} request \"{place}\"")))?;
    let namespace = asked.target.namespace.as_str();
    let object = api.registry.get(asked.resource, namespace, name).await?;
    match asked.resource.kind.as_str() {
        "Pod" if object.field("status.podIP").is_none_or(str::is_empty) => {
            return Err(status::bad_request("address not allowed"));
        }
        "Service" => {
            let endpoints = served("", "endpoints");
            let found = api.registry.get(endpoints, namespace, name).await;
            let found = found.map_err(|_| status::not_found(asked.resource, name))?.value();
            if access::list(&found, &["subsets"]).is_empty() {
                let why = format!("no endpoints available for service \"{name}\"");
                return Err(status::service_unavailable(why));
            }
        }
        _ => {}
    }
    Err(status::service_unavailable(format!(
        "proxying to {kind} \"{name}\" is not available on this server yet"
    )))
}

/// The name part of `name`, `name:port` or `scheme:name:port`.
fn proxied_name(place: &str) -> Option<&str> {
    let parts: Vec<&str> = place.split(':').collect();
    let name = match parts[..] {
        [name] | [name, _] | ["" | "http" | "https", name, _] => name,
        _ => return None,
    };
    (!name.is_empty()).then_some(name)
}
