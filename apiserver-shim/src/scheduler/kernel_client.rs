//! The scheduler's subscription to the kernel as an ordinary framework. Its framework ID is in the store, so that a
//! new process with the same store resumes as the same framework and keeps its tasks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kernel::driver::{DriverError, SchedulerDriver};
use kernel_model::{
    ids::FrameworkId,
    roles::Role,
    scheduler::{Call, ErrorReason, Event, Subscribe},
};
use shim_core::scheduler::machine::framework_info;
use store::Store;
use tokio::sync::mpsc;

/// The store key of the framework ID.
pub const FRAMEWORK_ID_KEY: &str = "/catamaran/framework-id";
/// Time limit for the SUBSCRIBED event.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(15);

/// Why the subscription failed.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The connection to the kernel failed.
    #[error("cannot subscribe to the kernel")]
    Driver(#[from] DriverError),
    /// The framework ID could not be read or stored.
    #[error("cannot read or store the framework ID")]
    Store(#[from] store::Error),
    /// The watch caches did not catch up with the launch journal.
    #[error("the caches lag behind the launch journal: {0}")]
    Caches(shim_model::status::Status),
    /// The kernel refused the subscription.
    #[error("the kernel refuses the framework: {0}")]
    Refused(String),
    /// The kernel has removed the framework.
    #[error("the kernel has removed the framework: {0}")]
    Removed(String),
    /// The stream ended, or SUBSCRIBED did not arrive in time.
    #[error("the kernel ended the subscription before it began")]
    Ended,
}

/// A subscription.
pub struct Session {
    /// The assigned framework ID.
    pub framework_id: FrameworkId,
    /// The events after SUBSCRIBED.
    pub events: mpsc::Receiver<Event>,
}

/// A client of the kernel. Clones share.
#[derive(Clone)]
pub struct KernelClient {
    driver: Arc<dyn SchedulerDriver>,
    store: Arc<dyn Store>,
}

impl KernelClient {
    /// Creates a client; the framework ID is stored in `store`.
    pub fn new(driver: Arc<dyn SchedulerDriver>, store: Arc<dyn Store>) -> Self {
        KernelClient { driver, store }
    }

    /// The driver.
    pub fn driver(&self) -> &Arc<dyn SchedulerDriver> {
        &self.driver
    }

    /// Subscribes with all roles suppressed; pending Pods revive them. A framework that the kernel has removed, for
    /// instance because its store was lost, subscribes with a new ID.
    pub async fn subscribe(&self, roles: &[Role]) -> Result<Session, SubscribeError> {
        let known = self.framework_id().await?;
        match self.subscribe_as(known.clone(), roles).await {
            Err(SubscribeError::Removed(why)) if known.is_some() => {
                tracing::warn!(%why, "the kernel does not know this framework; subscribing with a new ID");
                self.subscribe_as(None, roles).await
            }
            other => other,
        }
    }

    async fn subscribe_as(&self, id: Option<FrameworkId>, roles: &[Role]) -> Result<Session, SubscribeError> {
        let suppressed_roles: BTreeSet<Role> = roles.iter().cloned().collect();
        let framework = framework_info(id.clone(), roles);
        let mut events = self
            .driver
            .subscribe(Subscribe { framework, suppressed_roles, preferences: Default::default() })
            .await?;
        let first = tokio::time::timeout(SUBSCRIBED_WITHIN, events.recv()).await.ok().flatten();
        let framework_id = match first {
            Some(Event::Subscribed { framework_id, .. }) => framework_id,
            Some(Event::Error { reason: ErrorReason::FrameworkRemoved, message }) => {
                return Err(SubscribeError::Removed(message));
            }
            Some(Event::Error { message, .. }) => return Err(SubscribeError::Refused(message)),
            _ => return Err(SubscribeError::Ended),
        };
        if id.as_ref() != Some(&framework_id) {
            // Store the ID before anything is launched: a framework that does not know its ID would lose its tasks.
            let value = Bytes::copy_from_slice(framework_id.as_str().as_bytes());
            self.store.put(FRAMEWORK_ID_KEY.into(), value).await?;
        }
        Ok(Session { framework_id, events })
    }

    /// The framework ID, if one was assigned.
    pub async fn framework_id(&self) -> Result<Option<FrameworkId>, store::Error> {
        let found = self.store.get(&FRAMEWORK_ID_KEY.into()).await?.kv;
        Ok(found.and_then(|kv| std::str::from_utf8(&kv.value).ok().map(FrameworkId::from)))
    }

    /// Makes a call.
    pub async fn call(&self, framework_id: &FrameworkId, call: Call) -> Result<(), DriverError> {
        self.driver.call(framework_id, call).await
    }

    /// Makes calls in order and returns their outcomes.
    pub async fn call_all(
        &self,
        framework_id: &FrameworkId,
        calls: Vec<Call>,
    ) -> Vec<Result<(), DriverError>> {
        self.driver.call_all(framework_id, calls).await
    }
}
