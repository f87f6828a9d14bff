//! An in-memory runtime that drives the state machine by hand; `faults` does so at random.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self, Pod};
use serde_json::json;

use super::*;
use crate::{
    action::{ResizeRefusal, StartFailure},
    audit::audit,
    observed::{Exit, ObservedContainer, ObservedPod, RunState},
    resources::CgroupLimits,
    time::after,
};

mod describe;
mod ephemeral;
mod faults;
mod resizes;
mod restart_rules;

/// A state machine and the runtime that it acts on.
pub(crate) struct Harness {
    pub machine: PodMachine,
    pub now: Timestamp,
    pub sandboxes: BTreeMap<String, ObservedSandbox>,
    pub containers: BTreeMap<String, ObservedContainer>,
    pub pending: Vec<Action>,
    pub events: Vec<String>,
    pub fail_starts: Option<(StartFailure, String)>,
    pub refuse_resizes: Option<ResizeRefusal>,
    pub fail_updates: Option<String>,
    /// The instances whose limits were updated.
    pub updates: Vec<String>,
    pub final_statuses: Vec<FinalStatus>,
    pod: Arc<Pod>,
    /// The highest attempt with a log, by container name.
    logged: BTreeMap<String, u32>,
    /// Every start, by container name and attempt.
    pub starts: Vec<(String, u32)>,
}

