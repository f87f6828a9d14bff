//! Admission policies over HTTP: what they deny, warn of and change.

use expect_test::expect;
use serde_json::Value;

use crate::harness::Server;

const DEPLOYMENT: &str = r#"{"metadata":{"name":"NAME"},"spec":{"replicas":REPLICAS,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

async fn create(server: &Server, plural: &str, body: &str) {
    let answer = server.ask(&format!("POST {GROUP}/{plural}"), body).await;
    assert!(answer.starts_with("201"), "{answer}");
    // A list waits until the watch caches, which policies follow, contain the write.
    server.ask(&format!("GET {GROUP}/{plural}"), "").await;
}

/// Creates a policy for deployments; `spec` is the rest of its spec.
async fn validating(server: &Server, spec: &str, binding: &str) {
    let constraints = r#""matchConstraints":{"resourceRules":[{"apiGroups":["apps"],"apiVersions":["v1"],"operations":["CREATE","UPDATE"],"resources":["deployments"]}]}"#;
    let policy = format!(r#"{{"metadata":{{"name":"p"}},"spec":{{{constraints},{spec}}}}}"#);
    create(server, "validatingadmissionpolicies", &policy).await;
    let binding = format!(r#"{{"metadata":{{"name":"b"}},"spec":{{"policyName":"p",{binding}}}}}"#);
    create(server, "validatingadmissionpolicybindings", &binding).await;
}

async fn deploy(server: &Server, name: &str, replicas: u32) -> String {
    let body = DEPLOYMENT.replace("NAME", name).replace("REPLICAS", &replicas.to_string());
    let answer = server.ask("POST /apis/apps/v1/namespaces/default/deployments", &body).await;
    let (head, body) = answer.split_once(" {").unwrap_or((&answer, ""));
    let value: Value = serde_json::from_str(&format!("{{{body}")).unwrap_or_default();
    format!("{head} {} {}", value["reason"].as_str().unwrap_or(""), value["message"].as_str().unwrap_or(""))
}

#[tokio::test]
async fn a_bound_policy_denies() {
    let server = Server::start().await;
    let spec = r#""variables":[{"name":"n","expression":"object.spec.replicas"}],"validations":[{"expression":"variables.n > 1","messageExpression":"'have ' + string(variables.n)"},{"expression":"variables.n < 100"}]"#;
    validating(&server, spec, r#""validationActions":["Deny"]"#).await;
    let answers = [
        deploy(&server, "one", 1).await,
        deploy(&server, "two", 2).await,
        deploy(&server, "many", 100).await,
    ];
    expect![[r#"
        422 Invalid deployments.apps "one" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: have 1
        201  
        422 Invalid deployments.apps "many" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: variables.n < 100"#]]
    .assert_eq(&answers.join("\n"));
    let answer = server
        .ask("PATCH /apis/apps/v1/namespaces/default/deployments/two | Content-Type: application/merge-patch+json", r#"{"spec":{"replicas":1}}"#)
        .await;
    assert!(answer.contains("denied request: have 1"), "{answer}");
    // That a new object has a version is only noticed after admission.
    for (replicas, refused) in [(1, "denied request: have 1"), (2, "resourceVersion should not be set")] {
        let body = DEPLOYMENT.replace(r#""NAME"}"#, r#""v","resourceVersion":"1"}"#);
        let body = body.replace("REPLICAS", &replicas.to_string());
        let answer = server.ask("POST /apis/apps/v1/namespaces/default/deployments", &body).await;
        assert!(answer.contains(refused), "{answer}");
    }
}

#[tokio::test]
async fn parameters_come_from_objects() {
    let server = Server::start().await;
    server
        .ask(
            "POST /api/v1/namespaces/default/configmaps",
            r#"{"metadata":{"name":"limits"},"data":{"max":"3"}}"#,
        )
        .await;
    let spec = r#""paramKind":{"apiVersion":"v1","kind":"ConfigMap"},"validations":[{"expression":"object.spec.replicas <= int(params.data.max)","reason":"Forbidden"}]"#;
    let binding = r#""validationActions":["Deny"],"paramRef":{"name":"limits","namespace":"default","parameterNotFoundAction":"Deny"}"#;
    validating(&server, spec, binding).await;
    let mut answers = vec![deploy(&server, "a", 3).await, deploy(&server, "b", 4).await];
    server.ask("DELETE /api/v1/namespaces/default/configmaps/limits", "").await;
    answers.push(deploy(&server, "c", 1).await);
    expect![[r#"
        201  
        403 Forbidden deployments.apps "b" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: object.spec.replicas <= int(params.data.max)
        201  "#]]
    .assert_eq(&answers.join("\n"));
}

#[tokio::test]
async fn a_binding_may_warn() {
    let server = Server::start().await;
    validating(
        &server,
        r#""validations":[{"expression":"false","message":"old"}]"#,
        r#""validationActions":["Warn","Audit"]"#,
    )
    .await;
    expect![[r#"201 299 - "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': old"  "#]]
        .assert_eq(&deploy(&server, "a", 1).await);
}

#[tokio::test]
async fn a_policy_whose_expressions_do_not_compile_is_refused() {
    let server = Server::start().await;
    let body = r#"{"metadata":{"name":"p"},"spec":{"matchConstraints":{"resourceRules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["pods"]}]},"validations":[{"expression":"object.spec.x +"}]}}"#;
    let answer = server.json(&format!("POST {GROUP}/validatingadmissionpolicies"), body).await;
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("spec.validations[0].expression: Invalid value: \"object.spec.x +\": compilation failed: ERROR: <input>:1:16: Syntax error"), "{message}");
}

#[tokio::test]
async fn mutating_policies_change_objects() {
    let server = Server::start().await;
    let policy = r#"{"metadata":{"name":"m"},"spec":{"failurePolicy":"Fail","reinvocationPolicy":"Never","matchConstraints":{"resourceRules":[{"apiGroups":["apps"],"apiVersions":["v1"],"operations":["CREATE"],"resources":["deployments"]}]},"mutations":[
        {"patchType":"ApplyConfiguration","applyConfiguration":{"expression":"Object{metadata: Object.metadata{labels: {'replicas': string(object.spec.replicas)}}, spec: Object.spec{replicas: object.spec.replicas + 1}}"}},
        {"patchType":"JSONPatch","jsonPatch":{"expression":"[JSONPatch{op: 'add', path: '/metadata/annotations', value: {'seen': string(object.spec.replicas)}}]"}}]}}"#;
    create(&server, "mutatingadmissionpolicies", policy).await;
    create(
        &server,
        "mutatingadmissionpolicybindings",
        r#"{"metadata":{"name":"m"},"spec":{"policyName":"m"}}"#,
    )
    .await;
    let body = DEPLOYMENT.replace("NAME", "d").replace("REPLICAS", "1");
    let answer = server.json("POST /apis/apps/v1/namespaces/default/deployments", &body).await;
    assert_eq!(answer["spec"]["replicas"], 2, "{answer}");
    assert_eq!(answer["metadata"]["labels"]["replicas"], "1");
    assert_eq!(answer["metadata"]["annotations"]["seen"], "2");
}
