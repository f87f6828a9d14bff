//! Which containers may run again after their end. The node decides the same (`executor_core::spec::after_exit`); a test of
//! `sim` compares both.

use serde_json::Value;
use shim_model::access;

/// Whether a container may run again after it ended with this exit code: its first matching rule decides, else its own
/// restart policy, else the Pod's.
pub fn may_restart(spec: &Value, container: &Value, code: i64) -> bool {
    let own = access::text(container, &["restartPolicy"]);
    let matches = |rule: &&Value| {
        let values = access::list(rule, &["exitCodes", "values"]);
        let listed = values.iter().any(|value| value.as_i64() == Some(code));
        match access::text(rule, &["exitCodes", "operator"]) {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    };
    let rules = access::list(container, &["restartPolicyRules"]).iter();
    if !own.is_empty()
        && rules.clone().find(matches).is_some_and(|r| access::text(r, &["action"]) == "Restart")
    {
        return true;
    }
    let policy = if own.is_empty() { access::text(spec, &["restartPolicy"]) } else { own };
    match policy {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

/// Whether a rule of some container restarts all containers.
pub fn may_restart_all(spec: &Value) -> bool {
    let lists = ["initContainers", "containers"];
    let containers = lists.iter().flat_map(|list| access::list(spec, &[list]));
    containers
        .flat_map(|container| access::list(container, &["restartPolicyRules"]))
        .any(|rule| access::text(rule, &["action"]) == "RestartAllContainers")
}
