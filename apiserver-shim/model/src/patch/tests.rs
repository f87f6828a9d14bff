//! Examples of each patch language, and properties of the strategic merge.

use super::*;
use crate::schema::testing::object_type;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

fn template() -> Value {
    json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "t", "finalizers": ["x/a", "x/b"]}, "template": {
        "metadata": {}, "spec": {"containers": [{"name": "a", "image": "ia", "args": ["1"], "ports": [{"containerPort": 1}]}, {"name": "b", "image": "ib"}],
        "volumes": [{"name": "v", "emptyDir": {}}], "nodeSelector": {"x": "y"}}}})
}

fn check(kind: PatchKind, patch: Value, expect: Expect) {
    let expected = &object_type("", "v1", "PodTemplate");
    let text = match apply(kind, &template(), patch.to_string().as_bytes(), expected, Strictness::Strict) {
        Ok(done) => {
            let mut spec = done.value["template"]["spec"].clone();
            spec["finalizers"] = done.value["metadata"]["finalizers"].clone();
            spec.to_string()
        }
        Err(status) => format!("{} {}", status.code, status.message.replace(&template().to_string(), "…")),
    };
    expect.assert_eq(&text);
}

#[test]
fn strategic_lists_merge_by_key() {
    let check = |patch: Value, expect: Expect| {
        check(PatchKind::Strategic, json!({"template": {"spec": patch}}), expect)
    };
    check(
        json!({"containers": [{"name": "b", "image": "new"}, {"name": "c", "image": "ic"}]}),
        expect![[
            r#"{"containers":[{"args":["1"],"image":"ia","name":"a","ports":[{"containerPort":1}],"resources":{}},{"image":"new","name":"b","resources":{}},{"image":"ic","name":"c","resources":{}}],"finalizers":["x/a","x/b"],"nodeSelector":{"x":"y"},"volumes":[{"emptyDir":{},"name":"v"}]}"#
        ]],
    );
    check(
        json!({"containers": [{"name": "a", "$patch": "delete"}], "volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}], "nodeSelector": {"$patch": "replace", "z": "1"}}),
        expect![[
            r#"{"containers":[{"image":"ib","name":"b","resources":{}}],"finalizers":["x/a","x/b"],"nodeSelector":{"z":"1"},"volumes":[{"hostPath":{"path":"/"},"name":"v"}]}"#
        ]],
    );
    check(
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "args": null}], "volumes": null}),
        expect![[
            r#"{"containers":[{"image":"ib","name":"b","resources":{}},{"image":"ia","name":"a","ports":[{"containerPort":1}],"resources":{}}],"finalizers":["x/a","x/b"],"nodeSelector":{"x":"y"}}"#
        ]],
    );
    check(
        json!({"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a", "image": "new"}]}),
        expect![[r#"
            500 The order in patch list:
            [map[image:new name:a]]
             doesn't match $setElementOrder list:
            [map[name:b]]
        "#]],
    );
    check(
        json!({"containers": [{"image": "x"}]}),
        expect!["500 map: map[image:x] does not contain declared merge key: name"],
    );
    check(
        json!({"containers": {"name": "a"}}),
        expect![[
            r#"422  "" is invalid: patch: Invalid value: "map[template:map[spec:map[containers:map[name:a]]]]": cannot restore slice from map"#
        ]],
    );
}

