//! Server-side apply over HTTP: creation, owners, conflicts, subresources, and writes that change nothing.

use expect_test::{Expect, expect};
use serde_json::Value;

use crate::harness::Server;

const CM: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn apply(server: &Server, path: &str, body: &str) -> Value {
    server.json(&format!("PATCH {path} | Content-Type: application/apply-patch+yaml"), body).await
}

/// The owners of an object's fields.
fn owners(object: &Value) -> String {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or("").to_owned();
    let lines = entries.iter().map(|e| {
        let (manager, operation, part) = (text(e, "manager"), text(e, "operation"), text(e, "subresource"));
        format!("{manager} {operation} {part} {}\n", e["fieldsV1"])
    });
    lines.collect()
}

fn check(object: &Value, expect: Expect) {
    expect.assert_eq(&owners(object));
}

const WEB: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"selector":{"matchLabels":{"a":"b"}},
    "template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}]}]}}}}"#;

#[tokio::test]
async fn an_apply_creates_and_the_same_again_writes_nothing() {
    let server = Server::start().await;
    let path = format!("{DEPLOYMENTS}/web?fieldManager=m1");
    let first = apply(&server, &path, WEB).await;
    check(
        &first,
        expect![[r#"
        m1 Apply  {"f:spec":{"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}
    "#]],
    );
    assert_eq!(first["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
    let dry =
        apply(&server, &format!("{path}&dryRun=All"), &WEB.replace(r#""image":"i""#, r#""image":"j""#)).await;
    assert_eq!(dry["spec"]["template"]["spec"]["containers"][0]["image"], "j");
    let again = apply(&server, &path, WEB).await;
    assert_eq!(again, first, "neither the resourceVersion nor a time has changed");
    let shared = apply(&server, &format!("{DEPLOYMENTS}/web?fieldManager=m2"), WEB).await;
    assert_ne!(shared["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(shared["metadata"]["generation"], 1);
    let conflict = apply(&server, &path, &WEB.replace(r#""image":"i""#, r#""image":"j""#)).await;
    assert_eq!(
        conflict["details"]["causes"][0]["field"],
        r#".spec.template.spec.containers[name="c"].image"#
    );
    let forced =
        apply(&server, &format!("{path}&force=true"), &WEB.replace(r#""image":"i""#, r#""image":"j""#)).await;
    assert_eq!(forced["metadata"]["generation"], 2);
}

#[tokio::test]
async fn status_and_scale_have_their_own_owners() {
    let server = Server::start().await;
    let replicas = WEB.replace(r#""spec":{"selector""#, r#""spec":{"replicas":2,"selector""#);
    apply(&server, &format!("{DEPLOYMENTS}/web?fieldManager=m1"), &replicas).await;
    let scale =
        r#"{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"web"},"spec":{"replicas":3}}"#;
    let refused = apply(&server, &format!("{DEPLOYMENTS}/web/scale?fieldManager=hpa"), scale).await;
    assert_eq!(refused["message"], r#"Apply failed with 1 conflict: conflict with "m1": .spec.replicas"#);
    let forced = apply(&server, &format!("{DEPLOYMENTS}/web/scale?fieldManager=hpa&force=true"), scale).await;
    assert_eq!(forced["spec"]["replicas"], 3);
    let patch =
        format!("PATCH {DEPLOYMENTS}/web/scale?fieldManager=u | Content-Type: application/merge-patch+json");
    server.ask(&patch, r#"{"spec":{"replicas":4}}"#).await;
    let status = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"l":"1"}},"status":{"replicas":4}}"#;
    let object = apply(&server, &format!("{DEPLOYMENTS}/web/status?fieldManager=st"), status).await;
    assert_eq!((&object["spec"]["replicas"], &object["status"]["replicas"]), (&4.into(), &4.into()));
    assert!(object["metadata"].get("labels").is_none(), "the status of a Deployment does not set labels");
    check(
        &object,
        expect![[r#"
        m1 Apply  {"f:spec":{"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}
        st Apply status {"f:status":{"f:replicas":{}}}
        u Update scale {"f:spec":{"f:replicas":{}}}
    "#]],
    );
}

#[tokio::test]
async fn refusals_equal_upstreams() {
    let server = Server::start().await;
    let script = format!(
        r#"
        PATCH {CM}/c?fieldManager=m | Content-Type: application/apply-patch+yaml <- {{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"d"}}}}
        PATCH {CM}/c?fieldManager=m | Content-Type: application/apply-patch+yaml <- {{"apiVersion":"v1","kind":"ConfigMap"}}
        PATCH {CM}/c?fieldManager=m | Content-Type: application/apply-patch+yaml <- {{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"c","uid":"u"}}}}
        PATCH {CM}/c?fieldManager=m | Content-Type: application/apply-patch+yaml <- {{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"c","namespace":"other"}}}}
        PATCH {CM}/c?fieldManager=m&fieldValidation=Strict | Content-Type: application/apply-patch+yaml <- {{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"c","name":"c"}}}}
        PATCH {CM}/c?fieldValidation=x&dryRun=y&fieldManager=%09 | Content-Type: application/apply-patch+yaml <- {{}}
        PATCH {CM}/c?force=true | Content-Type: application/merge-patch+json <- {{}}
        PATCH /api/v1/namespaces/none/configmaps/c?fieldManager=m | Content-Type: application/apply-patch+yaml <- {{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"c"}}}}
        PATCH {CM}/c?fieldManager=m | Content-Type: application/apply-patch+yaml <- {{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"c","resourceVersion":"7"}}}}
        PATCH {CM}/c?fieldManager=m | Content-Type: application/apply-patch+yaml <- {{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"c","resourceVersion":"7"}}}}
        PATCH {CM}/c/status?fieldManager=m | Content-Type: application/apply-patch+yaml <- {{}}
        PATCH {DEPLOYMENTS}/none/scale?fieldManager=m | Content-Type: application/apply-patch+yaml <- {{"apiVersion":"autoscaling/v1","kind":"Scale","spec":{{"replicas":1}}}}
        "#
    );
    let lines = server.play(&script).await;
    let answers: Vec<&str> = lines.lines().skip(1).step_by(2).map(str::trim).collect();
    expect![[r#"
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"the name of the object (d) does not match the name on the URL (c)","metadata":{},"reason":"BadRequest","status":"Failure"}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"the name of the object (c based on URL) was undeterminable: name must be provided","metadata":{},"reason":"BadRequest","status":"Failure"}
          409 {"apiVersion":"v1","code":409,"details":{"kind":"configmaps","name":"c"},"kind":"Status","message":"Operation cannot be fulfilled on configmaps \"c\": uid mismatch: the provided object specified uid u, and no existing object was found","metadata":{},"reason":"Conflict","status":"Failure"}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"the namespace of the provided object does not match the namespace sent on the request","metadata":{},"reason":"BadRequest","status":"Failure"}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 1: key \"name\" already set in map","metadata":{},"reason":"BadRequest","status":"Failure"}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"fieldManager","message":"Invalid value: \"\\t\": invalid character U+0009 (at position 0)","reason":"FieldValueInvalid"},{"field":"dryRun","message":"Unsupported value: [\"y\"]: supported values: \"All\"","reason":"FieldValueNotSupported"},{"field":"fieldValidation","message":"Unsupported value: \"x\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"","reason":"FieldValueNotSupported"}],"group":"meta.k8s.io","kind":"PatchOptions"},"kind":"Status","message":"PatchOptions.meta.k8s.io \"\" is invalid: [fieldManager: Invalid value: \"\\t\": invalid character U+0009 (at position 0), dryRun: Unsupported value: [\"y\"]: supported values: \"All\", fieldValidation: Unsupported value: \"x\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"]","metadata":{},"reason":"Invalid","status":"Failure"}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"force","message":"Forbidden: may not be specified for non-apply patch","reason":"FieldValueForbidden"}],"group":"meta.k8s.io","kind":"PatchOptions"},"kind":"Status","message":"PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch","metadata":{},"reason":"Invalid","status":"Failure"}
          404 {"apiVersion":"v1","code":404,"details":{"kind":"namespaces","name":"none"},"kind":"Status","message":"namespaces \"none\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
          201 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"default"}}
          409 {"apiVersion":"v1","code":409,"details":{"kind":"configmaps","name":"c"},"kind":"Status","message":"Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest version and try again","metadata":{},"reason":"Conflict","status":"Failure"}
          404 {"apiVersion":"v1","code":404,"details":{},"kind":"Status","message":"the server could not find the requested resource","metadata":{},"reason":"NotFound","status":"Failure"}
          404 {"apiVersion":"v1","code":404,"details":{"group":"apps","kind":"deployments","name":"none"},"kind":"Status","message":"deployments.apps \"none\" not found","metadata":{},"reason":"NotFound","status":"Failure"}"#]].assert_eq(&answers.join("\n"));
}
