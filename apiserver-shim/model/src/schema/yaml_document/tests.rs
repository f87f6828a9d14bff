//! How documents are read.

use expect_test::{Expect, expect};

use super::*;

fn check(text: &str, expected: Expect) {
    let mut duplicates = Vec::new();
    let shown = match parse(text.as_bytes(), &mut duplicates) {
        Ok(value) if duplicates.is_empty() => value.to_string(),
        Ok(value) => format!("{value} {duplicates:?}"),
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn scalars_are_read_as_upstream_reads_them() {
    check(
        "a: yes\nb: 'yes'\nc: \"on\"\nd: !!str no\ne: &x off\nf: *x\ng: &y !!str off\nh: [y, 'n', !t n, 0777]\n",
        expect![[
            r#"{"a":true,"b":"yes","c":"on","d":"no","e":false,"f":false,"g":"off","h":[true,"n","n",511]}"#
        ]],
    );
    check(
        "{\"k\":yes, 'l':no, m: 1.0, o: 1e3, p: 12:30}",
        expect![[r#"{"k":true,"l":false,"m":1,"o":1000,"p":"12:30"}"#]],
    );
    check("a: |\n  yes\nb: >-\n  no\nc: ye\\\n  s\n", expect![[r#"{"a":"yes\n","b":"no","c":"ye\\ s"}"#]]);
    check("\"x !y\": yes\nz: 2001-01-01\n", expect![[r#"{"x !y":true,"z":"2001-01-01"}"#]]);
    check("123456789012345678901234567890", expect!["1.2345678901234568e+29"]);
    check("a: .inf", expect!["error: json: unsupported value: +Inf"]);
    check("", expect!["null"]);
    check("\u{feff}a: 1\n---\n}", expect![[r#"{"a":1}"#]]);
}

#[test]
fn comments_change_no_scalar() {
    check("a: # use !important\n    yes\n", expect![[r#"{"a":true}"#]]);
    check("a: !!str # a number\n    # of days\n    1\n", expect![[r#"{"a":"1"}"#]]);
    check(&format!("# {}\na: 1\n", "&a ".repeat(200_000)), expect![[r#"{"a":1}"#]]);
}

#[test]
fn aliases_are_bounded() {
    let excessive = || expect!["error: yaml: document contains excessive aliasing"];
    let list = |value: &str, times: usize| format!("[{}]", vec![value; times].join(","));
    check(&format!("x: &a {}\ny: {}\n", list("1", 2000), list("*a", 2000)), excessive());
    check(&format!("x: &a {}\ny: {}\n", "t".repeat(20_000), list("*a", 2000)), excessive());
    check(&format!("x: &a {}\ny: {}\n", "t".repeat(20_000), list("{*a : 1}", 2000)), excessive());
    check(&format!("x: &a {}\n? {}\n: 1\n", list("1", 2000), list("*a", 2000)), excessive());
    // The tag of each is looked for.
    let spaces = format!("x: &a {}v\nz: {}\n", " ".repeat(300_000), list("*a", 10_000));
    assert_eq!(parse(spaces.as_bytes(), &mut Vec::new()).unwrap()["z"][9_999], "v");
}

#[test]
fn names_may_be_numbers_and_booleans() {
    check(
        "y: 1\n0x10: 2\n1.5: 3\n\"y\": 4\n~: 5\n",
        expect!["error: unsupported map key of type: %!s(<nil>), key: <nil>, value: 5"],
    );
    check("y: 1\n0777: 2\n1.5: 3\n'y': 4\n", expect![[r#"{"1.5":3,"511":2,"true":1,"y":4}"#]]);
    check("[a, 1]: 1", expect![[r#"error: yaml: invalid map key: []interface {}{"a", 1}"#]]);
}

#[test]
fn merge_keys_bring_members() {
    check(
        "base: &b {a: 1, b: 2}\nx:\n  <<: *b\n  c: 3\nz:\n  '<<': *b\n",
        expect![[r#"{"base":{"a":1,"b":2},"x":{"a":1,"b":2,"c":3},"z":{"<<":{"a":1,"b":2}}}"#]],
    );
    // In the order of the document: what comes later prevails, and strict reading names it.
    check("a: 1\n<<: {a: 2, b: 2}\nb: 3\n", expect![[r#"{"a":2,"b":3} ["a", "b"]"#]]);
    check("<<: [{a: 1}, {a: 2, b: 2}]\n", expect![[r#"{"a":1,"b":2}"#]]);
    check("<<: 1\n", expect!["error: yaml: map merge requires map or sequence of maps as the value"]);
}

#[test]
fn utf_16_is_read() {
    let text = "a: é\n";
    for (mark, bytes) in [
        ([0xff, 0xfe], text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()),
        ([0xfe, 0xff], text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
    ] {
        let body = [&mark[..], &bytes].concat();
        assert_eq!(parse(&body, &mut Vec::new()).unwrap(), serde_json::json!({"a": "é"}));
    }
}
