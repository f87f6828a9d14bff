//! What the objects of a namespace use of a quota.

use serde_json::Value;
use shim_model::quantity::Quantity;

use super::{Evaluator, PodUsage, Quota, counted_resource};
use crate::resource_list::ResourceList;
use crate::rows::Seconds;

/// The objects of a namespace.
pub trait UsedObjects {
    /// What the Pods use. Each is read once per version.
    fn pods(&self, each: &mut dyn FnMut(&PodUsage));
    /// The objects of another resource.
    fn objects(&self, group: &str, plural: &str, each: &mut dyn FnMut(&Value));
    /// The number of objects of a resource; `None` if it is not served.
    fn count(&self, group: &str, plural: &str) -> Option<usize>;
}

/// Resources whose objects are read; of all others only the number counts.
const READ: [(&str, &str); 3] =
    [("", "services"), ("", "persistentvolumeclaims"), ("resource.k8s.io", "resourceclaims")];

/// Counts what the objects use of each limit of `spec.hard` that is counted by anything.
pub fn used(quota: &Quota, objects: &impl UsedObjects, now: Seconds) -> ResourceList {
    let mut used = ResourceList::default();
    let limits = |evaluator: &Evaluator<'_>| {
        let zeros = quota.wanted.names().filter(|name| evaluator.counts_by(name));
        let mut limits = ResourceList::default();
        zeros.for_each(|name| limits.set(name, Quantity::ZERO));
        limits
    };
    let of_pods = limits(&Evaluator::Pods);
    if !of_pods.is_empty() {
        used.add(&of_pods);
        objects.pods(&mut |pod| {
            if quota.scopes.iter().all(|scope| pod.matches(scope)) {
                used.add(&pod.usage(now).masked_by(&of_pods));
            }
        });
    }
    for (group, plural) in READ {
        let Some(evaluator) = Evaluator::of(group, plural) else { continue };
        let limits = limits(&evaluator);
        if limits.is_empty() {
            continue;
        }
        used.add(&limits);
        objects.objects(group, plural, &mut |object| {
            if evaluator.in_scopes(quota, object) {
                used.add(&evaluator.usage(object, now).masked_by(&limits));
            }
        });
    }
    for name in
        quota.wanted.names().filter(|name| !used.contains(name)).map(str::to_owned).collect::<Vec<_>>()
    {
        let (group, plural) = counted_resource(&name).unwrap_or(("", &name));
        let counts = Evaluator::of(group, plural).is_some_and(|evaluator| evaluator.counts_by(&name));
        if let Some(number) = objects.count(group, plural).filter(|_| counts) {
            let number = if quota.scopes.is_empty() { number } else { 0 };
            used.set(name, Quantity::from_units(i64::try_from(number).unwrap_or(i64::MAX)));
        }
    }
    used
}
