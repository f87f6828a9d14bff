//! The ResourceQuota controller: `status.hard` follows the spec, and `status.used` is what the objects of the namespace use.
//! Admission charges what is created; this controller counts again when something is deleted or uses less.

use serde_json::{Map, Value};
use shim_model::access;
use shim_model::resource::GroupResource;

use super::{
    Action, Change, ChangeKind, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Target, View, served,
};
use crate::quota::{Evaluator, PodUsage, Quota, UsedObjects, used};
use crate::rows::{Pod, Seconds};

/// Keeps the status of ResourceQuotas.
pub struct ResourceQuotaController;

const QUOTAS: GroupResource = served("", "resourcequotas");

impl Controller for ResourceQuotaController {
    const NAME: &'static str = "resourcequota-controller";
    const SERVICE_ACCOUNT: &'static str = "resourcequota-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::every_resource(), Input::headers("", "resourcequotas"), Input::views::<Pod>()]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        if change.resource == QUOTAS {
            // Charges change the status only, and need no count.
            let spec_is_old = change
                .previous
                .as_ref()
                .is_some_and(|previous| previous.object.spec() == change.object.object.spec());
            if !spec_is_old || change.revision == 0 {
                keys.insert(change.name());
            }
        }
        let (group, plural) = change.resource.parts();
        if !frees(change) {
            return;
        }
        let Some(evaluator) = Evaluator::of(group, plural) else { return };
        for quota in view.in_namespace(&QUOTAS, &change.header().namespace) {
            let limits = Quota::decode(&quota.value()).wanted;
            if limits.names().any(|name| evaluator.counts_by(name)) {
                keys.insert(ObjectName::of(QUOTAS, quota.header()));
            }
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(found) = view.named(key) else { return plan };
        if found.revision > view.complete_to {
            // It may be charged with objects that are not in the cache yet.
            plan.needs_revision = Some(found.revision);
            return plan;
        }
        let quota = Quota::decode(&found.value());
        let objects = Namespace { view, name: &key.key.namespace };
        let counted = used(&quota, &objects, view.now);
        let mut usage = quota.used.masked_by(&quota.wanted);
        counted.iter().for_each(|(name, amount)| usage.set(name, amount));
        if let Some(at) = objects.expires(&quota) {
            plan.requeue_after(at - view.now);
        }
        if quota.hard != quota.wanted || quota.used != usage {
            let changes = vec![
                // A charge that is not counted here makes the write fail, so that it is not lost.
                Change::Put(&["metadata", "resourceVersion"], found.revision.to_string().into()),
                Change::Put(&["status"], status(&quota, usage.to_value())),
            ];
            let target = Target::of(QUOTAS, found.header());
            plan.actions.push(Action::Change { target, subresource: Some("status"), changes });
        }
        plan
    }
}

fn status(quota: &Quota, used: Value) -> Value {
    let mut status = Map::new();
    for (name, amounts) in [("hard", quota.wanted.to_value()), ("used", used)] {
        if !access::is_zero(&amounts) {
            status.insert(name.to_owned(), amounts);
        }
    }
    Value::Object(status)
}

/// Whether a change may have lowered what a namespace uses, or changed it without a charge.
fn frees(change: &ObjectChange) -> bool {
    match (change.kind, change.resource.parts()) {
        (ChangeKind::Added, _) => false,
        (ChangeKind::Deleted, _) => true,
        (ChangeKind::Modified, ("", "pods")) => {
            let views = (change.object.view::<Pod>(), change.previous.as_ref().and_then(|p| p.view::<Pod>()));
            let (Some(new), Some(old)) = views else { return true };
            // The status of a Pod that was resized says what it still has.
            let resized = new.header().generation > 1 && new.object.status() != old.object.status();
            resized || new.phase != old.phase || new.deletion != old.deletion
        }
        (ChangeKind::Modified, ("", "services" | "persistentvolumeclaims")) => true,
        (ChangeKind::Modified, parts) => parts == ("resource.k8s.io", "resourceclaims"),
    }
}

/// The objects of a namespace in the controllers' cache.
struct Namespace<'v, 'a> {
    view: &'v View<'a>,
    name: &'v str,
}

impl Namespace<'_, '_> {
    /// When a Pod that is counted stops to be by itself.
    fn expires(&self, quota: &Quota) -> Option<Seconds> {
        if !quota.wanted.names().any(|name| Evaluator::Pods.counts_by(name)) {
            return None;
        }
        let pods = self.view.with_name_prefix::<Pod>(self.name, "").filter(|pod| pod.deletion.is_some());
        pods.filter_map(|pod| pod.quota_usage().expires(self.view.now)).min()
    }
}

impl UsedObjects for Namespace<'_, '_> {
    fn pods(&self, each: &mut dyn FnMut(&PodUsage)) {
        self.view.with_name_prefix::<Pod>(self.name, "").for_each(|pod| each(pod.quota_usage()));
    }

    fn objects(&self, group: &str, plural: &str, each: &mut dyn FnMut(&Value)) {
        let resource = GroupResource::new(group, plural);
        self.view.in_namespace(&resource, self.name).for_each(|object| each(&object.value()));
    }

    fn count(&self, group: &str, plural: &str) -> Option<usize> {
        let resource = GroupResource::new(group, plural);
        let counted = || self.view.counts(self.name).find(|(of, _)| **of == resource).map_or(0, |(_, n)| n);
        self.view.serves(&resource).then(counted)
    }
}

#[cfg(test)]
mod tests;
