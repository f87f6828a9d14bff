//! Tests of what kubectl needs from the documents.

use super::*;
use crate::resource::{Custom, builtin};
use crate::schema::testing::schema;

#[test]
fn documents_have_what_kubectl_asks() {
    let resources = builtin(schema());
    for path in document_paths(&resources) {
        let mut parts = path.split('/').skip(1);
        let (first, second) = (parts.next().unwrap(), parts.next());
        let (group, version) = second.map_or(("", first), |v| (first, v));
        let document = document(&resources, group, version).unwrap();
        let text = document.to_string();
        for piece in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
            let name = piece.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{path}: dangling {name}");
        }
    }
    let core = document(&resources, "", "v1").unwrap();
    let patch = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "", "version": "v1", "kind": "Pod"})
    );
    assert!(patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation"));
    let containers = &core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(
        (&containers["x-kubernetes-patch-strategy"], &containers["x-kubernetes-patch-merge-key"]),
        (&json!("merge"), &json!("name"))
    );
    assert!(document(&resources, "nope", "v1").is_none());
}

fn core() -> Value {
    let resources = builtin(schema());
    let described =
        resources.iter().map(|resource| Described { resource, returns_deleted: resource.kind == "Pod" });
    document(described, "", "v1").unwrap()
}

fn names(parameters: &Value) -> Vec<&str> {
    parameters.as_array().into_iter().flatten().filter_map(|p| p["name"].as_str()).collect()
}

