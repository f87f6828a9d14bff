//! Each invariant, broken once.

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::testing::pod;

#[test]
fn every_broken_invariant_is_noted() {
    let make = |name: &str, node: &str, ip: &str| {
        pod(&json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name},
            "spec": {"nodeName": node, "containers": [
                {"resources": {"requests": {"cpu": "1"}}, "ports": [{"containerPort": 80, "hostPort": 80}]},
            ]},
            "status": {"phase": "Running", "podIP": ip},
        }))
    };
    let pods = [make("a", "n", "10.0.0.1"), make("b", "n", "10.0.0.2"), make("c", "m", "10.0.0.2")];
    let mut state = State { pods: pods.iter().collect(), ..State::default() };
    state.tasks = vec![("a", "n"), ("a", "m"), ("b", "m"), ("x", "n")];
    state.totals.insert("n", Amounts { cpu_milli: 1500, ..Amounts::default() });
    let notes: Vec<String> = audit(&state).iter().map(ToString::to_string).collect();
    expect![[r#"
        INV-31 a: runs on n and on m
        INV-32 a: runs on m, its pod is bound to n
        INV-32 b: runs on m, its pod is bound to n
        INV-33 x: runs on n without a pod
        INV-34 n: bound pods request more cpu than there is
        INV-35 n: host port 80 is wanted twice
        INV-36 ns/c: has 10.0.0.2, as b on another node has"#]]
    .assert_eq(&notes.join("\n"));
}
