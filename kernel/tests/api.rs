//! A master on loopback, a fake agent on an in-memory link, and clients that use raw HTTP.

#[path = "api/access.rs"]
mod access_tests;
#[path = "api/client.rs"]
mod client;
#[path = "api/errors.rs"]
mod errors;
#[path = "api/failing.rs"]
mod failing;
#[path = "api/fake_agent.rs"]
mod fake_agent;
#[path = "api/hostile.rs"]
mod hostile;
#[path = "api/limits.rs"]
mod limits;
#[path = "api/metrics.rs"]
mod metrics;
#[path = "api/operators.rs"]
mod operators;
#[path = "api/quota.rs"]
mod quota;
#[path = "api/reservations.rs"]
mod reservations;
#[path = "api/scheduling.rs"]
mod scheduling;
#[path = "api/shapes.rs"]
mod shapes;
#[path = "api/slow_readers.rs"]
mod slow_readers;
#[path = "api/tls.rs"]
mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kernel::{
    access::{Access, Credential, Credentials},
    server::{MasterHandle, MasterOptions, start},
};
use store::{MemoryStore, Store};

/// Admits the principal `test`.
fn access() -> Access {
    Access::with(Credentials::one(&credential()))
}

fn credential() -> Credential {
    Credential::new("test", "secret")
}

/// A master with fast heartbeats and its own store.
async fn master() -> MasterHandle {
    master_on(Arc::new(MemoryStore::new())).await
}

async fn master_on(store: Arc<dyn Store>) -> MasterHandle {
    let options = MasterOptions {
        heartbeat_interval: Duration::from_millis(300),
        access: access(),
        ..MasterOptions::new(store, SocketAddr::from(([127, 0, 0, 1], 0)))
    };
    start(options).await.expect("a free port and an empty store")
}
