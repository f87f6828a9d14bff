//! Victims and nodes by upstream's criteria, and the places of nominated Pods.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::rows::ObjectView;
use crate::scheduler::{
    Amounts, Outcome, PodShape,
    testing::{Cluster, GIB, name, pending, places, pod_with, report},
};
use crate::testing::stored;

fn shape(cpu_milli: i64, priority: i32) -> Arc<PodShape> {
    let requests = Amounts { cpu_milli, ..Amounts::default() };
    Arc::new(PodShape { requests, priority, ..PodShape::default() })
}

/// Nodes with 1000m each, and running Pods: node, number, CPU, priority, labels.
fn cluster(nodes: usize, running: &[(usize, usize, i64, i32, Value)]) -> Cluster {
    let mut cluster = Cluster::of((0..nodes).map(|_| (1000, GIB)));
    for (at, n, cpu, priority, labels) in running {
        let spec = json!({"nodeName": name(*at)});
        let pod = pod_with(*n, &shape(*cpu, *priority), json!({"labels": labels}), spec);
        cluster.add_pod(*at, &pod);
        cluster.offer_all(*at);
    }
    cluster
}

fn important(n: usize, cpu: i64, priority: i32) -> PendingPod {
    pending(pod_with(n, &shape(cpu, priority), json!({}), json!({})))
}

fn decide(cluster: &mut Cluster, pod: PendingPod) -> String {
    report(&cluster.decide(&[pod])[0])
}

fn none() -> Value {
    json!({})
}

#[test]
fn a_pod_of_higher_priority_takes_the_place_of_lower_ones() {
    let mut c = cluster(1, &[(0, 1, 400, 0, none()), (0, 2, 400, 5, none())]);
    // The more important of the two is reprieved.
    assert_eq!(decide(&mut c, important(10, 500, 100)), "preempts p00001 on 0 with 0 violations");
    c = cluster(1, &[(0, 1, 400, 0, none()), (0, 2, 400, 5, none())]);
    assert_eq!(decide(&mut c, important(10, 900, 100)), "preempts p00002 p00001 on 0 with 0 violations");
    let refused = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1";
    c = cluster(1, &[(0, 1, 400, 0, none()), (0, 2, 400, 5, none())]);
    let equal = decide(&mut c, important(10, 900, 0));
    assert_eq!(equal, format!("{refused} No preemption victims found for incoming pod."));
    assert_eq!(decide(&mut c, important(10, 900, 5)), format!("{refused} Insufficient cpu."));
    let cordoned = decide(&mut c, important(10, 1100, 100));
    assert_eq!(cordoned, format!("{refused} Insufficient cpu."));
}

#[test]
fn a_pod_that_never_preempts_waits() {
    let mut c = cluster(1, &[(0, 1, 800, 0, none())]);
    let shape = PodShape { never_preempts: true, ..PodShape::clone(&shape(500, 100)) };
    let pod = pending(pod_with(10, &Arc::new(shape), json!({}), json!({})));
    let why = "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.";
    assert_eq!(decide(&mut c, pod), why);
}

#[test]
fn the_node_with_the_least_important_victims_is_chosen() {
    let cases = [
        // The lowest highest priority.
        (vec![(0, 1, 900, 5, none()), (1, 2, 900, 3, none())], "p00002 on 1"),
        // The lowest sum.
        (
            vec![
                (0, 1, 450, 3, none()),
                (0, 2, 450, 3, none()),
                (1, 3, 450, 3, none()),
                (1, 4, 450, 1, none()),
            ],
            "p00003 p00004 on 1",
        ),
        // The fewest: the sum counts each Pod.
        (vec![(0, 1, 450, 3, none()), (0, 2, 450, 3, none()), (1, 3, 900, 3, none())], "p00003 on 1"),
        // The first.
        (vec![(0, 1, 900, 3, none()), (1, 2, 900, 3, none())], "p00001 on 0"),
    ];
    for (running, expected) in cases {
        let mut c = cluster(2, &running);
        let expected = format!("preempts {expected} with 0 violations");
        assert_eq!(decide(&mut c, important(10, 1000, 100)), expected, "{running:?}");
    }
}

#[test]
fn those_that_run_for_the_shortest_time_go_first() {
    let mut c = Cluster::of((0..2).map(|_| (1000, GIB)));
    for (at, n, since) in [(0, 1, "2026-01-01T00:00:00Z"), (1, 2, "2026-01-01T00:00:01Z")] {
        let value = json!({
            "metadata": {"namespace": "ns", "name": format!("p{n:05}"), "uid": format!("u{n:05}")},
            "spec": {"nodeName": name(at)}, "status": {"startTime": since},
        });
        let mut pod = crate::testing::pod(&value);
        pod.shape = shape(900, 1);
        c.add_pod(at, &Arc::new(pod));
        c.offer_all(at);
    }
    assert_eq!(decide(&mut c, important(10, 1000, 100)), "preempts p00002 on 1 with 0 violations");
}

/// A lister with one budget.
struct Budgeted(Cluster, DisruptionBudget);

