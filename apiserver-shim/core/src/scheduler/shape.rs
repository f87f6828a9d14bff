//! A Pod's scheduling requirements: everything that per-node plugins read. Equal for all Pods of one template.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;
use shim_model::access;

use super::{Amounts, ClaimReference, NodeAffinity, Toleration};
use crate::rows::PodPort;

/// A host port that a Pod uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct HostPort {
    pub port: u16,
    pub protocol: Box<str>,
    /// The address; empty means all addresses.
    pub ip: Box<str>,
}

impl HostPort {
    /// Whether both cannot be used on one node.
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
    /// The first unsupported constraint of a Pod.
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

    /// The text for users.
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

/// A ResourceClaim that a Pod needs. None can exist: no resource for it is served yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceClaim {
    /// The Pod names the claim.
    Named(Box<str>),
    /// A claim that is made from a template.
    OfTemplate(Box<str>),
}

impl DeviceClaim {
    /// The first claim of `spec.resourceClaims`.
    fn find(spec: &Value) -> Option<DeviceClaim> {
        let claim = access::list(spec, &["resourceClaims"]).first()?;
        Some(match access::text(claim, &["resourceClaimName"]) {
            "" => DeviceClaim::OfTemplate(access::text(claim, &["name"]).into()),
            name => DeviceClaim::Named(name.into()),
        })
    }
}

/// The scheduling requirements of a Pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[allow(missing_docs)]
pub struct PodShape {
    pub requests: Amounts,
    /// Whether its CPUs are revocable.
    pub revocable: bool,
    pub host_ports: Vec<HostPort>,
    pub node_selector: Vec<(Box<str>, Box<str>)>,
    pub affinity: Option<NodeAffinity>,
    pub tolerations: Vec<Toleration>,
    pub priority: i32,
    /// `preemptionPolicy: Never`: it waits, and nothing is evicted for it.
    pub never_preempts: bool,
    /// `terminationGracePeriodSeconds`.
    pub grace_seconds: Option<u64>,
    /// Named container ports. Services need them, not the scheduler, but Pods of a template share them too.
    pub ports: Vec<PodPort>,
    /// An unsupported hard constraint, which prevents placement.
    pub unsupported: Option<UnsupportedConstraint>,
    /// The PersistentVolumeClaims of its volumes.
    pub volume_claims: Vec<ClaimReference>,
    /// A claim that does not exist, which prevents placement.
    pub device_claim: Option<DeviceClaim>,
}

impl PodShape {
    /// Decodes the relevant members of the `spec` of the Pod called `name`.
    pub fn decode(spec: &Value, name: &str) -> PodShape {
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
        let grace = access::int(spec, &["terminationGracePeriodSeconds"]);
        PodShape {
            requests: requests(spec),
            revocable: false,
            grace_seconds: grace.and_then(|seconds| u64::try_from(seconds).ok()),
            host_ports: ports().filter_map(host_port).collect(),
            node_selector: access::entries(spec, &["nodeSelector"])
                .filter_map(|(k, v)| Some((k.into(), v.as_str()?.into())))
                .collect(),
            affinity: access::get(spec, &required).filter(|v| !v.is_null()).map(NodeAffinity::decode),
            tolerations: access::list(spec, &["tolerations"]).iter().filter_map(Toleration::decode).collect(),
            priority: access::int(spec, &["priority"]).and_then(|p| i32::try_from(p).ok()).unwrap_or(0),
            never_preempts: access::text(spec, &["preemptionPolicy"]) == "Never",
            ports: ports().filter_map(named).collect(),
            unsupported: UnsupportedConstraint::find(spec),
            volume_claims: ClaimReference::of_volumes(spec, name),
            device_claim: DeviceClaim::find(spec),
        }
    }

    /// The same requirements of a Pod whose CPUs are revocable.
    pub fn into_revocable(mut self) -> PodShape {
        self.requests = self.requests.into_revocable();
        self.revocable = true;
        self
    }

