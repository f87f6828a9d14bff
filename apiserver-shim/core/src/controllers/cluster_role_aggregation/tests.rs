//! Aggregated roles follow the roles that they select.

use serde_json::{Value, json};
use shim_model::access;

use super::{CLUSTER_ROLES, ClusterRoleAggregationController};
use crate::authorization::bootstrap;
use crate::controllers::Registration;
use crate::rows::Key;
use crate::testing::TestCluster;

fn rule(resource: &str) -> Value {
    json!({"verbs": ["get"], "apiGroups": [""], "resources": [resource]})
}

fn role(name: &str, label: &str, rules: Value) -> Value {
    json!({"metadata": {"name": name, "labels": {label: "true"}}, "rules": rules})
}

fn aggregated(name: &str, label: &str, selects: &str) -> Value {
    let selector = json!({"matchLabels": {selects: "true"}});
    json!({"metadata": {"name": name, "labels": {label: "true"}}, "rules": null,
        "aggregationRule": {"clusterRoleSelectors": [selector]}})
}

fn rules_of(cluster: &TestCluster, name: &str) -> Vec<Value> {
    let key = ("clusterroles".to_owned(), Key::new("", name));
    access::list(&cluster.objects[&key], &["rules"]).to_vec()
}

#[test]
fn the_rules_of_selected_roles_are_combined_each_once_through_several_levels() {
    let mut cluster = TestCluster::default();
    for object in [
        aggregated("top", "none", "to-top"),
        aggregated("middle", "to-top", "to-middle"),
        role("b", "to-middle", json!([rule("pods"), rule("nodes")])),
        role("a", "to-middle", json!([rule("nodes")])),
        role("other", "other", json!([rule("secrets")])),
    ] {
        cluster.add(CLUSTER_ROLES, object);
    }
    cluster.run(&[Registration::new(ClusterRoleAggregationController)]);
    assert_eq!(rules_of(&cluster, "middle"), [rule("nodes"), rule("pods")]);
    assert_eq!(rules_of(&cluster, "top"), [rule("nodes"), rule("pods")]);
    cluster.objects.remove(&("clusterroles".to_owned(), Key::new("", "b")));
    cluster.run(&[Registration::new(ClusterRoleAggregationController)]);
    assert_eq!(rules_of(&cluster, "top"), [rule("nodes")]);
}

#[test]
fn the_default_roles_settle() {
    let mut cluster = TestCluster::default();
    for default in bootstrap::defaults() {
        if default.resource == CLUSTER_ROLES {
            cluster.add(default.resource, default.object);
        }
    }
    cluster.run(&[Registration::new(ClusterRoleAggregationController)]);
    let counts = ["view", "edit", "admin"].map(|name| rules_of(&cluster, name).len());
    assert_eq!(counts, [12, 27, 29]);
}