impl Harness {
    pub fn new(spec: serde_json::Value) -> Self {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "p", "namespace": "ns", "uid": "u" }, "spec": spec
        }))
        .unwrap();
        let now = Timestamp::from_second(1_000_000).unwrap();
        let pod = Arc::new(pod);
        Self {
            machine: PodMachine::new(pod.clone(), "192.0.2.1", now),
            now,
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
            pending: Vec::new(),
            events: Vec::new(),
            fail_starts: None,
            refuse_resizes: None,
            fail_updates: None,
            updates: Vec::new(),
            final_statuses: Vec::new(),
            pod,
            logged: BTreeMap::new(),
            starts: Vec::new(),
        }
    }

    pub fn advance_clock(&mut self, seconds: u64) {
        self.now = after(self.now, Duration::from_secs(seconds));
    }

    pub fn send(&mut self, event: Event) {
        let effects = self.machine.step(self.now, event);
        self.final_statuses.extend(effects.persist);
        for action in effects.after_persist {
            match action {
                Action::RecordEvent(record) => {
                    self.events.push(format!("{} {}", record.reason, record.message))
                }
                other => self.pending.push(other),
            }
        }
        let sandboxes: Vec<_> = self.sandboxes.values().cloned().collect();
        let containers: Vec<_> = self.containers.values().cloned().collect();
        assert_eq!(audit(&self.machine, &sandboxes, &containers), []);
    }

    pub fn list(&mut self) {
        let seen = ObservedPod {
            at: self.now,
            sandboxes: self.sandboxes.values().cloned().collect(),
            containers: self.containers.values().cloned().collect(),
            logged: self.logged.clone(),
        };
        self.send(Event::Observed(seen));
    }

    /// Performs one pending action and sends the result to the machine.
    pub fn perform(&mut self, index: usize) {
        self.now = after(self.now, Duration::from_millis(1));
        match self.pending.remove(index) {
            Action::StartSandbox { attempt } => {
                let id = format!("s{attempt}");
                let seen = ObservedSandbox {
                    id: id.clone(),
                    attempt,
                    ready: true,
                    created_at: self.now,
                    ips: vec!["10.0.0.2".to_owned()],
                };
                assert!(self.sandboxes.insert(id, seen.clone()).is_none(), "attempt used twice");
                self.send(Event::SandboxStarted(seen));
            }
            Action::RemoveSandbox { id } => {
                self.sandboxes.remove(&id);
                self.containers.retain(|_, container| container.sandbox_id != id);
                self.send(Event::SandboxRemoved { id });
            }
            Action::StartContainer { name, sandbox_id, attempt, restart_count } => {
                self.start(name, sandbox_id, attempt, restart_count);
            }
            Action::CancelStart { .. } => {}
            Action::StopContainer { id, .. } => {
                self.end_instance(&id, 143);
                self.send(Event::StopReturned { id });
            }
            Action::RemoveContainer { id } => {
                assert!(self.containers.get(&id).is_none_or(|c| !c.is_running()), "removed while it runs");
                self.containers.remove(&id);
            }
            Action::RunProbe { container_id, kind, .. } => {
                self.send(Event::Probed { container_id, kind, result: Ok(()) });
            }
            Action::CheckResize { pod } => {
                let verdict = self.refuse_resizes.clone().map_or(Ok(()), Err);
                self.send(Event::ResizeChecked { pod, verdict });
            }
            Action::UpdateContainer { name, id } => {
                let pod = self.machine.pod().clone();
                let limits = CgroupLimits::wanted(&pod, &spec::container(&pod, &name).unwrap());
                self.updates.push(id.clone());
                let result = match self.fail_updates.clone() {
                    Some(message) => Err(message),
                    None => Ok(Some(limits)),
                };
                self.send(Event::ContainerUpdated { id, result });
            }
            Action::RecordEvent(_) => {}
        }
    }

    fn start(&mut self, name: String, sandbox_id: String, attempt: u32, restart_count: u32) {
        if let Some((failure, message)) = self.fail_starts.clone() {
            return self.send(Event::ContainerFailed { name, failure, message, volume_image: None });
        }
        if !self.sandboxes.get(&sandbox_id).is_some_and(|sandbox| sandbox.ready) {
            let message = "no sandbox".to_owned();
            return self.send(Event::ContainerFailed {
                name,
                failure: StartFailure::CreateContainerError,
                message,
                volume_image: None,
            });
        }
        self.starts.push((name.clone(), attempt));
        let logged = self.logged.insert(name.clone(), attempt);
        assert!(logged.is_none_or(|logged| logged < attempt), "the log of an attempt is written twice");
        let pod = self.machine.pod().clone();
        let container = spec::container(&pod, &name).unwrap();
        let seen = ObservedContainer {
            id: format!("{name}-{attempt}"),
            sandbox_id,
            name,
            attempt,
            restart_count,
            hash: spec::container_hash(&container),
            image: "i".to_owned(),
            image_id: "sha256:1".to_owned(),
            state: RunState::Running,
            created_at: self.now,
            started_at: Some(self.now),
            applied: Some(CgroupLimits::wanted(&pod, &container)),
        };
        self.containers.insert(seen.id.clone(), seen.clone());
        self.send(Event::ContainerStarted(seen));
    }

    fn end_instance(&mut self, id: &str, code: i32) {
        let now = self.now;
        if let Some(container) = self.containers.get_mut(id).filter(|container| container.is_running()) {
            let reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
            container.state = RunState::Exited(Exit { code, reason, message: None, finished_at: now });
        }
    }

    /// Ends the running instance of a container by itself.
    pub fn exit(&mut self, name: &str, code: i32) {
        self.advance_clock(1);
        let running =
            self.containers.values().find(|c| c.name == name && c.is_running()).map(|c| c.id.clone());
        if let Some(id) = running {
            self.end_instance(&id, code);
        }
    }

    /// Lists and performs actions until none is pending.
    pub fn settle(&mut self) {
        for _ in 0..100 {
            self.list();
            if self.pending.is_empty() {
                return;
            }
            while !self.pending.is_empty() {
                self.perform(0);
            }
        }
        panic!("does not settle: {:?}", self.pending);
    }

    /// Adds an ephemeral container to the Pod.
    pub fn add_ephemeral(&mut self, container: serde_json::Value) {
        let mut pod = (*self.pod).clone();
        let list = pod.spec.as_mut().unwrap().ephemeral_containers.get_or_insert_default();
        list.push(serde_json::from_value(container).unwrap());
        self.pod = Arc::new(pod);
        self.send(Event::Update(self.pod.clone()));
    }

    /// Kills the executor and restarts it: all operations in progress are lost.
    pub fn restart_executor(&mut self) {
        self.pending.clear();
        self.machine = PodMachine::new(self.pod.clone(), "192.0.2.1", self.now);
    }
}

fn one() -> Harness {
    Harness::new(json!({ "containers": [{ "name": "web", "image": "w" }] }))
}

#[test]
fn nothing_is_started_before_the_first_listing() {
    let mut harness = one();
    harness.send(Event::Tick);
    assert_eq!(harness.pending, []);
    harness.list();
    assert_eq!(harness.pending, [Action::StartSandbox { attempt: 0 }]);
}

#[test]
fn a_restarted_executor_adopts_and_starts_nothing() {
    let mut harness = Harness::new(json!({
        "initContainers": [{ "name": "prepare", "image": "i" }],
        "containers": [{ "name": "web", "image": "w" }, { "name": "log", "image": "l" }]
    }));
    harness.settle();
    harness.exit("prepare", 0);
    harness.settle();
    harness.exit("log", 1);
    harness.settle();
    let starts = harness.starts.clone();
    let before = harness.describe();
    harness.advance_clock(5);
    harness.restart_executor();
    harness.settle();
    assert_eq!(harness.starts, starts);
    assert_eq!(harness.describe(), before);
}