#[test]
fn strategic_lists_of_scalars() {
    check(
        PatchKind::Strategic,
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"], "$setElementOrder/finalizers": ["x/c", "x/b"], "finalizers": ["x/c"]}, "template": {"spec": {"$patch": "replace"}}}),
        expect![[r#"{"containers":null,"finalizers":["x/c","x/b"]}"#]],
    );
}

#[test]
fn json_and_merge_patches() {
    check(
        PatchKind::Json,
        json!([{"op": "test", "path": "/template/spec/nodeSelector/x", "value": "y"}, {"op": "remove", "path": "/template/spec/volumes"},
               {"op": "add", "path": "/template/spec/containers/0/args/-1", "value": "2"}, {"op": "remove", "path": "/template/spec/containers/1"}]),
        expect![[
            r#"{"containers":[{"args":["1","2"],"image":"ia","name":"a","ports":[{"containerPort":1}],"resources":{}}],"finalizers":["x/a","x/b"],"nodeSelector":{"x":"y"}}"#
        ]],
    );
    check(
        PatchKind::Json,
        json!([{"op": "remove", "path": "/nope"}]),
        expect!["422 the server rejected our request due to an error in our request"],
    );
    check(
        PatchKind::Json,
        json!({"op": "add"}),
        expect![
            "400 error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        ],
    );
    check(
        PatchKind::Merge,
        json!({"metadata": {"finalizers": null}, "template": {"spec": {"volumes": null, "containers": [{"name": "z"}]}}}),
        expect![[
            r#"{"containers":[{"name":"z","resources":{}}],"finalizers":null,"nodeSelector":{"x":"y"}}"#
        ]],
    );
    check(
        PatchKind::Merge,
        json!({"template": {"spec": null}, "metadata": null, "bogus": 1}),
        expect![[
            r#"422  "" is invalid: patch: Invalid value: "{\"apiVersion\":\"v1\",\"bogus\":1,\"kind\":\"PodTemplate\",\"template\":{\"metadata\":{}}}": strict decoding error: unknown field "bogus""#
        ]],
    );
}

fn containers() -> impl Strategy<Value = Value> {
    let one = ("[a-d]", prop::option::of("[x-z]"), prop::option::of(1..4i64));
    prop::collection::btree_map("[a-d]", one, 0..4).prop_map(|all| {
        let list = all.into_iter().map(|(name, (_, image, port))| {
            let mut c = json!({"name": name});
            if let Some(image) = image {
                c["image"] = image.into();
            }
            if let Some(port) = port {
                c["ports"] = json!([{"containerPort": port}]);
            }
            c
        });
        json!({"template": {"spec": {"containers": list.collect::<Vec<_>>()}}})
    })
}

/// Each operation goes deeper than the one before; the text of a deeper object could not be read back from the store.
#[test]
fn a_json_patch_makes_no_object_that_is_too_deep_to_be_read() {
    let nested = (0..60).fold(json!({}), |inner, _| json!({"a": inner}));
    let path = |times: usize| "/a".repeat(times * 60);
    let add = |times: usize| json!({"op": "add", "path": format!("{}/a", path(times)), "value": nested});
    let mut object = json!({"a": {}});
    json::apply(&mut object, &[add(0), add(1)]).unwrap();
    assert!(serde_json::from_str::<Value>(&object.to_string()).is_ok());
    assert!(json::apply(&mut object.clone(), &[add(2)]).is_err());
    let moved = json!({"op": "move", "from": "/a", "path": "/b"});
    let into = json!({"op": "add", "path": "/b", "value": {}});
    let deeper = json!({"op": "copy", "from": "/a", "path": "/b/c/d/e/f/g"});
    assert!(json::apply(&mut object.clone(), &[moved]).is_ok());
    assert!(json::apply(&mut object, &[into, deeper]).is_err());
}

/// A long string is one value, whose copies have its length.
#[test]
fn a_json_patch_copies_no_more_bytes_than_upstream_allows() {
    let mut object = json!({"text": "x".repeat(1 << 20), "copies": []});
    let copy = json!({"op": "copy", "from": "/text", "path": "/copies/-"});
    assert!(json::apply(&mut object.clone(), &[copy.clone(), copy.clone()]).is_ok());
    assert!(json::apply(&mut object, &[copy.clone(), copy.clone(), copy]).is_err());
}

proptest! {
    #[test]
    fn strategic_merge_is_idempotent_and_keeps_every_element(original in containers(), patch in containers()) {
        let ty = &object_type("", "v1", "PodTemplate");
        let mut once = original.clone();
        strategic::apply(&mut once, patch.clone(), ty).unwrap();
        let mut twice = once.clone();
        strategic::apply(&mut twice, patch.clone(), ty).unwrap();
        prop_assert_eq!(&once, &twice);
        let names = |v: &Value| v["template"]["spec"]["containers"].as_array().unwrap().iter().map(|c| c["name"].to_string()).collect::<std::collections::BTreeSet<_>>();
        prop_assert_eq!(names(&once), names(&original).union(&names(&patch)).cloned().collect());
        let mut empty = original.clone();
        strategic::apply(&mut empty, json!({}), ty).unwrap();
        prop_assert_eq!(empty, original);
    }

    #[test]
    fn garbage_patches_never_panic(body in "[\\[\\]{}\",:a-z0-9$/ ]{0,60}") {
        let expected = &object_type("", "v1", "PodTemplate");
        for kind in [PatchKind::Json, PatchKind::Merge, PatchKind::Strategic] {
            let _ = apply(kind, &template(), body.as_bytes(), expected, Strictness::Warn);
        }
    }
}
