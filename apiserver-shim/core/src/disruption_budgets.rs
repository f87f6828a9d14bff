//! PodDisruptionBudgets: how many Pods may be disrupted, and whether one of them may be evicted.

use serde_json::{Value, json};
use shim_model::access;
use shim_model::object::Header;
use shim_model::selector::LabelSelector;
use shim_model::status::{self, Cause, Status};

use crate::rows::{Seconds, rfc3339};

/// The condition of a budget.
pub const CONDITION: &str = "DisruptionAllowed";
/// Why the controller could not compute the status.
pub const SYNC_FAILED: &str = "SyncFailed";
/// Evictions that the controller has not seen yet; more are refused (as upstream).
const DISRUPTED_MAX: usize = 2000;

/// `minAvailable` or `maxUnavailable`: a number of Pods or a percentage of the expected ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Amount {
    Count(i64),
    Percent(i64),
}

impl Amount {
    /// Reads an amount; `None` if it is absent. Validation admits no other texts than percentages.
    pub fn decode(value: Option<&Value>) -> Option<Amount> {
        match value? {
            Value::String(text) => text.strip_suffix('%')?.parse().ok().map(Amount::Percent),
            number => number.as_i64().map(Amount::Count),
        }
    }

    /// The number of Pods; percentages are rounded up.
    pub fn of(self, expected: i64) -> i64 {
        match self {
            Amount::Count(count) => count,
            Amount::Percent(percent) => {
                let hundredths = percent.saturating_mul(expected);
                hundredths.div_euclid(100) + i64::from(hundredths.rem_euclid(100) != 0)
            }
        }
    }
}

/// The limit that a budget sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Limit {
    MinAvailable(Amount),
    MaxUnavailable(Amount),
    /// Neither: no Pod may be disrupted.
    None,
}

impl Limit {
    /// Reads the limit of a budget's spec. `maxUnavailable` wins.
    pub fn decode(spec: &Value) -> Limit {
        let [max, min] = ["maxUnavailable", "minAvailable"].map(|name| Amount::decode(spec.get(name)));
        match (max, min) {
            (Some(max), _) => Limit::MaxUnavailable(max),
            (None, Some(min)) => Limit::MinAvailable(min),
            (None, None) => Limit::None,
        }
    }

    /// Whether the number of Pods that should exist is that of their controllers' scales, and not of the Pods.
    pub fn needs_scale(self) -> bool {
        matches!(self, Limit::MaxUnavailable(_) | Limit::MinAvailable(Amount::Percent(_)))
    }
}

/// The numbers of a budget's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Counts {
    pub current_healthy: i64,
    pub desired_healthy: i64,
    pub expected_pods: i64,
    pub disruptions_allowed: i64,
}

impl Counts {
    /// Computes the status from the Pods that should exist and those that are healthy.
    pub fn new(limit: Limit, expected: i64, healthy: i64) -> Counts {
        let (expected_pods, desired_healthy) = match limit {
            Limit::MaxUnavailable(amount) => (expected, (expected - amount.of(expected)).max(0)),
            Limit::MinAvailable(amount) => (expected, amount.of(expected)),
            Limit::None => (0, 0),
        };
        let spare = healthy - desired_healthy;
        // Without a Pod that is expected, none that appears may be disrupted before the status is computed again.
        let disruptions_allowed = if expected_pods <= 0 { 0 } else { spare.max(0) };
        Counts { current_healthy: healthy, desired_healthy, expected_pods, disruptions_allowed }
    }

    /// Reads the numbers of a status.
    pub fn decode(status: &Value) -> Counts {
        let number = |name: &str| access::int(status, &[name]).unwrap_or(0);
        Counts {
            current_healthy: number("currentHealthy"),
            desired_healthy: number("desiredHealthy"),
            expected_pods: number("expectedPods"),
            disruptions_allowed: number("disruptionsAllowed"),
        }
    }

    /// The reason of [`CONDITION`].
    pub fn reason(self) -> &'static str {
        if self.disruptions_allowed > 0 { "SufficientPods" } else { "InsufficientPods" }
    }
}