#[test]
fn restart_counts_continue_after_a_reboot() {
    let mut harness = Harness::new(json!({
        "initContainers": [{ "name": "prepare", "image": "i" }],
        "containers": [{ "name": "web", "image": "w" }]
    }));
    harness.settle();
    harness.exit("prepare", 0);
    harness.settle();
    for boot in 1..=5 {
        harness.advance_clock(60);
        harness.exit("web", 255);
        harness.sandboxes.values_mut().for_each(|sandbox| sandbox.ready = false);
        harness.events.clear();
        harness.restart_executor();
        harness.settle();
        harness.exit("prepare", 0);
        harness.settle();
        assert_eq!(harness.events, ["SandboxChanged Pod sandbox changed, it will be killed and re-created."]);
        let expected = format!("web Running ready restarts={boot} last=Error(255)\n");
        assert!(harness.describe().ends_with(&expected), "{}", harness.describe());
    }
    // A reboot is not a failure of the container: its first failure has no delay.
    harness.exit("web", 1);
    harness.settle();
    assert!(harness.describe().contains("web Running ready restarts=6"), "{}", harness.describe());
}

#[test]
fn restart_policy_never_holds_after_a_reboot() {
    let mut harness = Harness::new(json!({
        "restartPolicy": "Never", "containers": [{ "name": "job", "image": "w" }]
    }));
    harness.settle();
    harness.exit("job", 143);
    harness.sandboxes.values_mut().for_each(|sandbox| sandbox.ready = false);
    harness.restart_executor();
    harness.settle();
    assert_eq!((harness.machine.outcome(), harness.starts.len()), (Some(PodOutcome::Failed), 1));
}

#[test]
fn init_containers_run_in_order_and_sidecars_keep_running() {
    let mut harness = Harness::new(json!({
        "restartPolicy": "Never",
        "initContainers": [
            { "name": "a", "image": "i" },
            { "name": "proxy", "image": "i", "restartPolicy": "Always" },
            { "name": "b", "image": "i" }
        ],
        "containers": [{ "name": "job", "image": "w" }]
    }));
    harness.settle();
    assert_eq!(harness.starts, [("a".to_owned(), 0)]);
    harness.exit("a", 0);
    harness.settle();
    harness.exit("b", 0);
    harness.settle();
    let names: Vec<&str> = harness.starts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "proxy", "b", "job"]);
    harness.exit("job", 0);
    harness.settle();
    assert_eq!(harness.machine.outcome(), Some(PodOutcome::Finished));
    assert!(harness.sandboxes.is_empty() && harness.containers.is_empty());
}

#[test]
fn a_failed_init_container_fails_the_pod() {
    let mut harness = Harness::new(json!({
        "restartPolicy": "Never",
        "initContainers": [{ "name": "a", "image": "i" }],
        "containers": [{ "name": "job", "image": "w" }]
    }));
    harness.settle();
    harness.exit("a", 3);
    harness.settle();
    assert_eq!(harness.machine.outcome(), Some(PodOutcome::Failed));
    assert_eq!(harness.starts.len(), 1);
}

#[test]
fn a_second_kill_only_shortens_the_grace_period() {
    let mut harness = one();
    harness.settle();
    harness.send(Event::Kill { grace: Duration::from_secs(30) });
    harness.advance_clock(2);
    harness.send(Event::Kill { grace: Duration::from_secs(60) });
    harness.send(Event::Kill { grace: Duration::from_secs(1) });
    let stops: Vec<(u64, bool)> = harness
        .pending
        .iter()
        .filter_map(|action| match action {
            Action::StopContainer { grace, pre_stop, .. } => Some((grace.as_secs(), *pre_stop)),
            _ => None,
        })
        .collect();
    assert_eq!(stops, [(30, true), (1, false)]);
    assert_eq!(harness.machine.outcome(), None);
    harness.settle();
    assert_eq!(harness.machine.outcome(), Some(PodOutcome::Killed));
    assert_eq!(harness.final_statuses.len(), 1, "persisted once, before anything was removed");
    assert!(harness.sandboxes.is_empty());
}

