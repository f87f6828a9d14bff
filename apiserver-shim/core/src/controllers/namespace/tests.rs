//! How a namespace empties.

use expect_test::expect;
use serde_json::json;

use super::*;

#[test]
fn pods_are_deleted_before_the_rest_and_the_namespace() {
    let value = json!({
        "metadata": {"name": "n", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Terminating"},
    });
    let header = Header::of(&value);
    let in_it = |name: &str| Header::of(&json!({"metadata": {"name": name, "namespace": "n", "uid": name}}));
    let (pod, map) = (in_it("p"), in_it("m"));
    let planned = |value: &Value, content| {
        let plan = plan(&Snapshot { header: &header, value, content, now: 0 });
        let text = |a: &Action| match a {
            Action::Delete { target, .. } => format!("delete {}", target.key),
            Action::Change { subresource, .. } => format!("write {}", subresource.unwrap_or("object")),
            Action::Create { .. } => "create".to_owned(),
            Action::Apply { .. } => "apply".to_owned(),
        };
        plan.actions.iter().map(text).collect::<Vec<_>>().join(", ")
    };
    let (pods, maps) = (served("", "pods"), served("", "configmaps"));
    let both = vec![(&pods, &pod), (&maps, &map)];
    expect!["delete n/p, write status"].assert_eq(&planned(&value, both));
    expect!["delete n/m, write status"].assert_eq(&planned(&value, vec![(&maps, &map)]));
    expect!["write status, write finalize"].assert_eq(&planned(&value, vec![]));
}
