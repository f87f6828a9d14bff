//! Tests of webhooks: what matches, what is sent, and what answers mean.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::admission_policy::matching::Requested;
use crate::admission_policy::{RequestFacts, request};

fn webhook(members: Value) -> Webhook {
    let mut webhook = json!({"name": "a.example.com", "clientConfig": {"url": "https://example.com"},
        "admissionReviewVersions": ["v2", "v1", "v1beta1"], "sideEffects": "None",
        "failurePolicy": "Fail", "timeoutSeconds": 3, "matchPolicy": "Equivalent"});
    for (name, value) in members.as_object().into_iter().flatten() {
        webhook[name] = value.clone();
    }
    let configuration = json!({"metadata": {"name": "c"}, "webhooks": [webhook]});
    webhooks(&configuration).remove(0)
}

#[test]
fn a_configuration_has_webhooks_in_its_order() {
    let configuration = json!({"metadata": {"name": "c"}, "webhooks": [
        {"name": "b", "failurePolicy": "Ignore", "sideEffects": "NoneOnDryRun", "reinvocationPolicy": "IfNeeded"},
        {"name": "a", "timeoutSeconds": 5, "sideEffects": "Some"}, {"name": "b"}]});
    let all = webhooks(&configuration);
    let shown: Vec<_> = all
        .iter()
        .map(|w| (w.id.as_str(), w.ignores_failures, w.supports_dry_run, w.reinvoked, w.timeout.as_secs()))
        .collect();
    assert_eq!(
        shown,
        [
            ("c/b/0", true, true, true, 10),
            ("c/a/0", false, false, false, 5),
            ("c/b/1", false, false, false, 10)
        ]
    );
}

/// `operation group/version/resource[/subresource]` of a request; a leading `~` is cluster-scoped.
fn requested(text: &str) -> Requested<'_> {
    let (operation, path) = text.split_once(' ').expect("an operation");
    let (path, namespaced) = path.strip_prefix('~').map_or((path, true), |path| (path, false));
    let mut parts = path.split('/');
    let mut next = || parts.next().unwrap_or("");
    Requested {
        operation,
        group: next(),
        version: next(),
        resource: next(),
        subresource: next(),
        name: "n",
        namespaced,
    }
}

#[test]
fn rules_match_operations_groups_versions_resources_and_scopes() {
    let rule = |operations: &str, group: &str, versions: &str, resources: &[&str], scope: &str| {
        json!({"operations": [operations], "apiGroups": [group], "apiVersions": [versions], "resources": resources,
            "scope": scope})
    };
    let requests = [
        "CREATE /v1/pods",
        "UPDATE /v1/pods/status",
        "CONNECT /v1/pods/exec",
        "CREATE apps/v1/deployments",
        "UPDATE apps/v1/deployments/scale",
        "DELETE /v1/~nodes",
        "DELETE ~/v1/nodes",
        "CREATE example.com/v2/widgets",
    ];
    let table = [
        (rule("*", "*", "*", &["*/*"], "*"), "1111_1111"),
        (rule("*", "*", "*", &["*"], "*"), "1001_0111"),
        (rule("CREATE", "*", "*", &["*"], "*"), "1001_0001"),
        (rule("*", "", "*", &["pods"], "*"), "1000_0000"),
        (rule("*", "", "v1", &["pods/*"], "*"), "1110_0000"),
        (rule("*", "", "v2", &["pods/*"], "*"), "0000_0000"),
        (rule("*", "*", "*", &["*/scale"], "*"), "0000_1000"),
        (rule("*", "", "*", &["pods/exec"], "*"), "0010_0000"),
        (rule("*", "*", "*", &["*/*"], "Cluster"), "0000_0010"),
        (rule("*", "*", "*", &["*/*"], "Namespaced"), "1111_1101"),
        (rule("*", "example.com", "v1", &["widgets"], "*"), "0000_0000"),
    ];
    for (rule, expected) in table {
        let webhook = webhook(json!({"rules": [rule]}));
        let mut found: String = requests
            .iter()
            .map(|text| if webhook.matching.matches_rules(&requested(text)) { '1' } else { '0' })
            .collect();
        found.insert(4, '_');
        assert_eq!(found, expected, "{rule}");
    }
    assert!(!webhook(json!({})).matching.matches_rules(&requested(requests[0])), "no rules match nothing");
}

