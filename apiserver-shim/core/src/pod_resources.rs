//! What a whole Pod requests and is limited to: the sum over its containers or the peak of its initialization, the Pod's
//! own resources instead of its containers', and its overhead. Quotas and limits count it by resource, exactly; the scheduler
//! has its own form (`scheduler::Amounts`).

use serde_json::Value;
use shim_model::access;

use crate::resource_list::ResourceList;

/// Which list of a container's resources counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Side {
    Requests,
    Limits,
}

impl Side {
    fn member(self) -> &'static str {
        match self {
            Side::Requests => "requests",
            Side::Limits => "limits",
        }
    }
}

/// The resources of a Pod by its spec alone, without overhead: what LimitRanges apply to. As upstream, huge pages of the Pod
/// itself do not count here.
pub fn of_spec(spec: &Value, side: Side) -> ResourceList {
    let mut total =
        of_containers(spec, &|container| ResourceList::at(container, &["resources", side.member()]));
    replace_by_pod_level(&mut total, spec, side, |name| matches!(name, "cpu" | "memory"));
    total
}

/// What the containers of a Pod have, without what the Pod itself has: the default of the latter.
pub fn of_containers_alone(spec: &Value, side: Side) -> ResourceList {
    of_containers(spec, &|container| ResourceList::at(container, &["resources", side.member()]))
}

/// The resources of a Pod by spec and status, with overhead: what quotas count. During a resize, what the containers still
/// have counts as long as it is more.
pub fn of_pod(pod: &Value, side: Side) -> ResourceList {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let infeasible = access::list(status, &["conditions"])
        .iter()
        .find(|condition| access::text(condition, &["type"]) == "PodResizePending")
        .is_some_and(|condition| access::text(condition, &["reason"]) == "Infeasible");
    let mut total = of_containers(spec, &|container| effective(container, status, side, infeasible));
    replace_by_pod_level(&mut total, spec, side, is_pod_level);
    let overhead = ResourceList::at(spec, &["overhead"]);
    match side {
        Side::Requests => total.add(&overhead),
        Side::Limits => {
            total.add(&overhead.filtered(|name, _| total.get(name).is_some_and(|limit| limit.sign() != 0)));
        }
    }
    total
}

/// The resources of a container with regard to its status.
fn effective(container: &Value, status: &Value, side: Side, infeasible: bool) -> ResourceList {
    let wanted = ResourceList::at(container, &["resources", side.member()]);
    let name = access::text(container, &["name"]);
    let lists = ["containerStatuses", "initContainerStatuses"];
    let mut all = lists.iter().flat_map(|list| access::list(status, &[list]));
    let own = all.find(|own| access::text(own, &["name"]) == name);
    let Some(own) = own.filter(|own| own["resources"].is_object()) else { return wanted };
    let mut amounts = if infeasible { ResourceList::default() } else { wanted };
    amounts.raise_to(&ResourceList::at(own, &["resources", side.member()]));
    if side == Side::Requests {
        amounts.raise_to(&ResourceList::at(own, &["allocatedResources"]));
    }
    amounts
}

/// The sum over the containers, or the peak during initialization if that is higher. Sidecars (init containers that restart
/// always) count together with everything that starts after them.
fn of_containers(spec: &Value, of: &dyn Fn(&Value) -> ResourceList) -> ResourceList {
    let (mut sidecars, mut peak) = (ResourceList::default(), ResourceList::default());
    for container in access::list(spec, &["initContainers"]) {
        let mut moment = of(container);
        if access::text(container, &["restartPolicy"]) == "Always" {
            sidecars.add(&moment);
            moment = sidecars.clone();
        } else {
            moment.add(&sidecars);
        }
        peak.raise_to(&moment);
    }
    let mut total = ResourceList::default();
    access::list(spec, &["containers"]).iter().for_each(|container| total.add(&of(container)));
    total.add(&sidecars);
    total.raise_to(&peak);
    total
}

/// The Pod's own amounts replace the sums.
fn replace_by_pod_level(total: &mut ResourceList, spec: &Value, side: Side, replaces: fn(&str) -> bool) {
    let own = ResourceList::at(spec, &["resources", side.member()]);
    own.iter().filter(|(name, _)| replaces(name)).for_each(|(name, amount)| total.set(name, amount));
}

/// Whether a Pod has resources of its own.
pub fn has_pod_level(spec: &Value) -> bool {
    [Side::Requests, Side::Limits]
        .iter()
        .any(|side| ResourceList::at(spec, &["resources", side.member()]).names().any(is_pod_level))
}

pub(crate) fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

#[cfg(test)]
mod tests;
