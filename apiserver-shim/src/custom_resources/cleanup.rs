//! Deletes all objects of a deleted definition, then lets go of it.

use std::time::Duration;

use serde_json::Value;
use shim_core::custom_resources::conditions::{self, Condition};
use shim_core::kinds::custom_resource_definition::CLEANUP_FINALIZER;
use shim_model::access;
use shim_model::resource::GroupResource;
use shim_model::status::Status;

use super::DEFINITIONS;
use crate::pipeline::{Identity, ObjectRef, Pipeline};
use crate::storage::deletion::DeleteOptions;
use crate::storage::registry::now;
use crate::storage::selection::Selection;
use crate::storage::watch_cache::WatchFrom;

/// How often objects that finalizers hold are looked for, in addition to each change of one.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Runs until the objects of the definition are gone.
pub(super) async fn run(pipeline: &Pipeline, name: &str) -> Result<(), Status> {
    let Some(object) = pipeline.registry().peek(&DEFINITIONS, "", name) else { return Ok(()) };
    let crd = object.value();
    update(pipeline, name, |crd, time| conditions::set(crd, &Condition::DELETION_IN_PROGRESS, time)).await?;
    let done = match conditions::is_true(&crd, "Established") {
        true => {
            delete_objects(pipeline, &crd).await?;
            Condition::DELETION_COMPLETED
        }
        false => Condition::NEVER_ESTABLISHED,
    };
    update(pipeline, name, |crd, time| {
        conditions::set(crd, &done, time);
        if let Some(finalizers) = access::list_mut(crd, &["metadata", "finalizers"]) {
            finalizers.retain(|finalizer| finalizer != CLEANUP_FINALIZER);
        }
    })
    .await
}

async fn delete_objects(pipeline: &Pipeline, crd: &Value) -> Result<(), Status> {
    let text = |path: &[&str]| access::text(crd, path);
    let name = GroupResource::new(text(&["spec", "group"]), text(&["status", "acceptedNames", "plural"]));
    let registry = pipeline.registry();
    let context = Identity::apiserver().context("delete");
    loop {
        // A version that is not served has no row; then nobody can see the objects, and they stay in the store.
        let Some(row) = registry.catalog().named(&name).cloned() else { return Ok(()) };
        let watcher = registry.watch(&row, WatchFrom::Now, Selection::everything());
        registry.fresh().await?;
        let present = row.cache().list(None);
        if present.is_empty() {
            return Ok(());
        }
        let unmarked: Vec<_> =
            present.into_iter().filter(|object| object.header().deletion_timestamp.is_none()).collect();
        let target = ObjectRef::new(&row, "", "");
        pipeline.delete_collection(&context, target, &unmarked, &DeleteOptions::default()).await?;
        if let Ok(mut watcher) = watcher {
            // A change that was missed is found by the next look.
            let _ = tokio::time::timeout(LOOK_EVERY, watcher.changed()).await;
        }
    }
}

async fn update(
    pipeline: &Pipeline,
    name: &str,
    change: impl Fn(&mut Value, &str) + Send + Sync,
) -> Result<(), Status> {
    let row = pipeline.registry().builtin(&DEFINITIONS);
    let target = ObjectRef::new(&row, "", name).status();
    let changed = |current: &Value| {
        let mut wanted = current.clone();
        change(&mut wanted, &now().to_rfc3339());
        Ok(wanted)
    };
    match pipeline.update_with(&Identity::apiserver().context("update"), target, changed).await {
        Err(gone) if gone.code == 404 => Ok(()),
        Err(status) => Err(status),
        Ok(_) => Ok(()),
    }
}
