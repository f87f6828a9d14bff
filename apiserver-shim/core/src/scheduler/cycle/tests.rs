//! Whole cycles: correct, equal to a full scan, and fast enough.

#[path = "tests/full_scan.rs"]
mod full_scan;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::scheduler::{
    Amounts, PodShape,
    plugins::node_resources_fit::free_share,
    testing::{Cluster, GIB, ROLE, bound_pod, name, node, pending, places, pod, pod_with, report, shape},
};

#[test]
fn pods_of_one_controller_spread_and_then_fill_the_emptiest_node() {
    let mut cluster = Cluster::of([(4000, 4 * GIB), (2000, 2 * GIB), (8000, 8 * GIB)]);
    let small = shape(100, GIB / 10);
    let pods: Vec<PendingPod> = (0..6).map(|n| pod(n, &small, Some("rs"))).collect();
    let decisions = cluster.decide(&pods);
    assert_eq!(places(&decisions), [Some(2), Some(0), Some(1), Some(2), Some(0), Some(1)]);
}

/// With upstream's weights, what one more Pod of the controller costs depends on how many the fullest node has.
#[test]
fn spread_is_weighed_against_free_resources() {
    let mut cluster = Cluster::of([(32_000, 32 * GIB), (1000, GIB)]);
    let small = shape(100, GIB / 10);
    let pods: Vec<PendingPod> = (0..10).map(|n| pod(n, &small, Some("rs"))).collect();
    let decisions = places(&cluster.decide(&pods));
    let on_the_small_node = decisions.iter().filter(|at| **at == Some(1)).count();
    assert_eq!(on_the_small_node, 4, "{decisions:?}");
}

#[test]
fn a_role_gets_its_own_offers_only() {
    let mut cluster = Cluster::of([(1000, GIB)]);
    let free = cluster.offers.free.remove(&(name(0), ROLE.to_owned())).unwrap();
    cluster.offers.free.insert((name(0), "other".to_owned()), free);
    let decisions = cluster.decide(&[pod(0, &shape(100, 0), None)]);
    let Outcome::Wait(report) = &decisions[0].outcome else { panic!("placed") };
    assert!(report.waits_for_offer());
}

#[test]
fn a_bound_pod_goes_to_its_node_only() {
    let mut cluster = Cluster::of([(1000, GIB), (1000, GIB)]);
    let bound = bound_pod(0, &shape(100, 0), 1);
    cluster.add_pod(1, &bound.pod);
    assert_eq!(places(&cluster.decide(&[bound])), [Some(1)]);
}

/// Reference implementation of the default rules: scores every node for every Pod.
fn full_scan(pending: &[PendingPod], sizes: &[(i64, i64)]) -> Vec<Option<usize>> {
    let total = |at: usize| Amounts { cpu_milli: sizes[at].0, memory: sizes[at].1, ..Amounts::default() };
    let mut free: Vec<Amounts> = (0..sizes.len()).map(total).collect();
    let mut count = vec![0; sizes.len()];
    let mut same_owner: BTreeMap<(&str, usize, &PodShape), u32> = BTreeMap::new();
    let mut placed = Vec::new();
    for pod in pending {
        let charge = pod.pod.shape.charge();
        let feasible: Vec<usize> =
            (0..sizes.len()).filter(|at| free[*at].holds(&charge) && count[*at] < 110).collect();
        let near = |at: usize| {
            let key = |owner| (owner, at, &*pod.pod.shape);
            i64::from(pod.owner.as_deref().map_or(0, |o| same_owner.get(&key(o)).copied().unwrap_or(0)))
        };
        let most = feasible.iter().map(|at| near(*at)).max().unwrap_or(0).max(1);
        let best = feasible.iter().copied().max_by_key(|at| {
            let spread = 100_000 - near(*at) * 100_000 / most;
            let share = free_share(&free[*at], &charge, &total(*at)) * 5;
            (2 * spread + share, std::cmp::Reverse(*at))
        });
        if let Some(at) = best {
            free[at].subtract(&charge);
            count[at] += 1;
            if let Some(owner) = pod.owner.as_deref() {
                *same_owner.entry((owner, at, &*pod.pod.shape)).or_default() += 1;
            }
        }
        placed.push(best);
    }
    placed
}

