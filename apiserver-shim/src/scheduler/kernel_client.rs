//! The scheduler's subscription to the kernel: a framework among frameworks. Its ID is in the store, so that whoever holds
//! the store is the same framework and its tasks go on.

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

/// Where the framework's id is kept.
pub const FRAMEWORK_ID_KEY: &str = "/catamaran/framework-id";
/// How long to wait for the first event of a subscription.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(15);

/// Why there is no subscription.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The driver has no answer.
    #[error("the kernel cannot be subscribed to")]
    Driver(#[from] DriverError),
    /// The id cannot be read or kept.
    #[error("the framework id cannot be kept")]
    Store(#[from] store::Error),
    /// The watch caches do not catch up.
    #[error("the caches lag behind the launch journal: {0}")]
    Caches(shim_model::status::Status),
    /// The kernel says no.
    #[error("the kernel refuses the framework: {0}")]
    Refused(String),
    /// The kernel has ended this framework for good.
    #[error("the kernel has removed the framework: {0}")]
    Removed(String),
    /// The stream ended or was silent.
    #[error("the kernel ended the subscription before it began")]
    Ended,
}

/// A subscription.
pub struct Session {
    /// Our id.
    pub framework_id: FrameworkId,
    /// What the kernel says, after SUBSCRIBED.
    pub events: mpsc::Receiver<Event>,
}

/// The way to the kernel. Clones share.
#[derive(Clone)]
pub struct KernelClient {
    driver: Arc<dyn SchedulerDriver>,
    store: Arc<dyn Store>,
}

impl KernelClient {
    /// A client over a driver; the id is kept in `store`.
    pub fn new(driver: Arc<dyn SchedulerDriver>, store: Arc<dyn Store>) -> Self {
        KernelClient { driver, store }
    }

    /// The driver.
    pub fn driver(&self) -> &Arc<dyn SchedulerDriver> {
        &self.driver
    }

    /// Subscribes in these roles, all of them suppressed: demand revives them. A framework that the kernel has removed
    /// (its store was lost, say) begins anew.
    pub async fn subscribe(&self, roles: &[Role]) -> Result<Session, SubscribeError> {
        let known = self.framework_id().await?;
        match self.subscribe_as(known.clone(), roles).await {
            Err(SubscribeError::Removed(why)) if known.is_some() => {
                tracing::warn!(%why, "the kernel has forgotten this framework: subscribing as a new one");
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
            // Before anything is launched: a framework that does not know its id would lose its tasks.
            let value = Bytes::copy_from_slice(framework_id.as_str().as_bytes());
            self.store.put(FRAMEWORK_ID_KEY.into(), value).await?;
        }
        Ok(Session { framework_id, events })
    }

    async fn framework_id(&self) -> Result<Option<FrameworkId>, store::Error> {
        let found = self.store.get(&FRAMEWORK_ID_KEY.into()).await?.kv;
        Ok(found.and_then(|kv| std::str::from_utf8(&kv.value).ok().map(FrameworkId::from)))
    }

    /// Makes a call.
    pub async fn call(&self, framework_id: &FrameworkId, call: Call) -> Result<(), DriverError> {
        self.driver.call(framework_id, call).await
    }

    /// Makes some calls, in this order; what became of each.
    pub async fn call_all(
        &self,
        framework_id: &FrameworkId,
        calls: Vec<Call>,
    ) -> Vec<Result<(), DriverError>> {
        self.driver.call_all(framework_id, calls).await
    }
}
