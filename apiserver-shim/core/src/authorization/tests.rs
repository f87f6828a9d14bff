//! Tests of authorization: decisions of the default roles as a table, reasons, escalation.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::index::Binding;
use super::*;

#[path = "tests/default_objects.rs"]
mod default_objects;
#[path = "tests/matrix.rs"]
mod matrix;
#[path = "tests/naive.rs"]
mod naive;
#[path = "tests/nodes.rs"]
mod nodes;

fn groups(names: &str) -> Vec<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

/// The default roles and bindings, with the aggregated roles filled in.
fn default_index() -> RbacIndex {
    let mut index = RbacIndex::default();
    let defaults = bootstrap::defaults();
    let roles: Vec<&Value> = defaults.iter().map(|each| &each.object).collect();
    for each in &defaults {
        let of = |key: &str| each.object["metadata"][key].as_str().unwrap_or("");
        match each.object["kind"].as_str().unwrap() {
            "Role" | "ClusterRole" => {
                index.put_role(of("namespace"), of("name"), rules_of(&each.object, &roles));
            }
            _ => index.put_binding(Binding::of(&each.object)),
        }
    }
    index
}

fn rules_of(role: &Value, all: &[&Value]) -> Vec<PolicyRule> {
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array();
    let Some(selectors) = selectors else { return PolicyRule::all_of(role) };
    let labels: Vec<&String> =
        selectors.iter().flat_map(|s| s["matchLabels"].as_object().unwrap().keys()).collect();
    let selected = all
        .iter()
        .filter(|other| labels.iter().any(|label| other["metadata"]["labels"].get(label.as_str()).is_some()));
    selected.flat_map(|other| rules_of(other, all)).collect()
}

/// `group:resource/subresource` or a path, in a namespace, with a name.
fn request<'a>(verb: &'a str, what: &'a str, namespace: &'a str, name: &'a str) -> AccessRequest<'a> {
    if what.starts_with('/') {
        return AccessRequest::path(verb, what);
    }
    let (group, rest) = what.split_once(':').unwrap_or(("", what));
    let (resource, subresource) = rest.split_once('/').unwrap_or((rest, ""));
    let resource =
        RequestedResource { group, resource, subresource, namespace, name, ..RequestedResource::default() };
    AccessRequest::resource(verb, resource)
}

/// The verbs that the index allows on a resource in the namespace `ns`.
fn allowed(index: &RbacIndex, subject: &Subject<'_>, what: &str) -> String {
    const VERBS: &str =
        "get list watch create update patch delete deletecollection impersonate bind escalate";
    let verbs =
        VERBS.split(' ').filter(|verb| index.decide(subject, &request(verb, what, "ns", "n")).is_ok());
    let verbs: Vec<&str> = verbs.collect();
    if verbs.len() == VERBS.split(' ').count() { "*".to_owned() } else { verbs.join(",") }
}

const RESOURCES: &str = "pods pods/log pods/exec pods/eviction secrets configmaps serviceaccounts serviceaccounts/token nodes \
namespaces resourcequotas events apps:deployments apps:deployments/scale batch:jobs networking.k8s.io:ingresses \
rbac.authorization.k8s.io:roles rbac.authorization.k8s.io:clusterroles coordination.k8s.io:leases \
discovery.k8s.io:endpointslices example.com:widgets authorization.k8s.io:selfsubjectaccessreviews \
authorization.k8s.io:localsubjectaccessreviews /healthz /livez/ping /version /api /apis/apps /openapi/v3 /metrics /logs \
/.well-known/openid-configuration";

fn table(role: Option<&str>, user: &str, of_groups: &str, expect: Expect) {
    let mut index = default_index();
    if let Some(role) = role {
        index.put_binding(Binding::of(&json!({
            "metadata": {"name": "b", "namespace": "ns"}, "roleRef": {"kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": user}],
        })));
    }
    let of_groups = groups(of_groups);
    let subject = Subject { name: user, groups: &of_groups };
    let rows = RESOURCES.split_whitespace().map(|what| (what, allowed(&index, &subject, what)));
    let rows: Vec<String> =
        rows.filter(|(_, verbs)| !verbs.is_empty()).map(|(what, verbs)| format!("{what} {verbs}")).collect();
    expect.assert_eq(&rows.join("\n"));
}

