//! The disruption controller: the status of PodDisruptionBudgets, and `DisruptionTarget` conditions of Pods that were not
//! deleted after all.

use std::collections::BTreeMap;

use memchr::memmem;
use serde_json::{Value, json};
use shim_model::access;
use shim_model::object::Owner;
use shim_model::resource::{GroupResource, split_api_version};

use super::{
    Action, Change, Controller, EventRecord, EventSource, Input, Keys, ObjectChange, ObjectName, OwnerLookup,
    Plan, Target, View, condition, served,
};
use crate::disruption_budgets::{CONDITION, Counts, SYNC_FAILED, set_condition};
use crate::rows::{DisruptionBudget, Pod, Seconds, rfc3339, seconds};

/// How long an evicted Pod may take until its deletion is seen, and how long a `DisruptionTarget` condition may stand
/// without one (both as upstream).
const DELETION_TIMEOUT: Seconds = 120;

const BUDGETS: GroupResource = served("policy", "poddisruptionbudgets");
const PODS: GroupResource = served("", "pods");

/// Keeps the status of PodDisruptionBudgets.
pub struct DisruptionController;

impl Controller for DisruptionController {
    const NAME: &'static str = "disruption-controller";
    const SERVICE_ACCOUNT: &'static str = "disruption-controller";

    fn inputs(&self) -> Vec<Input> {
        let scaled = [
            ("", "replicationcontrollers"),
            ("apps", "deployments"),
            ("apps", "replicasets"),
            ("apps", "statefulsets"),
        ];
        let mut inputs = vec![Input::views::<DisruptionBudget>(), Input::views::<Pod>()];
        inputs.extend(scaled.map(|(group, plural)| Input::headers(group, plural)));
        inputs
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        if change.resource == BUDGETS {
            keys.insert(change.name());
        } else if change.resource == PODS {
            for header in change.headers() {
                let budgets = view.selecting::<DisruptionBudget>(&header.namespace, &header.labels);
                keys.extend(budgets.into_iter().map(|budget| ObjectName::of(BUDGETS, budget.header())));
            }
            let is_target = || memmem::find(change.object.object.status(), b"\"DisruptionTarget\"").is_some();
            if !change.is_deletion() && change.header().deletion_timestamp.is_none() && is_target() {
                keys.insert(change.name());
            }
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        if key.resource == PODS {
            return view.get::<Pod>(&key.key).map(|pod| stale_target(pod, view.now)).unwrap_or_default();
        }
        view.get::<DisruptionBudget>(&key.key).map(|budget| sync(view, budget)).unwrap_or_default()
    }
}

/// Computes the status of a budget.
fn sync(view: &View<'_>, budget: &DisruptionBudget) -> Plan {
    let mut plan = Plan::default();
    let header = budget.header();
    let pods = view.matching::<Pod>(&header.namespace, &budget.selector);
    let mut event = |warning, reason, message: String| {
        let about = Target::of(BUDGETS, header);
        let source = EventSource::Component("controllermanager");
        plan.events.push(EventRecord { about, warning, reason, message, source });
    };
    if pods.is_empty() {
        event(false, "NoPods", "No matching pods found".to_owned());
    }
    let mut status = budget.status.clone();
    let expected = match budget.limit.needs_scale() {
        true => expected_scale(view, &pods),
        false => Ok((i64::try_from(pods.len()).unwrap_or(i64::MAX), false)),
    };
    match expected {
        Err(why) => {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            event(true, "CalculateExpectedPodCountFailed", message);
            access::object_mut(&mut status, &[]).insert("disruptionsAllowed".into(), 0.into());
            set_condition(&mut status, false, (SYNC_FAILED, &why), view.now);
        }
        Ok((expected, unmanaged)) => {
            if unmanaged {
                event(true, "UnmanagedPods", unmanaged_message(budget));
            }
            let (disrupted, recheck) = disrupted_pods(&pods, &budget.status, view.now);
            let healthy = pods.iter().filter(|pod| {
                let evicted = disrupted.contains_key(&*pod.header().name);
                pod.deletion.is_none() && !evicted && pod.is_ready()
            });
            let counts =
                Counts::new(budget.limit, expected, i64::try_from(healthy.count()).unwrap_or(i64::MAX));
            status = new_status(budget, counts, disrupted, view.now);
            if let Some(at) = recheck {
                plan.requeue_after(at - view.now);
            }
        }
    }
    if status != budget.status {
        plan.actions.push(write_status(
            Target::of(BUDGETS, header),
            budget.revision,
            Change::Put(&["status"], status),
        ));
    }
    plan
}

/// A write of a status that fails if the object has changed since: an eviction must not be forgotten.
fn write_status(target: Target, revision: u64, change: Change) -> Action {
    let unchanged = Change::Put(&["metadata", "resourceVersion"], revision.to_string().into());
    Action::Change { target, subresource: Some("status"), changes: vec![unchanged, change] }
}

fn new_status(
    budget: &DisruptionBudget,
    counts: Counts,
    disrupted: BTreeMap<&str, Value>,
    now: Seconds,
) -> Value {
    let generation = budget.header().generation;
    let mut status = json!({
        "currentHealthy": counts.current_healthy,
        "desiredHealthy": counts.desired_healthy,
        "expectedPods": counts.expected_pods,
        "disruptionsAllowed": counts.disruptions_allowed,
        "observedGeneration": generation,
    });
    if !disrupted.is_empty() {
        status["disruptedPods"] = disrupted.into_iter().map(|(name, at)| (name.to_owned(), at)).collect();
    }
    if let Some(conditions) = budget.status.get("conditions") {
        status["conditions"] = conditions.clone();
    }
    let old = condition(&budget.status, CONDITION);
    let text = |member: &str| old.map_or("", |condition| access::text(condition, &[member]));
    let wanted = if counts.disruptions_allowed > 0 { "True" } else { "False" };
    // The condition is written with the numbers, and not for its observed generation alone.
    let is_old = text("status") == wanted && text("reason") == counts.reason();
    if !is_old || access::int(&budget.status, &["observedGeneration"]) != Some(generation) {
        set_condition(&mut status, counts.disruptions_allowed > 0, (counts.reason(), ""), now);
    }
    status
}

/// The Pods that were evicted and whose deletion is still awaited, and when to look again.
fn disrupted_pods<'a>(
    pods: &[&'a Pod],
    status: &Value,
    now: Seconds,
) -> (BTreeMap<&'a str, Value>, Option<Seconds>) {
    let (mut awaited, mut recheck) = (BTreeMap::new(), None);
    for pod in pods.iter().filter(|pod| pod.deletion.is_none()) {
        let name = pod.header().name.as_str();
        let Some(at) = access::get(status, &["disruptedPods", name]) else { continue };
        let until = at.as_str().and_then(seconds).unwrap_or(0) + DELETION_TIMEOUT;
        if until > now {
            recheck = Some(recheck.map_or(until, |earliest: Seconds| earliest.min(until)));
            awaited.insert(name, at.clone());
        }
    }
    (awaited, recheck)
}

/// The sum of the scales of the controllers of these Pods, and whether some have no controller.
fn expected_scale(view: &View<'_>, pods: &[&Pod]) -> Result<(i64, bool), String> {
    let mut scales: BTreeMap<String, i64> = BTreeMap::new();
    let mut unmanaged = false;
    for pod in pods {
        let Some(owner) = pod.header().controller() else {
            unmanaged = true;
            continue;
        };
        if scales.contains_key(&owner.uid) {
            continue;
        }
        let (uid, scale) = scale_of(view, pod, owner)?;
        scales.insert(uid, scale);
    }
    Ok((scales.values().sum(), unmanaged))
}

/// The scale of a Pod's controller: that of its Deployment if it has one, or its own.
fn scale_of(view: &View<'_>, pod: &Pod, owner: &Owner) -> Result<(String, i64), String> {
    let name = &pod.header().name;
    let (resource, found) = match view.owner(pod.header(), owner) {
        OwnerLookup::Found(resource, found) => (resource, found),
        OwnerLookup::Absent => return Err(format!("found no controllers for pod \"{name}\"")),
        OwnerLookup::Unknown => {
            let (group, version) = split_api_version(&owner.api_version);
            let version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
            return Err(format!("no matches for kind \"{}\" in version \"{version}\"", owner.kind));
        }
    };
    if !view.scales(resource) {
        return Err(format!("{resource} does not implement the scale subresource"));
    }
    let above = found.header().controller().filter(|_| resource.parts() == ("apps", "replicasets"));
    if let Some(above) = above.filter(|above| above.kind == "Deployment")
        && let OwnerLookup::Found(_, deployment) = view.owner(found.header(), above)
    {
        return Ok((deployment.header().uid.clone(), replicas(&deployment.value())));
    }
    Ok((found.header().uid.clone(), replicas(&found.value())))
}

fn replicas(object: &Value) -> i64 {
    access::int(object, &["spec", "replicas"]).unwrap_or(0)
}

fn unmanaged_message(budget: &DisruptionBudget) -> String {
    let selector = budget.shown_selector();
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value."
    )
}

