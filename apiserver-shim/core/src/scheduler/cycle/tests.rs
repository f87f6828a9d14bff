//! Whole cycles: right, as good as a full scan, and fast enough.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    rows::{Key, Node},
    scheduler::{Held, PodShape},
    testing::stored,
};

const GIB: i64 = 1 << 30;

fn machine(n: usize, cpu_milli: i64, memory: i64) -> NodeInfo {
    let value = json!({"metadata": {"name": format!("n{n:05}")}});
    NodeInfo {
        node: Arc::new(Node::decode(stored(&value), 1, &value)),
        total: Amounts { cpu_milli, memory, ..Amounts::default() },
        pods_max: 110,
        pods: 0,
        used: Amounts::default(),
        host_ports: vec![],
        held: Held::default(),
        lacking: None,
    }
}

fn shape(cpu_milli: i64, memory: i64) -> Arc<PodShape> {
    Arc::new(PodShape {
        requests: Amounts { cpu_milli, memory, ..Amounts::default() },
        ..PodShape::default()
    })
}

fn pod(n: usize, shape: &Arc<PodShape>, owner: Option<&str>) -> PendingPod {
    PendingPod {
        key: Key::new("ns", &format!("p{n:05}")),
        uid: format!("u{n}").into(),
        shape: shape.clone(),
        role: "r".into(),
        owner: owner.map(Arc::from),
        bound_to: None,
        created: 0,
    }
}

/// What is offered, and who runs where.
#[derive(Default)]
struct Shop {
    free: BTreeMap<(usize, String), Amounts>,
    same_owner_pods: BTreeMap<(usize, String), u32>,
}

impl SharedLister for Shop {
    fn free(&self, machine: usize, role: &str) -> Option<&Amounts> {
        self.free.get(&(machine, role.to_owned()))
    }

    fn same_owner_pods(&self, machine: usize, owner: &str) -> u32 {
        self.same_owner_pods.get(&(machine, owner.to_owned())).copied().unwrap_or(0)
    }
}

/// Where the offer of a machine is.
fn offer(machine: usize) -> (usize, String) {
    (machine, "r".to_owned())
}

/// All of all machines, in one role.
fn whole(machines: &[NodeInfo]) -> Shop {
    let free = machines.iter().enumerate().map(|(at, machine)| (offer(at), machine.total.clone()));
    Shop { free: free.collect(), ..Shop::default() }
}

/// A first cycle.
fn decide(pods: &[PendingPod], machines: &[NodeInfo], shop: &Shop) -> Vec<Decision> {
    schedule(pods, machines, shop, &mut Rankings::default())
}

fn places(decisions: &[Decision]) -> Vec<Option<usize>> {
    let place = |d: &Decision| match d.outcome {
        Outcome::Place { machine } => Some(machine),
        Outcome::Wait(_) => None,
    };
    decisions.iter().map(place).collect()
}

#[test]
fn spreads_pods_of_one_controller_then_fills_the_emptiest() {
    let machines = vec![machine(0, 4000, 4 * GIB), machine(1, 2000, 2 * GIB), machine(2, 8000, 8 * GIB)];
    let small = shape(100, GIB / 10);
    let pods: Vec<PendingPod> = (0..6).map(|n| pod(n, &small, Some("rs"))).collect();
    let shop = whole(&machines);
    let decisions = decide(&pods, &machines, &shop);
    assert_eq!(places(&decisions), [Some(2), Some(0), Some(1), Some(2), Some(0), Some(1)]);
}

#[test]
fn a_role_gets_its_own_offers_only() {
    let machines = [machine(0, 1000, GIB)];
    let shop =
        Shop { free: [((0, "other".to_owned()), machines[0].total.clone())].into(), ..Shop::default() };
    let pods = [pod(0, &shape(100, 0), None)];
    let decisions = decide(&pods, &machines, &shop);
    let Outcome::Wait(report) = &decisions[0].outcome else { panic!("placed") };
    assert!(report.waits_for_offer());
}

