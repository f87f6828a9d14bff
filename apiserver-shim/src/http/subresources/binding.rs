//! `pods/binding`: puts a Pod on a node.

use serde_json::Value;
use shim_core::controllers::served;
use shim_core::scheduler::{BindRefusal, BindRequest};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::resource::Resource;
use shim_model::status::{self, Status};

use crate::http::body::{self, Body, Response};
use crate::http::objects::ResourceRequest;
use crate::http::service::Api;
use crate::http::{negotiation, reply};
use crate::storage::registry::{Registry, now};

/// `pods/NAME/binding`, or `bindings` with the Pod's name in the Binding.
pub(super) async fn serve(api: &Api, asked: &ResourceRequest<'_>, body: Body) -> Result<Response, Status> {
    let accepted = asked.accepted()?;
    let call = asked.call("CreateOptions")?;
    negotiation::body_media(asked.headers)?;
    let bytes = body::read(body).await?;
    // `bindings` is a resource by itself, `pods/binding` a subresource.
    let binding_type = match asked.target.subresource.is_empty() {
        true => &asked.resource.object_type,
        false => asked.subresource_type()?,
    };
    let binding = asked.decode(&bytes, binding_type, &call)?.value;
    let namespace = asked.target.namespace.as_str();
    let said = access::text(&binding, &["metadata", "name"]);
    let name = if asked.target.name.is_empty() { said } else { asked.target.name.as_str() };
    if said != name {
        return Err(status::bad_request("name in URL does not match name in Binding object"));
    }
    if call.dry_run {
        let pods = &api.registry.builtin(&served("", "pods"));
        let mut pod = api.registry.get(pods, namespace, name).await?.value();
        check_target(&binding)?;
        assign(pods, &mut pod, name, &binding)?;
    } else {
        bind(&api.registry, namespace, name, &binding).await?;
    }
    Ok(reply::value(201, accepted.media, &status::created().to_value()))
}

/// Binds a Pod as a Binding says: node, labels and annotations.
pub async fn bind(registry: &Registry, namespace: &str, name: &str, binding: &Value) -> Result<(), Status> {
    check_target(binding)?;
    let pods = &registry.builtin(&served("", "pods"));
    registry.update_with(pods, namespace, name, |pod| assign(pods, pod, name, binding)).await.map(|_| ())
}

fn check_target(binding: &Value) -> Result<(), Status> {
    let node = access::text(binding, &["target", "name"]);
    let kind = access::text(binding, &["target", "kind"]);
    let mut errors = Vec::new();
    if !kind.is_empty() && kind != "Node" {
        errors.push(FieldError::not_supported("target.kind", kind, &["Node", "<empty>"]));
    }
    if node.is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    // Upstream has not classified this one.
    if errors.is_empty() { Ok(()) } else { Err(status::unclassified(status::aggregate(&errors))) }
}

fn assign(pods: &Resource, pod: &mut Value, name: &str, binding: &Value) -> Result<(), Status> {
    let refuse = |why: String| {
        let mut status = status::conflict(pods, name, "");
        status.message = format!("Operation cannot be fulfilled on pods/binding \"{name}\": {why}");
        if let Some(details) = &mut status.details {
            details.kind = "pods/binding".into();
        }
        Err(status)
    };
    let request = BindRequest {
        node: access::text(binding, &["target", "name"]),
        uid: access::text(binding, &["metadata", "uid"]),
        metadata: &binding["metadata"],
        observed_generation: false,
        now: now().seconds(),
    };
    match shim_core::scheduler::bind(pod, &request) {
        Ok(()) => Ok(()),
        Err(BindRefusal::OtherUid { found }) => refuse(format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {found}",
            request.uid
        )),
        Err(BindRefusal::BeingDeleted) => {
            refuse(format!("pod {name} is being deleted, cannot be assigned to a host"))
        }
        Err(BindRefusal::AlreadyBound { node }) => {
            refuse(format!("pod {name} is already assigned to node \"{node}\""))
        }
        Err(BindRefusal::Gated) => refuse(format!("pod {name} has non-empty .spec.schedulingGates")),
    }
}
