//! Decisions that API server and node each make for themselves, because their crates have no common one: both must agree.

use std::collections::BTreeSet;

use executor_core::{
    spec::{self, ExitDecision, after_exit},
    sysctl,
};
use serde_json::{Value, json};
use shim_core::{
    kinds::pod::{may_restart, may_restart_all},
    pod_security::SAFE_SYSCTLS,
};

/// The node does with a container that has ended what the API server lets its status say.
#[test]
fn the_api_server_and_the_node_restart_the_same_containers() {
    let rule = |action: &str, operator: &str, values: &[i32]| json!({ "action": action, "exitCodes": { "operator": operator, "values": values } });
    let lists = [
        json!([]),
        json!([rule("Restart", "In", &[42])]),
        json!([rule("Restart", "NotIn", &[42])]),
        json!([rule("Restart", "In", &[1]), rule("RestartAllContainers", "In", &[1, 42])]),
        json!([rule("RestartAllContainers", "NotIn", &[0]), rule("Restart", "In", &[1])]),
        json!([{ "action": "Restart" }]),
    ];
    for policy in ["Always", "OnFailure", "Never"] {
        for own in [Value::Null, json!("Always"), json!("OnFailure"), json!("Never")] {
            for rules in &lists {
                let container = json!({ "name": "c", "restartPolicy": own, "restartPolicyRules": rules });
                let value = json!({ "spec": { "restartPolicy": policy, "containers": [container] } });
                let pod = serde_json::from_value(value.clone()).expect("the Pod is valid");
                let typed = spec::container(&pod, "c").expect("the Pod has the container");
                let all = may_restart_all(&value["spec"]);
                assert_eq!(all, spec::may_restart_all(&pod), "{value}");
                for code in [0, 1, 42] {
                    let node = after_exit(&pod, &typed, code);
                    let allowed = may_restart(&value["spec"], &container, code.into());
                    match node {
                        ExitDecision::Restart => assert!(allowed, "{value} {code}"),
                        ExitDecision::Stay => assert!(!allowed, "{value} {code}"),
                        ExitDecision::RestartAll => assert!(all, "{value} {code}"),
                    }
                }
            }
        }
    }
}

/// A Pod that Pod Security lets set a sysctl is not refused by the node, and the other way round.
#[test]
fn the_api_server_and_the_node_have_the_same_safe_sysctls() {
    assert_eq!(BTreeSet::from(SAFE_SYSCTLS), BTreeSet::from(sysctl::SAFE));
}
