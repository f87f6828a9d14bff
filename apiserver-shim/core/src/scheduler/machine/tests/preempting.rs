//! Preemption: the kernel's hold first, then the victims, then the launch on what they leave.

use super::*;
use crate::scheduler::NominatedNode;

const VICTIM: &str = "uid-v";

impl Fixture {
    /// Another Pod of this CPU and priority.
    fn other(&mut self, uid: &str, cpu: &str, priority: i32, node: Option<&str>) -> Value {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": uid, "namespace": "ns", "uid": uid, "generation": 1},
            "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
            "status": {"phase": "Pending"},
        });
        if let Some(node) = node {
            pod["spec"]["nodeName"] = json!(node);
            pod["status"]["phase"] = json!("Running");
        }
        pod
    }

    fn show(&mut self, pod: &Value, revision: u64) {
        let row = row(pod, revision);
        self.step(Event::Pod(row));
    }

    /// Both nodes are full of Pods of lower priority, and the Pod wants one; runs a cycle.
    fn preempt(&mut self) {
        for (uid, node) in [(VICTIM, "n0"), ("uid-w", "n1")] {
            let pod = self.other(uid, "3500m", if node == "n0" { 1 } else { 2 }, Some(node));
            self.show(&pod, 10);
        }
        self.pod["spec"]["priority"] = json!(100);
        self.pod["metadata"]["generation"] = json!(2);
        self.revision += 1;
        self.show_pod();
        self.now = self.now + Duration::from_secs(20);
        self.step(Event::Cycle);
        self.now = self.now + Duration::from_secs(1);
        self.step(Event::Cycle);
    }

    fn nominations(&self) -> Vec<NominatedNode> {
        let of = |write: &Write| match write {
            Write::Condition { nominated, .. } if *nominated != NominatedNode::Keep => {
                Some(nominated.clone())
            }
            _ => None,
        };
        self.writes.iter().filter_map(of).collect()
    }

    fn evicted(&self) -> Vec<&str> {
        let mut evicted = Vec::new();
        for write in &self.writes {
            if let Write::Preempt(write) = write {
                evicted.push(&*write.uid);
            }
        }
        evicted
    }

    fn released(&self) -> usize {
        self.calls.iter().filter(|call| matches!(call, Call::ReleaseHold { .. })).count()
    }
}

#[test]
fn victims_are_evicted_after_the_kernel_holds_their_resources() {
    let mut fixture = Fixture::new();
    fixture.preempt();
    assert_eq!(fixture.nominations(), [NominatedNode::Set("n0".into())]);
    assert_eq!((fixture.holds.len(), fixture.evicted().len()), (1, 0));
    let hold = fixture.holds[0].clone();
    assert_eq!((&*hold.id, hold.agent_id.as_str(), hold.role.as_str()), (UID, AGENT, "k8s/ns"));
    assert_eq!(hold.resources, "cpus:1".parse().unwrap());
    assert_eq!((hold.freed_by, hold.length), (vec![TaskId::from(VICTIM)], Duration::from_secs(90)));
    fixture.step(Event::HoldAnswered { uid: UID.into(), outcome: CallOutcome::Accepted });
    assert_eq!(fixture.evicted(), [VICTIM]);
    let Some(Write::Preempt(write)) = fixture.writes.last() else { panic!("{:?}", fixture.writes) };
    assert_eq!(write.message, "default-scheduler: preempting to accommodate a higher priority pod");
    assert_eq!(write.event.message, format!("Preempted by pod {UID} on node n0"));
    // The victim is gone, and its resources are offered.
    fixture.step(Event::PodGone(VICTIM.into()));
    fixture.writes.clear();
    fixture.launch();
    assert_eq!(fixture.launched_tasks(), 1);
    fixture.answer(CallOutcome::Accepted);
    let bind = fixture.writes.iter().position(|write| matches!(write, Write::Bind(_))).unwrap();
    let bind = fixture.writes.remove(bind);
    fixture.finish(bind);
    fixture.show_pod();
    fixture.step(Event::Cycle);
    assert_eq!(fixture.released(), 1);
    assert_eq!(fixture.nominations(), []);
}

#[test]
fn nothing_is_evicted_if_the_kernel_holds_nothing() {
    for outcome in [CallOutcome::Refused, CallOutcome::Unanswered] {
        let mut fixture = Fixture::new();
        fixture.preempt();
        fixture.step(Event::HoldAnswered { uid: UID.into(), outcome });
        assert_eq!(fixture.evicted().len(), 0);
        assert_eq!(fixture.nominations(), [NominatedNode::Set("n0".into()), NominatedNode::Clear]);
    }
}

#[test]
fn the_nomination_ends_with_its_pod() {
    let mut fixture = Fixture::new();
    fixture.preempt();
    fixture.step(Event::PodGone(UID.into()));
    fixture.step(Event::Cycle);
    assert_eq!(fixture.released(), 1);
    fixture.step(Event::HoldAnswered { uid: UID.into(), outcome: CallOutcome::Accepted });
    assert_eq!(fixture.evicted().len(), 0);
}

#[test]
fn a_nomination_survives_a_restart() {
    let mut fixture = Fixture::new();
    fixture.pod["spec"]["priority"] = json!(100);
    fixture.pod["status"]["nominatedNodeName"] = json!("n0");
    fixture.crash();
    let held: Vec<&str> = fixture.holds.iter().map(|hold| &*hold.id).collect();
    assert_eq!(held, [UID]);
    // A Pod of lower priority does not take its place.
    let lower = fixture.other("uid-l", "3500m", 0, None);
    fixture.show(&lower, 20);
    fixture.place();
    let launched = fixture.writes.iter().find_map(|write| match write {
        Write::Intent(write) => Some(write.record.agents.clone()),
        _ => None,
    });
    let launched = launched.expect("the nominated Pod is launched");
    assert!(
        format!("{launched:?}").contains(UID) && !format!("{launched:?}").contains("uid-l"),
        "{launched:?}"
    );
}