fn codes(operation: &Value) -> Vec<&str> {
    operation["responses"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn operations_say_what_they_take_and_answer() {
    let document = core();
    let pods = &document["paths"]["/api/v1/namespaces/{namespace}/pods"];
    assert_eq!(names(&pods["parameters"]), ["namespace", "pretty"], "what all operations have is the path's");
    assert_eq!(names(&pods["post"]["parameters"]), ["dryRun", "fieldManager", "fieldValidation"]);
    assert_eq!(codes(&pods["post"]), ["200", "201", "202", "401"]);
    assert_eq!(pods["post"]["operationId"], "createCoreV1NamespacedPod");
    assert_eq!(pods["delete"]["operationId"], "deleteCoreV1CollectionNamespacedPod");
    assert!(!names(&pods["delete"]["parameters"]).contains(&"watch"));
    assert_eq!(pods["delete"]["requestBody"].get("required"), None);
    let pod = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"];
    assert_eq!(codes(&pod["put"]), ["200", "201", "401"]);
    let answer = |of: &Value| of["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].clone();
    assert_eq!(answer(&pod["delete"]), "#/components/schemas/io.k8s.api.core.v1.Pod");
    let secret = &document["paths"]["/api/v1/namespaces/{namespace}/secrets/{name}"];
    assert_eq!(answer(&secret["delete"]), format!("#/components/schemas/{STATUS}"));
    let list = pods["get"]["responses"]["200"]["content"].as_object().unwrap();
    assert!(list.contains_key("application/json;stream=watch"));
}

#[test]
fn watches_logs_and_connections_have_paths() {
    let document = core();
    let paths = &document["paths"];
    let action = |path: &str, method: &str| paths[path][method]["x-kubernetes-action"].clone();
    assert_eq!(action("/api/v1/watch/pods", "get"), "watchlist");
    assert_eq!(action("/api/v1/watch/namespaces/{namespace}/pods/{name}", "get"), "watch");
    assert!(paths.get("/api/v1/watch/componentstatuses").is_none(), "nothing to watch");
    let pod = "/api/v1/namespaces/{namespace}/pods/{name}";
    let log = &paths[format!("{pod}/log")];
    assert!(names(&log["parameters"]).contains(&"tailLines"));
    assert_eq!(log["get"]["responses"]["200"]["content"]["text/plain"]["schema"]["type"], "string");
    let exec = &paths[format!("{pod}/exec")];
    assert_eq!(exec.as_object().unwrap().keys().collect::<Vec<_>>(), ["get", "parameters", "post"]);
    assert_eq!(exec["get"]["x-kubernetes-group-version-kind"]["kind"], "PodExecOptions");
    let proxy = &paths["/api/v1/nodes/{name}/proxy/{path}"];
    assert_eq!(names(&proxy["parameters"]), ["name", "path", "path"]);
    assert_eq!(proxy["head"]["operationId"], "connectCoreV1HeadNodeProxyWithPath");
    assert_eq!(paths["/api/v1/"]["get"]["operationId"], "getCoreV1APIResources");
}

#[test]
fn schemas_have_defaults_and_only_those_in_use_are_there() {
    let document = core();
    let schemas = &document["components"]["schemas"];
    let pod = &schemas["io.k8s.api.core.v1.Pod"]["properties"];
    assert_eq!(pod["metadata"]["default"], json!({}));
    let port = &schemas["io.k8s.api.core.v1.ContainerPort"]["properties"];
    assert_eq!((&port["protocol"]["default"], &port["containerPort"]["default"]), (&json!("TCP"), &json!(0)));
    assert!(schemas.get("io.k8s.api.core.v1.BindingList").is_none(), "Bindings are not listed");
    let options = &schemas[DELETE_OPTIONS]["x-kubernetes-group-version-kind"];
    assert_eq!(options, &json!([{"group": "", "version": "v1", "kind": "DeleteOptions"}]));
    let profile = &schemas["io.k8s.api.core.v1.SeccompProfile"]["x-kubernetes-unions"];
    assert_eq!(profile[0]["discriminator"], "type");
}

#[test]
fn documents_of_custom_resources_have_their_own_rules() {
    let resources = builtin(schema());
    let find = |kind: &str| resources.iter().find(|r| r.kind == kind && r.group.is_empty()).unwrap().clone();
    let mut widget = find("ConfigMap");
    widget.group = "example.com".to_owned();
    widget.custom = Some(Custom { is_served: true, ..Custom::default() });
    let all: Vec<Resource> = resources.iter().cloned().chain([widget]).collect();
    let document = document(&all, "example.com", "v1").unwrap();
    assert_eq!(document["info"]["title"], "Kubernetes CRD Swagger");
    assert_eq!(document["components"].get("securitySchemes"), None);
    let paths = document["paths"].as_object().unwrap();
    assert!(!paths.keys().any(|path| path.contains("/watch/") || path.ends_with("/v1/")), "{paths:?}");
    let object = &paths["/apis/example.com/v1/namespaces/{namespace}/configmaps/{name}"];
    assert_eq!(names(&object["get"]["parameters"]), ["resourceVersion"]);
    assert_eq!(codes(&object["patch"]), ["200", "401"]);
    let body = object["put"]["requestBody"]["content"].as_object().unwrap();
    assert_eq!(body.keys().collect::<Vec<_>>(), ["application/json", "application/yaml"]);
    let older = document_2(&all);
    let put = &older["paths"]["/apis/example.com/v1/namespaces/{namespace}/configmaps/{name}"]["put"];
    assert_eq!(put["consumes"], json!(["application/json", "application/yaml"]));
}

#[test]
fn version_2_has_all_paths_and_operations_have_different_ids() {
    let resources = builtin(schema());
    let document = document_2(&resources);
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
        {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{path} {method}: {id}");
            assert_eq!(operation["schemes"], json!(["https"]));
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1);
        }
    }
    let patch = &document["paths"]["/api/v1/nodes/{name}"]["patch"];
    assert_eq!(patch["consumes"][0], "application/json-patch+json");
    let kept: Vec<&str> = names(&patch["parameters"]);
    assert_eq!(kept, ["dryRun", "fieldValidation"], "the others are shared");
    assert!(document["paths"].get("/version/").is_some());
    assert_eq!(
        document["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["metadata"].get("default"),
        None
    );
}