    /// The resources of the Pod's task: its requests, or the smallest possible amount, because a task needs some
    /// resource.
    pub fn charge(&self) -> Amounts {
        self.chargeable(&self.requests)
    }

    /// These requests of the Pod, or the smallest possible amount if there are none.
    pub(crate) fn chargeable(&self, requests: &Amounts) -> Amounts {
        let least = Amounts { cpu_milli: 1, ..Amounts::default() };
        match (requests.is_zero(), self.revocable) {
            (false, _) => requests.clone(),
            (true, false) => least,
            (true, true) => least.into_revocable(),
        }
    }
}

/// The Pod's requests as its spec has them.
fn requests(spec: &Value) -> Amounts {
    let mut total = of_containers(spec, &|container| spec_requests(container));
    add_pod_level(&mut total, spec);
    total
}

/// The requests that count on the Pod's node if they are others than those of the spec: during a resize in place. Each
/// resource counts with the largest amount of spec, allocation and cgroup, and a resize that the node can never grant
/// counts only with what the Pod has.
pub(crate) fn resized_requests(spec: &Value, status: &Value) -> Option<Amounts> {
    let pending = access::list(status, &["conditions"])
        .iter()
        .find(|condition| access::text(condition, &["type"]) == "PodResizePending");
    let infeasible = pending.is_some_and(|condition| access::text(condition, &["reason"]) == "Infeasible");
    let own_status = |container: &Value| {
        let name = access::text(container, &["name"]);
        let lists = ["containerStatuses", "initContainerStatuses"];
        let mut all = lists.iter().flat_map(|list| access::list(status, &[list]));
        all.find(|own| access::text(own, &["name"]) == name)
    };
    let status_or_spec = |container: &Value, paths: &[&[&str]]| {
        let own = own_status(container);
        let found = paths.iter().find_map(|path| access::get(own?, path).filter(|list| list.is_object()));
        match found {
            Some(list) => Amounts::decode(Some(list)),
            None if infeasible => Amounts::default(),
            None => spec_requests(container),
        }
    };
    const ALLOCATED: &[&str] = &["allocatedResources"];
    const ACTUAL: &[&str] = &["resources", "requests"];
    let mut total = of_containers(spec, &|container| status_or_spec(container, &[ALLOCATED]));
    total.raise_to(&of_containers(spec, &|container| status_or_spec(container, &[ACTUAL, ALLOCATED])));
    if !infeasible {
        total.raise_to(&of_containers(spec, &|container| spec_requests(container)));
    }
    add_pod_level(&mut total, spec);
    (total != requests(spec)).then_some(total)
}

fn spec_requests(container: &Value) -> Amounts {
    Amounts::decode(access::get(container, &["resources", "requests"]))
}

/// The sum over the containers, or the peak during initialization if that is higher. Sidecar init containers
/// (`restartPolicy: Always`) count together with everything that starts after them.
fn of_containers(spec: &Value, of: &dyn Fn(&Value) -> Amounts) -> Amounts {
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
    total.raise_to(&peak);
    total
}

/// Replaces requests of the containers by those of the Pod (`spec.resources`), and adds its overhead.
fn add_pod_level(total: &mut Amounts, spec: &Value) {
    let whole = Amounts::decode(access::get(spec, &["resources", "requests"]));
    if whole.cpu_milli > 0 {
        total.cpu_milli = whole.cpu_milli;
    }
    if whole.memory > 0 {
        total.memory = whole.memory;
    }
    for (name, amount) in whole.others.iter().filter(|(name, _)| name.starts_with("hugepages-")) {
        *total.other_mut(name) = *amount;
    }
    total.add(&Amounts::decode(access::get(spec, &["overhead"])));
}

/// Interned shapes.
#[derive(Debug, Default)]
pub struct Shapes {
    known: BTreeSet<Arc<PodShape>>,
    /// The number of shapes at which unused ones are dropped.
    sweep_at: usize,
}

/// The number of shapes before the first sweep.
const SWEEP_FIRST: usize = 1024;

impl Shapes {
    /// Returns the interned shape.
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
