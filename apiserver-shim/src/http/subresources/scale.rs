//! `scale`: the replicas of a workload as a Scale object.

use serde_json::{Value, json};
use shim_core::kinds::{self, Subresource, scale};
use shim_model::access;
use shim_model::managed_fields::{self, ApplyOptions, OneVersion, ResetFields, ScaleOwners, Writer};
use shim_model::patch;
use shim_model::resource::KindRef;
use shim_model::schema;
use shim_model::status::Status;
use shim_model::{table, time};

use crate::http::apply::configuration;
use crate::http::body::{self, Body, Response};
use crate::http::negotiation::{self, Accepted, Endpoint, Shape};
use crate::http::objects::{ResourceRequest, patch_kind};
use crate::http::reply;
use crate::http::service::Api;
use crate::pipeline::{RequestContext, View};
use crate::storage::registry::now;

const SUBRESOURCE: &str = "scale";
const KIND: KindRef<'static> = KindRef { group: "autoscaling", version: "v1", kind: "Scale" };

/// The Scale of a workload or custom resource.
fn read(asked: &ResourceRequest<'_>, object: &Value) -> Value {
    match asked.resource.strategy().scale_paths() {
        Some(paths) => paths.read(object),
        None => scale::read(object),
    }
}

fn write_scale(asked: &ResourceRequest<'_>, object: &mut Value, wanted: &Value) -> Result<(), Status> {
    match asked.resource.strategy().scale_paths() {
        Some(paths) => paths.write(object, wanted),
        None => scale::write(object, wanted),
    }
}

pub(super) async fn serve(api: &Api, asked: &ResourceRequest<'_>, body: Body) -> Result<Response, Status> {
    let accepted = negotiation::accept(asked.headers, Endpoint::DOCUMENT)?;
    let (resource, namespace, name) = (asked.resource, &asked.target.namespace, &asked.target.name);
    match asked.verb {
        "get" => {
            let object = api.registry.get(resource, namespace, name).await?;
            let object = resource.decode(&object).await?;
            if let Some(paths) = resource.strategy().scale_paths().filter(|p| !p.has_replicas(&object)) {
                return Err(paths.missing());
            }
            answer(accepted, &read(asked, &object))
        }
        "update" => {
            let context = asked.write_context("UpdateOptions")?;
            negotiation::body_media(asked.headers)?;
            let bytes = body::read(body).await?;
            let mut wanted = asked.decode(&bytes, asked.subresource_type()?, &context)?.value;
            kinds::check_identity(resource, namespace, name, &mut wanted)?;
            write(api, asked, accepted, context, |_| Ok((wanted.clone(), Vec::new()))).await
        }
        _ if negotiation::patch_type(asked.headers) == patch::APPLY => {
            let context = asked.patch_context()?.with_recorded_owners();
            let (manager, strictness) = (context.field_manager.clone(), context.strictness);
            let bytes = body::read(body).await?;
            let applied = schema::decode_applied(&bytes, strictness)?;
            let configuration = configuration(&applied, asked);
            let options = ApplyOptions { writer: writer(asked, &manager)?, force: configuration.force };
            let change = |current: &Value| {
                let new = managed_fields::apply(Some(current), configuration.value, options)?;
                configuration.judge(strictness)?;
                Ok((new, Vec::new()))
            };
            write(api, asked, accepted, context, change).await
        }
        _ => {
            let scale_type = asked.subresource_type()?;
            let patchable = asked.resource.custom.as_ref().map(|_| &asked.resource.object_type);
            let kind = patch_kind(asked.headers, patchable.unwrap_or(scale_type))?;
            let context = asked.patch_context()?;
            let strictness = context.strictness;
            let bytes = body::read(body).await?;
            let change = |current: &Value| {
                let patched = patch::apply(kind, current, &bytes, scale_type, strictness)?;
                Ok((patched.value, patched.warnings))
            };
            write(api, asked, accepted, context, change).await
        }
    }
}