#[test]
fn a_bound_pod_goes_to_its_node_only() {
    let machines = [machine(0, 1000, GIB), machine(1, 1000, GIB)];
    let mut bound = pod(0, &shape(100, 0), None);
    bound.bound_to = Some("n00001".into());
    let decisions = decide(&[bound], &machines, &whole(&machines));
    assert_eq!(places(&decisions), [Some(1)]);
}

/// The same by the book: every machine scored for every Pod.
fn full_scan(pending: &[PendingPod], machines: &[NodeInfo]) -> Vec<Option<usize>> {
    let mut free: Vec<Amounts> = machines.iter().map(|machine| machine.total.clone()).collect();
    let mut count = vec![0; machines.len()];
    let mut same_owner_pods: BTreeMap<(&str, usize, &PodShape), u32> = BTreeMap::new();
    let mut placed = Vec::new();
    for pod in pending {
        let charge = pod.shape.charge();
        let best =
            (0..machines.len()).filter(|at| free[*at].holds(&charge) && count[*at] < 110).max_by_key(|at| {
                let key = |owner| (owner, *at, &*pod.shape);
                let near =
                    pod.owner.as_deref().map_or(0, |o| same_owner_pods.get(&key(o)).copied().unwrap_or(0));
                let share = free_share(&free[*at], &charge, &machines[*at].total);
                (std::cmp::Reverse(near), share, std::cmp::Reverse(*at))
            });
        if let Some(at) = best {
            free[at].subtract(&charge);
            count[at] += 1;
            if let Some(owner) = pod.owner.as_deref() {
                *same_owner_pods.entry((owner, at, &*pod.shape)).or_default() += 1;
            }
        }
        placed.push(best);
    }
    placed
}

