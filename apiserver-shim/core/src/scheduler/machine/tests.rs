//! The machine against a store and a kernel that the test controls.

use std::sync::Arc;

use bytes::Bytes;
use kernel_model::{
    agent::{AgentInfo, AgentSnapshot, AgentState},
    ids::{AgentId, TaskId, UpdateId},
    offer::Offer,
    resources::Resources,
    scheduler::Operation,
    task::{Reason, Source, TaskState, TaskStatus},
};
use serde_json::{Value, json};
use shim_model::{object::StoredObject, pod_status::PodStatus};

use super::*;
use crate::rows::{Node, Pod, PodParts};

#[path = "tests/declared.rs"]
mod declared;
#[path = "tests/executors.rs"]
mod executors;
#[path = "tests/host_ports.rs"]
mod host_ports;
#[path = "tests/nodes.rs"]
mod nodes;
#[path = "tests/ordering.rs"]
mod ordering;
#[path = "tests/oversubscription.rs"]
mod oversubscription;
#[path = "tests/preempting.rs"]
mod preempting;
#[path = "tests/reclaiming.rs"]
mod reclaiming;
#[path = "tests/recovery.rs"]
mod recovery;
#[path = "tests/refusals.rs"]
mod refusals;
#[path = "tests/rejections.rs"]
mod rejections;
#[path = "tests/resizes.rs"]
mod resizes;
#[path = "tests/volumes.rs"]
mod volumes;
#[path = "tests/waiting.rs"]
mod waiting;

/// A machine, one agent with its Node, one Pod, and the effects in progress.
struct Fixture {
    machine: SchedulerMachine,
    now: Time,
    /// The stored Pod and its revision.
    pod: Value,
    revision: u64,
    journal: Vec<crate::scheduler::IntentRecord>,
    writes: Vec<Write>,
    calls: Vec<Call>,
    launches: Vec<(u64, Vec<Call>)>,
    holds: Vec<kernel_model::scheduler::Hold>,
    updates: u8,
}

const AGENT: &str = "S0";
const UID: &str = "uid-1";

fn agent(id: &str, hostname: &str) -> AgentSnapshot {
    let total: Resources = "cpus:4;mem:4096;disk:1024".parse().unwrap();
    AgentSnapshot {
        info: AgentInfo {
            id: Some(AgentId::from(id)),
            hostname: hostname.to_owned(),
            ip: "10.0.0.1".to_owned(),
            port: 5051,
            resources: total.clone(),
            attributes: Vec::new(),
            runs_images: false,
            operations: Default::default(),
        }
        .into(),
        state: AgentState::Connected,
        activation: Default::default(),
        registered_at: Time::default(),
        reregistered_at: None,
        total,
        allocated: Vec::new(),
        offered: Resources::new(),
    }
}

fn row(value: &Value, revision: u64) -> Arc<Pod> {
    let object = Arc::new(StoredObject::parse(serde_json::to_vec(value).unwrap().into()).unwrap());
    let status = PodStatus::of(&value["status"]);
    let annotations = &value["metadata"]["annotations"];
    let parts = PodParts { annotations, spec: &value["spec"], status: &status };
    Arc::new(Pod::decode(object, revision, parts, parts.shape("p").into()))
}

