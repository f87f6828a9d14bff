//! The stop of a Pod with its node: nothing is reported, and the Pod starts again with the node.

use std::{collections::BTreeMap, sync::Arc};

use executor_core::{
    Event,
    observed::{ObservedContainer, ObservedSandbox},
    spec,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;

use super::Worker;
use crate::pod::{containers, record, sandbox};

impl Worker {
    /// Writes the record that [`Self::restore_interrupted`] reads. Called when everything has stopped and nothing is
    /// removed yet.
    async fn write_interrupted(&self, sandbox: Option<ObservedSandbox>, late: Vec<ObservedContainer>) {
        let mut instances: BTreeMap<String, ObservedContainer> =
            self.machine.instances().chain(&late).map(|seen| (seen.name.clone(), seen.clone())).collect();
        for seen in instances.values_mut().filter(|seen| seen.exit().is_none()) {
            match self.context.runtime.container_status(&seen.id).await {
                Ok(status) => *seen = containers::observe_container(status, &seen.sandbox_id),
                Err(error) => tracing::debug!(id = seen.id, %error, "cannot read a container's exit"),
            }
            seen.mark_lost(Timestamp::now());
        }
        // Without a sandbox of this run, the record of an earlier stop is still valid.
        let (Some(mut sandbox), false) = (sandbox, instances.is_empty()) else { return };
        // The Pod's start time is that of its first sandbox: start time and deadline continue.
        if let Some(began) = self.machine.status().start_time {
            sandbox.created_at = sandbox.created_at.min(began.0);
        }
        let interrupted = record::Interrupted { sandbox, containers: instances.into_values().collect() };
        if let Err(error) = record::write_interrupted(&self.paths.interrupted(), &interrupted) {
            tracing::warn!(%error, "cannot write the record of an interrupted pod");
        }
    }

    /// Stops the Pod with its node: containers get their grace period, nothing is reported, and the Pod starts again
    /// with the node. Actions in progress are awaited, and their results removed.
    pub(super) async fn stop_with_node(self, mut inbox: mpsc::Receiver<Event>) {
        for cancel in self.starts.values() {
            cancel.cancel();
        }
        let pod = self.machine.pod().clone();
        let ips = self.machine.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
        let mut sandboxes: BTreeMap<String, ObservedSandbox> =
            self.machine.sandbox().map(|up| (up.id.clone(), up.clone())).into_iter().collect();
        let running: Vec<(String, String)> = spec::all_containers(&pod)
            .filter_map(|(_, c)| Some((c.name.clone(), self.machine.running(&c.name)?.to_owned())))
            .collect();
        self.work.close();
        let late = async {
            let mut late: Vec<ObservedContainer> = Vec::new();
            let mut take = |event: Event| match event {
                Event::SandboxStarted(made) => {
                    sandboxes.insert(made.id.clone(), made);
                }
                Event::ContainerStarted(started) => late.push(started),
                _ => {}
            };
            loop {
                // Keep reading, so that no action blocks on the queue.
                tokio::select! {
                    () = self.work.wait() => break,
                    Some(event) = inbox.recv() => take(event),
                }
            }
            while let Ok(event) = inbox.try_recv() {
                take(event);
            }
            let named = late.iter().map(|started| (started.name.clone(), started.id.clone())).collect();
            self.stop_containers(&pod, &ips, named).await;
            late
        };
        let ((), late) = tokio::join!(self.stop_containers(&pod, &ips, running), late);
        let newest = sandboxes.values().max_by_key(|sandbox| sandbox.attempt).cloned();
        self.write_interrupted(newest, late).await;
        for id in sandboxes.keys() {
            sandbox::remove(&self.context, id).await;
        }
        sandbox::suspend(&self.context, &pod).await;
    }

    /// Stops containers (name and id), each within the Pod's grace period or the limit of a node stop.
    async fn stop_containers(&self, pod: &Arc<Pod>, ips: &[String], containers: Vec<(String, String)>) {
        let grace = self.context.stop_grace(pod);
        let stops = containers
            .iter()
            .map(|(name, id)| containers::stop(&self.context, pod, ips, name, id, grace, true));
        futures::future::join_all(stops).await;
    }
}