/// Changes a node between two cycles.
fn change(cluster: &mut Cluster, n: usize, what: u8) {
    let spec = match what {
        0 => return cluster.offer_all(n),
        1 => return cluster.offer_nothing(n),
        2 => {
            let pods = cluster.nodes.get(&name(n)).unwrap().pods().to_vec();
            return pods.iter().for_each(|pod| cluster.remove_pod(&name(n), pod));
        }
        3 => {
            let mut allocatable = cluster.nodes.get(&name(n)).unwrap().allocatable.clone();
            allocatable.cpu_milli += 300;
            let capacity = crate::scheduler::NodeCapacity { allocatable, ..Default::default() };
            cluster.nodes.put_capacity(&name(n), capacity);
            return;
        }
        4 => json!({"unschedulable": true}),
        5 => json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}),
        _ => json!({}),
    };
    cluster.nodes.put_node(node(n, json!({}), spec), 110);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The heaps find the same node as a full scan.
    #[test]
    fn heaps_find_the_same_node_as_a_full_scan(
        sizes in proptest::collection::vec((1i64..9, 1i64..9), 1..12),
        asks in proptest::collection::vec((0usize..3, 0usize..3), 0..60),
    ) {
        let sizes: Vec<(i64, i64)> = sizes.iter().map(|(c, m)| (c * 500, m * GIB / 2)).collect();
        let mut cluster = Cluster::of(sizes.clone());
        let shapes = [shape(100, GIB / 16), shape(700, 0), shape(0, GIB)];
        let owners = [None, Some("a"), Some("b")];
        let pods: Vec<PendingPod> =
            asks.iter().enumerate().map(|(n, (s, o))| pod(n, &shapes[*s], owners[*o])).collect();
        prop_assert_eq!(places(&cluster.decide(&pods)), full_scan(&pods, &sizes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Cached rankings decide as fresh ones do.
    #[test]
    fn cached_rankings_decide_as_fresh_ones_do(
        sizes in proptest::collection::vec((1i64..9, 1i64..9), 1..12),
        cycles in proptest::collection::vec((
            proptest::collection::vec((0usize..12, 0u8..7), 0..8),
            proptest::collection::vec((0usize..3, 0usize..3, 0usize..6), 0..12),
        ), 1..12),
    ) {
        let nodes = sizes.len();
        let mut cluster = Cluster::of(sizes.iter().map(|(c, m)| (c * 500, m * GIB / 2)));
        let shapes = [shape(100, GIB / 16), shape(700, 0), shape(0, GIB)];
        let owners = [None, Some("a"), Some("b")];
        let mut kept = Scheduler::default();
        for (cycle, (changes, asks)) in cycles.into_iter().enumerate() {
            for (at, what) in changes {
                change(&mut cluster, at % nodes, what);
            }
            let ask = |(n, (s, o, outcome)): (usize, &(usize, usize, usize))| {
                let id = cycle * 100 + n;
                if *outcome == 5 { bound_pod(id, &shapes[*s], n) } else { pod(id, &shapes[*s], owners[*o]) }
            };
            let pods: Vec<PendingPod> = asks.iter().enumerate().map(ask).collect();
            let decisions = cluster.decide_with(&mut kept, &pods);
            let fresh = cluster.decide(&pods);
            prop_assert_eq!(&decisions, &fresh);
            for ((pod, at), (_, _, outcome)) in pods.iter().zip(places(&decisions)).zip(&asks) {
                // Some launches fail without notice.
                let Some(at) = at.filter(|_| *outcome != 0) else { continue };
                cluster.add_pod(at, &pod.pod);
                cluster.offer_nothing(at);
            }
        }
    }
}

#[test]
fn work_per_pod_does_not_grow_with_nodes() {
    let mut cluster = Cluster::of((0..5_000).map(|_| (32_000, 64 * GIB)));
    let small = shape(100, GIB / 10);
    let pods: Vec<PendingPod> = (0..10_000).map(|n| pod(n, &small, Some("rs"))).collect();
    let mut scheduler = Scheduler::default();
    let decisions = cluster.decide_with(&mut scheduler, &pods);
    assert!(places(&decisions).iter().all(Option::is_some));
    let mut per_node = vec![0; 5_000];
    places(&decisions).into_iter().flatten().for_each(|o| per_node[o] += 1);
    assert!(per_node.iter().all(|n| *n == 2));
    // Each node is filtered and scored once at the start and once per Pod placed on it.
    let runs = scheduler.stats().plugin_runs(ExtensionPoint::Score);
    assert!(runs <= 3 * (5_000 + 10_000), "{runs}");
    let filters = scheduler.profiles().get(0).filters().count() as u64;
    let looks = scheduler.stats().plugin_runs(ExtensionPoint::Filter) / filters;
    assert!(looks <= 5_000 + 10_000, "{looks}");
    assert_eq!(scheduler.stats().attempts(0, AttemptResult::Scheduled), 10_000);
}

/// INV-35: of three Pods with the same host port, two nodes take one each, in one cycle and in the next.
#[test]
fn a_host_port_is_used_once_on_a_node() {
    let mut cluster = Cluster::of([(8000, GIB), (8000, GIB)]);
    let port = json!({"containers": [{"ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let web = Arc::new(PodShape::decode(&port, "p"));
    let pods = [pod(0, &web, None), pod(1, &web, None), pod(2, &web, None)];
    let decisions = cluster.decide(&pods);
    assert_eq!(places(&decisions), [Some(0), Some(1), None]);
    cluster.add_pod(0, &pods[0].pod);
    cluster.add_pod(1, &pods[1].pod);
    assert_eq!(places(&cluster.decide(&pods[2..])), [None]);
}

/// A Pod bound by a client has no task yet: its resources are still offered, but must not be used.
#[test]
fn a_pod_bound_by_a_client_keeps_its_resources() {
    let mut cluster = Cluster::of([(4000, GIB)]);
    let (big, small) = (shape(3000, 0), shape(500, 0));
    let by_hand = bound_pod(0, &big, 0);
    cluster.add_pod(0, &by_hand.pod);
    let pods =
        [pod(1, &big, None), pod(2, &small, None), pod(3, &small, None), pod(4, &small, None), by_hand];
    assert_eq!(places(&cluster.decide(&pods)), [None, Some(0), Some(0), None, Some(0)]);
}

#[test]
fn a_prefer_no_schedule_taint_is_avoided_if_possible() {
    let mut cluster = Cluster::of([(8000, GIB), (1000, GIB)]);
    let taints = json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]});
    cluster.nodes.put_node(node(0, json!({}), taints), 110);
    let asks = shape(600, 0);
    let pods = [pod(0, &asks, None), pod(1, &asks, None)];
    assert_eq!(places(&cluster.decide(&pods)), [Some(1), Some(0)]);
}

#[test]
fn constraints_that_no_plugin_implements_are_refused() {
    let mut cluster = Cluster::of([(8000, GIB), (1000, GIB)]);
    let term = json!([{"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}]);
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": term});
    let preferred = json!({"preferredDuringSchedulingIgnoredDuringExecution": []});
    let spread = |when: &str| json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": when}]});
    let mut check = |spec: serde_json::Value, expected: &str| {
        let shape = Arc::new(PodShape::decode(&spec, "p"));
        let decisions = cluster.decide(&[pending(pod_with(0, &shape, json!({}), spec))]);
        assert_eq!(report(&decisions[0]), expected);
    };
    let refused = |what: &str| {
        format!(
            "0/2 nodes are available: pod has {what}, which this scheduler does not support yet. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        )
    };
    check(json!({"affinity": {"podAffinity": required}}), &refused("required pod affinity"));
    check(json!({"affinity": {"podAntiAffinity": required}}), &refused("required pod anti-affinity"));
    check(json!({"affinity": {"podAntiAffinity": preferred}}), "placed on 0");
    let hard = "a topology spread constraint with whenUnsatisfiable DoNotSchedule";
    check(spread("DoNotSchedule"), &refused(hard));
    check(spread("ScheduleAnyway"), "placed on 0");
}