impl SharedLister for Budgeted {
    fn free(&self, node: &NodeInfo, role: &str) -> Option<&Amounts> {
        self.0.offers.free(node, role)
    }

    fn same_owner_pods(&self, _: &NodeInfo, _: &str) -> u32 {
        0
    }

    fn budgets(&self, namespace: &str) -> Vec<&DisruptionBudget> {
        if namespace == "ns" { vec![&self.1] } else { Vec::new() }
    }
}

fn budget(allowed: i64, disrupted: Value) -> DisruptionBudget {
    let value = json!({
        "metadata": {"namespace": "ns", "name": "b"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}},
        "status": {"disruptionsAllowed": allowed, "disruptedPods": disrupted},
    });
    DisruptionBudget::parse(&stored(&value), 1).unwrap()
}

fn with_budget(
    nodes: usize,
    running: &[(usize, usize, i64, i32, Value)],
    budget: DisruptionBudget,
) -> String {
    let mut lister = Budgeted(cluster(nodes, running), budget);
    let mut infos = std::mem::take(&mut lister.0.nodes);
    let mut scheduler = crate::scheduler::Scheduler::default();
    let pods = [important(10, 500, 100)];
    report(&scheduler.schedule(kernel_model::time::Time(0), &pods, &mut infos, &lister)[0])
}

#[test]
fn budgets_are_violated_only_if_nothing_else_helps() {
    let guarded = json!({"app": "a"});
    // The guarded one is reprieved although it is less important.
    let both = [(0, 1, 500, 0, guarded.clone()), (0, 2, 500, 5, none())];
    assert_eq!(with_budget(1, &both, budget(0, none())), "preempts p00002 on 0 with 0 violations");
    assert_eq!(with_budget(1, &both, budget(1, none())), "preempts p00001 on 0 with 0 violations");
    let counted = json!({"p00001": "2026-01-01T00:00:00Z"});
    assert_eq!(with_budget(1, &both, budget(0, counted)), "preempts p00001 on 0 with 0 violations");
    // A node without a violation is chosen, whatever the priorities.
    let two = [(0, 1, 900, 0, guarded.clone()), (1, 2, 900, 50, none())];
    assert_eq!(with_budget(2, &two, budget(0, none())), "preempts p00002 on 1 with 0 violations");
    // They are no guarantee.
    let one = [(0, 1, 900, 0, guarded)];
    assert_eq!(with_budget(1, &one, budget(0, none())), "preempts p00001 on 0 with 1 violations");
}

#[test]
fn a_node_that_lacks_an_offer_only_is_waited_for() {
    let mut c = cluster(2, &[(0, 1, 900, 0, none())]);
    c.offer_nothing(1);
    let Outcome::Wait(report) = &c.decide(&[important(10, 500, 100)])[0].outcome else { panic!("preempts") };
    assert!(report.waits_for_offer() && report.preemption.is_none(), "{report}");
}

#[test]
fn the_place_of_a_nominated_pod_is_kept_from_others() {
    let mut c = cluster(1, &[(0, 1, 900, 0, none())]);
    let first = important(10, 900, 100);
    let decisions = c.decide(&[first.clone(), important(11, 900, 100), important(12, 900, 200)]);
    assert!(report(&decisions[0]).starts_with("preempts p00001"));
    // One victim is not evicted for two, but a more important Pod takes the nomination.
    assert!(report(&decisions[1]).ends_with("1 Insufficient cpu."), "{}", report(&decisions[1]));
    assert!(report(&decisions[2]).starts_with("preempts p00001"), "{}", report(&decisions[2]));
    assert_eq!((c.nodes.nominated_node("u00010"), c.nodes.nominated_node("u00012")), (None, Some("n00000")));
    // The victim is gone.
    let victim = c.nodes.all()[0].pods()[0].clone();
    c.remove_pod(&name(0), &victim);
    c.offer_all(0);
    let pods = [important(12, 900, 200), important(11, 900, 100), first];
    assert_eq!(places(&c.decide(&pods[1..])), [None, None]);
    assert_eq!(
        places(&c.decide(&[important(13, 100, 0)])),
        [Some(0)],
        "what is beyond the nomination is free"
    );
    assert_eq!(places(&c.decide(&pods)), [Some(0), None, None]);
}

#[test]
fn a_terminating_victim_is_waited_for() {
    let mut c = cluster(1, &[]);
    let value = json!({
        "metadata": {"namespace": "ns", "name": "v", "uid": "v", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": name(0)},
        "status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": PREEMPTION_BY_SCHEDULER}]},
    });
    let mut pod = crate::testing::pod(&value);
    pod.shape = shape(900, 1);
    c.add_pod(0, &Arc::new(pod));
    c.offer_all(0);
    let waiting = important(10, 900, 100);
    c.nodes.nominate(&waiting.pod, &name(0));
    let why = "preemption: not eligible due to a terminating pod on the nominated node.";
    assert!(decide(&mut c, waiting).ends_with(why));
}
