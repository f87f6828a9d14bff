//! Evaluators: how the objects of a resource are counted.

use std::collections::BTreeSet;

use serde_json::Value;
use shim_model::access;
use shim_model::quantity::Quantity;

use super::pods::{self, PodUsage};
use super::{IGNORED, Quota, ScopeSelector, count_name, counted_resource};
use crate::resource_list::{ResourceList, amount};
use crate::rows::{CLASS_ANNOTATION, Seconds};

/// Splits the name of a StorageClass from the quota name of claims of that class.
const OF_STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
const OF_DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
const CLAIM_NAMES: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
const SERVICE_NAMES: [&str; 4] =
    ["count/services", "services", "services.nodeports", "services.loadbalancers"];
/// Devices that a claim for all devices of a pool counts as: the most that an allocation can have.
const ALL_DEVICES: i64 = 32;

/// How the objects of a resource are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evaluator<'a> {
    /// Pods: their number and what they request.
    Pods,
    /// Services: their number, load balancers and node ports.
    Services,
    /// PersistentVolumeClaims: their number and storage, also by StorageClass.
    VolumeClaims,
    /// ResourceClaims: their number, and devices by DeviceClass.
    DeviceClaims,
    /// The number of objects of any other resource, by its group and plural.
    Count(&'a str, &'a str),
}

/// Resources of the core group that are counted under their own name, too.
const COUNTED_BY_PLURAL: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

impl<'a> Evaluator<'a> {
    /// The evaluator of a resource; `None` if quotas do not count it.
    pub fn of(group: &'a str, plural: &'a str) -> Option<Evaluator<'a>> {
        if IGNORED.contains(&(group, plural)) {
            return None;
        }
        Some(match (group, plural) {
            ("", "pods") => Evaluator::Pods,
            ("", "services") => Evaluator::Services,
            ("", "persistentvolumeclaims") => Evaluator::VolumeClaims,
            ("resource.k8s.io", "resourceclaims") => Evaluator::DeviceClaims,
            _ => Evaluator::Count(group, plural),
        })
    }

    /// Whether requests for the resource or its subresource can be counted, apart from their objects.
    pub fn counts_requests(&self, creates: bool, subresource: &str) -> bool {
        match (self, subresource) {
            (Evaluator::Pods, "") => true,
            (Evaluator::Pods, "resize") => !creates,
            (Evaluator::Services | Evaluator::VolumeClaims | Evaluator::DeviceClaims, "") => true,
            (Evaluator::VolumeClaims, "status") => !creates,
            (Evaluator::Count(..), "") => creates,
            _ => false,
        }
    }

    /// Whether a change of an object changes what is counted, as far as upstream looks at it.
    pub(super) fn counts_change(&self, subresource: &str, old: &Value, new: &Value) -> bool {
        match self {
            Evaluator::Pods if subresource.is_empty() => {
                PodUsage::of(old).is_terminating() != PodUsage::of(new).is_terminating()
            }
            _ => true,
        }
    }

    /// Whether objects of the resource are counted under a quota name.
    pub fn counts_by(&self, name: &str) -> bool {
        match self {
            Evaluator::Pods => pods::counts_by(name),
            Evaluator::Services => SERVICE_NAMES.contains(&name),
            Evaluator::VolumeClaims => {
                let of_class = |(_, rest): (&str, &str)| CLAIM_NAMES.contains(&rest);
                name == "count/persistentvolumeclaims"
                    || CLAIM_NAMES.contains(&name)
                    || name.rsplit_once(OF_STORAGE_CLASS).is_some_and(of_class)
            }
            Evaluator::DeviceClaims => {
                name == "count/resourceclaims.resource.k8s.io" || name.ends_with(OF_DEVICE_CLASS)
            }
            Evaluator::Count(group, plural) => {
                let by_plural = group.is_empty() && name == *plural && COUNTED_BY_PLURAL.contains(plural);
                by_plural || counted_resource(name) == Some((group, plural))
            }
        }
    }

    /// The limits of a quota that apply to objects of the resource.
    pub(super) fn limits<'q>(&self, limits: &'q ResourceList) -> BTreeSet<&'q str> {
        limits.names().filter(|name| self.counts_by(name)).collect()
    }

    /// Whether an object meets all scopes of a quota.
    pub fn in_scopes(&self, quota: &Quota, object: &Value) -> bool {
        if quota.scopes.is_empty() {
            return true;
        }
        match self {
            Evaluator::Pods => {
                let pod = PodUsage::of(object);
                quota.scopes.iter().all(|scope| pod.matches(scope))
            }
            Evaluator::VolumeClaims => quota.scopes.iter().all(|scope| claim_matches(scope, object)),
            _ => false,
        }
    }

    /// Whether a quota counts an object.
    pub(super) fn matches(&self, quota: &Quota, object: &Value) -> bool {
        quota.hard.names().any(|name| self.counts_by(name)) && self.in_scopes(quota, object)
    }

    /// What an object uses.
    pub fn usage(&self, object: &Value, now: Seconds) -> ResourceList {
        match self {
            Evaluator::Pods => PodUsage::of(object).usage(now),
            Evaluator::Services => service_usage(object),
            Evaluator::VolumeClaims => claim_usage(object),
            Evaluator::DeviceClaims => device_usage(object),
            Evaluator::Count(group, plural) => {
                let one = Quantity::from_units(1);
                let mut usage = ResourceList::default();
                usage.set(count_name(group, plural), one);
                if group.is_empty() && COUNTED_BY_PLURAL.contains(plural) {
                    usage.set(*plural, one);
                }
                usage
            }
        }
    }

    /// Refuses an object that does not say what it needs of limited resources.
    pub(super) fn check_specified(&self, limited: &BTreeSet<&str>, object: &Value) -> Result<(), String> {
        match self {
            Evaluator::Pods => pods::check_specified(limited, object),
            _ => Ok(()),
        }
    }
}

