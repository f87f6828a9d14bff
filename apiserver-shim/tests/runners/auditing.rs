//! The API server's auditor over a running cluster. A note about one source alone (objects, or tasks) is a failure. A note
//! that compares objects with tasks reads two sources that are never of the same moment: it is a failure if it stands.

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

/// The least time between two looks.
const EVERY: Duration = Duration::from_millis(100);
/// How long objects and tasks may disagree: a kill, a retry, a reconciliation.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);

/// What it remembers between two looks.
#[derive(Default)]
pub struct Auditor {
    rows: PodViews,
    last: Option<Instant>,
    /// Since when each note has stood.
    standing: BTreeMap<Note, Instant>,
    /// Somebody binds Pods without asking the ledger.
    pub binds_by_hand: bool,
}

impl Auditor {
    /// A look, unless the last was just now. Panics on what must not be.
    pub async fn look(&mut self, cluster: &Cluster) {
        if self.last.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.standing = self.notes(cluster).await;
        self.last = Some(Instant::now());
        let fatal =
            |(note, since): &(&Note, &Instant)| !self.may_pass(note) || since.elapsed() > SETTLES_WITHIN;
        let broken: Vec<String> =
            self.standing.iter().filter(fatal).map(|(note, _)| note.to_string()).collect();
        assert!(broken.is_empty(), "{broken:#?}");
    }

    /// Waits until there is nothing to say.
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

    /// Whether a note may be of two moments, or be answered by a refusal.
    fn may_pass(&self, note: &Note) -> bool {
        match note.invariant {
            Invariant::NoOrphanTask | Invariant::TaskWhereBound => true,
            Invariant::WithinCapacity | Invariant::HostPortsOnce => self.binds_by_hand,
            Invariant::OneTask | Invariant::NoTwins => false,
        }
    }

    async fn notes(&self, cluster: &Cluster) -> BTreeMap<Note, Instant> {
        // Tasks first: one that begins afterwards is not missed, one that has ended is only seen once more.
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

/// What an agent has, counted apart from the scheduler's own way of counting.
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