/// Writes the Scale that `change` makes of the current one.
async fn write(
    api: &Api,
    asked: &ResourceRequest<'_>,
    accepted: Accepted,
    context: RequestContext,
    change: impl Fn(&Value) -> Result<(Value, Vec<String>), Status> + Send + Sync,
) -> Result<Response, Status> {
    let applies = context.owners_are_recorded();
    let manager = context.field_manager.clone();
    let writer = writer(asked, &manager)?;
    let api_version = asked.resource.object_type.kind().api_version();
    let paths = owned_paths(asked);
    let known: Vec<&[&str]> = paths.iter().map(|(_, path)| path.as_slice()).collect();
    let known: Vec<(&str, &[&str])> = paths.iter().map(|(v, _)| v.as_str()).zip(known).collect();
    let owners = match asked.resource.custom {
        Some(_) => ScaleOwners { api_version: &api_version, paths: &known },
        None => scale::owners(&api_version),
    };
    let context = context.with_recorded_owners();
    let change = |workload: &Value| {
        let mut current = read(asked, workload);
        let known = owners.of_scale(workload);
        if !known.is_empty() {
            current["metadata"]["managedFields"] = known.into();
        }
        let (mut wanted, warnings) = change(&current)?;
        warnings.into_iter().for_each(|warning| context.warn(warning));
        if !applies {
            managed_fields::record_update(Some(&current), &mut wanted, writer);
        }
        let mut out = scaled(asked, workload, &wanted)?;
        let list = owners.of_workload(workload, &wanted);
        let metadata = access::object_mut(&mut out, &["metadata"]);
        match list.is_empty() {
            true => drop(metadata.remove("managedFields")),
            false => drop(metadata.insert("managedFields".into(), list.into())),
        }
        Ok(out)
    };
    let target = asked.object(Subresource::Main);
    let (read_view, write_view) = (
        |object: &Value| read(asked, object),
        |object: &mut Value, wanted: &Value| write_scale(asked, object, wanted),
    );
    let view = View { subresource: SUBRESOURCE, kind: KIND, read: &read_view, write: &write_view };
    let outcome = api.pipeline.update_view(&context, target, &view, change).await?;
    answer(accepted, &read(asked, &outcome.value(asked.resource).await?))
}

/// Where each version of a custom resource has its replicas.
fn owned_paths<'a>(asked: &'a ResourceRequest<'_>) -> Vec<(String, Vec<&'a str>)> {
    let rows = asked.catalog.iter().filter(|row| row.is(&asked.resource.group, &asked.resource.plural));
    let paths = rows.filter_map(|row| Some((row.api_version(), row.strategy().scale_paths()?.replicas())));
    paths.collect()
}

/// The manager of the request as the writer of a Scale.
fn writer<'a>(asked: &'a ResourceRequest<'_>, manager: &'a str) -> Result<Writer<'a>, Status> {
    Ok(Writer {
        manager,
        ty: asked.subresource_type()?,
        subresource: SUBRESOURCE,
        now: now(),
        reset: ResetFields::default(),
        versions: &OneVersion,
    })
}

fn answer(accepted: Accepted, shown: &Value) -> Result<Response, Status> {
    match accepted.shape {
        Shape::Object => Ok(reply::value(200, accepted.media, shown)),
        Shape::Metadata => {
            let partial = table::partial_object_metadata(shown.clone());
            Ok(reply::value(200, accepted.media, &partial))
        }
        Shape::Table => Ok(reply::value(200, accepted.media, &as_table(shown))),
        Shape::MetadataList => Err(negotiation::only_these()),
    }
}

fn as_table(shown: &Value) -> Value {
    let column = |name: &str, ty: &str| json!({"name": name, "type": ty, "format": "", "description": name, "priority": 0});
    let cells = json!([
        shown["metadata"]["name"],
        shown["spec"]["replicas"].as_i64().unwrap_or(0),
        shown["status"]["replicas"].as_i64().unwrap_or(0),
        time::age(access::text(shown, &["metadata", "creationTimestamp"]), now()),
    ]);
    let object = table::partial_object_metadata(shown.clone());
    let mut out = table::table(None, vec![json!({"cells": cells, "object": object})], json!({}));
    out["columnDefinitions"] = json!([
        column("Name", "string"),
        column("Desired", "integer"),
        column("Available", "integer"),
        column("Age", "string")
    ]);
    out
}

/// The workload with the replicas of a Scale.
fn scaled(asked: &ResourceRequest<'_>, current: &Value, wanted: &Value) -> Result<Value, Status> {
    let mut out = current.clone();
    write_scale(asked, &mut out, wanted)?;
    // UID and resourceVersion of the Scale are preconditions of the write.
    for member in ["uid", "resourceVersion"] {
        let said = access::text(wanted, &["metadata", member]);
        if !said.is_empty() {
            access::object_mut(&mut out, &["metadata"]).insert(member.into(), said.into());
        }
    }
    Ok(out)
}