#[test]
fn what_the_default_bindings_allow() {
    table(
        None,
        "system:anonymous",
        "system:unauthenticated",
        expect![[r#"
        /healthz get
        /version get"#]],
    );
    table(
        None,
        "jane",
        "system:authenticated",
        expect![[r#"
        authorization.k8s.io:selfsubjectaccessreviews create
        /healthz get
        /version get
        /api get
        /apis/apps get
        /openapi/v3 get"#]],
    );
    let account = "system:serviceaccounts system:serviceaccounts:ns system:authenticated";
    table(
        None,
        "system:serviceaccount:ns:default",
        account,
        expect![[r#"
        authorization.k8s.io:selfsubjectaccessreviews create
        /healthz get
        /version get
        /api get
        /apis/apps get
        /openapi/v3 get
        /.well-known/openid-configuration get"#]],
    );
    table(
        None,
        "system:kube-scheduler",
        "system:authenticated",
        expect![[r#"
        pods get,list,watch,delete
        nodes get,list,watch
        namespaces get,list,watch
        events create,update,patch
        coordination.k8s.io:leases create
        authorization.k8s.io:selfsubjectaccessreviews create
        /healthz get
        /version get
        /api get
        /apis/apps get
        /openapi/v3 get"#]],
    );
    table(
        None,
        "system:serviceaccount:kube-system:deployment-controller",
        "",
        expect![[r#"
        pods get,list,watch,update
        events create,update,patch
        apps:deployments get,list,watch,update"#]],
    );
    table(
        None,
        "prometheus",
        "system:monitoring",
        expect![[r#"
        /healthz get
        /livez/ping get
        /metrics get"#]],
    );
    table(
        None,
        "admin",
        "system:masters",
        expect![[r#"
        pods *
        pods/log *
        pods/exec *
        pods/eviction *
        secrets *
        configmaps *
        serviceaccounts *
        serviceaccounts/token *
        nodes *
        namespaces *
        resourcequotas *
        events *
        apps:deployments *
        apps:deployments/scale *
        batch:jobs *
        networking.k8s.io:ingresses *
        rbac.authorization.k8s.io:roles *
        rbac.authorization.k8s.io:clusterroles *
        coordination.k8s.io:leases *
        discovery.k8s.io:endpointslices *
        example.com:widgets *
        authorization.k8s.io:selfsubjectaccessreviews *
        authorization.k8s.io:localsubjectaccessreviews *
        /healthz *
        /livez/ping *
        /version *
        /api *
        /apis/apps *
        /openapi/v3 *
        /metrics *
        /logs *
        /.well-known/openid-configuration *"#]],
    );
}

#[test]
fn what_the_roles_for_users_allow_in_a_namespace() {
    table(
        Some("view"),
        "jane",
        "",
        expect![[r#"
        pods get,list,watch
        pods/log get,list,watch
        configmaps get,list,watch
        serviceaccounts get,list,watch
        namespaces get,list,watch
        resourcequotas get,list,watch
        events get,list,watch
        apps:deployments get,list,watch
        apps:deployments/scale get,list,watch
        batch:jobs get,list,watch
        networking.k8s.io:ingresses get,list,watch
        discovery.k8s.io:endpointslices get,list,watch"#]],
    );
    table(
        Some("edit"),
        "jane",
        "",
        expect![[r#"
        pods get,list,watch,create,update,patch,delete,deletecollection
        pods/log get,list,watch
        pods/exec get,list,watch,create,update,patch,delete,deletecollection
        pods/eviction create
        secrets get,list,watch,create,update,patch,delete,deletecollection
        configmaps get,list,watch,create,update,patch,delete,deletecollection
        serviceaccounts get,list,watch,create,update,patch,delete,deletecollection,impersonate
        serviceaccounts/token create
        namespaces get,list,watch
        resourcequotas get,list,watch
        events get,list,watch,create,update,patch,delete,deletecollection
        apps:deployments get,list,watch,create,update,patch,delete,deletecollection
        apps:deployments/scale get,list,watch,create,update,patch,delete,deletecollection
        batch:jobs get,list,watch,create,update,patch,delete,deletecollection
        networking.k8s.io:ingresses get,list,watch,create,update,patch,delete,deletecollection
        coordination.k8s.io:leases get,list,watch,create,update,patch,delete,deletecollection
        discovery.k8s.io:endpointslices get,list,watch"#]],
    );
    table(
        Some("admin"),
        "jane",
        "",
        expect![[r#"
        pods get,list,watch,create,update,patch,delete,deletecollection
        pods/log get,list,watch
        pods/exec get,list,watch,create,update,patch,delete,deletecollection
        pods/eviction create
        secrets get,list,watch,create,update,patch,delete,deletecollection
        configmaps get,list,watch,create,update,patch,delete,deletecollection
        serviceaccounts get,list,watch,create,update,patch,delete,deletecollection,impersonate
        serviceaccounts/token create
        namespaces get,list,watch
        resourcequotas get,list,watch
        events get,list,watch,create,update,patch,delete,deletecollection
        apps:deployments get,list,watch,create,update,patch,delete,deletecollection
        apps:deployments/scale get,list,watch,create,update,patch,delete,deletecollection
        batch:jobs get,list,watch,create,update,patch,delete,deletecollection
        networking.k8s.io:ingresses get,list,watch,create,update,patch,delete,deletecollection
        rbac.authorization.k8s.io:roles get,list,watch,create,update,patch,delete,deletecollection
        coordination.k8s.io:leases get,list,watch,create,update,patch,delete,deletecollection
        discovery.k8s.io:endpointslices get,list,watch
        authorization.k8s.io:localsubjectaccessreviews create"#]],
    );
    table(
        Some("cluster-admin"),
        "jane",
        "",
        expect![[r#"
        pods *
        pods/log *
        pods/exec *
        pods/eviction *
        secrets *
        configmaps *
        serviceaccounts *
        serviceaccounts/token *
        nodes *
        namespaces *
        resourcequotas *
        events *
        apps:deployments *
        apps:deployments/scale *
        batch:jobs *
        networking.k8s.io:ingresses *
        rbac.authorization.k8s.io:roles *
        rbac.authorization.k8s.io:clusterroles *
        coordination.k8s.io:leases *
        discovery.k8s.io:endpointslices *
        example.com:widgets *
        authorization.k8s.io:selfsubjectaccessreviews *
        authorization.k8s.io:localsubjectaccessreviews *"#]],
    );
}

#[test]
fn an_allowed_request_names_the_binding_and_the_subject() {
    let mut index = default_index();
    let binding = |name: &str, kind: &str, role: &str, subject: Value| {
        Binding::of(
            &json!({"metadata": {"name": name, "namespace": "ns"}, "roleRef": {"kind": kind, "name": role},
            "subjects": [{"kind": "User", "name": "nobody"}, subject]}),
        )
    };
    index.put_role(
        "ns",
        "r",
        vec![PolicyRule::of(&json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}))],
    );
    index.put_binding(binding("a", "Role", "gone", json!({"kind": "User", "name": "jane"})));
    index.put_binding(binding("b", "Role", "r", json!({"kind": "User", "name": "jane"})));
    index.put_binding(binding("c", "ClusterRole", "view", json!({"kind": "ServiceAccount", "name": "s"})));
    let mut shown = Vec::new();
    for (user, of_groups, what) in [
        ("jane", "", "pods"),
        ("jane", "", "secrets"),
        ("system:serviceaccount:ns:s", "", "apps:deployments"),
        ("jane", "system:unauthenticated", "/version"),
    ] {
        let of_groups = groups(of_groups);
        let subject = Subject { name: user, groups: &of_groups };
        let decided = index.decide(&subject, &request("get", what, "ns", ""));
        shown.push(match decided {
            Ok(grant) => grant.to_string(),
            Err(unknown) => index::aggregate(&unknown),
        });
    }
    expect![[r#"
        RBAC: allowed by RoleBinding "b/ns" of Role "r" to User "jane"
        role.rbac.authorization.k8s.io "gone" not found
        RBAC: allowed by RoleBinding "c/ns" of ClusterRole "view" to ServiceAccount "s/ns"
        RBAC: allowed by ClusterRoleBinding "system:public-info-viewer" of ClusterRole "system:public-info-viewer" to Group "system:unauthenticated""#]].assert_eq(&shown.join("\n"));
}

#[test]
fn nobody_grants_what_he_does_not_hold() {
    let rule = |verbs: &[&str], resources: &[&str], names: &[&str]| {
        PolicyRule::of(
            &json!({"verbs": verbs, "apiGroups": [""], "resources": resources, "resourceNames": names}),
        )
    };
    let held = [rule(&["get", "list"], &["pods", "*/log"], &[]), rule(&["*"], &["secrets"], &["s"])];
    let url = PolicyRule::of(&json!({"verbs": ["get"], "nonResourceURLs": ["/x", "/y/*"]}));
    let own = groups("system:authenticated");
    let subject = Subject { name: "jane", groups: &own };
    let mut shown = Vec::new();
    for wanted in [
        vec![rule(&["get"], &["pods", "nodes/log"], &[]), rule(&["update"], &["secrets"], &["s"])],
        vec![
            rule(&["get", "create", "delete"], &["pods"], &[]),
            rule(&["get"], &["secrets"], &["s", "t"]),
            url,
        ],
        vec![rule(&["get"], &["secrets"], &[]), rule(&["get"], &["*"], &[])],
    ] {
        let unknown = UnknownRole { kind: "Role".into(), name: "r".into() };
        shown.push(format!("{:?}", escalation::refusal(&subject, &held, &wanted, &[])));
        if let Some(with) = escalation::refusal(&subject, &held, &wanted[..1], &[unknown]) {
            shown.push(with);
        }
    }
    expect![[r#"
        None
        Some("user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"create\" \"delete\"]}\n{APIGroups:[\"\"], Resources:[\"secrets\"], ResourceNames:[\"t\"], Verbs:[\"get\"]}\n{NonResourceURLs:[\"/x\"], Verbs:[\"get\"]}\n{NonResourceURLs:[\"/y/*\"], Verbs:[\"get\"]}")
        user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
        {APIGroups:[""], Resources:["pods"], Verbs:["create" "delete"]}; resolution errors: [role.rbac.authorization.k8s.io "r" not found]
        Some("user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"*\"], Verbs:[\"get\"]}\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}")
        user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
        {APIGroups:[""], Resources:["secrets"], Verbs:["get"]}; resolution errors: [role.rbac.authorization.k8s.io "r" not found]"#]].assert_eq(&shown.join("\n"));
    assert!(escalation::uncovered(&PolicyRule::full_authority(), &held).is_empty());
}