#[test]
fn a_kill_while_an_image_is_pulled_cancels_the_start() {
    let mut harness = one();
    harness.list();
    harness.perform(0);
    assert!(matches!(&harness.pending[0], Action::StartContainer { .. }));
    harness.send(Event::Kill { grace: Duration::from_secs(30) });
    assert!(harness.pending.contains(&Action::CancelStart { name: "web".to_owned() }));
    harness.pending.clear();
    let message = String::new();
    harness.send(Event::ContainerFailed {
        name: "web".to_owned(),
        failure: StartFailure::Interrupted,
        message,
        volume_image: None,
    });
    harness.settle();
    assert_eq!(harness.machine.outcome(), Some(PodOutcome::Killed));
}

#[test]
fn a_sandbox_lost_in_a_reboot_is_replaced() {
    let mut harness = one();
    harness.settle();
    harness.sandboxes.get_mut("s0").unwrap().ready = false;
    harness.exit("web", 137);
    harness.settle();
    assert_eq!(harness.starts, [("web".to_owned(), 0), ("web".to_owned(), 1)]);
    assert_eq!(harness.sandboxes.keys().collect::<Vec<_>>(), ["s1"]);
    assert!(harness.describe().contains("web Running ready restarts=1"), "{}", harness.describe());
}

#[test]
fn a_failing_liveness_probe_restarts_the_container() {
    let mut harness = Harness::new(json!({ "containers": [{ "name": "web", "image": "w",
        "livenessProbe": { "exec": { "command": ["x"] }, "failureThreshold": 1 } }] }));
    harness.settle();
    harness.advance_clock(10);
    harness.send(Event::Tick);
    let result = Err(ProbeFailure::Failed("exit code 1".to_owned()));
    harness.send(Event::Probed { container_id: "web-0".to_owned(), kind: ProbeKind::Liveness, result });
    harness.pending.retain(|action| !matches!(action, Action::RunProbe { .. }));
    assert!(matches!(&harness.pending[..], [Action::StopContainer { id, .. }] if id == "web-0"));
    harness.settle();
    assert_eq!(harness.starts.len(), 2);
    assert!(harness.events.contains(&"Unhealthy Liveness probe failed: exit code 1".to_owned()));
}

#[test]
fn a_changed_image_restarts_only_its_container() {
    let mut harness =
        Harness::new(json!({ "containers": [{ "name": "a", "image": "1" }, { "name": "b", "image": "1" }] }));
    harness.settle();
    let mut pod = (*harness.pod).clone();
    pod.spec.as_mut().unwrap().containers[0].image = Some("2".to_owned());
    harness.pod = Arc::new(pod);
    harness.send(Event::Update(harness.pod.clone()));
    harness.settle();
    let names: Vec<&str> = harness.starts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b", "a"]);
}

#[test]
fn an_evicted_pod_fails_with_the_message() {
    let mut harness = one();
    harness.settle();
    harness.send(Event::Evict {
        message: "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ".to_owned(),
        disruption: false,
    });
    assert!(matches!(&harness.pending[..], [Action::StopContainer { grace, .. }] if grace.as_secs() == 1));
    harness.settle();
    assert_eq!(harness.machine.outcome(), Some(PodOutcome::Failed));
    let status = harness.machine.status();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Evicted")));
    assert_eq!(harness.events, ["Evicted Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "]);
}

#[test]
fn a_pod_that_is_evicted_for_the_node_is_the_target_of_a_disruption() {
    let of = |disruption| {
        let mut harness = one();
        harness.settle();
        harness.send(Event::Evict { message: "pressure".to_owned(), disruption });
        harness.settle();
        let conditions = harness.machine.status().conditions.unwrap_or_default();
        conditions.into_iter().find(|condition| condition.type_ == "DisruptionTarget")
    };
    assert_eq!(of(false), None);
    let target = of(true).unwrap();
    assert_eq!(
        (target.status.as_str(), target.reason.as_deref(), target.message.as_deref()),
        ("True", Some("TerminationByKubelet"), Some("pressure"))
    );
}

#[test]
fn active_deadline_seconds_ends_the_pod() {
    let mut harness =
        Harness::new(json!({ "activeDeadlineSeconds": 5, "containers": [{ "name": "a", "image": "1" }] }));
    harness.settle();
    harness.advance_clock(6);
    harness.send(Event::Tick);
    harness.settle();
    assert_eq!(harness.machine.outcome(), Some(PodOutcome::Failed));
    assert_eq!(harness.machine.status().reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(
        harness.events,
        ["DeadlineExceeded Pod was active on the node longer than the specified deadline"]
    );
}
