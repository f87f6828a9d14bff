//! Registers each group-version that this server answers for as an APIService without a Service, as upstream. Those of custom
//! resources go with them. An APIService that somebody else wrote, or took over by removing the label, stays as it is.

use serde_json::{Value, json};
use shim_core::kinds::api_service::name_of;
use shim_model::access;
use shim_model::resource::priorities::{group_priority, is_builtin, version_priority};
use shim_model::status::Status;

use super::API_SERVICES;
use crate::pipeline::{Identity, ObjectRef, Pipeline};
use crate::storage::catalog::Catalog;
use crate::storage::deletion::DeleteOptions;

/// The label of APIServices that this server writes: [`ON_START`] or [`ALWAYS`].
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Written at each start.
const ON_START: &str = "onstart";
/// Written whenever it is wrong, and deleted with its resources.
const ALWAYS: &str = "true";
/// The group that the aggregator itself serves; it has no APIService.
const OWN_GROUP: &str = "apiregistration.k8s.io";

/// Registers until the task is aborted. A change that fails is logged, and tried again with the next generation of the catalog.
pub async fn run(pipeline: Pipeline) {
    let mut generations = pipeline.registry().generations();
    let mut at_start = true;
    loop {
        generations.borrow_and_update();
        if let Err(status) = register(&pipeline, at_start).await {
            tracing::warn!(%status, "APIServices of this server could not be written");
        }
        at_start = false;
        if generations.changed().await.is_err() {
            return;
        }
    }
}

async fn register(pipeline: &Pipeline, at_start: bool) -> Result<(), Status> {
    let registry = pipeline.registry();
    let wanted = wanted(&registry.catalog());
    let resource = registry.builtin(&API_SERVICES);
    let identity = Identity::apiserver();
    for object in &wanted {
        let name = access::text(object, &["metadata", "name"]);
        let target = ObjectRef::new(&resource, "", name);
        let stored = registry.peek(&resource, "", name).map(|stored| stored.value());
        match stored {
            None => {
                let target = ObjectRef::new(&resource, "", "");
                match pipeline.create(&identity.context("create"), target, object.clone()).await {
                    Err(status) if status.reason != "AlreadyExists" => return Err(status),
                    _ => {}
                }
            }
            Some(stored) if is_outdated(&stored, object, at_start) => {
                let change = |found: &Value| {
                    let mut found = found.clone();
                    found["spec"] = object["spec"].clone();
                    found["metadata"]["labels"][MANAGED] = object["metadata"]["labels"][MANAGED].clone();
                    Ok(found)
                };
                pipeline.update_with(&identity.context("update"), target, change).await?;
            }
            Some(_) => {}
        }
    }
    for stored in registry.cache(API_SERVICES).list(None) {
        let is_wanted = wanted.iter().any(|w| access::text(w, &["metadata", "name"]) == stored.name());
        let label = managed(&stored.value()).to_owned();
        if !is_wanted && (label == ALWAYS || (label == ON_START && at_start)) {
            let target = ObjectRef::new(&resource, "", stored.name());
            match pipeline.delete(&identity.context("delete"), target, &DeleteOptions::default()).await {
                Err(status) if status.reason != "NotFound" => return Err(status),
                _ => {}
            }
        }
    }
    Ok(())
}

fn managed(object: &Value) -> &str {
    access::text(object, &["metadata", "labels", MANAGED])
}

fn is_outdated(stored: &Value, wanted: &Value, at_start: bool) -> bool {
    let due = match managed(stored) {
        ALWAYS => true,
        ON_START => at_start,
        _ => false,
    };
    due && (stored["spec"] != wanted["spec"] || managed(stored) != managed(wanted))
}

/// The APIServices of a catalog.
fn wanted(catalog: &Catalog) -> Vec<Value> {
    let mut out = Vec::new();
    for group in catalog.groups().iter().filter(|group| group.name != OWN_GROUP) {
        let label = if is_builtin(&group.name) { ON_START } else { ALWAYS };
        for version in &group.versions {
            let mut spec = json!({
                "version": version,
                "groupPriorityMinimum": group_priority(&group.name),
                "versionPriority": version_priority(&group.name, version),
            });
            if !group.name.is_empty() {
                spec["group"] = group.name.as_str().into();
            }
            out.push(json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": name_of(&group.name, version), "labels": {MANAGED: label}},
                "spec": spec}));
        }
    }
    out
}
