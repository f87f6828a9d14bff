//! Roles and bindings: what they allow, who may grant them, reviews, impersonation, and what nodes may do.

use std::sync::Arc;

use apiserver_shim::auth::authentication::User;
use apiserver_shim::http::service::{ApiService, Caller};
use apiserver_shim::server::bootstrap::Bootstrap;
use expect_test::expect;
use serde_json::json;

use crate::harness::{Server, request, show};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";

impl Server {
    fn user(&self, name: &str, groups: &[&str]) -> ApiService {
        self.service().for_caller(Caller::Known(Arc::new(User::component(name, groups))))
    }

    /// Creates a Role in the namespace `default`, or a ClusterRole, from rules; and binds a user to it.
    async fn grant(&self, user: &str, role: &str, cluster: bool, rules: serde_json::Value) {
        let (place, kind) = if cluster { ("", "ClusterRole") } else { ("/namespaces/default", "Role") };
        let plural = kind.to_lowercase();
        let body = json!({"metadata": {"name": role}, "rules": rules}).to_string();
        let made = self.ask(&format!("POST {RBAC}{place}/{plural}s"), &body).await;
        assert!(made.starts_with("201 "), "{made}");
        let binding = json!({"metadata": {"name": role}, "roleRef": {"kind": kind, "name": role},
            "subjects": [{"kind": "User", "name": user}]});
        let made = self.ask(&format!("POST {RBAC}{place}/{plural}bindings"), &binding.to_string()).await;
        assert!(made.starts_with("201 "), "{made}");
    }
}

async fn ask(service: &ApiService, line: &str, body: &str) -> String {
    show(service.respond(request(line, body)).await).await
}

/// Status code, and the message of a `Status`.
async fn outcome(service: &ApiService, line: &str, body: &str) -> String {
    let text = ask(service, line, body).await;
    let (code, body) = text.split_once(' ').unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    match body["message"].as_str() {
        Some(message) => format!("{code} {message}"),
        None => code.to_owned(),
    }
}

async fn outcomes(service: &ApiService, script: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    for (line, body) in script {
        out.push(format!("{line}\n  {}", outcome(service, line, body).await));
    }
    out.join("\n")
}

