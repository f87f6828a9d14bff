//! Performs the actions of the state machine.

use executor_core::{
    Action, Event,
    action::{EventRecord, StartFailure},
    spec,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::Worker;
use crate::{
    pod::{containers, hooks, ledger, sandbox},
    runtime::containerd::RuntimeState,
};

impl Worker {
    /// Starts an action; its result arrives as an event.
    pub(super) fn perform(&mut self, action: Action) {
        let (context, pod, events) = (self.context.clone(), self.machine.pod().clone(), self.events.clone());
        match action {
            Action::RecordEvent(event) => self.context.recorder.record(&pod, event),
            Action::StartSandbox { attempt } => self.spawn(async move {
                let event = match sandbox::start(&context, &pod, attempt).await {
                    Ok(sandbox) => Event::SandboxStarted(sandbox),
                    Err((reason, message)) => Event::SandboxFailed { reason, message },
                };
                let _ = events.send(event).await;
            }),
            Action::RemoveSandbox { id } => self.spawn(async move {
                sandbox::remove(&context, &id).await;
                let _ = events.send(Event::SandboxRemoved { id }).await;
            }),
            Action::StartContainer { name, sandbox_id, attempt, restart_count } => {
                self.start_container(name, sandbox_id, attempt, restart_count);
            }
            Action::CancelStart { name } => {
                if let Some(cancel) = self.starts.get(&name) {
                    cancel.cancel();
                }
            }
            Action::StopContainer { name, id, grace, pre_stop, why } => {
                let ips = self.machine.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
                if pre_stop {
                    let event = EventRecord {
                        container: Some(name.clone()),
                        warning: false,
                        reason: "Killing",
                        message: why,
                    };
                    self.context.recorder.record(&pod, event);
                }
                self.spawn(async move {
                    containers::stop(&context, &pod, &ips, &name, &id, grace, pre_stop).await;
                    let _ = events.send(Event::StopReturned { id }).await;
                });
            }
            Action::RemoveContainer { id } => self.spawn(async move {
                if let Err(error) = context.runtime.remove(&id).await {
                    tracing::debug!(id, %error, "cannot remove container; it is removed with its sandbox");
                }
            }),
            Action::CheckResize { pod: desired } => self.spawn(async move {
                let verdict = ledger::check_resize(&context, &desired).await;
                let _ = events.send(Event::ResizeChecked { pod: desired, verdict }).await;
            }),
            Action::UpdateContainer { name, id } => self.spawn(async move {
                let result = containers::update(&context, &pod, &name, &id).await;
                let _ = events.send(Event::ContainerUpdated { id, result }).await;
            }),
            Action::RunProbe { name, container_id, kind } => {
                let ips = self.machine.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
                tokio::spawn(async move {
                    let Some(container) = spec::container(&pod, &name) else { return };
                    let ip = hooks::address(&context, &pod, &ips);
                    let target = hooks::Target {
                        context: &context,
                        container: &container,
                        container_id: &container_id,
                        ip,
                    };
                    let result = hooks::probe(&target, kind).await;
                    let _ = events.send(Event::Probed { container_id, kind, result }).await;
                });
            }
        }
    }

    fn start_container(&mut self, name: String, sandbox_id: String, attempt: u32, restart_count: u32) {
        let events = self.events.clone();
        let Some(up) = self.machine.sandbox().filter(|sandbox| sandbox.id == sandbox_id).cloned() else {
            return;
        };
        let cancel = CancellationToken::new();
        self.starts.insert(name.clone(), cancel.clone());
        let start = containers::Start {
            context: self.context.clone(),
            pod: self.machine.pod().clone(),
            sandbox: up,
            target: spec::target(self.machine.pod(), &name).map(|container| containers::NamespaceTarget {
                name: container.to_owned(),
                id: self.machine.newest_instance(container).map(str::to_owned),
            }),
            name: name.clone(),
            attempt,
            restart_count,
            cancel,
        };
        self.spawn(async move {
            let event = match start.run().await {
                Ok(seen) => Event::ContainerStarted(seen),
                Err(containers::Failed { failure, message, volume_image }) => {
                    let unavailable = *start.context.runtime_state.borrow() != RuntimeState::Ready;
                    let failure = if unavailable { StartFailure::Interrupted } else { failure };
                    Event::ContainerFailed { name, failure, message, volume_image }
                }
            };
            let _ = events.send(event).await;
        });
    }

    /// Spawns an action and triggers a listing when it is done.
    fn spawn(&self, action: impl Future<Output = ()> + Send + 'static) {
        let context = self.context.clone();
        let action = async move {
            action.await;
            context.relist.notify_one();
        };
        self.work.spawn(action.in_current_span());
    }
}
