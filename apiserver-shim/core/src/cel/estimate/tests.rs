//! Costs as a Kubernetes API server estimates them.

use serde_json::json;

use super::super::{Environment, Sizes, declare};

/// The estimate for a rule about an object with these properties.
fn cost(rule: &str) -> u64 {
    let schema = json!({"type": "object", "properties": {
        "n": {"type": "integer"}, "text": {"type": "string"}, "short": {"type": "string", "maxLength": 10},
        "list": {"type": "array", "items": {"type": "string"}},
        "few": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 10}},
        "map": {"type": "object", "maxProperties": 3, "additionalProperties": {"type": "integer"}},
    }});
    let ty = declare(&schema, false).unwrap();
    let environment = Environment::default().variable("self", ty.clone()).variable("oldSelf", ty);
    let program = environment.compile(rule).unwrap();
    program.estimate(&Sizes::of(&schema, false).unwrap())
}

#[test]
fn costs_follow_from_sizes() {
    let table = [
        ("true", 0),
        ("self.n > 0", 3),
        ("has(self.n)", 1),
        // Texts of 40 bytes at most.
        ("self.short == 'abc'", 3),
        ("self.short == oldSelf.short", 8),
        ("self.short.startsWith('abc')", 3),
        ("self.short.contains('abc')", 6),
        ("self.short.matches('^[a-z]+$')", 12),
        ("self.short + 'x' == 'y'", 8),
        ("self.few.all(x, x == 'a')", 5 * 5 + 3),
        ("self.map.all(k, self.map[k] > 0)", 3 * 8 + 3),
        ("self.few.map(x, x).size() == 0", 2 + 10 + 1 + 5 * 13 + 1 + 1),
        ("size(self.text) < 5", 4),
    ];
    for (rule, expected) in table {
        assert_eq!(cost(rule), expected, "{rule}");
    }
    assert!(cost("self.list.all(x, self.list.all(y, x == y))") > 10_000_000_000);
    assert_eq!(cost("'n was ' + string(self.n) == ''"), cost("'n was ' + string(self.n) == ''"));
}
