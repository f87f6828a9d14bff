//! Messages known byte by byte, and errors.

use super::*;
use serde_json::json;

#[test]
fn every_row_of_the_table_is_read() {
    let rows = include_str!("../../data/protobuf.tsv");
    let rows: Vec<(&str, &str)> =
        rows.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once('\t')).collect();
    let table = Table::builtin();
    assert_eq!(rows.len(), table.messages().len());
    for (row, message) in rows.iter().zip(table.messages()) {
        let cells = row.1.split(' ').filter(|cell| cell.contains('=')).count();
        assert_eq!(cells, message.fields.len(), "{}", row.0);
        assert!(message.fields.is_sorted_by_key(|field| field.number), "{}", row.0);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|b| if b.is_ascii_graphic() { (*b as char).to_string() } else { format!("<{b:02x}>") })
        .collect()
}

#[test]
fn a_namespace_is_written_as_upstream_does() {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "creationTimestamp": "2026-11-29T10:00:01Z"},
        "spec": {}, "status": {"phase": "Active"}});
    let bytes = encode_value(&namespace).unwrap();
    let opened = open(&bytes).unwrap();
    assert_eq!((opened.api_version.as_str(), opened.kind.as_str()), ("v1", "Namespace"));
    let id = message_of_kind(KindRef { group: "", version: "v1", kind: "Namespace" }).unwrap();
    let mut expected = namespace.as_object().unwrap().clone();
    expected.retain(|key, _| key != "apiVersion" && key != "kind");
    assert_eq!(decode(id, opened.raw).unwrap(), expected);
    expect_test::expect![[r#"k8s<00><0a><0f><0a><02>v1<12><09>Namespace<12>'<0a><19><0a><01>a<12><00><1a><00>"<00>*<00>2<00>8<00>B<08><08><a1><ef><af><d8><06><10><00><12><00><1a><08><0a><06>Active<1a><00>"<00>"#]].assert_eq(&hex(&bytes));
}

/// Encodes and decodes an object, and returns the message too.
fn both_ways(group: &str, version: &str, kind: &str, object: &Value) -> (Vec<u8>, Value) {
    let id = message_of_kind(KindRef { group, version, kind }).unwrap();
    let mut encoder = Encoder::default();
    encoder.object(id, object.to_string().as_bytes(), None).unwrap();
    let decoded = decode(id, encoder.bytes()).unwrap();
    (encoder.take(), Value::Object(decoded))
}

#[test]
fn schemas_of_custom_resources_keep_their_unions() {
    let schema = json!({"type": "object", "$ref": "x", "default": {"a": [1, null]}, "enum": [null, "a", 1, false],
        "items": {"type": "string", "maxLength": 3}, "additionalProperties": false, "x-kubernetes-int-or-string": true,
        "properties": {
            "b": {"items": [{"type": "string"}, {"minimum": 1.5}], "additionalProperties": true},
            "c": {"additionalProperties": {"type": "object"}, "dependencies": {"x": ["y"], "z": {"type": "null"}}},
        },
        "x-kubernetes-validations": [{"rule": "self", "message": "m", "optionalOldSelf": false}]});
    let crd = json!({"metadata": {"name": "a"}, "spec": {"group": "g", "scope": "Cluster",
        "names": {"plural": "as", "kind": "A"},
        "versions": [{"name": "v1", "served": true, "storage": false, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}]},
        "status": {"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []}});
    let (_, decoded) = both_ways("apiextensions.k8s.io", "v1", "CustomResourceDefinition", &crd);
    let version = &decoded["spec"]["versions"][0];
    assert_eq!(version["schema"]["openAPIV3Schema"], schema);
    assert_eq!(version["subresources"], json!({"status": {}}));
    assert_eq!((&version["served"], &version["storage"]), (&json!(true), &json!(false)));
}

#[test]
fn lists_of_strings_in_messages_of_their_own_are_lists_in_json() {
    let review = json!({"spec": {"user": "u", "extra": {"b": ["1", "2"], "a": [""]}}});
    let (_, decoded) = both_ways("authorization.k8s.io", "v1", "SubjectAccessReview", &review);
    assert_eq!(decoded["spec"]["extra"], review["spec"]["extra"]);
    let (_, decoded) = both_ways(
        "",
        "v1",
        "APIResourceList",
        &json!({"resources": [{"name": "a", "verbs": ["get"]}, {"name": "b"}]}),
    );
    assert_eq!(decoded["resources"][0]["verbs"], json!(["get"]));
    assert_eq!(decoded["resources"][1]["verbs"], Value::Null);
}

#[test]
fn maps_are_written_in_the_order_of_their_keys_and_fields_in_that_of_their_numbers() {
    let id = message_of_kind(KindRef { group: "", version: "v1", kind: "ConfigMap" }).unwrap();
    let mut encoder = Encoder::default();
    let json = br#"{"data":{"b":"2","a":"1","\u0063":"3"},"unknown":[{"x":"]}"}],"metadata":{"uid":"u","name":"n"}}"#;
    encoder.object(id, json, Some(7)).unwrap();
    expect_test::expect![[r#"<0a><13><0a><01>n<12><00><1a><00>"<00>*<01>u2<01>78<00>B<00><12><06><0a><01>a<12><01>1<12><06><0a><01>b<12><01>2<12><06><0a><01>c<12><01>3"#]].assert_eq(&hex(encoder.bytes()));
    for broken in [&b"{\"data\":{"[..], b"{\"data\":{\"a\":\"", b"[", b"{\"metadata\"}", b"", b"{\"data\":\\"]
    {
        assert_eq!(encoder.object(id, broken, None), Err(Malformed));
    }
}

#[test]
fn a_message_that_comes_twice_is_merged_and_unknown_fields_are_skipped() {
    let id = message_of_kind(KindRef { group: "", version: "v1", kind: "ConfigMap" }).unwrap();
    let mut message = Vec::new();
    write_bytes(&mut message, 1, b"\x0a\x01a\x1a\x01n");
    write_bytes(&mut message, 99, b"unknown");
    write_tag(&mut message, 98, Wire::Varint);
    write_varint(&mut message, u64::MAX);
    // A group with a group inside.
    message.extend_from_slice(b"\xa3\x06\xa3\x06\x08\x01\xa4\x06\xa4\x06");
    write_bytes(&mut message, 1, b"\x0a\x01b");
    let decoded = decode(id, &message).unwrap();
    assert_eq!(Value::Object(decoded), json!({"metadata": {"name": "b", "namespace": "n"}}));
}

#[test]
fn embedded_structs_have_their_fields() {
    let of = |message, field| -> Vec<&str> {
        crate::protobuf::embedded(message, field).into_iter().map(|(name, _)| name).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(of("core.v1.Volume", "configMap"), ["VolumeSource"]);
    assert_eq!(of("core.v1.Volume", "name"), none);
    assert_eq!(of("core.v1.Probe", "exec"), ["ProbeHandler"]);
    assert_eq!(of("core.v1.Pod", "spec"), none);
    let named = "admissionregistration.v1.NamedRuleWithOperations";
    assert_eq!(of(named, "operations"), ["RuleWithOperations"]);
    assert_eq!(of(named, "apiGroups"), ["RuleWithOperations", "Rule"]);
}

/// Without empty metadata, which messages always have and JSON need not.
fn without_empty_metadata(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        members.values_mut().for_each(|member| *member = without_empty_metadata(member.take()));
        members.retain(|name, member| name != "metadata" || *member != json!({}));
    }
    value
}

/// What is absent in a message has a zero, and so in JSON: both ways lead to the same object.
#[test]
fn empty_messages_have_the_zeros_that_are_always_written() {
    use crate::schema::{Media, Schema, Strictness, decode, roots};
    let schema = Schema::builtin();
    let mut wrong = Vec::new();
    for ty in roots::all().filter_map(|root| schema.object_type(root.kind)) {
        let body = envelope_head("", "", 0);
        let Ok(empty) = decode(&body, Media::Protobuf, &ty, Strictness::Strict) else { continue };
        let Some(again) = encode_value(&empty.value) else { continue };
        let again = decode(&again, Media::Protobuf, &ty, Strictness::Strict).unwrap().value;
        if without_empty_metadata(again.clone()) != without_empty_metadata(empty.value.clone()) {
            wrong.push(format!("{}: {} is {again} again", ty.kind().kind, empty.value));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
