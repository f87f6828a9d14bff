//! Roles and their bindings.

use super::*;

fn refusal(plural: &str, body: Value) -> String {
    create(plural, body).map_or_else(|status| status.message, |made| made.to_string())
}

#[test]
fn rules_are_always_written_and_groups_of_subjects_are_defaulted() {
    let made = |plural, body| {
        let mut made = create(plural, body).unwrap();
        made.as_object_mut().unwrap().remove("metadata");
        made.to_string()
    };
    let binding = json!({"metadata": {"name": "system:a_B"}, "roleRef": {"kind": "Role", "name": "r"}, "subjects": [
        {"kind": "User", "name": "u"}, {"kind": "Group", "name": "g"}, {"kind": "ServiceAccount", "name": "s"}]});
    let shown = [
        made("roles", json!({"metadata": {"name": "r"}, "rules": []})),
        made("clusterroles", json!({"metadata": {"name": "r"}})),
        made("rolebindings", binding),
    ];
    expect![[r#"
        {"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","rules":null}
        {"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","rules":null}
        {"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"r"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"u"},{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"g"},{"kind":"ServiceAccount","name":"s"}]}"#]]
    .assert_eq(&shown.join("\n"));
}

#[test]
fn invalid_roles_and_bindings_are_refused() {
    let role = |rules: Value| json!({"metadata": {"name": "r"}, "rules": rules});
    let urls = json!([{"verbs": ["get"], "nonResourceURLs": ["/x"], "apiGroups": ["a"]}]);
    let binding = |reference: Value, subjects: Value| json!({"metadata": {"name": "b"}, "roleRef": reference, "subjects": subjects});
    let role_ref = || json!({"kind": "ClusterRole", "name": "r"});
    let subjects = json!([
        {"kind": "ServiceAccount", "name": "A", "apiGroup": "x"}, {"kind": "User", "name": ""},
        {"kind": "Group", "name": "g", "apiGroup": "x"}, {"kind": "Robot", "name": "r"}]);
    let bad_operator = json!({"metadata": {"name": "a/b"}, "aggregationRule": {"clusterRoleSelectors": [
        {"matchExpressions": [{"key": "a", "operator": "Nope"}]}]}});
    let shown = [
        refusal("roles", role(json!([{}]))),
        refusal("roles", role(urls.clone())),
        refusal("clusterroles", role(urls)),
        refusal("clusterroles", bad_operator),
        refusal(
            "clusterroles",
            json!({"metadata": {"name": "a"}, "aggregationRule": {"clusterRoleSelectors": []}}),
        ),
        refusal("rolebindings", binding(json!({"kind": "Odd", "name": "", "apiGroup": "x"}), json!([]))),
        refusal("clusterrolebindings", binding(json!({"kind": "Role", "name": "a%b"}), json!([]))),
        refusal("clusterrolebindings", binding(role_ref(), subjects.clone())),
        refusal("rolebindings", binding(role_ref(), subjects)),
    ];
    expect![[r#"
        Role.rbac.authorization.k8s.io "r" is invalid: [rules[0].verbs: Required value: verbs must contain at least one value, rules[0].apiGroups: Required value: resource rules must supply at least one api group, rules[0].resources: Required value: resource rules must supply at least one resource]
        Role.rbac.authorization.k8s.io "r" is invalid: [rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs, rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and non-resource URLs]
        ClusterRole.rbac.authorization.k8s.io "r" is invalid: rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and non-resource URLs
        ClusterRole.rbac.authorization.k8s.io "a/b" is invalid: [metadata.name: Invalid value: "a/b": may not contain '/', aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator: Invalid value: "Nope": not a valid selector operator, aggregationRule.clusterRoleSelectors[0]: Invalid value: null: invalid label selector.]
        ClusterRole.rbac.authorization.k8s.io "a" is invalid: aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil
        RoleBinding.rbac.authorization.k8s.io "b" is invalid: [roleRef.apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io", roleRef.kind: Unsupported value: "Odd": supported values: "Role", "ClusterRole", roleRef.name: Required value]
        ClusterRoleBinding.rbac.authorization.k8s.io "b" is invalid: [roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole", roleRef.name: Invalid value: "a%b": may not contain '%']
        ClusterRoleBinding.rbac.authorization.k8s.io "b" is invalid: [subjects[0].name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), subjects[0].apiGroup: Unsupported value: "x": supported values: "", subjects[0].namespace: Required value, subjects[1].name: Required value, subjects[2].apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io", subjects[3].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"]
        RoleBinding.rbac.authorization.k8s.io "b" is invalid: [subjects[0].name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), subjects[0].apiGroup: Unsupported value: "x": supported values: "", subjects[1].name: Required value, subjects[2].apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io", subjects[3].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"]"#]].assert_eq(&shown.join("\n"));
}

#[test]
fn the_role_of_a_binding_cannot_be_changed() {
    let body = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "a"}});
    for plural in ["rolebindings", "clusterrolebindings"] {
        let old = create(plural, body.clone()).unwrap();
        let change = |new: &mut Value| new["roleRef"]["name"] = json!("c");
        let mut new = old.clone();
        change(&mut new);
        let status = begin_update(resource(plural), Subresource::Main, &mut new, &old).unwrap_err();
        assert!(
            status.message.ends_with(
                r#""b" is invalid: roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"c"}: cannot change roleRef"#
            ),
            "{}",
            status.message
        );
    }
}

#[test]
fn tables_show_the_role_and_the_subjects() {
    let binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "r"}, "subjects": [
        {"kind": "User", "name": "u"}, {"kind": "User", "name": "v"}, {"kind": "Group", "name": "g"},
        {"kind": "ServiceAccount", "name": "s", "namespace": "ns"}]});
    let cells = |plural: &str, body: Value| {
        let made = create(plural, body).unwrap();
        Value::from(resource(plural).strategy().cells(&made, NOW)).to_string()
    };
    let shown =
        [cells("rolebindings", binding), cells("roles", json!({"metadata": {"name": "r"}, "rules": []}))];
    expect![[r#"
        ["b","Role/r","0s","u, v","g","ns/s"]
        ["r","1970-01-12T13:46:40Z"]"#]]
    .assert_eq(&shown.join("\n"));
}