#[tokio::test]
async fn a_binding_applies_at_once_and_until_it_is_deleted() {
    let server = Server::start().await;
    let jane = server.user("jane", &[]);
    let pods = "GET /api/v1/namespaces/default/pods";
    assert!(outcome(&jane, pods, "").await.starts_with("403 "));
    server.grant("jane", "r", false, json!([
        {"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["namespaces"]},
    ])).await;
    let script = [
        (pods, ""),
        ("GET /api/v1/pods", ""),
        ("GET /api/v1/namespaces/default/pods/p", ""),
        ("GET /api/v1/namespaces/default/pods/p/log", ""),
        ("GET /api/v1/namespaces/kube-system/pods", ""),
        ("GET /api/v1/namespaces/default/configmaps/a", ""),
        ("GET /api/v1/namespaces/default/configmaps/b", ""),
        ("GET /api/v1/namespaces/default/configmaps", ""),
        ("GET /api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3Da", ""),
        ("GET /api/v1/namespaces/default", ""),
        ("GET /api/v1/namespaces", ""),
        ("GET /metrics", ""),
        ("GET /%3Cb%3E", ""),
    ];
    expect![[r#"
        GET /api/v1/namespaces/default/pods
          200
        GET /api/v1/pods
          403 pods is forbidden: User "jane" cannot list resource "pods" in API group "" at the cluster scope
        GET /api/v1/namespaces/default/pods/p
          403 pods "p" is forbidden: User "jane" cannot get resource "pods" in API group "" in the namespace "default"
        GET /api/v1/namespaces/default/pods/p/log
          403 pods "p" is forbidden: User "jane" cannot get resource "pods/log" in API group "" in the namespace "default"
        GET /api/v1/namespaces/kube-system/pods
          403 pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "kube-system"
        GET /api/v1/namespaces/default/configmaps/a
          404 configmaps "a" not found
        GET /api/v1/namespaces/default/configmaps/b
          403 configmaps "b" is forbidden: User "jane" cannot get resource "configmaps" in API group "" in the namespace "default"
        GET /api/v1/namespaces/default/configmaps
          403 configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default"
        GET /api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3Da
          200
        GET /api/v1/namespaces/default
          200
        GET /api/v1/namespaces
          403 namespaces is forbidden: User "jane" cannot list resource "namespaces" in API group "" at the cluster scope
        GET /metrics
          403 forbidden: User "jane" cannot get path "/metrics"
        GET /%3Cb%3E
          403 forbidden: User "jane" cannot get path "/&lt;b&gt;""#]].assert_eq(&outcomes(&jane, &script).await);
    server.ask(&format!("DELETE {RBAC}/namespaces/default/rolebindings/r"), "").await;
    server.handle.registry().fresh().await.unwrap();
    assert!(outcome(&jane, pods, "").await.starts_with("403 "));
}

#[tokio::test]
async fn a_missing_role_is_named_in_the_refusal() {
    let server = Server::start().await;
    let binding = r#"{"metadata":{"name":"b"},"roleRef":{"kind":"Role","name":"r"},"subjects":[{"kind":"User","name":"jane"}]}"#;
    server.ask(&format!("POST {RBAC}/namespaces/default/rolebindings"), binding).await;
    let jane = server.user("jane", &[]);
    expect![[r#"403 pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default": RBAC: role.rbac.authorization.k8s.io "r" not found"#]].assert_eq(&outcome(&jane, "GET /api/v1/namespaces/default/pods", "").await);
}

#[tokio::test]
async fn nobody_grants_more_than_it_holds() {
    let server = Server::start().await;
    let write = ["create", "update", "patch"];
    server.grant("jane", "writer", false, json!([
        {"verbs": write, "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["view"]},
    ])).await;
    server
        .grant(
            "jane",
            "cluster-writer",
            true,
            json!([
        {"verbs": write, "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"]}]),
        )
        .await;
    server.grant("eve", "escalator", true, json!([
        {"verbs": ["create", "escalate"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"]}])).await;
    let jane = server.user("jane", &[]);
    let role = |rules: &str| format!(r#"{{"metadata":{{"name":"new"}},"rules":[{rules}]}}"#);
    let pods = |verbs: &str| role(&format!(r#"{{"verbs":[{verbs}],"apiGroups":[""],"resources":["pods"]}}"#));
    let binding = |name: &str, kind: &str, role: &str| {
        format!(
            r#"{{"metadata":{{"name":"{name}"}},"roleRef":{{"kind":"{kind}","name":"{role}"}},"subjects":[{{"kind":"User","name":"x"}}]}}"#
        )
    };
    let (roles, bindings) = (
        format!("POST {RBAC}/namespaces/default/roles"),
        format!("POST {RBAC}/namespaces/default/rolebindings"),
    );
    let clusterroles = format!("POST {RBAC}/clusterroles");
    let patch =
        format!("PATCH {RBAC}/namespaces/default/roles/new | Content-Type: application/merge-patch+json");
    let aggregated = r#"{"metadata":{"name":"all"},"aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"a":"b"}}]}}"#;
    let script = [
        (roles.as_str(), pods(r#""get","list","delete""#)),
        (&roles, pods(r#""get""#)),
        (&patch, r#"{"metadata":{"finalizers":["a/b"]}}"#.to_owned()),
        (&patch, r#"{"rules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}]}"#.to_owned()),
        (&bindings, binding("own", "Role", "new")),
        (&bindings, binding("more", "ClusterRole", "cluster-admin")),
        (&bindings, binding("bound", "ClusterRole", "view")),
        (&bindings, binding("none", "Role", "gone")),
        (
            &clusterroles,
            r#"{"metadata":{"name":"c"},"rules":[{"verbs":["get"],"nonResourceURLs":["/x"]}]}"#.to_owned(),
        ),
        (&clusterroles, aggregated.to_owned()),
    ];
    let script: Vec<(&str, &str)> = script.iter().map(|(line, body)| (*line, body.as_str())).collect();
    let mut shown = outcomes(&jane, &script).await;
    let eve = server.user("eve", &[]);
    shown.push_str(&format!("\neve\n  {}", outcome(&eve, &clusterroles, aggregated).await));
    expect![[r#"
        POST /apis/rbac.authorization.k8s.io/v1/namespaces/default/roles
          403 roles.rbac.authorization.k8s.io "new" is forbidden: user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
        {APIGroups:[""], Resources:["pods"], Verbs:["list" "delete"]}
        POST /apis/rbac.authorization.k8s.io/v1/namespaces/default/roles
          201
        PATCH /apis/rbac.authorization.k8s.io/v1/namespaces/default/roles/new | Content-Type: application/merge-patch+json
          200
        PATCH /apis/rbac.authorization.k8s.io/v1/namespaces/default/roles/new | Content-Type: application/merge-patch+json
          403 roles.rbac.authorization.k8s.io "new" is forbidden: user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
        {APIGroups:["*"], Resources:["*"], Verbs:["*"]}
        POST /apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings
          201
        POST /apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings
          403 rolebindings.rbac.authorization.k8s.io "more" is forbidden: user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
        {APIGroups:["*"], Resources:["*"], Verbs:["*"]}
        {NonResourceURLs:["*"], Verbs:["*"]}
        POST /apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings
          201
        POST /apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings
          404 role.rbac.authorization.k8s.io "gone" not found
        POST /apis/rbac.authorization.k8s.io/v1/clusterroles
          403 clusterroles.rbac.authorization.k8s.io "c" is forbidden: user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
        {NonResourceURLs:["/x"], Verbs:["get"]}
        POST /apis/rbac.authorization.k8s.io/v1/clusterroles
          403 clusterroles.rbac.authorization.k8s.io "all" is forbidden: must have cluster-admin privileges to use the aggregationRule
        eve
          201"#]].assert_eq(&shown);
}

/// A transcript without the times of managed fields.
fn without_times(transcript: &str) -> String {
    const MARK: &str = r#"\"time\":\""#;
    const LENGTH: usize = "2026-01-01T00:00:00Z".len();
    let mut parts = transcript.split(MARK);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + MARK + "TIME" + &part[LENGTH..])
}

#[tokio::test]
async fn reviews_say_who_allows_what() {
    let server = Server::start().await;
    server
        .grant("jane", "r", false, json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]))
        .await;
    let script = format!(
        r#"
        POST {REVIEWS}/subjectaccessreviews <- {{"spec":{{"user":"jane","resourceAttributes":{{"namespace":"default","verb":"get","resource":"pods"}}}}}}
        POST {REVIEWS}/subjectaccessreviews <- {{"spec":{{"user":"jane","resourceAttributes":{{"verb":"get","resource":"pods","fieldSelector":{{"rawSelector":"a=b,c"}},"labelSelector":{{"requirements":[{{"key":"a","operator":"Exists"}},{{"key":"a","operator":"Odd"}}]}}}}}}}}
        POST {REVIEWS}/subjectaccessreviews <- {{"metadata":{{"name":"x"}},"spec":{{"user":"jane","resourceAttributes":{{"verb":"get","fieldSelector":{{}},"labelSelector":{{"rawSelector":"a","requirements":[{{"key":"-","operator":"In"}}]}}}}}}}}
        POST {REVIEWS}/subjectaccessreviews <- {{"spec":{{"groups":["system:unauthenticated"],"nonResourceAttributes":{{"path":"/livez","verb":"get"}}}}}}
        POST {REVIEWS}/subjectaccessreviews <- {{"spec":{{"user":"system:node:n1","groups":["system:nodes"],"resourceAttributes":{{"verb":"list","resource":"pods","fieldSelector":{{"requirements":[{{"key":"spec.nodeName","operator":"In","values":["n1"]}}]}}}}}}}}
        POST {REVIEWS}/subjectaccessreviews <- {{"spec":{{"user":"system:node:n1","groups":["system:nodes"],"resourceAttributes":{{"namespace":"default","name":"s","verb":"get","resource":"secrets"}}}}}}
        POST {REVIEWS}/namespaces/default/localsubjectaccessreviews <- {{"spec":{{"user":"jane","resourceAttributes":{{"verb":"get","resource":"pods"}}}}}}
        POST {REVIEWS}/selfsubjectrulesreviews | Impersonate-User: jane <- {{"spec":{{"namespace":"default"}}}}
        POST {REVIEWS}/selfsubjectrulesreviews | Impersonate-User: system:node:n1 | Impersonate-Group: system:nodes <- {{"spec":{{"namespace":"default"}}}}
        "#
    );
    expect![[r#"
        POST /apis/authorization.k8s.io/v1/subjectaccessreviews <- {"spec":{"user":"jane","resourceAttributes":{"namespace":"default","verb":"get","resource":"pods"}}}
          201 {"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","metadata":{},"spec":{"resourceAttributes":{"namespace":"default","resource":"pods","verb":"get"},"user":"jane"},"status":{"allowed":true,"reason":"RBAC: allowed by RoleBinding \"r/default\" of Role \"r\" to User \"jane\""}}
        POST /apis/authorization.k8s.io/v1/subjectaccessreviews <- {"spec":{"user":"jane","resourceAttributes":{"verb":"get","resource":"pods","fieldSelector":{"rawSelector":"a=b,c"},"labelSelector":{"requirements":[{"key":"a","operator":"Exists"},{"key":"a","operator":"Odd"}]}}}}
          201 {"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","metadata":{},"spec":{"resourceAttributes":{"fieldSelector":{"rawSelector":"a=b,c"},"labelSelector":{"requirements":[{"key":"a","operator":"Exists"},{"key":"a","operator":"Odd"}]},"resource":"pods","verb":"get"},"user":"jane"},"status":{"allowed":false,"evaluationError":"spec.resourceAttributes.fieldSelector ignored due to parse error; spec.resourceAttributes.labelSelector partially ignored due to parse error"}}
        POST /apis/authorization.k8s.io/v1/subjectaccessreviews <- {"metadata":{"name":"x"},"spec":{"user":"jane","resourceAttributes":{"verb":"get","fieldSelector":{},"labelSelector":{"rawSelector":"a","requirements":[{"key":"-","operator":"In"}]}}}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"spec.resourceAttributes.fieldSelector.requirements","message":"Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required","reason":"FieldValueRequired"},{"field":"spec.resourceAttributes.labelSelector.rawSelector","message":"Invalid value: \"a\": may not specified at the same time as requirements","reason":"FieldValueInvalid"},{"field":"spec.resourceAttributes.labelSelector.requirements[0].values","message":"Required value: must be specified when `operator` is 'In' or 'NotIn'","reason":"FieldValueRequired"},{"field":"spec.resourceAttributes.labelSelector.requirements[0].key","message":"Invalid value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')","reason":"FieldValueInvalid"},{"field":"metadata","message":"Invalid value: {\"name\":\"x\",\"managedFields\":[{\"manager\":\"unknown\",\"operation\":\"Update\",\"apiVersion\":\"authorization.k8s.io/v1\",\"time\":\"TIME\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{\"f:spec\":{\"f:resourceAttributes\":{\".\":{},\"f:fieldSelector\":{},\"f:labelSelector\":{\".\":{},\"f:rawSelector\":{},\"f:requirements\":{}},\"f:verb\":{}},\"f:user\":{}}}}]}: must be empty","reason":"FieldValueInvalid"}],"group":"authorization.k8s.io"},"kind":"Status","message":".authorization.k8s.io \"\" is invalid: [spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required, spec.resourceAttributes.labelSelector.rawSelector: Invalid value: \"a\": may not specified at the same time as requirements, spec.resourceAttributes.labelSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn', spec.resourceAttributes.labelSelector.requirements[0].key: Invalid value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'), metadata: Invalid value: {\"name\":\"x\",\"managedFields\":[{\"manager\":\"unknown\",\"operation\":\"Update\",\"apiVersion\":\"authorization.k8s.io/v1\",\"time\":\"TIME\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{\"f:spec\":{\"f:resourceAttributes\":{\".\":{},\"f:fieldSelector\":{},\"f:labelSelector\":{\".\":{},\"f:rawSelector\":{},\"f:requirements\":{}},\"f:verb\":{}},\"f:user\":{}}}}]}: must be empty]","metadata":{},"reason":"Invalid","status":"Failure"}
        POST /apis/authorization.k8s.io/v1/subjectaccessreviews <- {"spec":{"groups":["system:unauthenticated"],"nonResourceAttributes":{"path":"/livez","verb":"get"}}}
          201 {"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","metadata":{},"spec":{"groups":["system:unauthenticated"],"nonResourceAttributes":{"path":"/livez","verb":"get"}},"status":{"allowed":true,"reason":"RBAC: allowed by ClusterRoleBinding \"system:public-info-viewer\" of ClusterRole \"system:public-info-viewer\" to Group \"system:unauthenticated\""}}
        POST /apis/authorization.k8s.io/v1/subjectaccessreviews <- {"spec":{"user":"system:node:n1","groups":["system:nodes"],"resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{"requirements":[{"key":"spec.nodeName","operator":"In","values":["n1"]}]}}}}
          201 {"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","metadata":{},"spec":{"groups":["system:nodes"],"resourceAttributes":{"fieldSelector":{"requirements":[{"key":"spec.nodeName","operator":"In","values":["n1"]}]},"resource":"pods","verb":"list"},"user":"system:node:n1"},"status":{"allowed":true}}
        POST /apis/authorization.k8s.io/v1/subjectaccessreviews <- {"spec":{"user":"system:node:n1","groups":["system:nodes"],"resourceAttributes":{"namespace":"default","name":"s","verb":"get","resource":"secrets"}}}
          201 {"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","metadata":{},"spec":{"groups":["system:nodes"],"resourceAttributes":{"name":"s","namespace":"default","resource":"secrets","verb":"get"},"user":"system:node:n1"},"status":{"allowed":false,"reason":"no relationship found between node 'n1' and this object"}}
        POST /apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews <- {"spec":{"user":"jane","resourceAttributes":{"verb":"get","resource":"pods"}}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"spec.resourceAttributes.namespace","message":"Invalid value: \"\": must match metadata.namespace","reason":"FieldValueInvalid"}],"group":"authorization.k8s.io"},"kind":"Status","message":".authorization.k8s.io \"\" is invalid: spec.resourceAttributes.namespace: Invalid value: \"\": must match metadata.namespace","metadata":{},"reason":"Invalid","status":"Failure"}
        POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews | Impersonate-User: jane <- {"spec":{"namespace":"default"}}
          201 {"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectRulesReview","metadata":{},"spec":{},"status":{"incomplete":false,"nonResourceRules":[{"nonResourceURLs":["/api","/api/*","/apis","/apis/*","/healthz","/livez","/openapi","/openapi/*","/readyz","/version","/version/"],"verbs":["get"]},{"nonResourceURLs":["/healthz","/livez","/readyz","/version","/version/"],"verbs":["get"]}],"resourceRules":[{"apiGroups":["authorization.k8s.io"],"resources":["selfsubjectaccessreviews","selfsubjectrulesreviews"],"verbs":["create"]},{"apiGroups":["authentication.k8s.io"],"resources":["selfsubjectreviews"],"verbs":["create"]},{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]}}
        POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews | Impersonate-User: system:node:n1 | Impersonate-Group: system:nodes <- {"spec":{"namespace":"default"}}
          201 {"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectRulesReview","metadata":{},"spec":{},"status":{"evaluationError":"node authorizer does not support user rule resolution","incomplete":true,"nonResourceRules":[{"nonResourceURLs":["/api","/api/*","/apis","/apis/*","/healthz","/livez","/openapi","/openapi/*","/readyz","/version","/version/"],"verbs":["get"]},{"nonResourceURLs":["/healthz","/livez","/readyz","/version","/version/"],"verbs":["get"]}],"resourceRules":[{"apiGroups":["discovery.k8s.io"],"resources":["endpointslices"],"verbs":["list","watch"]},{"apiGroups":["networking.k8s.io"],"resources":["servicecidrs"],"verbs":["list","watch"]},{"apiGroups":["authorization.k8s.io"],"resources":["selfsubjectaccessreviews","selfsubjectrulesreviews"],"verbs":["create"]},{"apiGroups":["authentication.k8s.io"],"resources":["selfsubjectreviews"],"verbs":["create"]}]}}
    "#]].assert_eq(&without_times(&server.play(&script).await));
}

#[tokio::test]
async fn impersonation_asks_for_each_attribute() {
    let server = Server::start().await;
    server.grant("jane", "impersonator", true, json!([
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["joe"]},
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["staff"]},
        {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes"]},
    ])).await;
    let jane = server.user("jane", &[]);
    let me = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
    let mut out = String::new();
    for headers in [
        "Impersonate-User: joe",
        "Impersonate-User: joe | Impersonate-Group: staff | Impersonate-Extra-Scopes: a",
        "Impersonate-User: ann",
        "Impersonate-User: joe | Impersonate-Group: system:masters",
        "Impersonate-User: joe | Impersonate-Extra-other: a",
        "Impersonate-User: joe | Impersonate-Uid: 1",
        "Impersonate-User: system:serviceaccount:default:default",
        "Impersonate-Group: staff",
    ] {
        let text = ask(&jane, &format!("{me} | {headers}"), "{}").await;
        let (code, body) = text.split_once(' ').unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let shown = body["message"].as_str().map_or(body["status"]["userInfo"].to_string(), str::to_owned);
        out.push_str(&format!("{headers}\n  {code} {shown}\n"));
    }
    expect![[r#"
        Impersonate-User: joe
          201 {"groups":["system:authenticated"],"username":"joe"}
        Impersonate-User: joe | Impersonate-Group: staff | Impersonate-Extra-Scopes: a
          201 {"extra":{"scopes":["a"]},"groups":["staff","system:authenticated"],"username":"joe"}
        Impersonate-User: ann
          403 users "ann" is forbidden: User "jane" cannot impersonate resource "users" in API group "" at the cluster scope
        Impersonate-User: joe | Impersonate-Group: system:masters
          403 groups "system:masters" is forbidden: User "jane" cannot impersonate resource "groups" in API group "" at the cluster scope
        Impersonate-User: joe | Impersonate-Extra-other: a
          403 userextras.authentication.k8s.io "a" is forbidden: User "jane" cannot impersonate resource "userextras/other" in API group "authentication.k8s.io" at the cluster scope
        Impersonate-User: joe | Impersonate-Uid: 1
          403 uids.authentication.k8s.io "1" is forbidden: User "jane" cannot impersonate resource "uids" in API group "authentication.k8s.io" at the cluster scope
        Impersonate-User: system:serviceaccount:default:default
          403 serviceaccounts "default" is forbidden: User "jane" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "default"
        Impersonate-Group: staff
          400 requested [{Group  staff    }] without impersonating a user
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn nodes_reach_their_own_pods_and_what_those_refer_to() {
    let server = Server::start().await;
    for line in ["secrets <- s", "secrets <- other", "configmaps <- c", "serviceaccounts <- robot"] {
        let (plural, name) = line.split_once(" <- ").unwrap();
        let body = json!({"metadata": {"name": name}}).to_string();
        server.ask(&format!("POST /api/v1/namespaces/default/{plural}"), &body).await;
    }
    for node in ["n1", "n2"] {
        server.ask("POST /api/v1/nodes", &json!({"metadata": {"name": node}}).to_string()).await;
    }
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "serviceAccountName": "robot",
        "containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}, {"configMapRef": {"name": "c"}}]}]}});
    server.handle.registry().fresh().await.unwrap();
    let made = server.json("POST /api/v1/namespaces/default/pods", &pod.to_string()).await;
    let uid = made["metadata"]["uid"].as_str().unwrap();
    server.handle.registry().fresh().await.unwrap();
    let token = |audiences: &str, uid: &str| {
        format!(
            r#"{{"spec":{{"audiences":[{audiences}],"boundObjectRef":{{"apiVersion":"v1","kind":"Pod","name":"p","uid":"{uid}"}}}}}}"#
        )
    };
    let (good, foreign, wrong) = (token("", uid), token(r#""vault""#, uid), token("", "1"));
    let of_token = "POST /api/v1/namespaces/default/serviceaccounts/robot/token";
    let merge = "| Content-Type: application/merge-patch+json";
    let status = format!("PATCH /api/v1/namespaces/default/pods/p/status {merge}");
    let (own, other) = (format!("PATCH /api/v1/nodes/n1 {merge}"), format!("PATCH /api/v1/nodes/n2 {merge}"));
    let script = [
        ("GET /api/v1/namespaces/default/secrets/s", ""),
        ("GET /api/v1/namespaces/default/secrets/other", ""),
        ("GET /api/v1/namespaces/default/secrets", ""),
        ("GET /api/v1/namespaces/default/configmaps/c", ""),
        ("GET /api/v1/namespaces/default/pods/p", ""),
        ("GET /api/v1/pods?fieldSelector=spec.nodeName%3Dn1", ""),
        ("GET /api/v1/pods", ""),
        ("GET /api/v1/nodes/n1", ""),
        ("GET /api/v1/nodes/n2", ""),
        ("GET /api/v1/services", ""),
        (of_token, good.as_str()),
        (of_token, foreign.as_str()),
        (of_token, wrong.as_str()),
        (of_token, r#"{"spec":{}}"#),
        ("POST /api/v1/namespaces/default/serviceaccounts/default/token", good.as_str()),
        (status.as_str(), r#"{"status":{"phase":"Running"}}"#),
        (status.as_str(), r#"{"metadata":{"labels":{"a":"b"}}}"#),
        (own.as_str(), r#"{"metadata":{"labels":{"own":"x","kubernetes.io/os":"linux"}}}"#),
        (own.as_str(), r#"{"metadata":{"labels":{"node-restriction.kubernetes.io/a":"x"}}}"#),
        (own.as_str(), r#"{"spec":{"taints":[]}}"#),
        (other.as_str(), r#"{"metadata":{"labels":{"own":"x"}}}"#),
        (
            "POST /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
            r#"{"metadata":{"name":"n2"}}"#,
        ),
        (
            "POST /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
            r#"{"metadata":{"name":"n1"}}"#,
        ),
        (
            "POST /api/v1/namespaces/default/pods",
            r#"{"metadata":{"name":"x"},"spec":{"containers":[{"name":"c","image":"i"}]}}"#,
        ),
    ];
    let first = outcomes(&server.user("system:node:n1", &["system:nodes"]), &script).await;
    let second = outcomes(&server.user("system:node:n2", &["system:nodes"]), &script[..5]).await;
    expect![[r#"
        GET /api/v1/namespaces/default/secrets/s
          200
        GET /api/v1/namespaces/default/secrets/other
          403 secrets "other" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" in the namespace "default": no relationship found between node 'n1' and this object
        GET /api/v1/namespaces/default/secrets
          403 secrets is forbidden: User "system:node:n1" cannot list resource "secrets" in API group "" in the namespace "default": No Object name found
        GET /api/v1/namespaces/default/configmaps/c
          200
        GET /api/v1/namespaces/default/pods/p
          200
        GET /api/v1/pods?fieldSelector=spec.nodeName%3Dn1
          200
        GET /api/v1/pods
          403 pods is forbidden: User "system:node:n1" cannot list resource "pods" in API group "" at the cluster scope: can only list/watch pods with spec.nodeName field selector
        GET /api/v1/nodes/n1
          200
        GET /api/v1/nodes/n2
          403 nodes "n2" is forbidden: User "system:node:n1" cannot get resource "nodes" in API group "" at the cluster scope: node 'n1' cannot read 'n2', only its own Node object
        GET /api/v1/services
          200
        POST /api/v1/namespaces/default/serviceaccounts/robot/token
          201
        POST /api/v1/namespaces/default/serviceaccounts/robot/token
          403 serviceaccounts "robot" is forbidden: audience "vault" not found in pod spec volume
        POST /api/v1/namespaces/default/serviceaccounts/robot/token
          403 serviceaccounts "robot" is forbidden: the UID in the bound object reference (1) does not match the UID in record. The object might have been deleted and then recreated
        POST /api/v1/namespaces/default/serviceaccounts/robot/token
          403 serviceaccounts "robot" is forbidden: node requested token not bound to a pod
        POST /api/v1/namespaces/default/serviceaccounts/default/token
          403 serviceaccounts "default" is forbidden: User "system:node:n1" cannot create resource "serviceaccounts/token" in API group "" in the namespace "default": no relationship found between node 'n1' and this object
        PATCH /api/v1/namespaces/default/pods/p/status | Content-Type: application/merge-patch+json
          200
        PATCH /api/v1/namespaces/default/pods/p/status | Content-Type: application/merge-patch+json
          403 pods "p" is forbidden: node "n1" cannot update labels through pod status
        PATCH /api/v1/nodes/n1 | Content-Type: application/merge-patch+json
          200
        PATCH /api/v1/nodes/n1 | Content-Type: application/merge-patch+json
          403 nodes "n1" is forbidden: is not allowed to modify labels: node-restriction.kubernetes.io/a
        PATCH /api/v1/nodes/n1 | Content-Type: application/merge-patch+json
          403 nodes "n1" is forbidden: node "n1" is not allowed to modify taints
        PATCH /api/v1/nodes/n2 | Content-Type: application/merge-patch+json
          403 nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"
        POST /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases
          403 leases.coordination.k8s.io "n2" is forbidden: can only access node lease with the same name as the requesting node
        POST /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases
          201
        POST /api/v1/namespaces/default/pods
          403 pods "x" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods
        -- n2
        GET /api/v1/namespaces/default/secrets/s
          403 secrets "s" is forbidden: User "system:node:n2" cannot get resource "secrets" in API group "" in the namespace "default": no relationship found between node 'n2' and this object
        GET /api/v1/namespaces/default/secrets/other
          403 secrets "other" is forbidden: User "system:node:n2" cannot get resource "secrets" in API group "" in the namespace "default": no relationship found between node 'n2' and this object
        GET /api/v1/namespaces/default/secrets
          403 secrets is forbidden: User "system:node:n2" cannot list resource "secrets" in API group "" in the namespace "default": No Object name found
        GET /api/v1/namespaces/default/configmaps/c
          403 configmaps "c" is forbidden: User "system:node:n2" cannot get resource "configmaps" in API group "" in the namespace "default": no relationship found between node 'n2' and this object
        GET /api/v1/namespaces/default/pods/p
          403 pods "p" is forbidden: User "system:node:n2" cannot get resource "pods" in API group "" in the namespace "default": no relationship found between node 'n2' and this object"#]].assert_eq(&format!("{first}\n-- n2\n{second}"));
}

/// The kernel launches a Pod before its binding is written: what the Pod's node asks for meanwhile waits for the binding.
#[tokio::test]
async fn a_node_waits_for_the_binding_of_its_pod() {
    let server = Server::start().await;
    server.ask("POST /api/v1/namespaces/default/secrets", r#"{"metadata":{"name":"s"}}"#).await;
    let pod = r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i","envFrom":[{"secretRef":{"name":"s"}}]}]}}"#;
    server.ask("POST /api/v1/namespaces/default/pods", pod).await;
    let node = server.user("system:node:n1", &["system:nodes"]);
    let asking = outcome(&node, "GET /api/v1/namespaces/default/secrets/s", "");
    let binding = async {
        tokio::task::yield_now().await;
        let target = r#"{"metadata":{"name":"p"},"target":{"kind":"Node","name":"n1"}}"#;
        server.ask("POST /api/v1/namespaces/default/pods/p/binding", target).await
    };
    let (asked, bound) = tokio::join!(asking, binding);
    assert!(bound.starts_with("201 "), "{bound}");
    assert_eq!(asked, "200");
}

#[tokio::test]
async fn default_roles_are_repaired_at_the_next_start() {
    let server = Server::start().await;
    let role = format!("{RBAC}/clusterroles/system:basic-user");
    let binding = format!("{RBAC}/clusterrolebindings/system:discovery");
    let merge = "| Content-Type: application/merge-patch+json";
    let own = r#"{"rules":[{"verbs":["get"],"apiGroups":["own"],"resources":["own"]}]}"#;
    server.ask(&format!("PATCH {role} {merge}"), own).await;
    server.ask(&format!("DELETE {binding}"), "").await;
    let kept = format!("PATCH {RBAC}/clusterroles/system:discovery {merge}");
    let opted_out =
        r#"{"metadata":{"annotations":{"rbac.authorization.kubernetes.io/autoupdate":"false"}},"rules":[]}"#;
    server.ask(&kept, opted_out).await;
    server.handle.registry().fresh().await.unwrap();
    let bootstrap = Bootstrap {
        advertise: [127, 0, 0, 1].into(),
        port: 1,
        client_ca: server.pki.authority.certificate(),
        front_proxy_ca: server.pki.front_proxy.certificate(),
    };
    bootstrap.run(server.handle.pipeline()).await.unwrap();
    let repaired = server.json(&format!("GET {role}"), "").await;
    expect![[r#"[{"apiGroups":["own"],"resources":["own"],"verbs":["get"]},{"apiGroups":["authorization.k8s.io"],"resources":["selfsubjectaccessreviews"],"verbs":["create"]},{"apiGroups":["authorization.k8s.io"],"resources":["selfsubjectrulesreviews"],"verbs":["create"]},{"apiGroups":["authentication.k8s.io"],"resources":["selfsubjectreviews"],"verbs":["create"]}]"#]].assert_eq(&repaired["rules"].to_string());
    assert_eq!(server.json(&format!("GET {binding}"), "").await["roleRef"]["name"], "system:discovery");
    let left = server.json(&format!("GET {RBAC}/clusterroles/system:discovery"), "").await;
    assert!(left["rules"].is_null(), "{left}");
}
