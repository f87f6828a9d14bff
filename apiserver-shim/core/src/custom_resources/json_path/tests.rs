//! Tests of JSONPath.

use serde_json::json;

use super::*;

#[test]
fn paths_find_what_kubectl_finds() {
    let object = json!({
        "metadata": {"labels": {"a.b/c": "dotted"}},
        "spec": {"list": [{"name": "x", "n": 1}, {"name": "y", "n": 2}, {"name": "z", "n": 3}], "t": true, "f": 1.5},
        "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Synced", "status": "False"}]},
    });
    for (path, wanted) in [
        (".spec.t", json!([true])),
        (".spec.missing", json!([])),
        (".spec.list[0].name", json!(["x"])),
        (".spec.list[-1].name", json!(["z"])),
        (".spec.list[*].name", json!(["x", "y", "z"])),
        (".spec.list[1:].n", json!([2, 3])),
        (".spec.list[0:3:2].n", json!([1, 3])),
        (".spec.list[0,2].name", json!(["x", "z"])),
        (".metadata.labels.a\\.b/c", json!(["dotted"])),
        (".metadata.labels['a.b/c']", json!(["dotted"])),
        (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
        (r#".status.conditions[?(@.type == 'Synced')].status"#, json!(["False"])),
        (r#".spec.list[?(@.n>1)].name"#, json!(["y", "z"])),
        (r#".spec.list[?(@.n!=2)].name"#, json!(["x", "z"])),
        (r#".spec.list[?(@.missing)].name"#, json!([])),
        ("..type", json!(["Ready", "Synced"])),
    ] {
        let parsed = JsonPath::parse(path).expect(path);
        let found: Vec<Value> = parsed.find(&object).into_iter().cloned().collect();
        assert_eq!(Value::from(found), wanted, "{path}");
    }
}

#[test]
fn malformed_paths_are_refused() {
    for path in [".a[", ".a[x]", ".a[?(@.b]", ".a)", ".a[?(@.b==x y)]"] {
        assert_eq!(JsonPath::parse(path), None, "{path}");
    }
}

#[test]
fn values_print_as_go_prints_them() {
    for (value, text) in [
        (json!("x"), "x"),
        (json!(5), "5"),
        (json!(1.5), "1.5"),
        (json!(1e21), "1e+21"),
        (json!(0.00001), "1e-05"),
        (json!(true), "true"),
        (json!([1, "a"]), r#"[1,"a"]"#),
        (json!({"a": 1}), r#"{"a":1}"#),
    ] {
        assert_eq!(print(&value), text);
    }
}
