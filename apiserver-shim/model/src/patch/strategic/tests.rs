//! What `kubectl apply` and `kubectl patch` write, as a table: patch, and the merged spec or the answer.

use crate::patch::{PatchKind, apply};
use crate::schema::Strictness;
use crate::schema::testing::object_type;
use expect_test::{Expect, expect};
use serde_json::{Value, json};

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "finalizers": ["x/a", "x/b"]}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
            "containers": [{"name": "c", "image": "i", "resources": {}}],
            "volumes": [{"name": "v1", "emptyDir": {}}, {"name": "v2", "emptyDir": {}}],
            "tolerations": [{"key": "k"}],
            "hostAliases": [{"ip": "1.1.1.1", "hostnames": ["x"]}]}}}})
}

fn outcome(patch: Value, strictness: Strictness) -> Result<Value, String> {
    let ty = &object_type("apps", "v1", "Deployment");
    let body = patch.to_string();
    let done = apply(PatchKind::Strategic, &deployment(), body.as_bytes(), ty, strictness);
    done.map(|done| done.value).map_err(|status| format!("{} {}", status.code, status.message))
}

fn check_spec(patch: Value, path: &str, expect: Expect) {
    let merged = outcome(json!({"spec": patch}), Strictness::Strict);
    expect.assert_eq(
        &merged.map_or_else(|e| e, |v| v["spec"].pointer(path).unwrap_or(&Value::Null).to_string()),
    );
}

fn check_pod(patch: Value, field: &str, expect: Expect) {
    check_spec(json!({"template": {"spec": patch}}), &format!("/template/spec/{field}"), expect);
}