/// Sets [`CONDITION`] of a status. `lastTransitionTime` changes with its status only.
pub fn set_condition(status: &mut Value, allowed: bool, (reason, message): (&str, &str), now: Seconds) {
    let mut condition = json!({
        "type": CONDITION,
        "status": if allowed { "True" } else { "False" },
        "reason": reason,
        "message": message,
        "lastTransitionTime": rfc3339(now),
    });
    if let Some(generation) =
        access::int(status, &["observedGeneration"]).filter(|generation| *generation != 0)
    {
        condition["observedGeneration"] = generation.into();
    }
    let conditions = access::object_mut(status, &[]).entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    match conditions.iter_mut().find(|old| access::text(old, &["type"]) == CONDITION) {
        Some(old) => {
            if old["status"] == condition["status"] {
                condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

/// What an eviction does.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Delete the Pod.
    Evict,
    /// Delete the Pod, and store this budget with one disruption less, in one transaction.
    Charge(Box<Value>),
    /// Nothing: several budgets select the Pod, which upstream reports in a response of its own kind.
    Several,
}

/// Whether a Pod may be evicted under the budgets of its namespace.
pub fn decide(pod: &Value, budgets: &[Value], now: Seconds) -> Result<Decision, Status> {
    if disrupts_nothing(pod) {
        return Ok(Decision::Evict);
    }
    let labels = Header::of(pod).labels;
    let selects = |budget: &&Value| {
        let selector = access::get(budget, &["spec", "selector"]).filter(|selector| !selector.is_null());
        selector.is_some_and(|s| LabelSelector::from_value(s).is_ok_and(|selector| selector.matches(&labels)))
    };
    let selecting: Vec<&Value> = budgets.iter().filter(selects).collect();
    let budget = match selecting[..] {
        [] => return Ok(Decision::Evict),
        [budget] => budget,
        _ => return Ok(Decision::Several),
    };
    if !is_ready(pod) {
        let counts = Counts::decode(&budget["status"]);
        let always = access::text(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
        let in_budget = counts.current_healthy >= counts.desired_healthy && counts.desired_healthy > 0;
        if always || in_budget {
            return Ok(Decision::Evict);
        }
    }
    charge(budget, access::text(pod, &["metadata", "name"]), now)
        .map(|budget| Decision::Charge(Box::new(budget)))
}

/// Whether the Pod has ended, has not begun, or is being deleted already.
fn disrupts_nothing(pod: &Value) -> bool {
    let deleted = access::get(pod, &["metadata", "deletionTimestamp"]).is_some();
    deleted || matches!(access::text(pod, &["status", "phase"]), "Succeeded" | "Failed" | "Pending")
}

fn is_ready(pod: &Value) -> bool {
    access::list(pod, &["status", "conditions"])
        .iter()
        .any(|c| access::text(c, &["type"]) == "Ready" && access::text(c, &["status"]) == "True")
}

/// Takes one disruption from a budget.
fn charge(budget: &Value, pod: &str, now: Seconds) -> Result<Value, Status> {
    let name = access::text(budget, &["metadata", "name"]);
    let status = &budget["status"];
    let observed = access::int(status, &["observedGeneration"]).unwrap_or(0);
    if observed < access::int(budget, &["metadata", "generation"]).unwrap_or(0) {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(too_many(why, 10));
    }
    let counts = Counts::decode(status);
    let forbidden = |why: &str| Err(status::forbidden("policy", "poddisruptionbudget", name, why));
    if counts.disruptions_allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if access::entries(status, &["disruptedPods"]).count() > DISRUPTED_MAX {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if counts.disruptions_allowed == 0 {
        return Err(too_many(why_exhausted(name, status, counts), 0));
    }
    let mut charged = budget.clone();
    let left = counts.disruptions_allowed - 1;
    let status = access::object_mut(&mut charged, &["status"]);
    status.insert("disruptionsAllowed".into(), left.into());
    access::object_mut(&mut charged, &["status", "disruptedPods"])
        .insert(pod.to_owned(), rfc3339(now).into());
    if left == 0 {
        set_condition(&mut charged["status"], false, ("InsufficientPods", ""), now);
    }
    Ok(charged)
}

fn why_exhausted(name: &str, status: &Value, counts: Counts) -> String {
    let conditions = access::list(status, &["conditions"]);
    let condition = conditions.iter().find(|c| access::text(c, &["type"]) == CONDITION);
    let text = |member: &str| condition.map_or("", |condition| access::text(condition, &[member]));
    let refused = text("status") == "False" && !text("message").is_empty();
    let (reason, message) = (text("reason"), text("message"));
    let not_now = format!("The disruption budget {name} does not allow evicting pods currently");
    if refused && reason == SYNC_FAILED {
        format!("{not_now} because it failed sync: {message}")
    } else if counts.current_healthy <= counts.desired_healthy {
        let Counts { desired_healthy, current_healthy, .. } = counts;
        format!(
            "The disruption budget {name} needs {desired_healthy} healthy pods and has {current_healthy} currently"
        )
    } else if refused {
        format!("{not_now} ({reason}): {message}")
    } else {
        not_now
    }
}

/// 429 for an eviction.
fn too_many(why: String, retry_after_seconds: u32) -> Status {
    let cause = Cause { reason: "DisruptionBudget".into(), message: why, field: String::new() };
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    status::too_many_requests(message, vec![cause], retry_after_seconds)
}

/// The answer to an eviction of a Pod that several budgets select. Upstream sends this failure with the code of a success.
pub fn several() -> Status {
    status::unclassified(
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
    )
}

#[cfg(test)]
mod tests;
