//! `/healthz`, `/livez`, `/readyz`, their individual checks (`/readyz/etcd`), `?verbose` and `?exclude=`.
//!
//! Each listed check is evaluated on each request. Of upstream's names of what it starts (`poststarthook/…`), which tools exclude and
//! ask for, those are served that something can fail. `/readyz` has two checks more than upstream's, `etcd` and `store-writes`,
//! because a server whose store has failed must not get requests.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use shim_core::controllers::served;
use shim_core::kinds::rbac;
use shim_model::go_quote::go_quote;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::body::Response;
use super::{discovery, reply};
use crate::metrics::health::HealthMetrics;
use crate::request::query::Query;
use crate::storage::registry::Registry;

/// Timeout of the store and watch cache checks.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// A health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// The log takes lines. If nobody reads the pipe that it goes to, requests hang as soon as they log something.
    Log,
    /// The store answers. As upstream, the check is called `etcd`, whatever the backend.
    Store,
    /// The store takes writes, also of new objects.
    StoreWrites,
    /// The watch caches have reached the store's revision.
    WatchCaches,
    /// An object that the server writes at its start has been there.
    Written(Object),
    /// The server does not stop.
    Runs,
    /// The server answers at all.
    Answers,
}

/// What the checks look at.
#[derive(Clone, Copy)]
pub struct Health<'a> {
    /// The objects and their store.
    pub registry: &'a Registry,
    /// Where outcomes are counted.
    pub metrics: &'a HealthMetrics,
    /// Cancelled when the server stops.
    pub stopping: &'a CancellationToken,
}

/// An object that the server writes at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Object {
    group: &'static str,
    resource: &'static str,
    namespace: &'static str,
    name: &'static str,
}

use Check::{Answers, Log, Runs, Store, StoreWrites, WatchCaches};

const fn written(
    group: &'static str,
    resource: &'static str,
    namespace: &'static str,
    name: &'static str,
) -> Check {
    Check::Written(Object { group, resource, namespace, name })
}

const FLOW_CONTROL: Check = written("flowcontrol.apiserver.k8s.io", "flowschemas", "", "catch-all");
const KUBERNETES_SERVICE: Check = written("", "services", "default", "kubernetes");
const API_SERVICES: Check = written("apiregistration.k8s.io", "apiservices", "", "v1.apps");

/// What upstream starts with its server, in its order, and how its work shows here.
const STARTED: [(&str, Check); 23] = [
    ("poststarthook/start-apiserver-admission-initializer", WatchCaches),
    ("poststarthook/generic-apiserver-start-informers", WatchCaches),
    ("poststarthook/priority-and-fairness-config-consumer", FLOW_CONTROL),
    ("poststarthook/priority-and-fairness-filter", FLOW_CONTROL),
    ("poststarthook/start-apiextensions-informers", WatchCaches),
    ("poststarthook/start-apiextensions-controllers", WatchCaches),
    ("poststarthook/crd-informer-synced", WatchCaches),
    ("poststarthook/start-system-namespaces-controller", written("", "namespaces", "", "kube-system")),
    (
        "poststarthook/start-cluster-authentication-info-controller",
        written("", "configmaps", "kube-system", "extension-apiserver-authentication"),
    ),
    ("poststarthook/start-service-ip-repair-controllers", KUBERNETES_SERVICE),
    ("poststarthook/storage-readiness", Store),
    ("poststarthook/rbac/bootstrap-roles", written(rbac::GROUP, "clusterroles", "", "cluster-admin")),
    (
        "poststarthook/scheduling/bootstrap-system-priority-classes",
        written("scheduling.k8s.io", "priorityclasses", "", "system-node-critical"),
    ),
    ("poststarthook/priority-and-fairness-config-producer", FLOW_CONTROL),
    ("poststarthook/bootstrap-controller", KUBERNETES_SERVICE),
    (
        "poststarthook/start-kubernetes-service-cidr-controller",
        written("networking.k8s.io", "servicecidrs", "", "kubernetes"),
    ),
    ("poststarthook/start-kube-aggregator-informers", WatchCaches),
    ("poststarthook/apiservice-status-local-available-controller", API_SERVICES),
    ("poststarthook/apiservice-status-remote-available-controller", API_SERVICES),
    ("poststarthook/apiservice-registration-controller", API_SERVICES),
    ("poststarthook/kube-apiserver-autoregistration", API_SERVICES),
    ("autoregister-completion", API_SERVICES),
    ("poststarthook/apiservice-openapi-controller", API_SERVICES),
];

