//! Decodes the body of a server-side apply: a configuration in YAML (or JSON), which is a part of an object. Its type is
//! checked when it is applied.

use super::decode::{Strictness, kind_word, parse_plain, yaml};
use super::duplicate_keys;
use crate::status::{Status, bad_request};
use serde_json::{Map, Value};

/// A decoded configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct AppliedBody {
    /// The configuration, an object.
    pub value: Value,
    /// What strict field validation refuses: members that occur twice.
    pub complaint: Option<String>,
}

/// Decodes a configuration; errors have upstream's wording.
pub fn decode_applied(body: &[u8], strictness: Strictness) -> Result<AppliedBody, Status> {
    let mut duplicates = Vec::new();
    let wrong = |why: String| bad_request(format!("error decoding YAML: {why}"));
    let json = body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    let parsed = if json { parse_plain(body, &mut duplicates).ok() } else { None };
    let value = match parsed {
        Some(value) => value,
        None => {
            duplicates.clear();
            yaml(body, &mut duplicates)
                .map_err(|why| wrong(format!("error converting YAML to JSON: {why}")))?
        }
    };
    let mut value = match value {
        Value::Object(_) => value,
        Value::Null => Value::Object(Map::new()),
        other => {
            let found = kind_word(&other);
            return Err(wrong(format!(
                "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
            )));
        }
    };
    whole_numbers(&mut value);
    let complaint = (strictness != Strictness::Ignore && !duplicates.is_empty()).then(|| {
        let lines = duplicate_keys::told(body);
        format!("error converting YAML to JSON: {}", duplicate_keys::unmarshal_errors(&lines))
    });
    Ok(AppliedBody { value, complaint })
}

/// Makes `3.0` an integer, as decoding to a typed field does.
fn whole_numbers(value: &mut Value) {
    /// Up to here every integer has a float of its own.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            let float =
                number.as_f64().filter(|f| number.is_f64() && f.fract() == 0.0 && f.abs() <= EXACT_MAX);
            if let Some(float) = float {
                *value = Value::from(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(members) => members.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(body: &str, expect: Expect) {
        let shown = match decode_applied(body.as_bytes(), Strictness::Strict) {
            Ok(decoded) => format!("{} {:?}", decoded.value, decoded.complaint),
            Err(status) => format!("{} {}", status.code, status.message),
        };
        expect.assert_eq(&shown);
    }

    #[test]
    fn a_body_is_an_object_in_yaml() {
        check("a: {b: 1.0, c: 1.5}\n", expect![[r#"{"a":{"b":1,"c":1.5}} None"#]]);
        check("", expect!["{} None"]);
        check("null", expect!["{} None"]);
        check("a: 1\n---\na: 2\n", expect![[r#"{"a":1} None"#]]);
        check(
            "[]",
            expect![
                "400 error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}"
            ],
        );
        check(
            "text",
            expect![
                "400 error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go value of type map[string]interface {}"
            ],
        );
    }

    #[test]
    fn members_that_occur_twice_are_named_with_their_lines() {
        check(
            "a: 1\nb:\n  c: 1\n  c: 2\na: 2\n",
            expect![[
                r#"{"a":2,"b":{"c":2}} Some("error converting YAML to JSON: yaml: unmarshal errors:\n  line 4: key \"c\" already set in map\n  line 5: key \"a\" already set in map")"#
            ]],
        );
        check(
            r#"{"a":1,"a":2}"#,
            expect![[
                r#"{"a":2} Some("error converting YAML to JSON: yaml: unmarshal errors:\n  line 1: key \"a\" already set in map")"#
            ]],
        );
    }
}
