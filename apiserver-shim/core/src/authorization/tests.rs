//! Tests of authorization: decisions of the default roles as a table, the index against a naive evaluation of all bindings,
//! escalation, the node authorizer and the reconciliation of the default roles.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::bootstrap::{self, Reconciliation, reconcile};
use super::index::Binding;
use super::node::{self, NodeVerdict, Relation};
use super::references::References;
use super::*;

#[path = "tests/naive.rs"]
mod naive;

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

#[test]
fn nodes_read_what_is_related_to_them() {
    let rules = PolicyRule::all_of(
        &bootstrap::defaults()
            .into_iter()
            .find(|d| d.object["metadata"]["name"] == "system:node")
            .unwrap()
            .object,
    );
    let mut shown = String::new();
    for line in [
        "get secrets ns s",
        "list secrets ns s",
        "list secrets ns -",
        "update secrets ns s",
        "get secrets - s",
        "get configmaps ns c",
        "get persistentvolumeclaims ns c",
        "patch persistentvolumeclaims/status ns c",
        "get persistentvolumes - v",
        "get serviceaccounts ns a",
        "create serviceaccounts/token ns a",
        "create serviceaccounts ns -",
        "get nodes - n1",
        "get nodes - n2",
        "list nodes - -",
        "update nodes/status - n2",
        "delete nodes - n1",
        "get pods ns p",
        "list pods - -",
        "delete pods ns p",
        "create pods/eviction ns p",
        "update pods ns p",
        "get coordination.k8s.io:leases kube-node-lease n1",
        "get coordination.k8s.io:leases kube-node-lease n2",
        "get coordination.k8s.io:leases ns n1",
        "create coordination.k8s.io:leases kube-node-lease -",
        "list coordination.k8s.io:leases kube-node-lease -",
        "get storage.k8s.io:csinodes - n2",
        "list resource.k8s.io:resourceslices - -",
        "list services ns -",
        "create events ns -",
        "get apps:deployments ns d",
        "get /healthz - -",
    ] {
        let parts: Vec<&str> = line.split(' ').map(|part| if part == "-" { "" } else { part }).collect();
        let request = request(parts[0], parts[1], parts[2], parts[3]);
        let verdict = match node::decide("n1", "system:node:n1", &request, &rules) {
            NodeVerdict::Allow => "allow".to_owned(),
            NodeVerdict::NoOpinion(reason) => format!("no: {reason}"),
            NodeVerdict::IfRelated(relation) => format!("if related: {relation:?}"),
        };
        shown.push_str(&format!("{line}: {verdict}\n"));
    }
    expect![[r#"
        get secrets ns s: if related: Secret
        list secrets ns s: if related: Secret
        list secrets ns -: no: No Object name found
        update secrets ns s: no: can only read resources of this type
        get secrets - s: no: can only read namespaced object of this type
        get configmaps ns c: if related: ConfigMap
        get persistentvolumeclaims ns c: if related: PersistentVolumeClaim
        patch persistentvolumeclaims/status ns c: if related: PersistentVolumeClaim
        get persistentvolumes - v: if related: PersistentVolume
        get serviceaccounts ns a: if related: ServiceAccount
        create serviceaccounts/token ns a: if related: ServiceAccount
        create serviceaccounts ns -: no: can only create tokens for individual service accounts
        get nodes - n1: allow
        get nodes - n2: no: node 'n1' cannot read 'n2', only its own Node object
        list nodes - -: no: node 'n1' cannot read all nodes, only its own Node object
        update nodes/status - n2: allow
        delete nodes - n1: no: 
        get pods ns p: if related: Pod
        list pods - -: no: can only list/watch pods with spec.nodeName field selector
        delete pods ns p: allow
        create pods/eviction ns p: allow
        update pods ns p: no: 
        get coordination.k8s.io:leases kube-node-lease n1: allow
        get coordination.k8s.io:leases kube-node-lease n2: no: can only access node lease with the same name as the requesting node
        get coordination.k8s.io:leases ns n1: no: can only access leases in the "kube-node-lease" system namespace
        create coordination.k8s.io:leases kube-node-lease -: allow
        list coordination.k8s.io:leases kube-node-lease -: no: can only get, create, update, patch, or delete a node lease
        get storage.k8s.io:csinodes - n2: no: can only access CSINode with the same name as the requesting node
        list resource.k8s.io:resourceslices - -: no: can only list/watch/deletecollection resourceslices with nodeName field selector
        list services ns -: allow
        create events ns -: allow
        get apps:deployments ns d: no: 
        get /healthz - -: no: 
    "#]].assert_eq(&shown);
    let own = [FieldTerm { field: "spec.nodeName".into(), equal: true, value: "n1".into() }];
    let pods = RequestedResource { resource: "pods", fields: &own, ..RequestedResource::default() };
    for (node, expected) in [("n1", true), ("n2", false)] {
        let verdict = node::decide(node, "", &AccessRequest::resource("watch", pods), &rules);
        assert_eq!(verdict == NodeVerdict::Allow, expected, "{node}");
    }
    let nodes = groups("system:nodes");
    assert_eq!(node::node_name(&Subject { name: "system:node:n1", groups: &nodes }), Some("n1"));
    assert_eq!(node::node_name(&Subject { name: "system:node:n1", groups: &[] }), None);
    assert_eq!(node::node_name(&Subject { name: "n1", groups: &nodes }), None);
}

#[test]
fn references_of_a_pod_are_found_in_containers_and_volumes() {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {
        "serviceAccountName": "a", "imagePullSecrets": [{"name": "pull"}],
        "initContainers": [{"envFrom": [{"secretRef": {"name": "s1"}}, {"configMapRef": {"name": "c1"}}]}],
        "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s2"}}}, {"valueFrom": {"configMapKeyRef": {"name": "c2"}}}]}],
        "ephemeralContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s3"}}}]}],
        "volumes": [
            {"name": "v1", "secret": {"secretName": "s4"}}, {"name": "v2", "configMap": {"name": "c3"}},
            {"name": "v3", "persistentVolumeClaim": {"claimName": "claim"}}, {"name": "v4", "ephemeral": {}},
            {"name": "v5", "projected": {"sources": [{"secret": {"name": "s5"}}, {"configMap": {"name": "c4"}},
                {"serviceAccountToken": {"path": "t"}}, {"serviceAccountToken": {"path": "u", "audience": "vault"}}]}},
            {"name": "v6", "csi": {"nodePublishSecretRef": {"name": "s6"}}}, {"name": "v7", "iscsi": {"secretRef": {"name": "s7"}}},
            {"name": "v8", "azureFile": {"secretName": "s8"}},
        ],
    }});
    let found = References::of(&pod);
    for name in ["pull", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8"] {
        assert!(found.has(Relation::Secret, name), "{name}");
    }
    assert_eq!(found.secrets.len(), 9);
    assert_eq!(found.config_maps.iter().copied().collect::<Vec<_>>(), ["c1", "c2", "c3", "c4"]);
    assert!(found.has(Relation::PersistentVolumeClaim, "claim"));
    assert!(found.has(Relation::PersistentVolumeClaim, "p-v4"));
    assert!(found.has(Relation::ServiceAccount, "a"));
    assert_eq!(found.audiences.iter().copied().collect::<Vec<_>>(), ["", "vault"]);
    pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert_eq!(References::of(&pod), References::default());
}

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
