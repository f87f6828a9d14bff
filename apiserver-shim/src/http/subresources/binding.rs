//! `pods/binding`, and `bindings` with the Pod's name in the object: binds a Pod to a node.

use shim_model::access;
use shim_model::status::{self, Status};

use crate::http::body::{self, Body, Response};
use crate::http::objects::ResourceRequest;
use crate::http::service::Api;
use crate::http::{negotiation, reply};

pub(super) async fn serve(api: &Api, asked: &ResourceRequest<'_>, body: Body) -> Result<Response, Status> {
    let accepted = asked.accepted()?;
    let context = asked.write_context("CreateOptions")?;
    negotiation::body_media(asked.headers)?;
    let bytes = body::read(body).await?;
    // `bindings` is a resource, `pods/binding` a subresource.
    let binding_type = match asked.target.subresource.is_empty() {
        true => &asked.resource.object_type,
        false => asked.subresource_type()?,
    };
    let decoded = asked.decode(&bytes, binding_type, &context)?;
    decoded.warnings.into_iter().for_each(|warning| context.warn(warning));
    let binding = decoded.value;
    super::check_namespace(&binding, &asked.target.namespace)?;
    let given = access::text(&binding, &["metadata", "name"]).to_owned();
    if given.is_empty() && asked.target.name.is_empty() {
        return Err(status::bad_request("Name parameter required."));
    }
    let name = if asked.target.name.is_empty() { given.as_str() } else { asked.target.name.as_str() };
    if given != name {
        return Err(status::bad_request("name in URL does not match name in Binding object"));
    }
    api.pipeline.bind(&context, &asked.target.namespace, name, binding).await?;
    Ok(reply::value(201, accepted.media, &status::created().to_value()))
}
