//! `scale`: the replicas of a workload as an object of their own.

use serde_json::{Value, json};
use shim_core::kinds::Door;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::patch;
use shim_model::resource::{KindRef, Resource};
use shim_model::selector::LabelSelector;
use shim_model::status::{self, Status};

use crate::http::body::{self, Body, Response};
use crate::http::negotiation::{self, Accepted, Shape};
use crate::http::objects::{ResourceRequest, patch_kind};
use crate::http::{reply, shapes};
use crate::service::Api;

const SCALE: KindRef = KindRef { group: "autoscaling", version: "v1", kind: "Scale" };

pub(super) async fn serve(api: &Api, asked: &ResourceRequest<'_>, body: Body) -> Result<Response, Status> {
    let accepted = asked.accepted()?;
    let (resource, namespace, name) = (asked.resource, &asked.target.namespace, &asked.target.name);
    match asked.verb {
        "get" => {
            let object = api.registry.get(resource, namespace, name).await?;
            if accepted.shape == Shape::Table {
                return shapes::one(200, resource, accepted, asked.query, &object);
            }
            answer(accepted, &scale_of(&object.value()))
        }
        "update" => {
            let call = asked.call("UpdateOptions")?;
            negotiation::body_media(asked.headers)?;
            let bytes = body::read(body).await?;
            let scale = asked.decode(&bytes, SCALE, &call)?.value;
            let said = access::text(&scale, &["metadata", "name"]);
            if !said.is_empty() && said != name {
                return Err(status::bad_request(format!(
                    "the name of the object ({said}) does not match the name on the URL ({name})"
                )));
            }
            let change = |current: &Value| Ok((scaled(resource, current, &scale)?, Vec::new()));
            let outcome = api.pipeline.apply(asked.place(Door::Main), &call, change).await?;
            answer(accepted, &scale_of(&outcome.object))
        }
        _ => {
            let kind = patch_kind(asked.headers)?;
            let call = asked.call("PatchOptions")?;
            let bytes = body::read(body).await?;
            let change = |current: &Value| {
                let patched = patch::apply(kind, &scale_of(current), &bytes, SCALE, call.strictness)?;
                Ok((scaled(resource, current, &patched.value)?, patched.warnings))
            };
            let outcome = api.pipeline.apply(asked.place(Door::Main), &call, change).await?;
            let mut response = answer(accepted, &scale_of(&outcome.object))?;
            reply::add_warnings(&mut response, &outcome.warnings);
            Ok(response)
        }
    }
}

fn answer(accepted: Accepted, scale: &Value) -> Result<Response, Status> {
    match accepted.shape {
        Shape::Object => Ok(reply::value(200, accepted.media, scale)),
        Shape::Metadata => {
            let partial = shim_model::table::partial_object_metadata(scale.clone());
            Ok(reply::value(200, accepted.media, &partial))
        }
        _ => Err(negotiation::only_these()),
    }
}

/// The Scale of a workload.
fn scale_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut meta = json!({});
    for member in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata.get(member) {
            meta[member] = value.clone();
        }
    }
    let mut spec = json!({});
    if let Some(replicas) = access::int(object, &["spec", "replicas"]).filter(|r| *r != 0) {
        spec["replicas"] = replicas.into();
    }
    let mut status = json!({"replicas": access::int(object, &["status", "replicas"]).unwrap_or(0)});
    if let Ok(selector) = LabelSelector::from_value(&object["spec"]["selector"]) {
        status["selector"] = selector.to_string().into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status})
}

/// The workload with the replicas that a Scale asks for.
fn scaled(resource: &Resource, current: &Value, scale: &Value) -> Result<Value, Status> {
    let replicas = access::int(scale, &["spec", "replicas"]).unwrap_or(0);
    if replicas < 0 {
        let why = "must be greater than or equal to 0";
        let error = FieldError::invalid("spec.replicas", replicas, why);
        return Err(status::invalid(SCALE.group, SCALE.kind, access::text(current, &["metadata", "name"]), &[error]));
    }
    let _ = resource;
    let mut wanted = current.clone();
    access::object_mut(&mut wanted, &["spec"]).insert("replicas".into(), replicas.into());
    // What the Scale says of identity are preconditions of the write.
    for member in ["uid", "resourceVersion"] {
        let said = access::text(scale, &["metadata", member]);
        if !said.is_empty() {
            access::object_mut(&mut wanted, &["metadata"]).insert(member.into(), said.into());
        }
    }
    Ok(wanted)
}
