//! Schedules 10,000 Pods of ten controllers on 5,000 nodes, in 100 cycles, and prints the time per Pod.
//!
//! `cargo run --release -p shim-core --example scheduling_cycle`; for instruction counts run the binary under
//! `valgrind --tool=callgrind`.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark measures time")]

use std::{collections::HashMap, sync::Arc, time::Instant};

use kernel_model::time::Time;
use serde_json::json;
use shim_core::{
    rows::{Node, Pod, PodParts},
    scheduler::{
        Amounts, NodeCapacity, NodeInfo, NodeInfos, Outcome, PendingPod, PodShape, Scheduler, SharedLister,
    },
};
use shim_model::{
    object::{Header, StoredObject},
    pod_status::PodStatus,
};

const NODES: usize = 5_000;
const CYCLES: usize = 100;
const PODS_PER_CYCLE: usize = 100;
const OWNERS: usize = 10;

struct Offers {
    free: Vec<Amounts>,
    owners: HashMap<(usize, Arc<str>), u32>,
}

fn number(node: &NodeInfo) -> usize {
    node.name()[1..].parse().expect("invariant: names are made of numbers")
}

impl SharedLister for Offers {
    fn free(&self, node: &NodeInfo, _role: &str) -> Option<&Amounts> {
        Some(&self.free[number(node)])
    }

    fn same_owner_pods(&self, node: &NodeInfo, owner: &str) -> u32 {
        self.owners.get(&(number(node), Arc::from(owner))).copied().unwrap_or(0)
    }
}

fn main() {
    let mut nodes = NodeInfos::default();
    let allocatable = Amounts { cpu_milli: 32_000, memory: 64 << 30, ..Amounts::default() };
    for n in 0..NODES {
        let name = format!("n{n:05}");
        let value = json!({"metadata": {"name": name, "labels": {"zone": format!("z{}", n % 3)}}});
        let object = Arc::new(StoredObject::bare(Header::of(&value)));
        nodes.put_node(Arc::new(Node::decode(object, 1, &value)), 110);
        nodes.put_capacity(&name, NodeCapacity { allocatable: allocatable.clone(), ..Default::default() });
    }
    let mut offers = Offers { free: vec![allocatable; NODES], owners: HashMap::new() };
    let spec = json!({"containers": [{"resources": {"requests": {"cpu": "100m", "memory": "100Mi"}}}]});
    let shapes: Vec<Arc<PodShape>> = (0..OWNERS).map(|_| Arc::new(PodShape::decode(&spec, "p"))).collect();
    let mut scheduler = Scheduler::default();
    let (mut in_cycles, mut in_books) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
    let mut placed = 0;
    for cycle in 0..CYCLES {
        let pending: Vec<PendingPod> =
            (0..PODS_PER_CYCLE).map(|n| pod(cycle, n, shapes[n % OWNERS].clone())).collect();
        let started = Instant::now();
        let decisions = scheduler.schedule(Time(0), &pending, &mut nodes, &offers);
        in_cycles += started.elapsed();
        let started = Instant::now();
        for decision in decisions {
            let Outcome::Place { node: at } = decision.outcome else { continue };
            let pod = &pending[decision.pod];
            let name: Box<str> = nodes.all()[at].name().into();
            offers.free[at].subtract(&pod.pod.shape.charge());
            let owner = pod.owner.clone().expect("invariant: every Pod here has an owner");
            *offers.owners.entry((at, owner)).or_default() += 1;
            nodes.add_pod(&name, &pod.pod);
            placed += 1;
        }
        in_books += started.elapsed();
    }
    let pods = (CYCLES * PODS_PER_CYCLE) as u32;
    println!(
        "{placed} Pods: {:?} a Pod in cycles, {:?} updating NodeInfos",
        in_cycles / pods,
        in_books / pods
    );
}

fn pod(cycle: usize, n: usize, shape: Arc<PodShape>) -> PendingPod {
    let owner = format!("owner-{}", n % OWNERS);
    let reference = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true}]);
    let name = format!("p{cycle:03}-{n:03}");
    let value =
        json!({"metadata": {"namespace": "ns", "name": name, "uid": name, "ownerReferences": reference}});
    let object = Arc::new(StoredObject::bare(Header::of(&value)));
    let status = PodStatus::of(&json!({}));
    let parts = PodParts { annotations: &json!({}), spec: &json!({}), status: &status };
    PendingPod::new(Arc::new(Pod::decode(object, 1, parts, shape)), "r".into(), 0)
}
