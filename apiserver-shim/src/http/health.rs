//! `/healthz`, `/livez`, `/readyz`, their individual checks (`/readyz/etcd`), `?verbose` and `?exclude=`.
//!
//! Each listed check is evaluated on each request. Most of upstream's other names (`poststarthook/…`) return 404,
//! because nothing implements them.

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
    /// The process serves requests.
    Ping,
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
}

impl Check {
    /// The checks of an endpoint, in output order.
    fn of(endpoint: &str) -> &'static [Check] {
        match endpoint {
            "readyz" => &[
                Check::Ping,
                Check::Log,
                Check::Store,
                Check::StoreWrites,
                Check::WatchCaches,
                Check::DefaultRoles,
            ],
            _ => &[Check::Ping, Check::Log, Check::Store, Check::DefaultRoles],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Check::Ping => "ping",
            Check::Log => "log",
            Check::Store => "etcd",
            Check::StoreWrites => "store-writes",
            Check::WatchCaches => "informer-sync",
            Check::DefaultRoles => "poststarthook/rbac/bootstrap-roles",
        }
    }

    async fn holds(self, registry: &Registry) -> bool {
        match self {
            Check::Ping => true,
            Check::Log => log_takes_lines(CHECK_TIMEOUT).await,
            Check::Store => {
                let revision = tokio::time::timeout(CHECK_TIMEOUT, registry.store().current_revision()).await;
                matches!(revision, Ok(Ok(_)))
            }
            Check::StoreWrites => registry.store().writable().is_ok(),
            Check::DefaultRoles => {
                registry.peek(served(rbac::GROUP, "clusterroles"), "", "cluster-admin").is_some()
            }
            Check::WatchCaches => {
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
        let each = Check::of(endpoint).iter().map(move |check| format!("/{endpoint}/{}", check.name()));
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
    let checks = Check::of(endpoint);
    if name.is_empty() {
        return Some(all(registry, endpoint, checks, query).await);
    }
    let Some(check) = checks.iter().find(|check| check.name() == name) else {
        return Some(discovery::not_found());
    };
    Some(match check.holds(registry).await {
        true => reply::text(200, "ok"),
        false => reply::text(500, format!("internal server error: {name} check failed\n")),
    })
}

/// All checks of an endpoint except the excluded ones.
async fn all(registry: &Registry, endpoint: &str, checks: &[Check], query: &Query) -> Response {
    let mut lines = String::new();
    let mut failed = false;
    for check in checks {
        let name = check.name();
        if query.all("exclude").any(|excluded| excluded == name) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
        } else if check.holds(registry).await {
            lines.push_str(&format!("[+]{name} ok\n"));
        } else {
            lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
            failed = true;
        }
    }
    let known = |excluded: &&str| checks.iter().any(|check| check.name() == *excluded);
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
