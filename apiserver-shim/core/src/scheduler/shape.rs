//! What a Pod asks of a node: everything that node rules read, and nothing that tells two Pods of one template apart.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;
use shim_model::access;

use super::{Amounts, NodeAffinity, Toleration};
use crate::rows::PodPort;

/// A port of the node that a Pod uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct HostPort {
    pub port: u16,
    pub protocol: Box<str>,
    /// Empty is every address.
    pub ip: Box<str>,
}

impl HostPort {
    /// Whether both cannot be in use on one node.
    pub fn conflicts_with(&self, other: &HostPort) -> bool {
        let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// A hard constraint that no plugin implements yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnsupportedConstraint {
    /// `podAffinity.requiredDuringSchedulingIgnoredDuringExecution`
    PodAffinity,
    /// `podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution`
    PodAntiAffinity,
    /// `topologySpreadConstraints` with `whenUnsatisfiable: DoNotSchedule`
    TopologySpread,
}

impl UnsupportedConstraint {
    /// The first that a Pod has.
    fn find(spec: &Value) -> Option<UnsupportedConstraint> {
        let required = |kind| {
            let path = ["affinity", kind, "requiredDuringSchedulingIgnoredDuringExecution"];
            !access::list(spec, &path).is_empty()
        };
        let hard = |constraint| access::text(constraint, &["whenUnsatisfiable"]) != "ScheduleAnyway";
        if required("podAffinity") {
            Some(UnsupportedConstraint::PodAffinity)
        } else if required("podAntiAffinity") {
            Some(UnsupportedConstraint::PodAntiAffinity)
        } else if access::list(spec, &["topologySpreadConstraints"]).iter().any(hard) {
            Some(UnsupportedConstraint::TopologySpread)
        } else {
            None
        }
    }

    /// What people read.
    pub fn as_str(self) -> &'static str {
        match self {
            UnsupportedConstraint::PodAffinity => "required pod affinity",
            UnsupportedConstraint::PodAntiAffinity => "required pod anti-affinity",
            UnsupportedConstraint::TopologySpread => {
                "a topology spread constraint with whenUnsatisfiable DoNotSchedule"
            }
        }
    }
}

/// What a Pod asks for. Equal shapes are one class to the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[allow(missing_docs)]
pub struct PodShape {
    pub requests: Amounts,
    pub host_ports: Vec<HostPort>,
    pub node_selector: Vec<(Box<str>, Box<str>)>,
    pub affinity: Option<NodeAffinity>,
    pub tolerations: Vec<Toleration>,
    pub priority: i32,
    /// Named ports of containers: for Services, not for scheduling, but shared by Pods of a template all the same.
    pub ports: Vec<PodPort>,
    /// A hard constraint that keeps the Pod from being placed.
    pub unsupported: Option<UnsupportedConstraint>,
}

impl PodShape {
    /// Reads `spec`.
    pub fn decode(spec: &Value) -> PodShape {
        let required = ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];
        let containers = || access::list(spec, &["containers"]).iter();
        let all = containers().chain(access::list(spec, &["initContainers"]));
        let ports = || all.clone().flat_map(|c| access::list(c, &["ports"]));
        let number = |port: &Value, member| access::int(port, &[member]).and_then(|n| u16::try_from(n).ok());
        let protocol = |port: &Value| match access::text(port, &["protocol"]) {
            "" => Box::from("TCP"),
            protocol => Box::from(protocol),
        };
        let host_port = |p: &Value| {
            let ip = access::text(p, &["hostIP"]).into();
            Some(HostPort { port: number(p, "hostPort").filter(|n| *n != 0)?, protocol: protocol(p), ip })
        };
        let named = |p: &Value| {
            let name = access::text(p, &["name"]);
            (!name.is_empty()).then(|| {
                Some(PodPort { name: name.into(), port: number(p, "containerPort")?, protocol: protocol(p) })
            })?
        };
        PodShape {
            requests: requests(spec),
            host_ports: ports().filter_map(host_port).collect(),
            node_selector: access::entries(spec, &["nodeSelector"])
                .filter_map(|(k, v)| Some((k.into(), v.as_str()?.into())))
                .collect(),
            affinity: access::get(spec, &required).filter(|v| !v.is_null()).map(NodeAffinity::decode),
            tolerations: access::list(spec, &["tolerations"]).iter().filter_map(Toleration::decode).collect(),
            priority: access::int(spec, &["priority"]).and_then(|p| i32::try_from(p).ok()).unwrap_or(0),
            ports: ports().filter_map(named).collect(),
            unsupported: UnsupportedConstraint::find(spec),
        }
    }

    /// What its task takes: what it requests, or the smallest amount that there is, since a task cannot take nothing.
    pub fn charge(&self) -> Amounts {
        if self.requests.is_zero() {
            return Amounts { cpu_milli: 1, ..Amounts::default() };
        }
        self.requests.clone()
    }
}

/// What a Pod requests: its containers together, or its most demanding moment of initialisation, whichever is more.
/// Init containers that go on running (`restartPolicy: Always`) count with everything that starts after them.
fn requests(spec: &Value) -> Amounts {
    let of = |container: &Value| Amounts::decode(access::get(container, &["resources", "requests"]));
    let mut sidecars = Amounts::default();
    let mut peak = Amounts::default();
    for init in access::list(spec, &["initContainers"]) {
        let mut moment = of(init);
        if access::text(init, &["restartPolicy"]) == "Always" {
            sidecars.add(&moment);
            moment = sidecars.clone();
        } else {
            moment.add(&sidecars);
        }
        peak.raise_to(&moment);
    }
    let mut total = sidecars;
    for container in access::list(spec, &["containers"]) {
        total.add(&of(container));
    }
    // Requests of the Pod as a whole stand in place of its containers'.
    let whole = Amounts::decode(access::get(spec, &["resources", "requests"]));
    if whole.cpu_milli > 0 {
        total.cpu_milli = whole.cpu_milli;
    }
    if whole.memory > 0 {
        total.memory = whole.memory;
    }
    total.raise_to(&peak);
    total.add(&Amounts::decode(access::get(spec, &["overhead"])));
    total
}

/// Shapes, each kept once.
#[derive(Debug, Default)]
pub struct Shapes {
    known: BTreeSet<Arc<PodShape>>,
    /// The size at which shapes that nobody uses any more are dropped.
    sweep_at: usize,
}

/// Shapes kept before the first sweep.
const SWEEP_FIRST: usize = 1024;

impl Shapes {
    /// The shared form of a shape.
    pub fn share(&mut self, shape: PodShape) -> Arc<PodShape> {
        if let Some(known) = self.known.get(&shape) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at.max(SWEEP_FIRST) {
            self.known.retain(|s| Arc::strong_count(s) > 1);
            self.sweep_at = self.known.len() * 2;
        }
        let shape = Arc::new(shape);
        self.known.insert(shape.clone());
        shape
    }
}