#[test]
fn a_union_changes_its_kind() {
    check_pod(
        json!({"$setElementOrder/volumes": [{"name": "v1"}, {"name": "v2"}],
            "volumes": [{"$retainKeys": ["configMap", "name"], "configMap": {"name": "cc"}, "emptyDir": null, "name": "v1"}]}),
        "volumes",
        expect![[r#"[{"configMap":{"name":"cc"},"name":"v1"},{"emptyDir":{},"name":"v2"}]"#]],
    );
    check_spec(
        json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": null}}),
        "/strategy",
        expect![[r#"{"type":"Recreate"}"#]],
    );
    check_spec(
        json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
        "/strategy",
        expect![[r#"{"type":"Recreate"}"#]],
    );
    check_spec(
        json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": {}}}),
        "/strategy",
        expect!["400 invalid patch format of retainKeys"],
    );
    check_spec(
        json!({"strategy": {"$patch": "replace", "type": "Recreate"}}),
        "/strategy",
        expect![[r#"{"type":"Recreate"}"#]],
    );
    check_pod(
        json!({"hostAliases": [{"$retainKeys": ["ip"], "$deleteFromPrimitiveList/hostnames": ["x"], "$setElementOrder/hostnames": [], "ip": "1.1.1.1"}]}),
        "hostAliases",
        expect![[r#"[{"ip":"1.1.1.1"}]"#]],
    );
}

/// Directives of an element that is new on the server have nothing to act on; only `$patch` elements of a list that is
/// new are dropped.
#[test]
fn directives_of_new_elements() {
    let volumes = json!([{"$retainKeys": ["name", "emptyDir"], "name": "v3", "emptyDir": {}}]);
    check_pod(
        json!({"volumes": volumes}),
        "volumes",
        expect![[
            r#"422  "" is invalid: patch: Invalid value: "map[spec:map[template:map[spec:map[volumes:[map[$retainKeys:[name emptyDir] emptyDir:map[] name:v3]]]]]]": strict decoding error: unknown field "spec.template.spec.volumes[0].$retainKeys""#
        ]],
    );
    let ignored = outcome(json!({"spec": {"template": {"spec": {"volumes": volumes}}}}), Strictness::Ignore);
    assert_eq!(
        ignored.unwrap().pointer("/spec/template/spec/volumes/0"),
        Some(&json!({"name": "v3", "emptyDir": {}}))
    );
    check_pod(
        json!({"$setElementOrder/imagePullSecrets": [{"name": "b"}], "imagePullSecrets": [{"name": "a", "$patch": "delete"}, {"name": "b"}]}),
        "imagePullSecrets",
        expect![[r#"[{"name":"b"}]"#]],
    );
    check_pod(
        json!({"containers": [{"name": "d", "image": "j", "command": null, "env": null}]}),
        "containers",
        expect![[r#"[{"image":"j","name":"d","resources":{}},{"image":"i","name":"c","resources":{}}]"#]],
    );
}

#[test]
fn lists_with_an_order() {
    check_pod(
        json!({"$setElementOrder/volumes": [{"name": "v2"}, {"name": "v1"}]}),
        "volumes",
        expect![[r#"[{"emptyDir":{},"name":"v2"},{"emptyDir":{},"name":"v1"}]"#]],
    );
    check_pod(
        json!({"$setElementOrder/volumes": [{"name": "v2"}], "volumes": [{"$patch": "delete", "name": "v1"}]}),
        "volumes",
        expect![[r#"[{"emptyDir":{},"name":"v2"}]"#]],
    );
    check_pod(
        json!({"$setElementOrder/volumes": [], "volumes": [{"$patch": "delete", "name": "v1"}, {"$patch": "delete", "name": "v2"}]}),
        "volumes",
        expect!["null"],
    );
    check_pod(
        json!({"$setElementOrder/volumes": [{"name": "z"}], "volumes": [{"$patch": "replace"}, {"name": "z", "emptyDir": {}}]}),
        "volumes",
        expect![[r#"[{"emptyDir":{},"name":"z"}]"#]],
    );
    check_pod(
        json!({"$setElementOrder/volumes": [{"name": "v1"}, {"name": "v2"}], "volumes": null}),
        "volumes",
        expect!["500 expected a []interface {}, but received a %!s(<nil>)"],
    );
    check_pod(
        json!({"$setElementOrder/volumes": [{"emptyDir": {}}], "volumes": [{"name": "v1"}]}),
        "volumes",
        expect!["500 map: map[emptyDir:map[]] does not contain declared merge key: name"],
    );
    check_pod(
        json!({"$setElementOrder/nothing": ["a"]}),
        "volumes",
        expect![[r#"500 unable to find api field in struct PodSpec for the json field "nothing""#]],
    );
    check_pod(
        json!({"$setElementOrder": ["a"]}),
        "volumes",
        expect!["400 invalid patch format of setElementOrder list"],
    );
    check_pod(
        json!({"$setElementOrder/tolerations": [{"key": "z"}], "tolerations": [{"key": "z"}]}),
        "tolerations",
        expect![[r#"[{"key":"z"}]"#]],
    );
}

#[test]
fn lists_of_scalars() {
    let check = |patch: Value, expect: Expect| {
        let merged = outcome(json!({"metadata": patch}), Strictness::Strict);
        expect.assert_eq(&merged.map_or_else(|e| e, |v| v["metadata"]["finalizers"].to_string()));
    };
    check(json!({"$deleteFromPrimitiveList/finalizers": ["x/a"]}), expect![[r#"["x/b"]"#]]);
    check(
        json!({"$deleteFromPrimitiveList/finalizers": ["x/a"], "$setElementOrder/finalizers": ["x/c", "x/b"], "finalizers": ["x/c"]}),
        expect![[r#"["x/c","x/b"]"#]],
    );
    check(json!({"$deleteFromPrimitiveList/finalizers": null}), expect!["null"]);
    check(
        json!({"$deleteFromPrimitiveList": ["x/a"]}),
        expect!["400 invalid patch format of primitive list"],
    );
    check(
        json!({"$deleteFromPrimitiveList/finalizers": [1]}),
        expect!["500 list element types are not identical: [[x/a x/b] [1]]"],
    );
    check(
        json!({"finalizers": [["x/c"]]}),
        expect!["500 list element types are not identical: [[x/a x/b] [[x/c]]]"],
    );
}

#[test]
fn lists_that_do_not_merge() {
    check_pod(
        json!({"$deleteFromPrimitiveList/tolerations": [{"key": "k"}]}),
        "tolerations",
        expect!["500 cannot merge lists without merge key for struct"],
    );
    check_pod(json!({"tolerations": [{"key": "z"}]}), "tolerations", expect![[r#"[{"key":"z"}]"#]]);
    check_pod(json!({"tolerations": []}), "tolerations", expect!["null"]);
}
