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