#[test]
fn the_earliest_rule_decides_the_version() {
    let rule = |version: &str| json!({"operations": ["*"], "apiGroups": ["e"], "apiVersions": [version], "resources": ["w"]});
    let webhook = webhook(json!({"rules": [rule("v3"), rule("v1")]}));
    let forms = ["CREATE e/v1/w", "CREATE e/v2/w", "CREATE e/v3/w"].map(requested);
    assert_eq!(webhook.matching.preferred(&forms), Some(2));
    assert_eq!(webhook.matching.preferred(&forms[..2]), Some(0));
    assert_eq!(webhook.matching.preferred(&forms[1..2]), None);
}

#[test]
fn a_review_has_the_request_in_both_versions() {
    let review = Review::new(&webhook(json!({})), "u").expect("a known version");
    let user = json!({"username": "jane", "groups": ["dev"]});
    let options = json!({"kind": "PatchOptions", "apiVersion": "meta.k8s.io/v1"});
    let request = request(&RequestFacts {
        kind: ("apps", "v1", "Deployment"),
        resource: ("apps", "v1", "deployments"),
        request_kind: ("apps", "v1beta1", "Deployment"),
        request_resource: ("apps", "v1beta1", "deployments"),
        subresource: "status",
        name: "d",
        namespace: "ns",
        operation: "UPDATE",
        user: &user,
        dry_run: true,
        options: &options,
    });
    let body = review.body(request, &json!({"new": 1}), &Value::Null);
    expect![[r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"dryRun":true,"kind":{"group":"apps","kind":"Deployment","version":"v1"},"name":"d","namespace":"ns","object":{"new":1},"oldObject":null,"operation":"UPDATE","options":{"apiVersion":"meta.k8s.io/v1","kind":"PatchOptions"},"requestKind":{"group":"apps","kind":"Deployment","version":"v1beta1"},"requestResource":{"group":"apps","resource":"deployments","version":"v1beta1"},"requestSubResource":"status","resource":{"group":"apps","resource":"deployments","version":"v1"},"subResource":"status","uid":"u","userInfo":{"groups":["dev"],"username":"jane"}}}"#]]
    .assert_eq(&body.to_string());
    assert_eq!(
        Review::new(&webhook(json!({"admissionReviewVersions": ["v2"]})), "u"),
        Err(CallError::NoVersion)
    );
}

/// The result of an answer with this response.
fn answered(version: &str, mutating: bool, response: Value) -> String {
    let webhook = webhook(json!({"admissionReviewVersions": [version]}));
    let review = Review::new(&webhook, "u").expect("a known version");
    let body = json!({"apiVersion": format!("admission.k8s.io/{version}"), "kind": "AdmissionReview",
        "response": response});
    let answer = match review.answer(mutating, body) {
        Ok(answer) => answer,
        Err(error) => return format!("{} {error}", error.code()),
    };
    match (answer.denial("w"), answer.operations()) {
        (Some(status), _) => format!("denied {}", status.to_value()),
        (None, Err(error)) => format!("{} {error}", error.code()),
        (None, Ok(operations)) => format!("allowed {}", Value::from(operations)),
    }
}

fn check(version: &str, mutating: bool, response: Value, expect: Expect) {
    expect.assert_eq(&answered(version, mutating, response));
}

