//! The API server's auditor on a running cluster. A violation that concerns one source only, objects or tasks, is a
//! failure at once. One that compares both is a failure only if it persists, because the two are never read at the
//! same moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver_shim::storage::pod_views::PodViews;
use kernel::driver::SchedulerDriver;
use serde_json::Value;
use shim_core::audit::{Invariant, Note, State, audit};
use shim_core::controllers::served;
use shim_core::rows::{Node, Pod};
use shim_core::scheduler::Amounts;

use crate::cluster::{Cluster, http_get};

/// Minimum interval between two audits.
const EVERY: Duration = Duration::from_millis(100);
/// How long objects and tasks may disagree: the duration of a kill, a retry or a reconciliation.
const CONVERGES_WITHIN: Duration = Duration::from_secs(10);

/// The auditor's state between audits.
#[derive(Default)]
pub struct Auditor {
    rows: PodViews,
    last: Option<Instant>,
    /// Since when each violation has persisted.
    standing: BTreeMap<Note, Instant>,
    /// Whether the test binds Pods itself, without an offer.
    pub binds_by_hand: bool,
}

impl Auditor {
    /// Audits unless the last audit was just now. Panics on a violation.
    pub async fn look(&mut self, cluster: &Cluster) {
        if self.last.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.standing = self.notes(cluster).await;
        self.last = Some(Instant::now());
        let fatal =
            |(note, since): &(&Note, &Instant)| !self.may_pass(note) || since.elapsed() > CONVERGES_WITHIN;
        let broken: Vec<String> =
            self.standing.iter().filter(fatal).map(|(note, _)| note.to_string()).collect();
        assert!(broken.is_empty(), "{broken:#?}");
    }

    /// Waits until there is no violation.
    pub async fn rest(&mut self, cluster: &Cluster) {
        loop {
            self.last = None;
            self.look(cluster).await;
            if self.standing.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether a violation may be due to reading two sources, or be resolved by a rejection.
    fn may_pass(&self, note: &Note) -> bool {
        match note.invariant {
            Invariant::NoOrphanTask | Invariant::TaskWhereBound => true,
            Invariant::WithinCapacity | Invariant::HostPortsOnce => self.binds_by_hand,
            Invariant::OneTask | Invariant::UniqueIdentity => false,
        }
    }

    async fn notes(&self, cluster: &Cluster) -> BTreeMap<Note, Instant> {
        // Read tasks first: a task that starts afterwards is not missed, and one that has ended is reported once
        // more.
        let agents = cluster.master.in_process_driver().watch_cluster().await.unwrap().0;
        let names: BTreeMap<&str, &str> = agents
            .iter()
            .filter_map(|a| Some((a.info.id.as_ref()?.as_str(), a.info.hostname.as_str())))
            .collect();
        let body = http_get(cluster.master.mesos_address(), "/master/tasks?limit=1000000").await;
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        let text = |task: &'_ Value, member: &str| task[member].as_str().unwrap_or_default().to_owned();
        let alive = |task: &&Value| {
            let states = ["TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"];
            states.contains(&task["state"].as_str().unwrap_or_default())
        };
        let tasks: Vec<(String, String)> = body["tasks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(alive)
            .map(|task| (text(task, "id"), text(task, "slave_id")))
            .collect();
        let registry = cluster.registry();
        let pods = registry.cache(served("", "pods")).list(None);
        let rows: Vec<Arc<Pod>> = pods.iter().map(|object| self.rows.of(object).unwrap()).collect();
        let nodes: Vec<Node> = registry
            .cache(served("", "nodes"))
            .list(None)
            .iter()
            .map(|o| Node::decode(o.stored().clone(), o.revision, &o.value()))
            .collect();
        let state = State {
            pods: rows.iter().map(|row| &**row).collect(),
            nodes: nodes.iter().collect(),
            tasks: tasks
                .iter()
                .filter_map(|(task, agent)| Some((task.as_str(), *names.get(agent.as_str())?)))
                .collect(),
            totals: agents.iter().map(|a| (a.info.hostname.as_str(), total(a))).collect(),
        };
        let now = Instant::now();
        let since = |note: &Note| self.standing.get(note).copied().unwrap_or(now);
        audit(&state).into_iter().map(|note| (note.clone(), since(&note))).collect()
    }
}

/// The total resources of an agent, computed independently of the scheduler.
fn total(agent: &kernel_model::agent::AgentSnapshot) -> Amounts {
    let mut amounts = Amounts { ephemeral: i64::MAX, ..Amounts::default() };
    for (name, scalar) in agent.total.scalars() {
        match &**name {
            "cpus" => amounts.cpu_milli += scalar.0,
            "mem" => amounts.memory += scalar.0 / 1000 * (1 << 20),
            _ => {}
        }
    }
    amounts
}
