//! When Pods are retried.

use serde_json::json;

use super::*;
use crate::scheduler::{
    Amounts, Outcome, Scheduler,
    testing::{Cluster, GIB, bound_pod, name, node, pending, places, pod, pod_with, shape},
};

fn at(seconds: u64) -> Time {
    Time(0) + Duration::from_secs(seconds)
}

fn active(queue: &SchedulingQueue) -> Vec<&str> {
    queue.active().map(PendingPod::uid).collect()
}

/// Tries a Pod and moves it within the queue according to its report.
fn attempt(queue: &mut SchedulingQueue, cluster: &mut Cluster, pod: &PendingPod, now: Time) -> bool {
    let mut scheduler = Scheduler::default();
    match &cluster.decide_with(&mut scheduler, std::slice::from_ref(pod))[0].outcome {
        Outcome::Wait(report) if report.waits_for_offer() => {
            queue.back_off(pod.uid(), now, report.refused_by);
            false
        }
        Outcome::Wait(report) => {
            queue.unschedulable(pod.uid(), now, report.refused_by);
            false
        }
        _ => true,
    }
}

#[test]
fn an_unschedulable_pod_waits_for_an_event_that_can_help() {
    let profiles = Profiles::default();
    let mut cluster = Cluster::of([(1000, GIB), (1000, GIB)]);
    let running = bound_pod(1, &shape(800, 0), 0);
    cluster.add_pod(0, &running.pod);
    let waits = pod(0, &shape(1500, 0), None);
    let mut queue = SchedulingQueue::default();
    queue.put(&profiles, waits.clone());
    assert_eq!(active(&queue), ["u00000"]);
    assert!(!attempt(&mut queue, &mut cluster, &waits, at(0)));
    assert_eq!(queue.lengths(), QueueLengths { unschedulable: 1, ..QueueLengths::default() });
    // Frees resources for other Pods, but not enough for this one.
    cluster.remove_pod(&name(0), &running.pod);
    let event = |cluster: &Cluster, kinds, queue: &mut SchedulingQueue, now| {
        queue.on_event(
            &profiles,
            now,
            &ClusterEvent { kinds, node: cluster.nodes.get(&name(0)), role: None, claim: None },
        );
        queue.advance(now);
    };
    event(&cluster, crate::scheduler::EventSet::POD_DELETE, &mut queue, at(20));
    assert!(queue.is_idle());
    // An event that the plugin did not register for.
    event(&cluster, crate::scheduler::EventSet::NODE_TAINTS, &mut queue, at(21));
    assert!(queue.is_idle());
    let allocatable = Amounts { cpu_milli: 2000, memory: GIB, ..Amounts::default() };
    let capacity = crate::scheduler::NodeCapacity { allocatable, ..Default::default() };
    let kinds = cluster.nodes.put_capacity(&name(0), capacity);
    cluster.offer_all(0);
    event(&cluster, kinds, &mut queue, at(22));
    assert_eq!(active(&queue), ["u00000"]);
    assert!(attempt(&mut queue, &mut cluster, &waits, at(22)));
}

#[test]
fn a_pod_is_retried_after_five_minutes_without_an_event() {
    let profiles = Profiles::default();
    let mut cluster = Cluster::of([(1000, GIB)]);
    let waits = pod(0, &shape(1500, 0), None);
    let mut queue = SchedulingQueue::default();
    queue.put(&profiles, waits.clone());
    attempt(&mut queue, &mut cluster, &waits, at(7));
    assert_eq!(queue.next_deadline(), Some(at(307)));
    queue.advance(at(306));
    assert!(queue.is_idle());
    queue.advance(at(307));
    assert!(queue.is_active("u00000"));
}

#[test]
fn back_off_doubles_and_ends_early_when_no_other_pod_is_active() {
    let profiles = Profiles::default();
    let mut queue = SchedulingQueue::default();
    let (first, second) = (pod(0, &shape(1, 0), None), pod(1, &shape(1, 0), None));
    queue.put(&profiles, first);
    for (now, until) in [(0, 1), (1, 3), (3, 7), (7, 15), (15, 25), (25, 35)] {
        queue.back_off("u00000", at(now), PluginSet::default());
        assert_eq!(queue.next_deadline(), Some(at(until)));
        queue.advance(at(until));
        assert!(queue.is_active("u00000"));
    }
    queue.back_off("u00000", at(35), PluginSet::default());
    queue.put(&profiles, second);
    let event =
        ClusterEvent { kinds: crate::scheduler::EventSet::POD_DELETE, node: None, role: None, claim: None };
    queue.on_event(&profiles, at(36), &event);
    queue.advance(at(36));
    assert_eq!(active(&queue), ["u00001"], "another Pod comes first");
    queue.launched("u00001");
    queue.advance(at(36));
    assert_eq!(active(&queue), ["u00000"]);
    queue.remove("u00000");
    queue.remove("u00001");
    assert_eq!(queue.lengths(), QueueLengths::default());
}