/// Resets the condition of a Pod that was to be disrupted and still is not being deleted.
fn stale_target(pod: &Pod, now: Seconds) -> Plan {
    let mut plan = Plan::default();
    let mut status = pod.status_value();
    let Some(target) = condition(&status, "DisruptionTarget") else { return plan };
    let is_set = access::text(target, &["status"]) == "True";
    let by_kubelet = access::text(target, &["reason"]) == "TerminationByKubelet";
    if pod.deletion.is_some() || !is_set || by_kubelet || pod.phase.is_terminal() {
        return plan;
    }
    let since = seconds(access::text(target, &["lastTransitionTime"])).unwrap_or(0);
    if since + DELETION_TIMEOUT > now {
        plan.requeue_after(since + DELETION_TIMEOUT - now);
        return plan;
    }
    let reset = json!({
        "type": "DisruptionTarget",
        "status": "False",
        "lastProbeTime": null,
        "lastTransitionTime": rfc3339(now),
        "observedGeneration": pod.header().generation,
    });
    let conditions = access::list_mut(&mut status, &["conditions"]).into_iter().flatten();
    for condition in conditions.filter(|c| access::text(c, &["type"]) == "DisruptionTarget") {
        *condition = reset.clone();
    }
    let conditions = status["conditions"].take();
    let change = Change::Put(&["status", "conditions"], conditions);
    plan.actions.push(write_status(Target::of(PODS, pod.header()), pod.revision, change));
    plan
}

#[cfg(test)]
mod tests;
