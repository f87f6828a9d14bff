//! Tests of the written form, and that it is read back unchanged.

use std::cmp::Ordering;

use super::*;
use expect_test::expect;
use proptest::prelude::*;
use serde_json::json;

use crate::schema::plain_yaml;

#[test]
fn values_are_written_as_upstream_writes_them() {
    let value = json!({
        "kind": "ConfigMap",
        "data": {"a10": "yes", "a2": "123", "text": "x\n  y\n", "chomped": "x\ny", "kept": "x\n\n", "b": "a: b", "c": "it's #1"},
        "metadata": {"creationTimestamp": "2026-11-22T06:41:44Z", "labels": {}, "name": "c", "finalizers": ["a/b", "- c", "1:30"]},
        "items": [{"name": "n", "deep": [[1, 2.5], []]}, {}, null, true, ""],
    });
    expect![[r#"
        data:
          a2: "123"
          a10: "yes"
          b: 'a: b'
          c: 'it''s #1'
          chomped: |-
            x
            y
          kept: |+
            x

          text: |
            x
              y
        items:
        - deep:
          - - 1
            - 2.5
          - []
          name: "n"
        - {}
        - null
        - true
        - ""
        kind: ConfigMap
        metadata:
          creationTimestamp: "2026-11-22T06:41:44Z"
          finalizers:
          - a/b
          - '- c'
          - "1:30"
          labels: {}
          name: c
    "#]]
    .assert_eq(&to_string(&value));
}

#[test]
fn a_block_scalar_as_whole_document_is_indented() {
    for content in ["\"\n", "---\n", "...\nx", "# no comment\n", "a\nb: c"] {
        let text = to_string(&json!(content));
        let back: Value = serde_yaml_ng::from_str(&text).expect("what is written can be read");
        assert_eq!(back, json!(content), "{text}");
    }
    expect![[r##"
        |
          "
    "##]]
    .assert_eq(&to_string(&json!("\"\n")));
}

#[test]
fn unprintable_characters_are_escaped() {
    let content = "\u{7f} \u{85} \u{9f} \u{2028} \u{feff} \u{fffe} \u{ffff} \u{1f600} \t é";
    let text = to_string(&json!({ "k": content }));
    expect![[r#"
        k: "\x7F \N \x9F \L \uFEFF \uFFFE \uFFFF \U0001F600 \t é"
    "#]]
    .assert_eq(&text);
    let back: Value = serde_yaml_ng::from_str(&text).expect("what is written can be read");
    assert_eq!(back["k"], content);
}

#[test]
fn long_names_and_names_of_several_lines_stand_after_a_question_mark() {
    let (simple, long) = ("k".repeat(128), "k".repeat(129));
    let value = json!({
        &simple: 1,
        &long: {"a": [1], "b": 2},
        "two\nlines": ["x", {"y": "z"}],
        "\r": {},
    });
    let expected = format!(
        "? \"\\r\"\n: {{}}\n{simple}: 1\n? {long}\n: a:\n  - 1\n  b: 2\n? |-\n  two\n  lines\n: - x\n  - \"y\": z\n"
    );
    assert_eq!(to_string(&value), expected);
    assert_eq!(plain_yaml(expected.as_bytes()), Ok(value));
}

#[test]
fn long_lines_are_broken_at_spaces() {
    let words = "word ".repeat(20);
    let value = json!({
        "double": format!("\u{1f600}{words}  end"),
        "plain": words.trim(),
        "single": format!("{}: é", words.trim()),
        "spaces": format!("\t{}  end", "x".repeat(80)),
    });
    expect![[r#"
        double: "\U0001F600word word word word word word word word word word word word word
          word word word word word word word   end"
        plain: word word word word word word word word word word word word word word word
          word word word word word
        single: 'word word word word word word word word word word word word word word word
          word word word word word: é'
        spaces: "\txxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
          \ end"
    "#]]
    .assert_eq(&to_string(&value));
}

fn values() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        "[a-z:#'\"\\\\ \n\t-]{0,12}".prop_map(Value::from),
        "(0x|0b|0o|\\+|-)?[0-9._e:T-]{1,12}".prop_map(Value::from),
        "[yYnN<=.0-7_oOsSeEfF]{1,4}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::collection::vec(any::<char>(), 0..6)
            .prop_map(|chars| chars.into_iter().collect::<String>().into()),
    ];
    scalar.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[ -~]{0,8}", inner.clone(), 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
            prop::collection::btree_map("([a-z:\n\r\u{2028} -]|word ){0,140}", inner, 0..3)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn yaml_round_trips(value in values()) {
        let text = to_string(&value);
        let back: Value = serde_yaml_ng::from_str(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert_eq!(&back, &value, "{}", text);
        prop_assert_eq!(plain_yaml(text.as_bytes()), Ok(value), "{}", text);
    }
}

#[test]
fn names_are_in_upstream_order() {
    let rows = [
        ("a2", "a10"),
        ("a1", "a1x"),
        ("a12", "a1x"),
        ("a-", "a1"),
        ("a:", "a0"),
        ("a1:", "a10"),
        ("a02", "a019"),
        ("a-b", "ab"),
        ("ab", "ab1"),
    ];
    for (first, second) in rows {
        assert_eq!(natural(first, second), Ordering::Less, "{first} {second}");
        assert_eq!(natural(second, first), Ordering::Greater, "{second} {first}");
    }
}

#[test]
fn a_cyclic_order_of_names_is_written_without_panic() {
    let names = (0..400).map(|i| match i % 4 {
        0 => format!("{i}x"),
        1 => format!("{i}{i}"),
        2 => format!("{}", i * 7),
        _ => format!("-{i}n0{i}"),
    });
    let value = Value::Object(names.map(|name| (name, json!(1))).collect());
    let again: Value = serde_yaml_ng::from_str(&to_string(&value)).expect("YAML");
    assert_eq!(again.as_object().map(serde_json::Map::len), value.as_object().map(serde_json::Map::len));
}

proptest! {
    #[test]
    fn a_total_order_is_sorted(mut items in proptest::collection::vec(0u8..50, 0..100)) {
        let mut expected = items.clone();
        expected.sort_unstable();
        sort_tolerant(&mut items, Ord::cmp);
        prop_assert_eq!(items, expected);
    }
}
