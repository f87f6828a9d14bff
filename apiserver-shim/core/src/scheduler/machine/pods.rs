//! The scheduler's state per Pod: whether it is pending, has a task, and which node it occupies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;
use kernel_model::{ids::AgentId, task::TaskStatus, time::Time};

use super::SchedulerMachine;
use crate::rows::{Phase, Pod};
use crate::scheduler::{EventSet, PendingPod, PodView, TaskPhase};

/// The state of one Pod.
#[derive(Debug)]
pub(super) struct PodState {
    pub row: Arc<Pod>,
    pub phase: TaskPhase,
    /// The launch in progress.
    pub launch: Option<u64>,
    /// The agent of the task, if known.
    pub agent_id: Option<AgentId>,
    /// The node of a binding that we wrote; `row` may not show it yet.
    pub bound_to: Option<Box<str>>,
    /// Whether a status was stored which says that the Pod was started; `row` may not show it yet.
    pub started: bool,
    /// Whether the Pod was bound when it came, and its executor has not reported it since: the stored status may be of a
    /// backup.
    pub unconfirmed: bool,
    /// The node on which the Pod's resources are counted.
    pub occupies: Option<Box<str>>,
    pub waiting_since: Time,
    /// The reason that was last reported.
    pub reported_reason: Option<String>,
    /// How often a reason was reported after a failed attempt, and when the next one may be.
    pub reports: u32,
    /// See `reports`.
    pub next_report: Time,
    /// Updates that arrived while the Pod was being written, and that wait for the write.
    pub deferred: Vec<Arc<TaskStatus>>,
    /// The message of the master's refusal of a launch as invalid. The kernel is asked whether it has the task; if it
    /// does not, the launch itself was invalid.
    pub refused: Option<Box<str>>,
    /// When a kill was sent, and its grace period.
    pub killed: Option<(Time, i64)>,
    pub asked_at: Option<Time>,
    /// Whether its eviction was requested; `row` may not show it yet.
    pub evicting: bool,
}

impl PodState {
    pub fn new(row: Arc<Pod>, now: Time) -> Self {
        PodState {
            row,
            phase: TaskPhase::Unscheduled,
            launch: None,
            agent_id: None,
            bound_to: None,
            started: false,
            unconfirmed: false,
            occupies: None,
            waiting_since: now,
            reported_reason: None,
            reports: 0,
            next_report: now,
            deferred: Vec::new(),
            refused: None,
            killed: None,
            asked_at: None,
            evicting: false,
        }
    }

    /// The node that the Pod is bound to.
    pub fn node(&self) -> Option<&str> {
        self.row.node.as_deref().or(self.bound_to.as_deref())
    }

    /// Whether the state of its task matters: it has not finished, or waits for its removal.
    pub fn is_unsettled(&self) -> bool {
        !self.row.phase.is_terminal() || self.row.deletion.is_some()
    }

    /// Whether it needs a launch.
    pub fn needs_launch(&self) -> bool {
        self.phase == TaskPhase::Unscheduled && self.may_launch()
    }

    /// Whether it may be launched: it is bound and not started, or pending.
    pub fn may_launch(&self) -> bool {
        !self.row.phase.is_terminal()
            && self.row.deletion.is_none()
            && (self.node().is_some() || self.row.wants_node())
    }

    pub fn set_phase(&mut self, next: TaskPhase) {
        debug_assert!(
            self.phase.may_become(next),
            "{:?} cannot become {next:?}: {:?}",
            self.phase,
            self.row.uid()
        );
        self.phase = next;
        if !next.is_launching() {
            self.launch = None;
        }
        if next != TaskPhase::Requested {
            self.refused = None;
        }
    }

    /// The Pod as `task_status` sees it.
    pub fn view(&self) -> PodView<'_> {
        PodView {
            node: self.node(),
            ended: self.row.phase.is_terminal() || self.phase == TaskPhase::Ended,
            started: self.started || self.row.phase != Phase::Pending,
            deleting: self.row.deletion.is_some(),
        }
    }
}