/// The checks of an endpoint, in output order.
fn checks_of(endpoint: &str) -> Vec<(&'static str, Check)> {
    let mut checks = vec![("ping", Answers), ("log", Log), ("etcd", Store)];
    if endpoint == "readyz" {
        let more = [("etcd-readiness", Store), ("store-writes", StoreWrites), ("informer-sync", WatchCaches)];
        checks.extend(more);
    }
    checks.extend(STARTED);
    if endpoint == "readyz" {
        checks.push(("shutdown", Runs));
    }
    checks
}

impl Check {
    async fn holds(self, Health { registry, stopping, .. }: &Health<'_>) -> bool {
        match self {
            Answers => true,
            Runs => !stopping.is_cancelled(),
            Log => log_takes_lines(CHECK_TIMEOUT).await,
            Store => {
                let revision = tokio::time::timeout(CHECK_TIMEOUT, registry.store().current_revision()).await;
                matches!(revision, Ok(Ok(_)))
            }
            StoreWrites => registry.store().writable().is_ok(),
            Check::Written(Object { group, resource, namespace, name }) => {
                registry.was_written(served(group, resource), namespace, name)
            }
            WatchCaches => {
                matches!(tokio::time::timeout(CHECK_TIMEOUT, registry.fresh()).await, Ok(Ok(_)))
            }
        }
    }
}

/// Whether standard error can be locked within this time. A blocked write holds the lock.
async fn log_takes_lines(within: Duration) -> bool {
    // The guard stays with the thread that waits, so that there is one such thread, however often this is called.
    static WAITING: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);
    let locked = async {
        let waiting = WAITING.clone().lock_owned().await;
        let lock = move || {
            drop(std::io::stderr().lock());
            drop(waiting);
        };
        tokio::task::spawn_blocking(lock).await
    };
    matches!(tokio::time::timeout(within, locked).await, Ok(Ok(())))
}

/// The paths of all checks.
pub fn paths() -> Vec<String> {
    let of = |endpoint: &'static str| {
        let each = checks_of(endpoint).into_iter().map(move |(name, _)| format!("/{endpoint}/{name}"));
        each.chain([format!("/{endpoint}")])
    };
    ["healthz", "livez", "readyz"].into_iter().flat_map(of).collect()
}

/// Serves a health path; `None` for any other path.
pub async fn serve(health: &Health<'_>, path: &str, query: &Query) -> Option<Response> {
    let (endpoint, name) = ["healthz", "livez", "readyz"].iter().find_map(|endpoint| {
        match path.strip_prefix('/')?.strip_prefix(endpoint)? {
            "" => Some((*endpoint, "")),
            rest => rest.strip_prefix('/').filter(|name| !name.is_empty()).map(|name| (*endpoint, name)),
        }
    })?;
    let checks = checks_of(endpoint);
    if name.is_empty() {
        return Some(all(health, endpoint, &checks, query).await);
    }
    let Some((name, check)) = checks.iter().find(|(known, _)| *known == name) else {
        return Some(discovery::not_found());
    };
    let holds = check.holds(health).await;
    health.metrics.record(endpoint, name, holds);
    Some(match holds {
        true => reply::text(200, "ok"),
        false => reply::text(500, format!("internal server error: {name} check failed\n")),
    })
}

/// All checks of an endpoint except the excluded ones.
async fn all(health: &Health<'_>, endpoint: &str, checks: &[(&str, Check)], query: &Query) -> Response {
    let mut lines = String::new();
    let mut failed = false;
    // Several names have the same check.
    let mut outcomes: Vec<(Check, bool)> = Vec::new();
    for (name, check) in checks {
        if query.all("exclude").any(|excluded| excluded == *name) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        let holds = match outcomes.iter().find(|(known, _)| known == check) {
            Some((_, holds)) => *holds,
            None => check.holds(health).await,
        };
        outcomes.push((*check, holds));
        health.metrics.record(endpoint, name, holds);
        if holds {
            lines.push_str(&format!("[+]{name} ok\n"));
        } else {
            lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
            failed = true;
        }
    }
    let known = |excluded: &&str| checks.iter().any(|(name, _)| name == excluded);
    let unknown: Vec<String> = query.all("exclude").filter(|e| !known(e)).map(go_quote).collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(", ");
        lines.push_str(&format!("warn: some health checks cannot be excluded: no matches for {unknown}\n"));
    }
    match (failed, query.get("verbose").is_some()) {
        (true, _) => reply::text(500, format!("{lines}{endpoint} check failed\n")),
        (false, true) => reply::text(200, format!("{lines}{endpoint} check passed\n")),
        (false, false) => reply::text(200, "ok"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_that_nobody_reads_fails_its_check() {
        const SHORT: Duration = Duration::from_millis(20);
        let blocked = std::io::stderr().lock();
        assert!(!log_takes_lines(SHORT).await);
        assert!(!log_takes_lines(SHORT).await, "the first check still waits");
        drop(blocked);
        assert!(log_takes_lines(CHECK_TIMEOUT).await);
    }
}
