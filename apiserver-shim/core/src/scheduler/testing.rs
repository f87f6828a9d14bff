//! A cluster for tests of the scheduler: nodes, offers and Pods.

use std::{collections::BTreeMap, sync::Arc};

use kernel_model::time::Time;
use serde_json::{Value, json};

use super::{
    Amounts, Decision, NodeCapacity, NodeInfo, NodeInfos, Outcome, PendingPod, PodShape, Scheduler,
    SharedLister,
};
use crate::{
    rows::{Node, Pod},
    testing::{self, stored},
};

pub const GIB: i64 = 1 << 30;
pub const ROLE: &str = "r";
pub const PODS_MAX: usize = 110;

/// Offers by node and role, and Pod counts by node and controller.
#[derive(Debug, Default, Clone)]
pub struct Offers {
    pub free: BTreeMap<(String, String), Amounts>,
    pub owners: BTreeMap<(String, String), u32>,
}

impl SharedLister for Offers {
    fn free(&self, node: &NodeInfo, role: &str) -> Option<&Amounts> {
        self.free.get(&(node.name().to_owned(), role.to_owned()))
    }

    fn same_owner_pods(&self, node: &NodeInfo, owner: &str) -> u32 {
        self.owners.get(&(node.name().to_owned(), owner.to_owned())).copied().unwrap_or(0)
    }
}

pub fn name(n: usize) -> String {
    format!("n{n:05}")
}

pub fn node(n: usize, labels: Value, spec: Value) -> Arc<Node> {
    let status = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    let value = json!({"metadata": {"name": name(n), "labels": labels}, "spec": spec, "status": status});
    Arc::new(Node::decode(stored(&value), 1, &value))
}

pub fn shape(cpu_milli: i64, memory: i64) -> Arc<PodShape> {
    let requests = Amounts { cpu_milli, memory, ..Amounts::default() };
    Arc::new(PodShape { requests, ..PodShape::default() })
}

/// A Pod of this shape, with further members of `metadata` and `spec`.
pub fn pod_with(n: usize, shape: &Arc<PodShape>, metadata: Value, spec: Value) -> Arc<Pod> {
    let mut value = json!({
        "metadata": {"namespace": "ns", "name": format!("p{n:05}"), "uid": format!("u{n:05}")},
        "spec": spec,
    });
    value["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    let mut pod = testing::pod(&value);
    pod.shape = shape.clone();
    Arc::new(pod)
}

pub fn owned_by(owner: &str) -> Value {
    let reference = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true});
    json!({"ownerReferences": [reference]})
}

pub fn pending(pod: Arc<Pod>) -> PendingPod {
    PendingPod::new(pod, ROLE.into(), 0)
}

pub fn pod(n: usize, shape: &Arc<PodShape>, owner: Option<&str>) -> PendingPod {
    pending(pod_with(n, shape, owner.map_or(json!({}), owned_by), json!({})))
}

pub fn bound_pod(n: usize, shape: &Arc<PodShape>, node: usize) -> PendingPod {
    pending(pod_with(n, shape, json!({}), json!({"nodeName": name(node)})))
}

/// Nodes with their offers.
#[derive(Debug, Default)]
pub struct Cluster {
    pub nodes: NodeInfos,
    pub offers: Offers,
}

impl Cluster {
    /// Nodes with this CPU and memory, all of it offered.
    pub fn of(sizes: impl IntoIterator<Item = (i64, i64)>) -> Cluster {
        let mut cluster = Cluster::default();
        for (n, (cpu_milli, memory)) in sizes.into_iter().enumerate() {
            cluster.add_node(n, cpu_milli, memory, json!({}));
        }
        cluster
    }

    pub fn add_node(&mut self, n: usize, cpu_milli: i64, memory: i64, labels: Value) {
        self.nodes.put_node(node(n, labels, json!({})), PODS_MAX);
        let allocatable = Amounts { cpu_milli, memory, ..Amounts::default() };
        self.nodes.put_capacity(&name(n), NodeCapacity { allocatable, ..NodeCapacity::default() });
        self.offer_all(n);
    }

    /// Offers the part of a node that our Pods do not use.
    pub fn offer_all(&mut self, n: usize) {
        let Some(info) = self.nodes.get(&name(n)) else { return };
        self.offers.free.insert((name(n), ROLE.to_owned()), info.left());
        self.nodes.touch(&name(n));
    }

    pub fn offer_nothing(&mut self, n: usize) {
        self.offers.free.remove(&(name(n), ROLE.to_owned()));
        self.nodes.touch(&name(n));
    }

    pub fn add_pod(&mut self, at: usize, pod: &Arc<Pod>) {
        let name = self.nodes.all()[at].name().to_owned();
        if let Some(owner) = pod.controller_uid() {
            *self.offers.owners.entry((name.clone(), owner.to_owned())).or_default() += 1;
        }
        self.nodes.add_pod(&name, pod);
    }

    pub fn remove_pod(&mut self, node: &str, pod: &Pod) {
        if let Some(owner) = pod.controller_uid()
            && let Some(count) = self.offers.owners.get_mut(&(node.to_owned(), owner.to_owned()))
        {
            *count -= 1;
        }
        self.nodes.remove_pod(node, pod.uid());
    }

    /// Runs a cycle of a new scheduler.
    pub fn decide(&mut self, pods: &[PendingPod]) -> Vec<Decision> {
        self.decide_with(&mut Scheduler::default(), pods)
    }

    pub fn decide_with(&mut self, scheduler: &mut Scheduler, pods: &[PendingPod]) -> Vec<Decision> {
        scheduler.schedule(Time(0), pods, &mut self.nodes, &self.offers)
    }
}

pub fn places(decisions: &[Decision]) -> Vec<Option<usize>> {
    let place = |decision: &Decision| match decision.outcome {
        Outcome::Place { node } => Some(node),
        Outcome::Wait(_) | Outcome::Permit { .. } | Outcome::Preempt { .. } => None,
    };
    decisions.iter().map(place).collect()
}

pub fn report(decision: &Decision) -> String {
    match &decision.outcome {
        Outcome::Place { node } => format!("placed on {node}"),
        Outcome::Permit { node } => format!("waits on {node}"),
        Outcome::Wait(report) => report.to_string(),
        Outcome::Preempt { victims, .. } => {
            let names: Vec<&str> = victims.pods.iter().map(|pod| &*pod.header().name).collect();
            format!("preempts {} on {} with {} violations", names.join(" "), victims.node, victims.violations)
        }
    }
}
