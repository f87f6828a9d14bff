//! The reconciliation of the default roles and bindings.

use expect_test::expect;
use serde_json::{Value, json};

use super::super::bootstrap::{self, Reconciliation, reconcile};

#[test]
fn default_objects_get_back_what_is_missing() {
    let defaults = bootstrap::defaults();
    for (at, each) in defaults.iter().enumerate() {
        assert_eq!(reconcile(&each.object, None), Reconciliation::Create);
        assert_eq!(reconcile(&each.object, Some(&each.object)), Reconciliation::Nothing, "{}", each.object);
        let names = |other: &bootstrap::DefaultObject| {
            (
                other.resource.clone(),
                other.object["metadata"]["namespace"].clone(),
                other.object["metadata"]["name"].clone(),
            )
        };
        assert!(defaults[at + 1..].iter().all(|other| names(other) != names(each)), "{} twice", each.object);
    }
    let find = |kind: &str, name: &str| {
        let found =
            defaults.iter().find(|d| d.object["kind"] == kind && d.object["metadata"]["name"] == name);
        found.unwrap().object.clone()
    };
    let role = find("ClusterRole", "system:basic-user");
    let mut changed = role.clone();
    changed["rules"] = json!([{"verbs": ["get"], "apiGroups": ["own"], "resources": ["own"]}]);
    changed["metadata"]["labels"] = json!({"own": "label"});
    let Reconciliation::Update(update) = reconcile(&role, Some(&changed)) else { panic!("it is updated") };
    assert_eq!(reconcile(&role, Some(&update)), Reconciliation::Nothing);
    expect![[r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"annotations":{"rbac.authorization.kubernetes.io/autoupdate":"true"},"labels":{"kubernetes.io/bootstrapping":"rbac-defaults","own":"label"},"name":"system:basic-user"},"rules":[{"apiGroups":["own"],"resources":["own"],"verbs":["get"]},{"apiGroups":["authorization.k8s.io"],"resources":["selfsubjectaccessreviews"],"verbs":["create"]},{"apiGroups":["authorization.k8s.io"],"resources":["selfsubjectrulesreviews"],"verbs":["create"]},{"apiGroups":["authentication.k8s.io"],"resources":["selfsubjectreviews"],"verbs":["create"]}]}"#]].assert_eq(&update.to_string());
    changed["metadata"]["annotations"][bootstrap::AUTO_UPDATE] = json!("false");
    assert_eq!(reconcile(&role, Some(&changed)), Reconciliation::Nothing);

    let binding = find("ClusterRoleBinding", "system:public-info-viewer");
    let mut changed = binding.clone();
    changed["subjects"] = json!([binding["subjects"][1], {"kind": "User", "name": "own"}]);
    let Reconciliation::Update(update) = reconcile(&binding, Some(&changed)) else { panic!("it is updated") };
    let names: Vec<&Value> = update["subjects"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
    assert_eq!(names, ["system:unauthenticated", "own", "system:authenticated"]);
    changed["roleRef"]["name"] = json!("other");
    assert_eq!(reconcile(&binding, Some(&changed)), Reconciliation::Recreate(binding.clone()));

    let view = find("ClusterRole", "view");
    let mut changed = view.clone();
    changed["rules"] = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    assert_eq!(reconcile(&view, Some(&changed)), Reconciliation::Nothing, "its rules are the controller's");
    changed["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"own": "x"}}]});
    let Reconciliation::Update(update) = reconcile(&view, Some(&changed)) else { panic!("it is updated") };
    assert_eq!(update["aggregationRule"]["clusterRoleSelectors"].as_array().unwrap().len(), 2);
}
