//! The default roles and bindings. They are reconciled at each start, so that a new version brings its new rules.

use futures::{StreamExt, TryStreamExt, stream};
use shim_core::authorization::bootstrap::{DefaultObject, Reconciliation, defaults, reconcile};
use shim_model::access;
use shim_model::status::Status;

use crate::pipeline::{Identity, ObjectRef, Pipeline};
use crate::storage::deletion::DeleteOptions;

/// Concurrent writes. All 130 objects share a few group commits of the store.
const AT_ONCE_MAX: usize = 64;

/// Writes what is missing.
pub(super) async fn run(pipeline: &Pipeline) -> Result<(), Status> {
    let writes = defaults().into_iter().map(|default| ensure(pipeline, default));
    stream::iter(writes).buffer_unordered(AT_ONCE_MAX).try_collect::<()>().await
}

async fn ensure(pipeline: &Pipeline, default: DefaultObject) -> Result<(), Status> {
    let identity = Identity::bootstrap();
    let expected = default.object;
    let (namespace, name) =
        (access::text(&expected, &["metadata", "namespace"]), access::text(&expected, &["metadata", "name"]));
    let resource = pipeline.registry().builtin(&default.resource);
    let existing = pipeline.registry().peek(&resource, namespace, name).map(|existing| existing.value());
    let target = ObjectRef::new(&resource, namespace, name);
    let create = ObjectRef::new(&resource, namespace, "");
    match reconcile(&expected, existing.as_ref()) {
        Reconciliation::Nothing => Ok(()),
        Reconciliation::Create => {
            present(pipeline.create(&identity.context("create"), create, expected.clone()).await)
        }
        Reconciliation::Update(_) => {
            let context = identity.context("update");
            let updated = pipeline.update_with(&context, target, |current| {
                Ok(match reconcile(&expected, Some(current)) {
                    Reconciliation::Update(update) => update,
                    _ => current.clone(),
                })
            });
            updated.await.map(drop)
        }
        Reconciliation::Recreate(object) => {
            let options = DeleteOptions::default();
            pipeline.delete(&identity.context("delete"), target, &options).await?;
            present(pipeline.create(&identity.context("create"), create, object).await)
        }
    }
}

/// Another server may have created the object first.
fn present<T>(created: Result<T, Status>) -> Result<(), Status> {
    match created {
        Err(status) if status.reason != "AlreadyExists" => Err(status),
        _ => Ok(()),
    }
}