#[test]
fn responses_of_v1_are_checked() {
    let patch = |text: &str| shim_model::base64::encode(text.as_bytes());
    let one = patch(r#"[{"op":"remove","path":"/a"}]"#);
    check("v1", true, json!({"uid": "u", "allowed": true}), expect!["allowed []"]);
    check(
        "v1",
        true,
        Value::Null,
        expect!["503 received invalid webhook response: webhook response was absent"],
    );
    check(
        "v1",
        true,
        json!({"uid": "x", "allowed": true}),
        expect![[r#"503 received invalid webhook response: expected response.uid="u", got "x""#]],
    );
    check(
        "v1",
        true,
        json!({"uid": "u", "allowed": true, "patch": one, "patchType": "JSONPatch"}),
        expect![[r#"allowed [{"op":"remove","path":"/a"}]"#]],
    );
    check(
        "v1",
        true,
        json!({"uid": "u", "allowed": true, "patch": one}),
        expect![
            "503 received invalid webhook response: webhook returned response.patch but not response.patchType"
        ],
    );
    check(
        "v1",
        true,
        json!({"uid": "u", "allowed": true, "patchType": "JSONPatch"}),
        expect![
            "503 received invalid webhook response: webhook returned response.patchType but not response.patch"
        ],
    );
    check(
        "v1",
        true,
        json!({"uid": "u", "allowed": true, "patch": one, "patchType": ""}),
        expect![[
            r#"503 received invalid webhook response: webhook returned invalid response.patchType of """#
        ]],
    );
    check(
        "v1",
        true,
        json!({"uid": "u", "allowed": true, "patch": one, "patchType": "MergePatch"}),
        expect![[r#"400 unsupported patch type "MergePatch""#]],
    );
    check(
        "v1",
        true,
        json!({"uid": "u", "allowed": true, "patch": patch("{"), "patchType": "JSONPatch"}),
        expect!["503 received undecodable patch in webhook response: unexpected end of JSON input"],
    );
}

#[test]
fn a_validating_webhook_returns_no_patch() {
    let one = shim_model::base64::encode(br#"[{"op":"remove","path":"/a"}]"#);
    check(
        "v1",
        false,
        json!({"uid": "u", "allowed": true, "patch": one}),
        expect!["503 received invalid webhook response: validating webhook may not return response.patch"],
    );
    check(
        "v1",
        false,
        json!({"uid": "u", "allowed": true, "patchType": "JSONPatch"}),
        expect![
            "503 received invalid webhook response: validating webhook may not return response.patchType"
        ],
    );
}

#[test]
fn the_version_of_an_answer_is_checked_in_v1_only() {
    let review = |version: &str| {
        let webhook = webhook(json!({"admissionReviewVersions": [version]}));
        Review::new(&webhook, "u").expect("a known version")
    };
    let body = json!({"response": {"uid": "u", "allowed": true}});
    let error = review("v1").answer(false, body.clone()).expect_err("no version").to_string();
    assert_eq!(
        error,
        "received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind="
    );
    assert!(review("v1beta1").answer(false, body).is_ok());
    let other = json!({"response": {"uid": "other", "allowed": true, "patchType": "none"}});
    assert!(review("v1beta1").answer(false, other).is_ok());
    let wrong = json!({"response": {"allowed": "yes"}});
    let error = review("v1beta1").answer(false, wrong).expect_err("a wrong type");
    assert!(error.to_string().starts_with("failed to call webhook: "), "{error}");
}

#[test]
fn a_denial_says_what_the_webhook_says() {
    let denied = |status: Value| json!({"uid": "u", "allowed": false, "status": status});
    check(
        "v1",
        false,
        denied(Value::Null),
        expect![[
            r#"denied {"apiVersion":"v1","code":400,"kind":"Status","message":"admission webhook \"w\" denied the request without explanation","metadata":{},"status":"Failure"}"#
        ]],
    );
    check(
        "v1",
        false,
        denied(json!({"reason": "Forbidden", "code": 200})),
        expect![[
            r#"denied {"apiVersion":"v1","code":400,"kind":"Status","message":"admission webhook \"w\" denied the request: Forbidden","metadata":{},"reason":"Forbidden","status":"Failure"}"#
        ]],
    );
    check(
        "v1beta1",
        true,
        denied(json!({"message": "no", "reason": "MyOwn", "code": 418,
            "details": {"name": "n", "causes": [{"message": "m", "field": "f"}]}})),
        expect![[
            r#"denied {"apiVersion":"v1","code":418,"details":{"causes":[{"field":"f","message":"m"}],"name":"n"},"kind":"Status","message":"admission webhook \"w\" denied the request: no","metadata":{},"reason":"MyOwn","status":"Failure"}"#
        ]],
    );
}

#[test]
fn failures_have_upstreams_messages() {
    let calling = CallError::Call { reason: "Post \"https://a/\": EOF".to_owned(), code: 503 };
    let shown = |failure: Failure| {
        let status = failure.into_status("w");
        format!("{} {} {}", status.code, status.reason, status.message)
    };
    expect![[r#"500 InternalError Internal error occurred: failed calling webhook "w": failed to call webhook: Post "https://a/": EOF"#]]
        .assert_eq(&shown(Failure::Calling(calling)));
    expect![[r#"400 BadRequest admission webhook "w" does not support dry run"#]]
        .assert_eq(&shown(Failure::no_dry_run("w")));
    expect![[r#"500 InternalError Internal error occurred: admission webhook "w" attempted to modify the object, which is not supported for this operation"#]]
        .assert_eq(&shown(Failure::no_object("w")));
}

#[test]
fn webhooks_run_again_after_a_later_change() {
    let object = |n: u8| json!({"n": n});
    let mut state = Reinvocation::default();
    // "a" runs, then "b" changes the object and is to run again, too.
    state.note_invoked("a");
    state.note_change();
    state.note_invoked("b");
    state.finish(Some(&object(1)));
    state.begin_again(Some(&object(1)));
    assert!(state.runs_again("a") && !state.runs_again("b"), "b has seen its own change");
    assert!(!state.runs_again("c"), "c has not run");

    let mut state = Reinvocation::default();
    state.note_invoked("b");
    state.finish(Some(&object(1)));
    state.begin_again(Some(&object(2)));
    assert!(state.runs_again("b"), "another plugin has changed the object");
}

#[test]
fn a_patched_object_is_decoded_as_a_body() {
    let definitions = crate::definition::builtin();
    let maps = definitions.iter().find(|definition| definition.is("", "configmaps")).expect("it is served");
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1"}});
    let apply = |operations: Value| {
        let operations = operations.as_array().cloned().unwrap_or_default();
        match mutated(Some(&maps.object_type), &object, &operations) {
            Ok(object) => object.to_string(),
            Err(why) => why,
        }
    };
    let add = |path: &str, value: Value| apply(json!([{"op": "add", "path": path, "value": value}]));
    expect![[r#"{"apiVersion":"v1","data":{"a":"1"},"kind":"ConfigMap","metadata":{"labels":{"l":"1"},"name":"m"}}"#]]
        .assert_eq(&add("/metadata/labels", json!({"l": "1"})));
    expect![[r#"{"apiVersion":"v1","data":{"a":"1"},"kind":"ConfigMap","metadata":{"name":"m"}}"#]]
        .assert_eq(&add("/unknown", json!(1)));
    expect![[r#"json: cannot unmarshal number into Go struct field ConfigMap.data of type string"#]]
        .assert_eq(&add("/data/b", json!(1)));
    expect![r#"add operation does not apply: doc is missing path: "/metadata/labels/l": missing value"#]
        .assert_eq(&add("/metadata/labels/l", json!("1")));
    expect!["the patch of a webhook must not change kind"].assert_eq(&add("/kind", json!("Secret")));
}

#[test]
fn audit_annotations_have_upstreams_form() {
    let webhook = webhook(json!({}));
    assert_eq!(
        mutation_annotation(&webhook, true),
        r#"{"configuration":"c","webhook":"a.example.com","mutated":true}"#
    );
    let operations = [json!({"op": "remove", "path": "/a"})];
    assert_eq!(
        patch_annotation(&webhook, &operations),
        r#"{"configuration":"c","webhook":"a.example.com","patch":[{"op":"remove","path":"/a"}],"patchType":"JSONPatch"}"#
    );
}