/// Something happens to a machine between two cycles.
fn change(machine: &mut NodeInfo, shop: &mut Shop, at: usize, what: u8) {
    let spec = match what {
        0 => {
            let mut free = machine.total.clone();
            free.subtract(&machine.used);
            shop.free.insert(offer(at), free);
            return;
        }
        1 => return drop(shop.free.remove(&offer(at))),
        2 => {
            (machine.pods, machine.used) = (0, Amounts::default());
            return shop.same_owner_pods.retain(|(of, _), _| *of != at);
        }
        3 => return machine.total.cpu_milli += 300,
        4 => json!({"unschedulable": true}),
        5 => json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}),
        _ => json!({}),
    };
    let value = json!({"metadata": {"name": machine.node.name()}, "spec": spec});
    machine.node = Arc::new(Node::decode(stored(&value), 1, &value));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The heaps find what a full scan finds.
    #[test]
    fn as_good_as_a_full_scan(
        sizes in proptest::collection::vec((1i64..9, 1i64..9), 1..12),
        asks in proptest::collection::vec((0usize..3, 0usize..3), 0..60),
    ) {
        let machines: Vec<NodeInfo> =
            sizes.iter().enumerate().map(|(n, (c, m))| machine(n, c * 500, m * GIB / 2)).collect();
            let shop = whole(&machines);
        let shapes = [shape(100, GIB / 16), shape(700, 0), shape(0, GIB)];
        let owners = [None, Some("a"), Some("b")];
        let pods: Vec<PendingPod> =
            asks.iter().enumerate().map(|(n, (s, o))| pod(n, &shapes[*s], owners[*o])).collect();
        let decisions = decide(&pods, &machines, &shop);
        prop_assert_eq!(places(&decisions), full_scan(&pods, &machines));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// What is kept from cycle to cycle decides as a look at everything does.
    #[test]
    fn kept_rankings_decide_as_fresh_ones_do(
        sizes in proptest::collection::vec((1i64..9, 1i64..9), 1..12),
        cycles in proptest::collection::vec((
            proptest::collection::vec((0usize..12, 0u8..7), 0..8),
            proptest::collection::vec((0usize..3, 0usize..3, 0usize..6), 0..12),
        ), 1..12),
    ) {
        let mut machines: Vec<NodeInfo> =
            sizes.iter().enumerate().map(|(n, (c, m))| machine(n, c * 500, m * GIB / 2)).collect();
        let mut shop = whole(&machines);
        let shapes = [shape(100, GIB / 16), shape(700, 0), shape(0, GIB)];
        let owners = [None, Some("a"), Some("b")];
        let mut kept = Rankings::default();
        for (changes, asks) in cycles {
            for (at, what) in changes {
                let at = at % machines.len();
                change(&mut machines[at], &mut shop, at, what);
                kept.changed(at);
            }
            let ask = |(n, (s, o, fate)): (usize, &(usize, usize, usize))| {
                let bound_to = (*fate == 5).then(|| format!("n{n:05}").into());
                PendingPod { bound_to, ..pod(n, &shapes[*s], owners[*o]) }
            };
            let pods: Vec<PendingPod> = asks.iter().enumerate().map(ask).collect();
            let decisions = schedule(&pods, &machines, &shop, &mut kept);
            prop_assert_eq!(&decisions, &decide(&pods, &machines, &shop));
            for (pod, at) in pods.iter().zip(places(&decisions)) {
                // Some come to nothing, and nobody says so.
                let Some(at) = at.filter(|_| asks[pod.uid[1..].parse::<usize>().unwrap()].2 != 0) else { continue };
                machines[at].used.add(&pod.shape.charge());
                machines[at].pods += 1;
                shop.free.remove(&offer(at));
                if let Some(owner) = &pod.owner {
                    *shop.same_owner_pods.entry((at, owner.to_string())).or_default() += 1;
                }
                kept.changed(at);
            }
        }
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // it measures
fn work_per_pod_does_not_grow_with_nodes() {
    let machines: Vec<NodeInfo> = (0..5_000).map(|n| machine(n, 32_000, 64 * GIB)).collect();
    let shop = whole(&machines);
    let small = shape(100, GIB / 10);
    let pods: Vec<PendingPod> = (0..10_000).map(|n| pod(n, &small, Some("rs"))).collect();
    let started = std::time::Instant::now();
    let decisions = decide(&pods, &machines, &shop);
    // Unoptimised; a scan of every offer for every Pod would take minutes.
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    eprintln!("{:?}", started.elapsed());
    assert!(places(&decisions).iter().all(Option::is_some));
    let mut per_node = vec![0; 5_000];
    places(&decisions).into_iter().flatten().for_each(|o| per_node[o] += 1);
    assert!(per_node.iter().all(|n| *n == 2));
}

/// A Pod that somebody bound by hand has no task yet: its room is on offer, and is not to be had.
#[test]
fn what_is_bound_by_hand_keeps_its_room() {
    let mut machines = vec![machine(0, 4000, GIB)];
    machines[0].used = Amounts { cpu_milli: 3000, ..Amounts::default() };
    machines[0].pods = 1;
    let (big, small) = (shape(3000, 0), shape(500, 0));
    let shop = whole(&machines);
    let by_hand = PendingPod { bound_to: Some("n00000".into()), ..pod(0, &big, None) };
    let pods =
        [pod(1, &big, None), pod(2, &small, None), pod(3, &small, None), pod(4, &small, None), by_hand];
    let decisions = decide(&pods, &machines, &shop);
    assert_eq!(places(&decisions), [None, Some(0), Some(0), None, Some(0)]);
}

#[test]
fn a_soft_taint_is_avoided_as_long_as_there_is_another_place() {
    let mut machines = vec![machine(0, 8000, GIB), machine(1, 1000, GIB)];
    let value = json!({"metadata": {"name": "n00000"}, "spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    machines[0].node = Arc::new(Node::decode(stored(&value), 1, &value));
    let asks = shape(600, 0);
    let shop = whole(&machines);
    let pods = [pod(0, &asks, None), pod(1, &asks, None)];
    assert_eq!(places(&decide(&pods, &machines, &shop)), [Some(1), Some(0)]);
}
