//! What a CustomResourceDefinition defines is served: from its creation to the deletion of its objects.

use expect_test::expect;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::harness::{Server, request};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const OLDER: &str = "/apis/example.com/v1beta1/namespaces/default/widgets";
const MERGE: &str = "Content-Type: application/merge-patch+json";
const APPLY: &str = "Content-Type: application/apply-patch+yaml";

fn crd() -> Value {
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [
                {"name": "v1beta1", "served": true, "storage": false, "deprecated": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}},
                {"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "description": "What is wanted.", "properties": {
                            "size": {"type": "integer", "default": 1, "maximum": 10},
                            "color": {"type": "string", "nullable": true},
                            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                                "items": {"type": "object", "required": ["name"], "properties": {
                                    "name": {"type": "string"}, "weight": {"type": "integer"}}}},
                            "notes": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
                        "status": {"type": "object", "properties": {
                            "replicas": {"type": "integer"}, "phase": {"type": "string"}}}}}},
                    "subresources": {"status": {}, "scale": {
                        "specReplicasPath": ".spec.size", "statusReplicasPath": ".status.replicas"}},
                    "additionalPrinterColumns": [
                        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                        {"name": "Phase", "type": "string", "jsonPath": ".status.phase"}],
                    "selectableFields": [{"jsonPath": ".spec.color"}]},
            ],
        },
    })
}

/// Waits until the answer to a GET is what is wanted. Each write makes progress, so that nothing is missed.
async fn until(server: &Server, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut progress = server.handle.registry().subscribe_progress();
    let mut generations = server.handle.registry().generations();
    loop {
        let response = server.service().respond(request(&format!("GET {path}"), "")).await;
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let found = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if wanted(&found) {
            return found;
        }
        tokio::select! {
            changed = progress.changed() => changed.unwrap(),
            changed = generations.changed() => changed.unwrap(),
        }
    }
}