/// All Pods.
#[derive(Debug, Default)]
pub(super) struct PodCache {
    /// By UID. Hashed look-up; iteration follows insertion and removal, never the hash.
    pub by_uid: IndexMap<Box<str>, PodState>,
    /// The number of Pods per controller and node.
    same_owner: BTreeMap<Box<str>, BTreeMap<Box<str>, u32>>,
    /// Roles with a Pod that is to be tried.
    pub roles_waiting: BTreeSet<Arc<str>>,
    /// What is to be reported of Pods, by UID, when they may report again.
    pub late_reports: BTreeMap<Box<str>, LateReport>,
}

/// Why a Pod is pending, if that changed soon after the last report.
#[derive(Debug)]
pub(super) struct LateReport {
    pub message: String,
    /// The role of which the kernel is asked, for a Pod that waits for an offer.
    pub role: Option<Arc<str>>,
}

impl PodCache {
    /// The number of a controller's Pods on a node.
    pub fn same_owner_pods(&self, owner: &str, node: &str) -> u32 {
        self.same_owner.get(owner).and_then(|nodes| nodes.get(node)).copied().unwrap_or(0)
    }

    fn count_same_owner(&mut self, row: &Pod, node: &str, here: bool) {
        let Some(owner) = row.controller_uid() else { return };
        let nodes = self.same_owner.entry(owner.into()).or_default();
        let count = nodes.entry(node.into()).or_default();
        *count = if here { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            nodes.remove(node);
            if nodes.is_empty() {
                self.same_owner.remove(owner);
            }
        }
    }
}

impl SchedulerMachine {
    /// Adds a Pod to the scheduling queue or removes it.
    pub(super) fn sort_in(&mut self, uid: &str) {
        let Some(state) = self.pods.by_uid.get(uid) else { return self.queue.remove(uid) };
        if state.phase.is_launching() {
            return self.queue.launched(uid);
        }
        // A Pod without a matching profile belongs to another scheduler. A bound Pod needs a launch, whoever bound
        // it.
        let profiles = self.scheduler.profiles();
        let profile = profiles.find(state.row.scheduler_name()).or(state.node().map(|_| 0));
        match profile.filter(|_| state.needs_launch()) {
            Some(profile) => {
                let role = self.roles.of(&state.row.header().namespace);
                let mut pending = PendingPod::new(state.row.clone(), role, profile);
                pending.bound_to = state.node().map(Box::from);
                self.queue.put(profiles, pending);
            }
            None => self.queue.remove(uid),
        }
    }

    /// Updates the resources that the Pod occupies from its row and phase.
    pub(super) fn occupy(&mut self, uid: &str) {
        let Some(state) = self.pods.by_uid.get(uid) else { return };
        // A launch occupies its node before the binding is written.
        let launched = match state.phase {
            phase if phase.is_launching() => state.occupies.clone(),
            TaskPhase::Requested if self.journal.agent_of(uid).is_some() => state.occupies.clone(),
            _ => None,
        };
        let wanted = match state.row.phase.is_terminal() {
            true => None,
            false => state.node().map(Box::from).or(launched),
        };
        self.occupy_node(uid, wanted);
    }

    /// Counts the Pod on this node only.
    pub(super) fn occupy_node(&mut self, uid: &str, wanted: Option<Box<str>>) {
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        if state.occupies == wanted {
            return;
        }
        let before = std::mem::replace(&mut state.occupies, wanted.clone());
        let row = state.row.clone();
        if let Some(node) = before {
            self.vacate(&node, &row);
        }
        if let Some(node) = wanted {
            self.node_infos.add_pod(&node, &row);
            self.pods.count_same_owner(&row, &node, true);
            self.node_event(EventSet::POD_ADD, &node, None);
        }
    }

    pub(super) fn vacate(&mut self, node: &str, row: &Pod) {
        self.node_infos.remove_pod(node, row.uid());
        self.pods.count_same_owner(row, node, false);
        self.node_event(EventSet::POD_DELETE, node, None);
    }

    /// The Pods to schedule, in order.
    pub(super) fn pending(&self) -> Vec<PendingPod> {
        let mut pending: Vec<PendingPod> = self
            .queue
            .active()
            // The write in progress may say that the Pod has finished.
            .filter(|pending| !self.inflight.contains_key(pending.uid()))
            .map(|pending| {
                let role = self.roles.of(&pending.pod.header().namespace);
                let volumes = self.volumes.of(&pending.pod);
                PendingPod { role, volumes, ..pending.clone() }
            })
            .collect();
        self.scheduler.profiles().sort(&mut pending);
        pending
    }
}