#[test]
fn gated_pods_wait_until_their_gates_are_removed() {
    let profiles = Profiles::default();
    let mut queue = SchedulingQueue::default();
    let gated = pod_with(0, &shape(1, 0), json!({}), json!({"schedulingGates": [{"name": "g"}]}));
    queue.put(&profiles, pending(gated));
    assert_eq!(queue.lengths(), QueueLengths { gated: 1, ..QueueLengths::default() });
    queue.put(&profiles, pod(0, &shape(1, 0), None));
    assert_eq!(queue.lengths(), QueueLengths { active: 1, ..QueueLengths::default() });
}

#[test]
fn a_change_of_status_does_not_make_a_pod_active_and_one_of_labels_does() {
    let profiles = Profiles::default();
    let mut queue = SchedulingQueue::default();
    let shape = shape(1, 0);
    let with = |labels| pending(pod_with(0, &shape, json!({"labels": labels}), json!({})));
    queue.put(&profiles, with(json!({})));
    queue.unschedulable("u00000", at(0), PluginSet::default());
    queue.put(&profiles, with(json!({})));
    assert!(queue.is_idle());
    queue.put(&profiles, with(json!({"a": "b"})));
    assert!(queue.is_active("u00000"));
}

/// For each plugin that refuses: the event that helps, and one that does not.
#[test]
fn each_plugin_has_events_that_cure() {
    use crate::scheduler::{EventSet, PodShape};
    let profiles = Profiles::default();
    let check = |cluster: &mut Cluster, spec: serde_json::Value, cure: &dyn Fn(&mut Cluster) -> EventSet| {
        let shape = Arc::new(PodShape::decode(&spec, "p"));
        let waits = pending(pod_with(0, &shape, json!({}), spec));
        let mut queue = SchedulingQueue::default();
        queue.put(&profiles, waits.clone());
        assert!(!attempt(&mut queue, cluster, &waits, at(0)));
        let kinds = cure(cluster);
        queue.on_event(
            &profiles,
            at(20),
            &ClusterEvent { kinds, node: cluster.nodes.get(&name(0)), role: None, claim: None },
        );
        queue.advance(at(20));
        assert!(queue.is_active("u00000"), "{kinds:?}");
        cluster.offer_all(0);
        let decisions = cluster.decide(&[waits]);
        assert_eq!(places(&decisions), [Some(0)], "{}", crate::scheduler::testing::report(&decisions[0]));
    };
    let one = || Cluster::of([(1000, GIB)]);
    // NodeUnschedulable, TaintToleration
    for spec in [json!({"unschedulable": true}), json!({"taints": [{"key": "k", "effect": "NoSchedule"}]})] {
        let mut cluster = one();
        cluster.nodes.put_node(node(0, json!({}), spec), 110);
        check(&mut cluster, json!({}), &|c| c.nodes.put_node(node(0, json!({}), json!({})), 110));
    }
    // NodeAffinity
    check(&mut one(), json!({"nodeSelector": {"a": "b"}}), &|c| {
        c.nodes.put_node(node(0, json!({"a": "b"}), json!({})), 110)
    });
    // NodePorts
    let port = json!({"containers": [{"ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let mut cluster = one();
    let shape = Arc::new(PodShape::decode(&port, "p"));
    let holder = pod_with(9, &shape, json!({}), json!({"nodeName": name(0)}));
    cluster.add_pod(0, &holder);
    check(&mut cluster, port, &|c| {
        c.remove_pod(&name(0), &holder);
        EventSet::POD_DELETE
    });
    // NodeRuntime, KernelOffers
    let capacity = |cluster: &Cluster| crate::scheduler::NodeCapacity {
        allocatable: cluster.nodes.get(&name(0)).unwrap().allocatable.clone(),
        ..Default::default()
    };
    let mut cluster = one();
    let lacking = crate::scheduler::NodeCapacity { lacking: Some("runc".into()), ..capacity(&cluster) };
    cluster.nodes.put_capacity(&name(0), lacking);
    check(&mut cluster, json!({}), &|c| c.nodes.put_capacity(&name(0), capacity(c)));
    let mut cluster = one();
    let amounts = Amounts { cpu_milli: 1000, ..Amounts::default() };
    let held = crate::scheduler::Held { amounts, by: vec!["spark".into()] };
    cluster.nodes.put_capacity(&name(0), crate::scheduler::NodeCapacity { held, ..capacity(&one()) });
    cluster.offer_nothing(0);
    check(&mut cluster, json!({}), &|c| c.nodes.put_capacity(&name(0), capacity(c)));
    // No node at all
    check(&mut Cluster::default(), json!({}), &|c| {
        c.add_node(0, 1000, GIB, json!({}));
        EventSet::NODE_ADD
    });
}
