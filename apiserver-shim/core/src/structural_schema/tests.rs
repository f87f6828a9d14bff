//! Tables of schemas and values: what is refused, with upstream's messages, and what pruning and defaulting do.

mod definitions;
mod properties;
mod rules;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

fn structural(schema: Value) -> Structural {
    Structural::new(&schema).unwrap_or_else(|error| panic!("{error}"))
}

/// A schema whose `spec` has one property, `f`.
fn with_field(field: Value) -> Structural {
    structural(json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"f": field}},
    }}))
}

fn lines(errors: &[FieldError]) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}

/// The errors of objects whose `spec.f` has each of the values.
fn check(field: Value, values: &[Value], expected: Expect) {
    let schema = with_field(field);
    let mut out = String::new();
    for value in values {
        let errors = schema.validate_create(&json!({"spec": {"f": value}}));
        out.push_str(&format!("{value}\n"));
        errors.iter().for_each(|error| out.push_str(&format!("  {error}\n")));
    }
    expected.assert_eq(&out);
}

#[test]
fn types_are_checked() {
    let values = [json!("a"), json!(1), json!(1.5), json!(true), json!(null), json!([]), json!({})];
    check(
        json!({"type": "integer"}),
        &values,
        expect![[r#"
            "a"
              spec.f: Invalid value: "string": spec.f in body must be of type integer: "string"
            1
            1.5
              spec.f: Invalid value: "number": spec.f in body must be of type integer: "number"
              <nil>: Invalid value: "": Checked value must be of type integer (default format) in spec.f
            true
              spec.f: Invalid value: "boolean": spec.f in body must be of type integer: "boolean"
            null
              spec.f: Invalid value: "null": spec.f in body must be of type integer: "null"
            []
              spec.f: Invalid value: "array": spec.f in body must be of type integer: "array"
            {}
              spec.f: Invalid value: "object": spec.f in body must be of type integer: "object"
        "#]],
    );
}

#[test]
fn int_or_string_is_either() {
    check(
        json!({"x-kubernetes-int-or-string": true}),
        &[json!("a"), json!(1), json!(true)],
        expect![[r#"
            "a"
            1
            true
              spec.f: Invalid value: "boolean": spec.f in body must be of type integer,string: "boolean"
        "#]],
    );
}

#[test]
fn numbers_have_ranges_and_multiples() {
    let values = [json!(0), json!(10), json!(3), json!(12.5)];
    check(
        json!({"type": "number", "minimum": 1, "maximum": 10, "exclusiveMaximum": true, "multipleOf": 2}),
        &values,
        expect![[r#"
            0
              spec.f: Invalid value: 0: spec.f in body should be greater than or equal to 1
            10
              spec.f: Invalid value: 10: spec.f in body should be less than 10
            3
              spec.f: Invalid value: 3: spec.f in body should be a multiple of 2
            12.5
              spec.f: Invalid value: 12.5: spec.f in body should be a multiple of 2
              spec.f: Invalid value: 12.5: spec.f in body should be less than 10
        "#]],
    );
    check(
        json!({"type": "integer", "format": "int32"}),
        &[json!(2_147_483_647), json!(2_147_483_648i64)],
        expect![[r#"
            2147483647
            2147483648
              <nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.f
        "#]],
    );
}

#[test]
fn numbers_too_large_for_integers_are_none() {
    let values = [json!(1e15), json!(1e30)];
    check(
        json!({"type": "integer", "multipleOf": 5}),
        &values,
        expect![[r#"
            1000000000000000.0
            1e+30
              spec.f: Invalid value: "number": spec.f in body must be of type integer: "number"
              <nil>: Invalid value: "": Checked value must be of type integer (default format) in spec.f
              spec.f: Invalid value: 1e+30: spec.f in body should be a multiple of 5
        "#]],
    );
    check(
        json!({"type": "integer", "format": "int32"}),
        &values[1..],
        expect![[r#"
            1e+30
              spec.f: Invalid value: "float64": spec.f in body must be of type int32: "float64"
              <nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.f
        "#]],
    );
    check(
        json!({"x-kubernetes-int-or-string": true}),
        &values[1..],
        expect![[r#"
            1e+30
              spec.f: Invalid value: "number": spec.f in body must be of type integer,string: "number"
        "#]],
    );
}

#[test]
fn strings_have_lengths_patterns_formats_and_choices() {
    check(
        json!({"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^[a-z]+$"}),
        &[json!("a"), json!("abcd"), json!("AB"), json!("äö"), json!("ab")],
        expect![[r#"
            "a"
              spec.f: Invalid value: "a": spec.f in body should be at least 2 chars long
            "abcd"
              spec.f: Too long: may not be more than 3 bytes
            "AB"
              spec.f: Invalid value: "AB": spec.f in body should match '^[a-z]+$'
            "äö"
              spec.f: Invalid value: "äö": spec.f in body should match '^[a-z]+$'
            "ab"
        "#]],
    );
    check(
        json!({"type": "string", "enum": ["a", "b"]}),
        &[json!("a"), json!("c")],
        expect![[r#"
            "a"
            "c"
              spec.f: Unsupported value: "c": supported values: "a", "b"
        "#]],
    );
    check(
        json!({"type": "string", "format": "ipv4"}),
        &[json!("10.0.0.1"), json!("x")],
        expect![[r#"
            "10.0.0.1"
            "x"
              spec.f: Invalid value: "x": spec.f in body must be of type ipv4: "x"
        "#]],
    );
}

#[test]
fn lists_and_objects_have_sizes_and_unique_keys() {
    check(
        json!({"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}}),
        &[json!([]), json!(["a", 1]), json!(["a", "b", "c"])],
        expect![[r#"
            []
              spec.f: Invalid value: 0: spec.f in body should have at least 1 items
            ["a",1]
              spec.f[1]: Invalid value: "integer": spec.f[1] in body must be of type string: "integer"
            ["a","b","c"]
              spec.f: Too many: 3: must have at most 2 items
        "#]],
    );
    check(
        json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
        &[json!(["a", "b", "a", "a"])],
        expect![[r#"
            ["a","b","a","a"]
              spec.f[2]: Duplicate value: "a"
        "#]],
    );
    check(
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n", "p"],
            "items": {"type": "object", "required": ["n", "p"], "properties": {"n": {"type": "string"}, "p": {"type": "integer"}}}}),
        &[json!([{"n": "a", "p": 1}, {"n": "a", "p": 2}, {"n": "a", "p": 1}])],
        expect![[r#"
            [{"n":"a","p":1},{"n":"a","p":2},{"n":"a","p":1}]
              spec.f[2]: Duplicate value: {"n":"a","p":1}
        "#]],
    );
    check(
        json!({"type": "object", "required": ["a"], "minProperties": 1, "maxProperties": 2,
            "additionalProperties": {"type": "integer"}}),
        &[json!({}), json!({"a": 1, "b": "x"}), json!({"a": 1, "b": 2, "c": 3})],
        expect![[r#"
            {}
              spec.f: Invalid value: 0: spec.f in body should have at least 1 properties
              spec.f.a: Required value
            {"a":1,"b":"x"}
              spec.f.b: Invalid value: "string": spec.f.b in body must be of type integer: "string"
            {"a":1,"b":2,"c":3}
              spec.f: Too many: 3: must have at most 2 items
        "#]],
    );
}

#[test]
fn alternatives_report_the_best_failure() {
    check(
        json!({"type": "string", "anyOf": [{"pattern": "^a"}, {"minLength": 5}]}),
        &[json!("ab"), json!("b")],
        expect![[r#"
            "ab"
            "b"
              <nil>: Invalid value: "": "spec.f" must validate at least one schema (anyOf)
              spec.f: Invalid value: "b": spec.f in body should match '^a'
        "#]],
    );
    check(
        json!({"type": "string", "oneOf": [{"pattern": "^a"}, {"minLength": 2}], "not": {"pattern": "z$"}}),
        &[json!("ab"), json!("b"), json!("az"), json!("a")],
        expect![[r#"
            "ab"
              <nil>: Invalid value: "": "spec.f" must validate one and only one schema (oneOf). Found 2 valid alternatives
            "b"
              <nil>: Invalid value: "": "spec.f" must validate one and only one schema (oneOf). Found none valid
              spec.f: Invalid value: "b": spec.f in body should match '^a'
            "az"
              <nil>: Invalid value: "": "spec.f" must validate one and only one schema (oneOf). Found 2 valid alternatives
              <nil>: Invalid value: "": "spec.f" must not validate the schema (not)
            "a"
        "#]],
    );
    check(
        json!({"type": "string", "allOf": [{"pattern": "^a"}, {"minLength": 2}]}),
        &[json!("b"), json!("a"), json!("ab")],
        expect![[r#"
            "b"
              spec.f: Invalid value: "b": spec.f in body should match '^a'
              spec.f: Invalid value: "b": spec.f in body should be at least 2 chars long
              <nil>: Invalid value: "": "spec.f" must validate all the schemas (allOf). None validated
            "a"
              spec.f: Invalid value: "a": spec.f in body should be at least 2 chars long
              <nil>: Invalid value: "": "spec.f" must validate all the schemas (allOf)
            "ab"
        "#]],
    );
}

#[test]
fn unknown_fields_are_pruned_and_reported() {
    let schema = structural(json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "known": {"type": "string"},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"closed": {"type": "object"}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object"}},
            "resource": {"type": "object", "x-kubernetes-embedded-resource": true,
                "properties": {"spec": {"type": "object"}}},
        }},
    }}));
    let mut object = json!({
        "apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n", "what": 1}, "extra": 1,
        "spec": {
            "known": "x", "unknown": {"a": 1},
            "open": {"kept": {"deep": 1}, "closed": {"gone": 1}},
            "list": [{"a": "x", "b": 1}, {"c": 2}],
            "map": {"k": {"gone": 1}},
            "resource": {"apiVersion": "v1", "kind": "P", "metadata": {"name": "x"}, "spec": {}, "gone": 1},
        },
    });
    let unknown = schema.prune(&mut object);
    expect![[r#"
        extra
        spec.list[0].b
        spec.list[1].c
        spec.map.k.gone
        spec.open.closed.gone
        spec.resource.gone
        spec.unknown"#]]
    .assert_eq(&unknown.join("\n"));
    expect![[r#"{"apiVersion":"a/v1","kind":"K","metadata":{"name":"n","what":1},"spec":{"known":"x","list":[{"a":"x"},{}],"map":{"k":{}},"open":{"closed":{},"kept":{"deep":1}},"resource":{"apiVersion":"v1","kind":"P","metadata":{"name":"x"},"spec":{}}}}"#]].assert_eq(&object.to_string());
}

#[test]
fn defaults_are_set_and_nulls_replaced() {
    let schema = structural(json!({"type": "object", "properties": {
        "spec": {"type": "object", "default": {}, "properties": {
            "a": {"type": "string", "default": "x"},
            "nullable": {"type": "string", "nullable": true, "default": "x"},
            "plain": {"type": "string"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "integer", "default": 1}}}},
        }},
    }}));
    let check = |object: Value, expected: Expect| {
        let mut object = object;
        schema.default(&mut object);
        expected.assert_eq(&object.to_string());
    };
    check(json!({}), expect![[r#"{"spec":{"a":"x","nullable":"x"}}"#]]);
    check(
        json!({"spec": {"a": null, "nullable": null, "plain": null}}),
        expect![[r#"{"spec":{"a":"x","nullable":null}}"#]],
    );
    check(
        json!({"spec": {"list": [{}, {"b": 2}]}}),
        expect![[r#"{"spec":{"a":"x","list":[{"b":1},{"b":2}],"nullable":"x"}}"#]],
    );
    let mut applied = json!({"spec": {"a": null, "nullable": null, "plain": null}});
    schema.default_applied(&mut applied);
    assert_eq!(applied, json!({"spec": {"a": "x", "nullable": null, "plain": null}}));
}

#[test]
fn embedded_metadata_is_typed() {
    let schema = with_field(json!({"type": "object", "x-kubernetes-embedded-resource": true,
        "x-kubernetes-preserve-unknown-fields": true}));
    let embed = |resource: Value| json!({"apiVersion": "a/v1", "kind": "K", "spec": {"f": resource}});
    let mut object = embed(json!({"apiVersion": "v1", "kind": "P", "metadata": {"name": "a", "odd": 1}}));
    assert_eq!(schema.coerce(&mut object, false).unwrap(), ["spec.f.metadata.odd"]);
    assert_eq!(object["spec"]["f"]["metadata"], json!({"name": "a"}));
    let mut wrong = embed(json!({"apiVersion": "v1", "kind": 1, "metadata": {"labels": 1, "name": "a"}}));
    expect!["spec.f.kind: Invalid value: 1: must be a string"]
        .assert_eq(&schema.coerce(&mut wrong.clone(), false).unwrap_err().to_string());
    assert!(schema.coerce(&mut wrong, true).unwrap().is_empty());
    assert_eq!(wrong["spec"]["f"], json!({"apiVersion": "v1", "metadata": {"name": "a"}}));
    let errors = schema.validate_create(&embed(json!({"apiVersion": "a/b/c", "metadata": {"name": "a/b"}})));
    expect![[r#"
        spec.f.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c
        spec.f.kind: Required value
        spec.f.metadata.name: Invalid value: "a/b": may not contain '/'
    "#]]
    .assert_eq(&lines(&errors));
}

#[test]
fn unchanged_values_are_not_reported_again() {
    let schema =
        structural(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a": {"type": "string", "maxLength": 1},
            "b": {"type": "string", "maxLength": 1},
            "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                "items": {"type": "object", "required": ["n"], "properties": {
                    "n": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}},
        }}}}));
    let old =
        json!({"spec": {"a": "long", "b": "long", "l": [{"n": "x", "v": "long"}, {"n": "y", "v": "long"}]}});
    let mut new = old.clone();
    assert_eq!(schema.validate_update(&new, &old), []);
    new["spec"]["b"] = "other".into();
    new["spec"]["l"] = json!([{"n": "y", "v": "long"}, {"n": "x", "v": "other"}]);
    expect![[r#"
        spec.b: Too long: may not be more than 1 bytes
        spec.l[1].v: Too long: may not be more than 1 bytes
    "#]]
    .assert_eq(&lines(&schema.validate_update(&new, &old)));
}

#[test]
fn a_status_is_validated_alone() {
    let schema = structural(json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["a"]},
        "status": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}},
    }}));
    let (old, new) = (json!({"spec": {}}), json!({"spec": {}, "status": {"n": 0}}));
    expect![[r#"
        status.n: Invalid value: 0: n in body should be greater than or equal to 1
    "#]]
    .assert_eq(&lines(&schema.validate_status_update(&new, &old)));
}

#[test]
fn formats_accept_and_refuse() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("bsonobjectid", &["507f1f77bcf86cd799439011"], &["x"]),
        ("byte", &["aGVsbG8="], &["a", "", "a===", "aGVsbG8"]),
        ("cidr", &["10.0.0.0/8", "fd00::/8"], &["10.0.0.0", "10.0.0.0/33"]),
        ("creditcard", &["4111 1111 1111 1111"], &["4111 1111 1111 1112"]),
        ("date", &["2006-01-02"], &["2006-13-02", "x"]),
        ("date-time", &["2014-12-15T19:30:20.000Z"], &["2014-12-15", "x"]),
        ("duration", &["22 ns", "1h30m", "3 days"], &["x", "3"]),
        ("email", &["a@b.example", "A <a@b.example>"], &["a", "@b"]),
        ("hexcolor", &["#FFFFFF", "fff"], &["#ggg"]),
        ("hostname", &["a.example", "localhost"], &["-a", "a..b"]),
        ("ipv4", &["1.2.3.4", "01.2.3.4"], &["1.2.3", "::1"]),
        ("ipv6", &["::1"], &["1.2.3.4"]),
        ("isbn", &["0321751043", "978-0321751041"], &["0321751044"]),
        ("k8s-short-name", &["a-b"], &["A", "a.b"]),
        ("k8s-long-name", &["a.b"], &["A"]),
        ("mac", &["01:02:03:04:05:06", "0102.0304.0506"], &["01:02"]),
        ("rgbcolor", &["rgb(255, 255, 255)"], &["rgb(256,0,0)"]),
        ("ssn", &["111-11-1111"], &["111-11-111"]),
        ("uri", &["http://a/b", "/a"], &["a", "http://a b"]),
        ("uuid", &["936DA01F-9ABD-4D9D-80C7-02AF85C822A8"], &["936DA01F"]),
        ("uuid4", &["936DA01F-9ABD-4D9D-80C7-02AF85C822A8"], &["936DA01F-9ABD-3D9D-80C7-02AF85C822A8"]),
        ("what", &["anything"], &[]),
    ];
    for (format, valid, invalid) in cases {
        valid.iter().for_each(|text| assert!(formats::is_valid(format, text), "{format}: {text}"));
        invalid.iter().for_each(|text| assert!(!formats::is_valid(format, text), "{format}: {text}"));
    }
}
