//! A runtime made of two maps, and the machine driven against it by hand; `fates` does so at random.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use serde_json::json;

use super::*;
use crate::{
    action::StartFailure,
    audit::audit,
    seen::{ContainerSeen, Exit, RunState, Seen},
    time::after,
};

mod fates;

/// A machine and the world that it acts on.
pub(crate) struct World {
    pub machine: PodMachine,
    pub now: Timestamp,
    pub sandboxes: BTreeMap<String, SandboxSeen>,
    pub containers: BTreeMap<String, ContainerSeen>,
    pub pending: Vec<Action>,
    pub told: Vec<String>,
    pub fail_starts: Option<(StartFailure, String)>,
    pub finals: Vec<Final>,
    pod: Arc<Pod>,
    /// Every start that happened, by container name and attempt.
    pub starts: Vec<(String, u32)>,
    /// The same, by instance and sandbox.
    ran: Vec<(String, String)>,
}

impl World {
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
            told: Vec::new(),
            fail_starts: None,
            finals: Vec::new(),
            pod,
            starts: Vec::new(),
            ran: Vec::new(),
        }
    }

    pub fn pass(&mut self, seconds: u64) {
        self.now = after(self.now, Duration::from_secs(seconds));
    }

    pub fn send(&mut self, event: Event) {
        let effects = self.machine.step(self.now, event);
        self.finals.extend(effects.persist);
        for action in effects.after_persist {
            match action {
                Action::Tell(told) => self.told.push(format!("{} {}", told.reason, told.message)),
                other => self.pending.push(other),
            }
        }
        let sandboxes: Vec<_> = self.sandboxes.values().cloned().collect();
        let containers: Vec<_> = self.containers.values().cloned().collect();
        assert_eq!(audit(&self.machine, &sandboxes, &containers), []);
    }

    pub fn look(&mut self) {
        let seen = Seen {
            at: self.now,
            sandboxes: self.sandboxes.values().cloned().collect(),
            containers: self.containers.values().cloned().collect(),
        };
        self.send(Event::Seen(seen));
    }

    /// Does one pending action and tells the machine.
    pub fn perform(&mut self, index: usize) {
        self.now = after(self.now, Duration::from_millis(1));
        match self.pending.remove(index) {
            Action::StartSandbox { attempt } => {
                let id = format!("s{attempt}");
                let seen = SandboxSeen {
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
            Action::Tell(_) => {}
        }
    }

    fn start(&mut self, name: String, sandbox_id: String, attempt: u32, restart_count: u32) {
        if let Some((failure, message)) = self.fail_starts.clone() {
            return self.send(Event::ContainerFailed { name, failure, message });
        }
        if !self.sandboxes.get(&sandbox_id).is_some_and(|sandbox| sandbox.ready) {
            let message = "no sandbox".to_owned();
            return self.send(Event::ContainerFailed {
                name,
                failure: StartFailure::CreateContainerError,
                message,
            });
        }
        self.starts.push((name.clone(), attempt));
        self.ran.push((format!("{name}-{attempt}"), self.sandboxes[&sandbox_id].created_at.to_string()));
        let container = spec::container(&self.pod, &name).unwrap();
        let seen = ContainerSeen {
            id: format!("{name}-{attempt}"),
            sandbox_id,
            name,
            attempt,
            restart_count,
            hash: spec::container_hash(container),
            image: "i".to_owned(),
            image_id: "sha256:1".to_owned(),
            state: RunState::Running,
            created_at: self.now,
            started_at: Some(self.now),
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

    /// The running instance of a container ends by itself.
    pub fn exit(&mut self, name: &str, code: i32) {
        self.pass(1);
        let running =
            self.containers.values().find(|c| c.name == name && c.is_running()).map(|c| c.id.clone());
        if let Some(id) = running {
            self.end_instance(&id, code);
        }
    }

    /// Looks and performs until nothing is left to do.
    pub fn settle(&mut self) {
        for _ in 0..100 {
            self.look();
            if self.pending.is_empty() {
                return;
            }
            while !self.pending.is_empty() {
                self.perform(0);
            }
        }
        panic!("does not settle: {:?}", self.pending);
    }

    /// The executor is killed and comes back: all that was under way is lost.
    pub fn restart_executor(&mut self) {
        self.pending.clear();
        self.machine = PodMachine::new(self.pod.clone(), "192.0.2.1", self.now);
    }

    pub fn describe(&self) -> String {
        let status = self.machine.status();
        let conditions: Vec<String> = status
            .conditions
            .iter()
            .flatten()
            .map(|condition| format!("{}={}", condition.type_, condition.status))
            .collect();
        let mut out = format!("{} {}\n", status.phase.as_deref().unwrap_or("-"), conditions.join(" "));
        let containers = status.init_container_statuses.iter().flatten();
        for container in containers.chain(status.container_statuses.iter().flatten()) {
            let state = |state: &ContainerState| {
                if let Some(waiting) = &state.waiting {
                    waiting.reason.clone().unwrap_or_default()
                } else if let Some(t) = &state.terminated {
                    format!("{}({})", t.reason.as_deref().unwrap_or_default(), t.exit_code)
                } else {
                    "Running".to_owned()
                }
            };
            let ready = if container.ready { " ready" } else { "" };
            let last = container
                .last_state
                .as_ref()
                .filter(|last| last.terminated.is_some())
                .map(|last| format!(" last={}", state(last)))
                .unwrap_or_default();
            let now = container.state.as_ref().map(state).unwrap_or_default();
            out.push_str(&format!(
                "{} {now}{ready} restarts={}{last}\n",
                container.name, container.restart_count
            ));
        }
        if let Some(outcome) = self.machine.outcome() {
            out.push_str(&format!("ended: {outcome:?}\n"));
        }
        out
    }
}

fn one() -> World {
    World::new(json!({ "containers": [{ "name": "web", "image": "w" }] }))
}

#[test]
fn nothing_is_started_before_the_first_look() {
    let mut world = one();
    world.send(Event::Tick);
    assert_eq!(world.pending, []);
    world.look();
    assert_eq!(world.pending, [Action::StartSandbox { attempt: 0 }]);
}

#[test]
fn a_restarted_executor_adopts_and_starts_nothing() {
    let mut world = World::new(json!({
        "initContainers": [{ "name": "prepare", "image": "i" }],
        "containers": [{ "name": "web", "image": "w" }, { "name": "log", "image": "l" }]
    }));
    world.settle();
    world.exit("prepare", 0);
    world.settle();
    world.exit("log", 1);
    world.settle();
    let starts = world.starts.clone();
    let before = world.describe();
    world.pass(5);
    world.restart_executor();
    world.settle();
    assert_eq!(world.starts, starts);
    assert_eq!(world.describe(), before);
}

#[test]
fn after_the_machines_restart_containers_count_on() {
    let mut world = World::new(json!({
        "initContainers": [{ "name": "prepare", "image": "i" }],
        "containers": [{ "name": "web", "image": "w" }]
    }));
    world.settle();
    world.exit("prepare", 0);
    world.settle();
    for boot in 1..=5 {
        world.pass(60);
        world.exit("web", 255);
        world.sandboxes.values_mut().for_each(|sandbox| sandbox.ready = false);
        world.told.clear();
        world.restart_executor();
        world.settle();
        world.exit("prepare", 0);
        world.settle();
        assert_eq!(world.told, ["SandboxChanged Pod sandbox changed, it will be killed and re-created."]);
        let expected = format!("web Running ready restarts={boot} last=Error(255)\n");
        assert!(world.describe().ends_with(&expected), "{}", world.describe());
    }
    // What the machine's restarts ended was no failure of the container's: its first one is not punished.
    world.exit("web", 1);
    world.settle();
    assert!(world.describe().contains("web Running ready restarts=6"), "{}", world.describe());
}

#[test]
fn what_may_not_run_again_does_not_after_the_machines_restart() {
    let mut world = World::new(json!({
        "restartPolicy": "Never", "containers": [{ "name": "job", "image": "w" }]
    }));
    world.settle();
    world.exit("job", 143);
    world.sandboxes.values_mut().for_each(|sandbox| sandbox.ready = false);
    world.restart_executor();
    world.settle();
    assert_eq!((world.machine.outcome(), world.starts.len()), (Some(Outcome::Failed), 1));
}

#[test]
fn init_containers_run_in_order_and_sidecars_stay() {
    let mut world = World::new(json!({
        "restartPolicy": "Never",
        "initContainers": [
            { "name": "a", "image": "i" },
            { "name": "proxy", "image": "i", "restartPolicy": "Always" },
            { "name": "b", "image": "i" }
        ],
        "containers": [{ "name": "job", "image": "w" }]
    }));
    world.settle();
    assert_eq!(world.starts, [("a".to_owned(), 0)]);
    world.exit("a", 0);
    world.settle();
    world.exit("b", 0);
    world.settle();
    let names: Vec<&str> = world.starts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "proxy", "b", "job"]);
    world.exit("job", 0);
    world.settle();
    assert_eq!(world.machine.outcome(), Some(Outcome::Finished));
    assert!(world.sandboxes.is_empty() && world.containers.is_empty());
}

#[test]
fn an_init_container_that_fails_for_good_fails_the_pod() {
    let mut world = World::new(json!({
        "restartPolicy": "Never",
        "initContainers": [{ "name": "a", "image": "i" }],
        "containers": [{ "name": "job", "image": "w" }]
    }));
    world.settle();
    world.exit("a", 3);
    world.settle();
    assert_eq!(world.machine.outcome(), Some(Outcome::Failed));
    assert_eq!(world.starts.len(), 1);
}

#[test]
fn a_kill_stops_and_a_second_one_shortens() {
    let mut world = one();
    world.settle();
    world.send(Event::Kill { grace: Duration::from_secs(30) });
    world.pass(2);
    world.send(Event::Kill { grace: Duration::from_secs(60) });
    world.send(Event::Kill { grace: Duration::from_secs(1) });
    let stops: Vec<(u64, bool)> = world
        .pending
        .iter()
        .filter_map(|action| match action {
            Action::StopContainer { grace, pre_stop, .. } => Some((grace.as_secs(), *pre_stop)),
            _ => None,
        })
        .collect();
    assert_eq!(stops, [(30, true), (1, false)]);
    assert_eq!(world.machine.outcome(), None);
    world.settle();
    assert_eq!(world.machine.outcome(), Some(Outcome::Killed));
    assert_eq!(world.finals.len(), 1, "decided once, before anything was removed");
    assert!(world.sandboxes.is_empty());
}

#[test]
fn a_kill_while_an_image_is_pulled_cancels_the_start() {
    let mut world = one();
    world.look();
    world.perform(0);
    assert!(matches!(&world.pending[0], Action::StartContainer { .. }));
    world.send(Event::Kill { grace: Duration::from_secs(30) });
    assert!(world.pending.contains(&Action::CancelStart { name: "web".to_owned() }));
    world.pending.clear();
    let message = String::new();
    world.send(Event::ContainerFailed {
        name: "web".to_owned(),
        failure: StartFailure::Interrupted,
        message,
    });
    world.settle();
    assert_eq!(world.machine.outcome(), Some(Outcome::Killed));
}

#[test]
fn a_sandbox_lost_with_the_machines_restart_is_replaced() {
    let mut world = one();
    world.settle();
    world.sandboxes.get_mut("s0").unwrap().ready = false;
    world.exit("web", 137);
    world.settle();
    assert_eq!(world.starts, [("web".to_owned(), 0), ("web".to_owned(), 1)]);
    assert_eq!(world.sandboxes.keys().collect::<Vec<_>>(), ["s1"]);
    assert!(world.describe().contains("web Running ready restarts=1"), "{}", world.describe());
}

#[test]
fn a_failing_liveness_probe_restarts_the_container() {
    let mut world = World::new(json!({ "containers": [{ "name": "web", "image": "w",
        "livenessProbe": { "exec": { "command": ["x"] }, "failureThreshold": 1 } }] }));
    world.settle();
    world.pass(10);
    world.send(Event::Tick);
    let result = Err("exit code 1".to_owned());
    world.send(Event::Probed { container_id: "web-0".to_owned(), kind: ProbeKind::Liveness, result });
    world.pending.retain(|action| !matches!(action, Action::RunProbe { .. }));
    assert!(matches!(&world.pending[..], [Action::StopContainer { id, .. }] if id == "web-0"));
    world.settle();
    assert_eq!(world.starts.len(), 2);
    assert!(world.told.contains(&"Unhealthy Liveness probe failed: exit code 1".to_owned()));
}

#[test]
fn a_changed_image_restarts_only_its_container() {
    let mut world =
        World::new(json!({ "containers": [{ "name": "a", "image": "1" }, { "name": "b", "image": "1" }] }));
    world.settle();
    let mut pod = (*world.pod).clone();
    pod.spec.as_mut().unwrap().containers[0].image = Some("2".to_owned());
    world.pod = Arc::new(pod);
    world.send(Event::Update(world.pod.clone()));
    world.settle();
    let names: Vec<&str> = world.starts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b", "a"]);
}

#[test]
fn an_active_deadline_ends_the_pod() {
    let mut world =
        World::new(json!({ "activeDeadlineSeconds": 5, "containers": [{ "name": "a", "image": "1" }] }));
    world.settle();
    world.pass(6);
    world.send(Event::Tick);
    world.settle();
    assert_eq!(world.machine.outcome(), Some(Outcome::Failed));
    assert_eq!(world.machine.status().reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(
        world.told,
        ["DeadlineExceeded Pod was active on the node longer than the specified deadline"]
    );
}