fn is_true(crd: &Value, kind: &str) -> bool {
    let conditions = crd["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|c| c["type"] == kind && c["status"] == "True")
}

async fn with_widgets() -> Server {
    let server = Server::start().await;
    let created = server.ask(&format!("POST {CRDS}"), &crd().to_string()).await;
    assert!(created.starts_with("201"), "{created}");
    until(&server, &format!("{CRDS}/widgets.example.com"), |crd| is_true(crd, "Established")).await;
    server
}

#[tokio::test]
async fn a_definition_is_completed_and_established() {
    let server = with_widgets().await;
    let crd = server.json(&format!("GET {CRDS}/widgets.example.com"), "").await;
    assert_eq!(crd["spec"]["conversion"], json!({"strategy": "None"}));
    let accepted = json!({"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList",
        "shortNames": ["wd"], "categories": ["all"]});
    assert_eq!((&crd["spec"]["names"], &crd["status"]["acceptedNames"]), (&accepted, &accepted));
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
    let group = server.json("GET /apis/example.com", "").await;
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let resources = server.json("GET /apis/example.com/v1", "").await;
    let names: Vec<&str> =
        resources["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
    assert_eq!(names, ["widgets", "widgets/scale", "widgets/status"]);
    let openapi = server.json("GET /openapi/v3/apis/example.com/v1", "").await;
    let component = &openapi["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(component["properties"]["spec"]["description"], "What is wanted.");
    assert_eq!(component["properties"]["spec"]["properties"]["parts"]["x-kubernetes-list-type"], "map");
    let older = server.json("GET /openapi/v2", "").await;
    let definition = &older["definitions"]["com.example.v1.Widget"];
    assert_eq!(definition["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    let color = &definition["properties"]["spec"]["properties"]["color"];
    assert_eq!(color.get("type"), None, "v2 has no nullable fields: {color}");
}

#[tokio::test]
async fn objects_are_pruned_defaulted_validated_and_converted() {
    let server = with_widgets().await;
    let transcript = server
        .play(&format!(
            r#"POST {WIDGETS} <- {{"kind":"Widget","apiVersion":"example.com/v1","metadata":{{"name":"a"}},"spec":{{"color":"red","bogus":1,"notes":{{"any":[""]}}}}}}
            POST {WIDGETS}?fieldValidation=Strict <- {{"kind":"Widget","apiVersion":"example.com/v1","metadata":{{"name":"b","zap":1}},"spec":{{"bogus":1}}}}
            POST {WIDGETS} <- {{"kind":"Widget","apiVersion":"example.com/v1","metadata":{{"name":"b"}},"spec":{{"size":11}}}}
            POST {WIDGETS} <- {{"kind":"Gadget","apiVersion":"example.com/v1","metadata":{{"name":"b"}}}}
            POST {WIDGETS} <- {{"kind":"Widget","apiVersion":"example.com/v2","metadata":{{"name":"b"}}}}
            GET {OLDER}/a
            PUT {WIDGETS}/a <- {{"kind":"Widget","apiVersion":"example.com/v1","metadata":{{"name":"a"}},"spec":{{}}}}
            PATCH {WIDGETS}/a | Content-Type: application/strategic-merge-patch+json <- {{}}
            GET {WIDGETS}?fieldSelector=spec.color%3Dblue
            GET {WIDGETS}?fieldSelector=spec.size%3D1
            GET {WIDGETS}/a | Accept: application/vnd.kubernetes.protobuf"#
        ))
        .await;
    expect![[r#"
        POST /apis/example.com/v1/namespaces/default/widgets <- {"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"a"},"spec":{"color":"red","bogus":1,"notes":{"any":[""]}}}
          201 299 - "unknown field \"spec.bogus\"" {"apiVersion":"example.com/v1","kind":"Widget","metadata":{"generation":1,"name":"a","namespace":"default"},"spec":{"color":"red","notes":{"any":[""]},"size":1}}
        POST /apis/example.com/v1/namespaces/default/widgets?fieldValidation=Strict <- {"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"b","zap":1},"spec":{"bogus":1}}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"metadata.zap\", unknown field \"spec.bogus\"","metadata":{},"reason":"BadRequest","status":"Failure"}
        POST /apis/example.com/v1/namespaces/default/widgets <- {"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"b"},"spec":{"size":11}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"spec.size","message":"Invalid value: 11: spec.size in body should be less than or equal to 10","reason":"FieldValueInvalid"}],"group":"example.com","kind":"Widget","name":"b"},"kind":"Status","message":"Widget.example.com \"b\" is invalid: spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10","metadata":{},"reason":"Invalid","status":"Failure"}
        POST /apis/example.com/v1/namespaces/default/widgets <- {"kind":"Gadget","apiVersion":"example.com/v1","metadata":{"name":"b"}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"kind","message":"Invalid value: \"Gadget\": must be Widget","reason":"FieldValueInvalid"}],"group":"example.com","kind":"Gadget","name":"b"},"kind":"Status","message":"Gadget.example.com \"b\" is invalid: kind: Invalid value: \"Gadget\": must be Widget","metadata":{},"reason":"Invalid","status":"Failure"}
        POST /apis/example.com/v1/namespaces/default/widgets <- {"kind":"Widget","apiVersion":"example.com/v2","metadata":{"name":"b"}}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"the API version in the data (example.com/v2) does not match the expected API version (example.com/v1)","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /apis/example.com/v1beta1/namespaces/default/widgets/a
          200 299 - "example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget" {"apiVersion":"example.com/v1beta1","kind":"Widget","metadata":{"generation":1,"name":"a","namespace":"default"},"spec":{"size":1}}
        PUT /apis/example.com/v1/namespaces/default/widgets/a <- {"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"a"},"spec":{}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"metadata.resourceVersion","message":"Invalid value: 0: must be specified for an update","reason":"FieldValueInvalid"}],"group":"example.com","kind":"widgets","name":"a"},"kind":"Status","message":"widgets.example.com \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update","metadata":{},"reason":"Invalid","status":"Failure"}
        PATCH /apis/example.com/v1/namespaces/default/widgets/a | Content-Type: application/strategic-merge-patch+json <- {}
          415 {"apiVersion":"v1","code":415,"kind":"Status","message":"the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml","metadata":{},"reason":"UnsupportedMediaType","status":"Failure"}
        GET /apis/example.com/v1/namespaces/default/widgets?fieldSelector=spec.color%3Dblue
          200 {"apiVersion":"example.com/v1","items":[],"kind":"WidgetList","metadata":{"continue":""}}
        GET /apis/example.com/v1/namespaces/default/widgets?fieldSelector=spec.size%3D1
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"field label not supported: spec.size","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /apis/example.com/v1/namespaces/default/widgets/a | Accept: application/vnd.kubernetes.protobuf
          406 protobuf {"apiVersion":"v1","code":406,"kind":"Status","message":"only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf","metadata":{},"reason":"NotAcceptable","status":"Failure"}
    "#]]
    .assert_eq(&transcript);
}

#[tokio::test]
async fn status_and_scale_write_their_part() {
    let server = with_widgets().await;
    server
        .ask(
            &format!("POST {WIDGETS}"),
            r#"{"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"a"},"spec":{"size":2}}"#,
        )
        .await;
    let patch = format!("PATCH {WIDGETS}/a/status | {MERGE}");
    let patched = server.json(&patch, r#"{"spec":{"size":9},"status":{"phase":"Ready","replicas":1}}"#).await;
    assert_eq!((&patched["spec"]["size"], &patched["status"]["phase"]), (&json!(2), &json!("Ready")));
    assert_eq!(patched["metadata"]["generation"], 1);
    let scale = server.json(&format!("GET {WIDGETS}/a/scale"), "").await;
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(2), &json!(1)));
    let scaled =
        server.json(&format!("PATCH {WIDGETS}/a/scale | {MERGE}"), r#"{"spec":{"replicas":3}}"#).await;
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(3)));
    let object = server.json(&format!("GET {WIDGETS}/a"), "").await;
    assert_eq!((&object["spec"]["size"], &object["metadata"]["generation"]), (&json!(3), &json!(2)));
    let table = format!("GET {WIDGETS} | Accept: application/json;as=Table;v=v1;g=meta.k8s.io");
    let table = server.json(&table, "").await;
    assert_eq!(table["rows"][0]["cells"], json!(["a", 3, "Ready"]));
    let refused =
        server.json(&format!("PATCH {WIDGETS}/a/scale | {MERGE}"), r#"{"spec":{"replicas":-1}}"#).await;
    assert_eq!(
        refused["message"],
        "Widget.example.com \"a\" is invalid: .spec.size: Invalid value: -1: should be a non-negative integer"
    );
}

#[tokio::test]
async fn apply_merges_by_the_keys_of_the_schema() {
    let server = with_widgets().await;
    let apply = |manager: &str| format!("PATCH {WIDGETS}/a?fieldManager={manager} | {APPLY}");
    let part = |name: &str, weight: u8| {
        format!(
            r#"{{"apiVersion":"example.com/v1","kind":"Widget","metadata":{{"name":"a"}},"spec":{{"parts":[{{"name":"{name}","weight":{weight}}}]}}}}"#
        )
    };
    let first = server.ask(&apply("m1"), &part("x", 1)).await;
    assert!(first.starts_with("201"), "{first}");
    let merged = server.json(&apply("m2"), &part("y", 2)).await;
    assert_eq!(merged["spec"]["parts"], json!([{"name": "x", "weight": 1}, {"name": "y", "weight": 2}]));
    let conflict = server.json(&apply("m2"), &part("x", 3)).await;
    assert_eq!((&conflict["code"], &conflict["reason"]), (&json!(409), &json!("Conflict")));
    let unknown =
        r#"{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"a"},"spec":{"bogus":1}}"#;
    let refused = server.ask(&apply("m1"), unknown).await;
    assert!(refused.contains("field not declared in schema"), "{refused}");
}

#[tokio::test]
async fn a_changed_definition_is_served_without_a_gap() {
    let server = with_widgets().await;
    server.ask(&format!("POST {WIDGETS}"), r#"{"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"a"},"spec":{"color":"red"}}"#).await;
    let patch = format!("PATCH {CRDS}/widgets.example.com | Content-Type: application/json-patch+json");
    let add = r#"[{"op":"add","path":"/spec/versions/1/schema/openAPIV3Schema/properties/spec/properties/shape","value":{"type":"string","default":"round"}}]"#;
    let patched = server.ask(&patch, add).await;
    assert!(patched.starts_with("200"), "{patched}");
    let path = format!("{WIDGETS}/a");
    let found = until(&server, &path, |object| {
        assert_eq!(object["kind"], "Widget", "it is served all the time: {object}");
        object["spec"]["shape"] == "round"
    });
    assert_eq!(found.await["spec"], json!({"color": "red", "shape": "round", "size": 1}));
    let storage = r#"[{"op":"replace","path":"/spec/versions/1/storage","value":false},{"op":"replace","path":"/spec/versions/0/storage","value":true}]"#;
    let patched = server.json(&patch, storage).await;
    assert_eq!(patched["status"]["storedVersions"], json!(["v1", "v1beta1"]));
    let fixed = server.json(&patch, r#"[{"op":"replace","path":"/spec/scope","value":"Cluster"}]"#).await;
    assert!(
        fixed["message"]
            .as_str()
            .unwrap()
            .contains("spec.scope: Invalid value: \"Cluster\": field is immutable")
    );
}

#[tokio::test]
async fn deletion_removes_the_objects_first() {
    let server = with_widgets().await;
    for name in ["a", "b"] {
        let held = if name == "b" { r#","finalizers":["example.com/held"]"# } else { "" };
        let body = format!(
            r#"{{"kind":"Widget","apiVersion":"example.com/v1","metadata":{{"name":"{name}"{held}}}}}"#
        );
        server.ask(&format!("POST {WIDGETS}"), &body).await;
    }
    let watch = server.service().respond(request(&format!("GET {WIDGETS}?watch=1"), "")).await;
    let deleted = server.json(&format!("DELETE {CRDS}/widgets.example.com"), "").await;
    assert_eq!(deleted["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    assert!(is_true(&deleted, "Terminating"), "{deleted}");
    until(&server, &format!("{WIDGETS}/a"), |found| found["code"] == 404).await;
    until(&server, "/apis/example.com/v1", |found| {
        found["resources"][0]["verbs"] == json!(["delete", "deletecollection", "get", "list", "watch"])
    })
    .await;
    let refused = server
        .json(
            &format!("POST {WIDGETS}"),
            r#"{"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"c"}}"#,
        )
        .await;
    assert_eq!(refused["code"], 403, "{refused}");
    let released =
        server.ask(&format!("PATCH {WIDGETS}/b | {MERGE}"), r#"{"metadata":{"finalizers":null}}"#).await;
    assert!(released.starts_with("200"), "{released}");
    until(&server, &format!("{CRDS}/widgets.example.com"), |found| found["code"] == 404).await;
    until(&server, "/apis/example.com/v1", Value::is_null).await;
    // Watches show all this, and then end.
    let events = watch.into_body().collect().await.unwrap().to_bytes();
    let events = serde_json::Deserializer::from_slice(&events).into_iter::<Value>().map(|event| {
        let event = event.unwrap();
        format!(
            "{} {}",
            event["type"].as_str().unwrap(),
            event["object"]["metadata"]["name"].as_str().unwrap()
        )
    });
    assert_eq!(events.collect::<Vec<_>>(), ["ADDED a", "ADDED b", "DELETED a", "MODIFIED b", "DELETED b"]);
}

#[tokio::test]
async fn names_that_are_taken_are_accepted_once_they_are_free() {
    let server = with_widgets().await;
    let mut other = crd();
    other["metadata"]["name"] = "gadgets.example.com".into();
    other["spec"]["names"] = json!({"plural": "gadgets", "kind": "Widget"});
    server.ask(&format!("POST {CRDS}"), &other.to_string()).await;
    let path = format!("{CRDS}/gadgets.example.com");
    let refused = until(&server, &path, |crd| crd["status"]["conditions"].is_array()).await;
    assert_eq!(refused["status"]["conditions"][0]["reason"], "ListKindConflict", "{refused}");
    server.ask(&format!("DELETE {CRDS}/widgets.example.com"), "").await;
    until(&server, &path, |crd| is_true(crd, "Established")).await;
}

#[tokio::test]
async fn invalid_definitions_are_refused_in_upstream_s_words() {
    let server = Server::start().await;
    let refuse = |change: fn(&mut Value)| {
        let mut wrong = crd();
        change(&mut wrong);
        let server = &server;
        async move { server.json(&format!("POST {CRDS}"), &wrong.to_string()).await["message"].clone() }
    };
    let name = "CustomResourceDefinition.apiextensions.k8s.io \"widgets.example.com\" is invalid:";
    for (change, wanted) in [
        (
            (|crd| crd["spec"]["scope"] = "Global".into()) as fn(&mut Value),
            "spec.scope: Unsupported value: \"Global\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            |crd| crd["spec"]["group"] = "other.com".into(),
            "metadata.name: Invalid value: \"widgets.example.com\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            |crd| crd["spec"]["conversion"] = json!({"strategy": "Magic"}),
            "spec.conversion.strategy: Unsupported value: \"Magic\": supported values: \"None\", \"Webhook\"",
        ),
        (
            |crd| crd["spec"]["versions"][1]["additionalPrinterColumns"][0]["type"] = "text".into(),
            "spec.versions[1].additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
        ),
        (
            |crd| crd["spec"]["versions"][1]["subresources"]["scale"]["specReplicasPath"] = ".foo".into(),
            "spec.versions[1].subresources.scale.specReplicasPath: Invalid value: \".foo\": should be a json path under .spec",
        ),
        (
            |crd| crd["spec"]["preserveUnknownFields"] = true.into(),
            "[spec.preserveUnknownFields: Invalid value: true: must be false in order to use defaults in the schema, spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead]",
        ),
    ] {
        assert_eq!(refuse(change).await, format!("{name} {wanted}"));
    }
}

/// Two versions: `spec.b` is in the second only, which is not the stored one.
#[tokio::test]
async fn versions_tell_what_they_do_not_have() {
    let server = Server::start().await;
    let version = |name: &str, fields: &[&str]| {
        let properties: serde_json::Map<String, Value> =
            fields.iter().map(|field| ((*field).to_owned(), json!({"type": "string"}))).collect();
        json!({"name": name, "served": true, "storage": name == "v1", "schema": {"openAPIV3Schema":
            {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}}})
    };
    let definition = json!({"metadata": {"name": "parts.example.com"}, "spec": {"group": "example.com",
        "scope": "Namespaced", "names": {"plural": "parts", "kind": "Part"},
        "versions": [version("v1", &["a"]), version("v2", &["a", "b"])]}});
    server.json(&format!("POST {CRDS}"), &definition.to_string()).await;
    until(&server, &format!("{CRDS}/parts.example.com"), |crd| is_true(crd, "Established")).await;
    let parts = "/apis/example.com/v1/namespaces/default/parts";
    let body =
        r#"{"apiVersion":"example.com/v2","kind":"Part","metadata":{"name":"p"},"spec":{"b":"x","c":1}}"#;
    let other = r#"{"apiVersion":"example.com/v3","kind":"Part","metadata":{"name":"p"},"spec":{"b":"x"}}"#;
    let script = format!(
        "
        POST {parts} <- {body}
        POST {parts}?fieldValidation=Strict <- {body}
        POST {parts} <- {other}
        POST {parts}?fieldValidation=Strict <- {other}
        "
    );
    let shown = server.play(&script).await;
    let refused = "the API version in the data (example.com/v2) does not match the expected API version (example.com/v1)";
    assert_eq!(shown.matches(refused).count(), 1, "{shown}");
    for told in [
        r#"unknown field \"spec.c\""#,
        r#"Part in version \"v2\" cannot be handled as a Part: strict decoding error: unknown field \"spec.c\""#,
        r#"unknown field \"spec\""#,
        r#"Part in version \"v3\" cannot be handled as a Part: strict decoding error: unknown field \"spec\""#,
    ] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    let apply = |version: &str, manager: &str| {
        format!(
            "PATCH /apis/example.com/{version}/namespaces/default/parts/p?fieldManager={manager} | Content-Type: application/apply-patch+yaml"
        )
    };
    let of = |version: &str, spec: Value| {
        json!({"apiVersion": format!("example.com/{version}"), "kind": "Part", "metadata": {"name": "p"}, "spec": spec})
            .to_string()
    };
    server.json(&apply("v1", "m1"), &of("v1", json!({"a": "1"}))).await;
    let refused = server.json(&apply("v2", "m2"), &of("v2", json!({"b": "1"}))).await;
    assert_eq!(refused["message"], "failed to convert new object: .spec.b: field not declared in schema");
    let patch = format!("PATCH {parts}/p | Content-Type: application/merge-patch+json");
    let refused = server.json(&patch, r#"{"apiVersion":"example.com/v2"}"#).await;
    let why = r#"Part.example.com "p" is invalid: apiVersion: Invalid value: "example.com/v2": must be example.com/v1"#;
    assert_eq!(refused["message"], why);
}
