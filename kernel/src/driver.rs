//! Scheduler drivers: one trait, for a master in the same process or over the public v1 API.

mod over_http;
mod recordio_client;
mod roles;

use async_trait::async_trait;
use kernel_core::master::{Master, Refusal, WaitCause};
use kernel_model::{
    agent::AgentSnapshot, ids::FrameworkId, operator, roles::Role, scheduler, wait::WaitNote,
};
use tokio::sync::mpsc;

pub use over_http::HttpDriver;
pub use roles::RoleDriver;

use crate::master_driver::{CallError, EventFilter, MasterQueue, Stopped};

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// The master refused the call; the same call would be refused again.
    #[error("the master refuses: {0}")]
    Refused(String),
    /// The master cannot be reached, or has stopped; the same call may succeed later.
    #[error("the master cannot be reached: {0}")]
    Unreachable(String),
}

/// A connection to a master. One driver can serve several frameworks.
#[async_trait]
pub trait SchedulerDriver: Send + Sync {
    /// Subscribes. Events arrive in order; the first is SUBSCRIBED, or ERROR if the master refuses the framework. The
    /// stream ends when the master stops, another instance takes over, or the reader is too slow; dropping it
    /// disconnects the framework.
    async fn subscribe(
        &self,
        subscribe: scheduler::Subscribe,
    ) -> Result<mpsc::Receiver<scheduler::Event>, DriverError>;

    /// Any other call. `Ok` means that the master accepted it, not that it had an effect.
    async fn call(&self, framework_id: &FrameworkId, call: scheduler::Call) -> Result<(), DriverError>;

    /// Several calls (dozens at most), carried out in order even if some fail; returns the result of each.
    async fn call_all(
        &self,
        framework_id: &FrameworkId,
        calls: Vec<scheduler::Call>,
    ) -> Vec<Result<(), DriverError>> {
        let mut results = Vec::with_capacity(calls.len());
        for call in calls {
            results.push(self.call(framework_id, call).await);
        }
        results
    }

    /// Why the framework gets no offers in a role; nothing if nothing is in the way. Drivers that cannot ask say nothing either.
    async fn explain(&self, framework_id: &FrameworkId, role: &Role) -> Result<Vec<WaitNote>, DriverError> {
        let _ = (framework_id, role);
        Ok(Vec::new())
    }

    /// All agents, then every change of agents and frameworks. Tasks are reported on the stream of their framework. The
    /// stream ends like that of [`SchedulerDriver::subscribe`].
    async fn watch_cluster(
        &self,
    ) -> Result<(Vec<AgentSnapshot>, mpsc::Receiver<operator::Event>), DriverError>;
}

/// The driver for a master in the same process: typed values without encoding.
#[derive(Clone)]
pub struct InProcessDriver {
    queue: MasterQueue,
}

impl InProcessDriver {
    pub(crate) fn new(queue: MasterQueue) -> Self {
        Self { queue }
    }
}

impl From<Stopped> for DriverError {
    fn from(stopped: Stopped) -> Self {
        DriverError::Unreachable(stopped.to_string())
    }
}

impl From<CallError> for DriverError {
    fn from(fault: CallError) -> Self {
        match fault {
            // This trait's calls have no `force`.
            CallError::Refused(Refusal::Unforced(why)) => DriverError::Refused(why),
            CallError::Refused(refusal) => DriverError::Refused(refusal.to_string()),
            CallError::Stopped(stopped) => stopped.into(),
        }
    }
}

#[async_trait]
impl SchedulerDriver for InProcessDriver {
    async fn subscribe(
        &self,
        subscribe: scheduler::Subscribe,
    ) -> Result<mpsc::Receiver<scheduler::Event>, DriverError> {
        Ok(self.queue.subscribe_in_process(subscribe).await?)
    }

    async fn call(&self, framework_id: &FrameworkId, call: scheduler::Call) -> Result<(), DriverError> {
        let answers = self.queue.call_current(framework_id.clone(), vec![call]).await?;
        answers.into_iter().next().ok_or(Stopped)?.map_err(CallError::Refused)?;
        Ok(())
    }

    async fn call_all(
        &self,
        framework_id: &FrameworkId,
        calls: Vec<scheduler::Call>,
    ) -> Vec<Result<(), DriverError>> {
        let count = calls.len();
        match self.queue.call_current(framework_id.clone(), calls).await {
            Ok(answers) => answers
                .into_iter()
                .map(|answer| answer.map(drop).map_err(|refusal| CallError::Refused(refusal).into()))
                .collect(),
            Err(stopped) => vec![Err(stopped.into()); count],
        }
    }

    async fn explain(&self, framework_id: &FrameworkId, role: &Role) -> Result<Vec<WaitNote>, DriverError> {
        let (id, role) = (framework_id.clone(), role.clone());
        let causes = self.queue.read(move |master: &Master| master.explain_role_of(&id, &role)).await?;
        let note =
            |cause: WaitCause| WaitNote { reason: cause.code().into(), message: cause.to_string().into() };
        Ok(causes.into_iter().map(note).collect())
    }

    async fn watch_cluster(
        &self,
    ) -> Result<(Vec<AgentSnapshot>, mpsc::Receiver<operator::Event>), DriverError> {
        Ok(self.queue.watch(EventFilter::Cluster, Master::agent_snapshots).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_recommends_nothing_that_a_driver_cannot_do() {
        let message = |refusal| DriverError::from(CallError::Refused(refusal)).to_string();
        let forceable = Refusal::Unforced("too much".to_owned());
        assert!(forceable.to_string().ends_with("(use 'force' flag to bypass this check)"), "{forceable}");
        assert_eq!(message(forceable), message(Refusal::Invalid("too much".to_owned())));
    }
}