impl Fixture {
    /// A subscribed machine that has seen the agent and the Pod.
    fn new() -> Self {
        let mut fixture = Fixture {
            machine: SchedulerMachine::default(),
            now: Time(1_800_000_000_000_000_000),
            pod: json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "namespace": "ns", "uid": UID, "generation": 1},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {"phase": "Pending"},
            }),
            revision: 1,
            journal: Vec::new(),
            writes: Vec::new(),
            calls: Vec::new(),
            launches: Vec::new(),
            holds: Vec::new(),
            updates: 0,
        };
        fixture.list();
        fixture.subscribe();
        fixture
    }

    fn list(&mut self) {
        self.step(Event::Namespace { name: "ns".into(), role: None });
        for name in ["n0", "n1"] {
            let node = json!({
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            });
            let object = StoredObject::parse(serde_json::to_vec(&node).unwrap().into()).unwrap();
            self.step(Event::Node(Node::decode(object.into(), 1, &node).into()));
        }
        self.show_pod();
    }

    fn subscribe(&mut self) {
        let subscribed = Subscribed {
            framework_id: "f".into(),
            roles: self.machine.roles(),
            agents: vec![agent(AGENT, "n0"), agent("S1", "n1")],
            journal: self.journal.clone(),
        };
        self.step(Event::Subscribed(Box::new(subscribed)));
    }

    /// Restarts the process, which subscribes again.
    fn crash(&mut self) {
        self.machine = SchedulerMachine::default();
        self.writes.clear();
        self.calls.clear();
        self.launches.clear();
        self.list();
        self.subscribe();
    }

    fn step(&mut self, event: Event) {
        self.now = self.now + Duration::from_millis(1);
        let Effects { persist, send } = self.machine.step(self.now, event);
        self.writes.extend(persist.into_iter().filter(|write| !matches!(write, Write::Node(_))));
        for send in send {
            match send {
                Send::Call(call) => self.calls.push(call),
                Send::Hold { call: Call::Hold(hold), .. } => self.holds.push(*hold),
                Send::Launch { launch, calls } => self.launches.push((launch, calls)),
                _ => {}
            }
        }
    }

    /// Delivers the stored Pod as a watch event.
    fn show_pod(&mut self) {
        let row = row(&self.pod, self.revision);
        self.step(Event::Pod(row));
    }

    fn phase(&self) -> TaskPhase {
        self.machine.phase_of(UID).unwrap()
    }

    /// Offers the agent and runs a cycle, up to the record of the intent. The time is later than any back-off.
    fn place(&mut self) {
        self.now = self.now + Duration::from_secs(20);
        let role: Role = Role::parse("k8s/ns").unwrap();
        let resources: Resources = "cpus:4;mem:4096;disk:1024".parse().unwrap();
        let offer = Offer {
            id: format!("O{}", self.now.0).into(),
            framework_id: "f".into(),
            agent_id: AGENT.into(),
            agent: agent(AGENT, "n0").info,
            resources: resources.into_allocated_to(&role),
            role,
            executor_ids: Vec::new(),
        };
        self.step(Event::Offers(vec![offer.into()]));
        self.step(Event::Cycle);
    }

    /// Carries out the oldest pending write and reports its outcome.
    fn finish_write(&mut self) {
        let write = self.writes.remove(0);
        self.finish(write);
    }

    fn finish(&mut self, write: Write) {
        let now = 0;
        match write {
            Write::Intent(write) => {
                self.journal.retain(|record| !write.remove.contains(&record.number));
                self.journal.push(write.record.clone());
                self.step(Event::IntentWritten { number: write.record.number, written: true });
            }
            Write::RemoveIntents(numbers) => {
                self.journal.retain(|record| !numbers.contains(&record.number));
                self.step(Event::IntentsRemoved { numbers, removed: true });
            }
            Write::Bind(write) => {
                let current = write.pod.revision == self.revision;
                let result = match current {
                    true => {
                        self.pod = serde_json::from_slice(&write.bound.bytes).unwrap();
                        Ok(BindOutcome { with_status: write.with_status, with_event: true })
                    }
                    false => PodEdit::Bind { node: write.node.clone() }
                        .apply(&mut self.pod, UID, now)
                        .map(|()| BindOutcome { with_status: false, with_event: false })
                        .map_err(WriteFailure::Refused),
                };
                self.revision += 1;
                self.step(Event::Bound { uid: UID.into(), result });
            }
            Write::Status(write) => {
                let result = write.edits.iter().try_for_each(|edit| edit.apply(&mut self.pod, UID, now));
                self.revision += 1;
                let result = result.map_err(WriteFailure::Refused);
                self.step(Event::StatusWritten { uid: UID.into(), result });
            }
            Write::Condition { .. }
            | Write::Preempt(_)
            | Write::Evict(_)
            | Write::SelectNode { .. }
            | Write::Node(_) => {}
        }
    }

    /// Answers the launch in progress.
    fn answer(&mut self, outcome: CallOutcome) {
        let (launch, calls) = self.launches.remove(0);
        self.step(Event::LaunchAnswered { launch, outcomes: vec![outcome; calls.len()] });
    }

    /// Proceeds to phase `Launched`.
    fn launch(&mut self) {
        self.place();
        self.finish_write();
        assert_eq!((self.phase(), self.launches.len()), (TaskPhase::Launched, 1));
    }

    /// Sends a status update of the executor with the Pod's phase.
    fn report(&mut self, state: TaskState, phase: &str) {
        self.updates += 1;
        let data = serde_json::to_vec(&json!({"status": {"phase": phase}})).unwrap();
        let status = TaskStatus {
            agent_id: Some(AGENT.into()),
            uuid: Some(UpdateId([self.updates; 16])),
            data: Bytes::from(data),
            ..TaskStatus::new(TaskId::from(UID), state, Source::Executor, self.now)
        };
        self.step(Event::Update(status.into()));
    }

    /// Sends a status update of the master, which needs no acknowledgement.
    fn master_says(&mut self, state: TaskState, reason: Reason, agent: Option<&str>) {
        let status = TaskStatus {
            agent_id: agent.map(AgentId::from),
            reason: Some(reason),
            message: Some("whatever it says".to_owned()),
            ..TaskStatus::new(TaskId::from(UID), state, Source::Master, self.now)
        };
        self.step(Event::Update(status.into()));
    }

    /// The number of acknowledgements of each update.
    fn acknowledged(&self) -> Vec<u8> {
        let uuid = |call: &Call| match call {
            Call::Acknowledge { uuid, .. } => Some(uuid.0[0]),
            _ => None,
        };
        self.calls.iter().filter_map(uuid).collect()
    }

    fn kills(&self) -> usize {
        self.calls.iter().filter(|call| matches!(call, Call::Kill { .. })).count()
    }

    fn questions(&self) -> usize {
        let asks = |call: &&Call| matches!(call, Call::Reconcile { tasks } if !tasks.is_empty());
        self.calls.iter().filter(asks).count()
    }

    fn launched_tasks(&self) -> usize {
        let tasks = |call: &Call| match call {
            Call::Accept { operations, .. } => match &operations[0] {
                Operation::Launch { tasks } => tasks.len(),
                _ => 0,
            },
            _ => 0,
        };
        self.launches.iter().flat_map(|(_, calls)| calls).map(tasks).sum()
    }
}