fn service_usage(service: &Value) -> ResourceList {
    let ports = access::list(service, &["spec", "ports"]);
    let given = || ports.iter().filter(|port| access::int(port, &["nodePort"]).unwrap_or(0) != 0).count();
    let allocates =
        access::get(service, &["spec", "allocateLoadBalancerNodePorts"]) != Some(&Value::Bool(false));
    let (node_ports, balancers) = match access::text(service, &["spec", "type"]) {
        "NodePort" => (ports.len(), 0),
        "LoadBalancer" if allocates => (ports.len(), 1),
        "LoadBalancer" => (given(), 1),
        _ => (0, 0),
    };
    let node_ports = Quantity::from_units(i64::try_from(node_ports).unwrap_or(i64::MAX));
    let one = Quantity::from_units(1);
    ResourceList::from([
        ("count/services", one),
        ("services", one),
        ("services.nodeports", node_ports),
        ("services.loadbalancers", Quantity::from_units(balancers)),
    ])
}

/// The StorageClass of a claim; the annotation is older than the field, and wins.
fn storage_class(claim: &Value) -> &str {
    match access::get(claim, &["metadata", "annotations", CLASS_ANNOTATION]) {
        Some(class) => class.as_str().unwrap_or(""),
        None => access::text(claim, &["spec", "storageClassName"]),
    }
}

fn claim_usage(claim: &Value) -> ResourceList {
    let one = Quantity::from_units(1);
    let mut usage =
        ResourceList::from([("persistentvolumeclaims", one), ("count/persistentvolumeclaims", one)]);
    let class = storage_class(claim);
    if !class.is_empty() {
        usage.set(format!("{class}{OF_STORAGE_CLASS}persistentvolumeclaims"), one);
    }
    let at = |path: &[&str]| access::get(claim, path).and_then(amount).map(Quantity::rounded_up_to_units);
    if let Some(wanted) = at(&["spec", "resources", "requests", "storage"]) {
        let allocated = at(&["status", "allocatedResources", "storage"]);
        let storage = allocated.filter(|allocated| *allocated > wanted).unwrap_or(wanted);
        usage.set("requests.storage", storage);
        if !class.is_empty() {
            usage.set(format!("{class}{OF_STORAGE_CLASS}requests.storage"), storage);
        }
    }
    usage
}

/// Whether a claim meets a scope: by any of the VolumeAttributesClasses that it has, wants or is being changed to.
fn claim_matches(selector: &ScopeSelector, claim: &Value) -> bool {
    if selector.scope != "VolumeAttributesClass" {
        return false;
    }
    let paths: [&[&str]; 3] = [
        &["spec", "volumeAttributesClassName"],
        &["status", "currentVolumeAttributesClassName"],
        &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
    ];
    let classes: Vec<&str> =
        paths.iter().map(|path| access::text(claim, path)).filter(|class| !class.is_empty()).collect();
    match classes[..] {
        [] => selector.test(None),
        _ => classes.iter().any(|class| selector.test(Some(class))),
    }
}

fn device_usage(claim: &Value) -> ResourceList {
    let mut usage = ResourceList::from([("count/resourceclaims.resource.k8s.io", Quantity::from_units(1))]);
    let devices = |request: &Value| {
        let number = match access::text(request, &["allocationMode"]) {
            "ExactCount" => access::int(request, &["count"]).unwrap_or(0),
            "All" => ALL_DEVICES,
            _ => 0,
        };
        let name = format!("{}{OF_DEVICE_CLASS}", access::text(request, &["deviceClassName"]));
        let mut devices = ResourceList::default();
        devices.set(name, Quantity::from_units(number));
        devices
    };
    for request in access::list(claim, &["spec", "devices", "requests"]) {
        match access::list(request, &["firstAvailable"]) {
            [] if request["exactly"].is_object() => usage.add(&devices(&request["exactly"])),
            [] => {}
            alternatives => {
                let mut most = ResourceList::default();
                alternatives.iter().for_each(|alternative| most.raise_to(&devices(alternative)));
                usage.add(&most);
            }
        }
    }
    usage
}
