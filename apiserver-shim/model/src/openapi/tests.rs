//! Tests of what kubectl needs from the documents.

use super::*;
use crate::resource::builtin;
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
