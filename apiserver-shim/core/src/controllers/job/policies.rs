//! The policies of a Job: which failed Pods end the Job, or are not counted, and when enough Pods have succeeded.

use serde_json::Value;
use shim_model::access;

use super::intervals::Intervals;
use crate::rows::{EndedContainer, JobPodDetails, Pod};

/// What the failure policy does about a failed Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureAction {
    /// The failure counts towards the back-off limits.
    Count,
    /// The failure does not count.
    Ignore,
    /// The index of the Pod has failed.
    FailIndex,
    /// The Job fails, with this message.
    FailJob(String),
}

/// What a failure policy does about a failed Pod: the action of the first rule that matches.
pub fn failure_action(policy: &Value, pod: &Pod) -> FailureAction {
    let details = pod.job_details();
    for (at, rule) in access::list(policy, &["rules"]).iter().enumerate() {
        let action = access::text(rule, &["action"]);
        let (namespace, name) = (&pod.header().namespace, &pod.header().name);
        let cause = match access::get(rule, &["onExitCodes"]) {
            Some(requirement) => matching_container(requirement, details).map(|container| {
                let EndedContainer { name: container, exit_code } = container;
                format!("Container {container} for pod {namespace}/{name} failed with exit code {exit_code}")
            }),
            None => matching_condition(access::list(rule, &["onPodConditions"]), details)
                .map(|condition| format!("Pod {namespace}/{name} has condition {condition}")),
        };
        let Some(cause) = cause else { continue };
        return match action {
            "Ignore" => FailureAction::Ignore,
            "FailIndex" => FailureAction::FailIndex,
            "FailJob" => FailureAction::FailJob(format!("{cause} matching {action} rule at index {at}")),
            _ => FailureAction::Count,
        };
    }
    FailureAction::Count
}

/// The first ended container that a requirement on exit codes matches. Containers that succeeded match none.
fn matching_container<'a>(requirement: &Value, details: &'a JobPodDetails) -> Option<&'a EndedContainer> {
    let name = access::get(requirement, &["containerName"]).and_then(Value::as_str);
    let values = access::list(requirement, &["values"]);
    let listed = |code: i64| values.iter().any(|value| value.as_i64() == Some(code));
    let wanted = match access::text(requirement, &["operator"]) {
        "In" => true,
        "NotIn" => false,
        _ => return None,
    };
    details.ended.iter().find(|container| {
        name.is_none_or(|name| name == &*container.name)
            && container.exit_code != 0
            && listed(container.exit_code) == wanted
    })
}

/// The type of the first condition that a pattern matches.
fn matching_condition<'a>(patterns: &[Value], details: &'a JobPodDetails) -> Option<&'a str> {
    let matches = |(kind, status): &&(Box<str>, Box<str>)| {
        let pattern =
            |p: &Value| access::text(p, &["type"]) == &**kind && access::text(p, &["status"]) == &**status;
        patterns.iter().any(pattern)
    };
    details.conditions.iter().find(matches).map(|(kind, _)| &**kind)
}

/// The message of the first rule of a success policy that the succeeded indexes meet.
pub fn success(policy: &Value, completions: i64, succeeded: &Intervals) -> Option<String> {
    if succeeded.total() == 0 {
        return None;
    }
    let met = |rule: &Value| {
        let count = access::int(rule, &["succeededCount"]);
        let Some(indexes) = access::get(rule, &["succeededIndexes"]) else {
            return count.is_some_and(|count| succeeded.total() >= count);
        };
        let required = Intervals::parse(indexes.as_str().unwrap_or(""), completions);
        let shared = required.shared(succeeded);
        required.total() > 0 && (shared == required.total() || count.is_some_and(|count| shared >= count))
    };
    let index = access::list(policy, &["rules"]).iter().position(met)?;
    Some(format!("Matched rules at index {index}"))
}
