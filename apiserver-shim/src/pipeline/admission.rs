//! Admission: what may be written where, by looking at other objects. Verdicts that need none are the kinds' own.

use std::time::Duration;

use serde_json::Value;
use shim_core::controllers::served;
use shim_core::kinds::Subresource;
use shim_core::kinds::admission::{self as rules, PriorityClass, ServiceAccount};
use shim_model::access;
use shim_model::resource::Resource;
use shim_model::status::{self, Status};
use store::Key;

use crate::storage::object::Object;
use crate::storage::registry::{Registry, generate_name};

/// How long a Pod waits for its namespace's default service account, which a controller makes.
const DEFAULT_ACCOUNT_WAIT_MAX: Duration = Duration::from_secs(2);

/// Admits a create. The keys that are answered must still be at their revisions when the object is written.
pub(super) async fn create(
    registry: &Registry,
    resource: &Resource,
    namespace: &str,
    object: &mut Value,
) -> Result<Vec<(Key, u64)>, Status> {
    if resource.group.is_empty() && resource.kind == "Node" {
        rules::not_ready_yet(object);
    }
    if !resource.namespaced {
        return Ok(Vec::new());
    }
    let namespaces = &registry.builtin(&served("", "namespaces"));
    let found = match registry.peek(namespaces, "", namespace) {
        Some(found) => found,
        None => registry.get(namespaces, "", namespace).await?,
    };
    if found.header().deletion_timestamp.is_some() {
        return Err(terminating(resource, namespace, object));
    }
    if resource.group.is_empty() && resource.kind == "Pod" {
        service_account(registry, namespace, object).await?;
        rules::runtime_class(object)?;
        priority(registry, object)?;
        rules::default_tolerations(object);
    }
    Ok(vec![(namespaces.key("", namespace), found.revision)])
}

/// Admits an update: what a create has added to a Pod and the client has left out comes back.
pub(super) fn update(resource: &Resource, subresource: Subresource<'_>, new: &mut Value, old: &Value) {
    if subresource == Subresource::Main && resource.group.is_empty() && resource.kind == "Pod" {
        rules::keep_priority(new, old);
        rules::default_tolerations(new);
    }
}

fn terminating(resource: &Resource, namespace: &str, object: &Value) -> Status {
    let name = access::text(object, &["metadata", "name"]);
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = status::forbidden(&resource.group, &resource.plural, name, why);
    if let Some(details) = &mut status.details {
        details.causes = vec![shim_model::status::Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".into(),
        }];
    }
    status
}

/// Gives a Pod its service account and the token's volume.
async fn service_account(registry: &Registry, namespace: &str, pod: &mut Value) -> Result<(), Status> {
    let accounts = &registry.builtin(&served("", "serviceaccounts"));
    let asked = access::text(pod, &["spec", "serviceAccountName"]).to_owned();
    let name = if asked.is_empty() { "default".to_owned() } else { asked };
    let deadline = tokio::time::Instant::now() + DEFAULT_ACCOUNT_WAIT_MAX;
    let account = loop {
        if let Some(found) = registry.peek(accounts, namespace, &name) {
            break account_of(&found);
        }
        if name != "default" || tokio::time::Instant::now() >= deadline {
            let why = format!(
                "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
            );
            let pod_name = access::text(pod, &["metadata", "name"]);
            return Err(status::forbidden("", "pods", pod_name, why));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    rules::service_account(pod, &account, || generate_name(""));
    Ok(())
}

fn account_of(object: &Object) -> ServiceAccount {
    // Most accounts are a name and nothing more.
    let more = match object.tail() {
        b"}" => ServiceAccount::default(),
        _ => object.decode().unwrap_or_default(),
    };
    ServiceAccount { name: object.name().to_owned(), ..more }
}

/// Gives a Pod the priority of the class that it names, or of the global default class.
fn priority(registry: &Registry, pod: &mut Value) -> Result<(), Status> {
    let classes = &registry.builtin(&served("scheduling.k8s.io", "priorityclasses"));
    let class = match rules::priority_class_name(pod) {
        Some(name) => registry.peek(classes, "", name).map(|found| class_of(&found)),
        None => {
            // Looked for in the bytes first: most classes are not the default one and need no decoding.
            const MARK: &[u8] = b"\"globalDefault\":true";
            let view = classes.cache().view();
            let marked = view.iter(None).filter(|o| memchr::memmem::find(o.tail(), MARK).is_some());
            marked.map(|o| class_of(o)).filter(|class| class.global_default).min_by_key(|class| class.value)
        }
    };
    rules::priority(pod, class.as_ref())
}

fn class_of(object: &Object) -> PriorityClass {
    PriorityClass { name: object.name().to_owned(), ..object.decode().unwrap_or_default() }
}
