//! `/healthz`, `/livez`, `/readyz`, each with its checks by name, `?verbose` and `?exclude=`.

use std::time::Duration;

use super::body::Response;
use super::query::Query;
use super::{discovery, reply};
use crate::storage::registry::Registry;

/// How long the store may take to say where it is.
const STORE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Checks that answer for something of their own.
const OWN: &[&str] = &[
    "ping",
    "log",
    "loopback-serving-certificate",
    "etcd",
    "poststarthook/start-apiserver-admission-initializer",
];
/// Further names that probes ask upstream for, and that are true as soon as we serve.
const HOOKS: &[&str] = &[
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "autoregister-completion",
    "poststarthook/apiservice-discovery-controller",
];

/// Serves a health path; `None` if the path is none.
pub async fn serve(registry: &Registry, path: &str, query: &Query) -> Option<Response> {
    let (root, name) = ["healthz", "livez", "readyz"].iter().find_map(|root| {
        let below = path.strip_prefix('/')?.strip_prefix(root)?;
        match below {
            "" | "/" => Some((*root, "")),
            below => below.strip_prefix('/').map(|name| (*root, name)),
        }
    })?;
    let checks = || OWN.iter().chain(HOOKS).chain((root == "readyz").then_some(&"informer-sync"));
    if !name.is_empty() {
        if !checks().any(|c| *c == name) {
            return Some(discovery::not_found());
        }
        return Some(match check(registry, name).await {
            true => reply::text(200, "ok"),
            false => reply::text(500, format!("internal server error: {name} check failed\n")),
        });
    }
    let mut lines = String::new();
    let mut failed = Vec::new();
    for check_name in checks() {
        if query.all("exclude").any(|e| e == *check_name) {
            lines.push_str(&format!("[+]{check_name} excluded: ok\n"));
        } else if check(registry, check_name).await {
            lines.push_str(&format!("[+]{check_name} ok\n"));
        } else {
            lines.push_str(&format!("[-]{check_name} failed: reason withheld\n"));
            failed.push(*check_name);
        }
    }
    Some(match (failed.is_empty(), query.get("verbose").is_some()) {
        (false, _) => reply::text(500, format!("{lines}{root} check failed\n")),
        (true, true) => reply::text(200, format!("{lines}{root} check passed\n")),
        (true, false) => reply::text(200, "ok"),
    })
}

async fn check(registry: &Registry, name: &str) -> bool {
    match name {
        "etcd" => {
            let asked = tokio::time::timeout(STORE_WAIT_MAX, registry.store().current_revision()).await;
            matches!(asked, Ok(Ok(_)))
        }
        "informer-sync" => {
            matches!(tokio::time::timeout(STORE_WAIT_MAX, registry.fresh()).await, Ok(Ok(_)))
        }
        _ => true,
    }
}
