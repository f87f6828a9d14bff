//! `/healthz`, `/livez`, `/readyz`, their individual checks (`/readyz/etcd`), `?verbose` and `?exclude=`.
//!
//! Each listed check is evaluated on each request. Upstream's names of what it starts (`poststarthook/…`) are served too:
//! tools exclude and ask for them. `/readyz` has two checks more than upstream's, `etcd` and `store-writes`, because a
//! server whose store has failed must not get requests.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use shim_core::controllers::served;
use shim_core::kinds::rbac;
use shim_model::go_quote::go_quote;
use tokio::sync::Mutex;

use super::body::Response;
use super::{discovery, reply};
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
    /// The default roles have been written.
    DefaultRoles,
    /// Work that has begun before the server accepts connections, so that an answer shows that it has.
    Begun,
}

use Check::{Begun, DefaultRoles, Log, Store, StoreWrites, WatchCaches};

/// What upstream starts with its server, in its order, up to the default roles.
const STARTED_FIRST: [&str; 16] = [
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/peer-endpoint-reconciler-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kube-apiserver-identity-lease-controller",
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
    "poststarthook/storage-readiness",
    "poststarthook/start-legacy-token-tracking-controller",
    "poststarthook/start-service-ip-repair-controllers",
];
/// What it starts after them.
const STARTED_LAST: [&str; 14] = [
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-wait-for-first-sync",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
];

/// The checks of an endpoint, in output order.
fn checks_of(endpoint: &str) -> Vec<(&'static str, Check)> {
    let ready = endpoint == "readyz";
    let mut checks = vec![("ping", Begun), ("log", Log)];
    match ready {
        true => {
            checks.extend([("etcd", Store), ("store-writes", StoreWrites), ("informer-sync", WatchCaches)])
        }
        false => checks.extend([("loopback-serving-certificate", Begun), ("etcd", Store)]),
    }
    checks.extend(STARTED_FIRST.map(|name| (name, Begun)));
    checks.push(("poststarthook/rbac/bootstrap-roles", DefaultRoles));
    checks.extend(STARTED_LAST.map(|name| (name, Begun)));
    checks.extend(ready.then_some(("shutdown", Begun)));
    checks
}

impl Check {
    async fn holds(self, registry: &Registry) -> bool {
        match self {
            Begun => true,
            Log => log_takes_lines(CHECK_TIMEOUT).await,
            Store => {
                let revision = tokio::time::timeout(CHECK_TIMEOUT, registry.store().current_revision()).await;
                matches!(revision, Ok(Ok(_)))
            }
            StoreWrites => registry.store().writable().is_ok(),
            DefaultRoles => registry.peek(served(rbac::GROUP, "clusterroles"), "", "cluster-admin").is_some(),
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
pub async fn serve(registry: &Registry, path: &str, query: &Query) -> Option<Response> {
    let (endpoint, name) = ["healthz", "livez", "readyz"].iter().find_map(|endpoint| {
        match path.strip_prefix('/')?.strip_prefix(endpoint)? {
            "" => Some((*endpoint, "")),
            rest => rest.strip_prefix('/').filter(|name| !name.is_empty()).map(|name| (*endpoint, name)),
        }
    })?;
    let checks = checks_of(endpoint);
    if name.is_empty() {
        return Some(all(registry, endpoint, &checks, query).await);
    }
    let Some((_, check)) = checks.iter().find(|(known, _)| *known == name) else {
        return Some(discovery::not_found());
    };
    Some(match check.holds(registry).await {
        true => reply::text(200, "ok"),
        false => reply::text(500, format!("internal server error: {name} check failed\n")),
    })
}

/// All checks of an endpoint except the excluded ones.
async fn all(registry: &Registry, endpoint: &str, checks: &[(&str, Check)], query: &Query) -> Response {
    let mut lines = String::new();
    let mut failed = false;
    for (name, check) in checks {
        if query.all("exclude").any(|excluded| excluded == *name) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
        } else if check.holds(registry).await {
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
