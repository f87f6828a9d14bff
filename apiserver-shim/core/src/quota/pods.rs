//! What a Pod uses of a quota, and which scopes it is in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shim_model::access;
use shim_model::quantity::Quantity;

use super::ScopeSelector;
use crate::kinds::pod::qos_class;
use crate::pod_resources::{Side, has_pod_level, of_pod};
use crate::resource_list::{ResourceList, is_extended, is_native};
use crate::rows::{Seconds, seconds};

/// Quota names that Pods are counted by.
const NAMES: [&str; 11] = [
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];

/// If a quota has one of these, each container must say what it needs of it. Upstream regrets the rule and adds no names.
const REQUIRED: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// Extended resources that a device class provides without a name of its own.
const DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";

/// What a quota needs to know of a Pod.
#[derive(Debug, Clone, Default)]
pub struct PodUsage {
    /// What the Pod uses until its end.
    alive: ResourceList,
    /// Whether it has ended, by its phase.
    ended: bool,
    /// From when on a Pod that its node does not end is no longer counted.
    given_up_after: Option<Seconds>,
    terminating: bool,
    best_effort: bool,
    crosses_namespaces: bool,
    priority_class: Option<Box<str>>,
}

impl PodUsage {
    /// Reads a Pod.
    pub fn of(pod: &Value) -> PodUsage {
        let phase = access::text(pod, &["status", "phase"]);
        let deletion = seconds(access::text(pod, &["metadata", "deletionTimestamp"]));
        let grace = access::int(pod, &["metadata", "deletionGracePeriodSeconds"]);
        let class = access::text(pod, &["spec", "priorityClassName"]);
        PodUsage {
            alive: compute(&of_pod(pod, Side::Requests), &of_pod(pod, Side::Limits)),
            ended: matches!(phase, "Failed" | "Succeeded"),
            given_up_after: deletion.zip(grace).map(|(at, grace)| at + grace),
            terminating: access::int(pod, &["spec", "activeDeadlineSeconds"]).is_some_and(|s| s >= 0),
            best_effort: qos_class(pod) == "BestEffort",
            crosses_namespaces: crosses_namespaces(&pod["spec"]["affinity"]),
            priority_class: (!class.is_empty()).then(|| class.into()),
        }
    }

    /// What it uses. A Pod that has ended is only counted as an object.
    pub fn usage(&self, now: Seconds) -> ResourceList {
        let mut usage = ResourceList::from([("count/pods", Quantity::from_units(1))]);
        if !self.ended && self.given_up_after.is_none_or(|at| now <= at) {
            usage.add(&self.alive);
        }
        usage
    }

    /// When its usage ends by itself; `None` if only a change ends it.
    pub fn expires(&self, now: Seconds) -> Option<Seconds> {
        self.given_up_after.filter(|at| !self.ended && *at >= now).map(|at| at + 1)
    }

    /// Whether the Pod has `spec.activeDeadlineSeconds`.
    pub(super) fn is_terminating(&self) -> bool {
        self.terminating
    }

    /// Whether the Pod meets a scope.
    pub(super) fn matches(&self, selector: &ScopeSelector) -> bool {
        match selector.scope.as_str() {
            "Terminating" => self.terminating,
            "NotTerminating" => !self.terminating,
            "BestEffort" => self.best_effort,
            "NotBestEffort" => !self.best_effort,
            "PriorityClass" => selector.test(self.priority_class.as_deref()),
            "CrossNamespacePodAffinity" => self.crosses_namespaces,
            _ => false,
        }
    }
}

/// Whether Pods are counted by a quota name.
pub(super) fn counts_by(name: &str) -> bool {
    let implicit =
        |name: &str| name.strip_prefix("requests.").is_some_and(|rest| rest.starts_with(DEVICE_CLASS));
    NAMES.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
        || name.starts_with("requests.") && (!is_native(name) || implicit(name))
}

/// The quota names of requests and limits.
fn compute(requests: &ResourceList, limits: &ResourceList) -> ResourceList {
    let mut usage = ResourceList::from([("pods", Quantity::from_units(1))]);
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(request) = requests.get(name) {
            usage.set(name, request);
            usage.set(format!("requests.{name}"), request);
        }
        if let Some(limit) = limits.get(name) {
            usage.set(format!("limits.{name}"), limit);
        }
    }
    for (name, request) in requests.iter() {
        if name.starts_with("hugepages-") {
            usage.set(name, request);
            usage.set(format!("requests.{name}"), request);
        } else if is_extended(name) || name.starts_with(DEVICE_CLASS) {
            usage.set(format!("requests.{name}"), request);
        }
    }
    usage
}

/// Refuses a Pod whose containers do not say what they need of resources that a quota limits.
pub(super) fn check_specified(limited: &BTreeSet<&str>, pod: &Value) -> Result<(), String> {
    let spec = &pod["spec"];
    let required: Vec<&str> = REQUIRED.into_iter().filter(|name| limited.contains(name)).collect();
    if required.is_empty() || has_pod_level(spec) {
        return Ok(());
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for list in ["containers", "initContainers"] {
        for container in access::list(spec, &[list]) {
            let [requests, limits] =
                ["requests", "limits"].map(|list| ResourceList::at(container, &["resources", list]));
            let usage = compute(&requests, &limits);
            for name in required.iter().filter(|name| !usage.contains(name)) {
                missing.entry(name).or_default().insert(access::text(container, &["name"]));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let each = |(name, containers): (&&str, &BTreeSet<&str>)| {
        format!("{name} for: {}", containers.iter().copied().collect::<Vec<_>>().join(","))
    };
    Err(format!("must specify {}", missing.iter().map(each).collect::<Vec<_>>().join("; ")))
}

/// Whether a term of Pod affinity or anti-affinity reaches into other namespaces.
fn crosses_namespaces(affinity: &Value) -> bool {
    let crosses = |term: &Value| {
        !access::list(term, &["namespaces"]).is_empty()
            || access::get(term, &["namespaceSelector"]).is_some_and(|selector| !selector.is_null())
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let affinity = &affinity[*kind];
        let required = access::list(affinity, &["requiredDuringSchedulingIgnoredDuringExecution"]);
        let preferred = access::list(affinity, &["preferredDuringSchedulingIgnoredDuringExecution"]);
        required.iter().any(crosses) || preferred.iter().any(|term| crosses(&term["podAffinityTerm"]))
    })
}
