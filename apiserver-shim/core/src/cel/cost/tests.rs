//! The estimates of upstream's own table of tests, and of each macro.

use serde_json::{Value, json};

use super::*;
use crate::cel::declare;

fn cost(schema: &Value, rule: &str) -> u64 {
    let ty = declare(schema, false).expect("the schema has a type");
    let environment = Environment::default().variable("self", ty.clone()).variable("oldSelf", ty);
    let program = environment.compile(rule).unwrap_or_else(|error| panic!("{rule}: {error}"));
    program.max_cost(&environment, &Declared::new(schema, false))
}

fn scalar(name: &str) -> Value {
    match name {
        "int-or-string" => json!({"x-kubernetes-int-or-string": true}),
        "duration" | "date" | "date-time" | "byte" => json!({"type": "string", "format": name}),
        "object" => {
            json!({"type": "object", "properties": {"required": {"type": "string"}, "optional": {"type": "string"}},
                "required": ["required"]})
        }
        ty => json!({"type": ty}),
    }
}

/// A schema such as `array string` or `map array number`, with a limit of its outermost elements.
fn schema(words: &str, limit: Option<u64>) -> Value {
    let (outer, inner) = words.split_once(' ').unwrap_or((words, ""));
    let (mut schema, limited) = match outer {
        "array" => (json!({"type": "array", "items": schema(inner, None)}), "maxItems"),
        "map" => (json!({"type": "object", "additionalProperties": schema(inner, None)}), "maxProperties"),
        scalar_name => (scalar(scalar_name), "maxLength"),
    };
    if let Some(limit) = limit {
        schema[limited] = limit.into();
    }
    schema
}

/// Schema, rule, its cost without a limit, a limit, and the cost with it. The numbers are upstream's.
const CASES: &str = r#"
array number | self.all(x, true) | 4718591 | 10 | 32
array string | self.all(x, true) | 3145727 | 20 | 62
array boolean | self.all(x, true) | 1887437 | 5 | 17
array array number | self.all(x, true) | 3145727 | 100 | 302
array object | self.all(x, true) | 555128 | 50 | 152
map number | self.all(x, true) | 1348169 | 10 | 32
map string | self.all(x, true) | 1179647 | 3 | 11
map boolean | self.all(x, true) | 943718 | 100 | 302
string | self.contains('test') | 314574 | 10 | 5
string | self.startsWith('test') | 2 | 15 | 2
string | self.endsWith('test') | 2 | 30 | 2
string | size(self + "hello") > size("hello") | 314578 | 4 | 7
array number | self[1] == 0.0 | 2 | 5000 | 2
array string | self[1] == self[1] | 314577 | 8 | 314577
array number | self.all(x, self.all(y, true)) | - | 10 | 352
array number | self.all(x, self.all(y, self.all(z, true))) | - | 10 | 3552
string | self.matches("x") | 314574 | 50 | 22
string | "".matches("(((((((((())))))))))[0-9]") | 7 | 10 | 7
string | self.matches("") | 1 | 100 | 1
array number | self[3] == 0.0 | 2 | 0 | 2
map number | self["x"] == 0.0 | 2 | 0 | 2
string | self == "x" | 2 | 0 | 1
byte | self == b"x" | 2 | 0 | 1
array number | self.all(x, x == 0.0) | 6291454 | 6291456 | 25165826
array int-or-string | self.all(x, true) | 4718591 | 10 | 32
array int-or-string | self[0] == 5 | 3 | 10 | 3
array boolean | self[0] == false | 2 | 25 | 2
array object | self[0] == null | 2 | 422 | 2
array array number | self[0][0] == -1.0 | 3 | 51 | 3
array map number | self.all(x, x.y == 25.2) | 6291452 | 12 | 74
array map number | self[0].x > 2.0 | 4 | 3000 | 4
array duration | self.all(x, true) | 2359295 | 5 | 17
array duration | self[0].getHours() == 2 | 4 | 525 | 4
array date | self.all(x, true) | 725936 | 15 | 47
array date | self[2].getDayOfMonth() == 13 | 4 | 42 | 4
array date-time | self.all(x, true) | 428963 | 25 | 77
array date-time | self[2].getMinutes() == 45 | 4 | 99 | 4
map int-or-string | self.all(x, true) | 1348169 | 15 | 47
map map number | self.all(x, true) | 1179647 | 10 | 32
map array number | self.all(x, true) | 1179647 | 25 | 77
map duration | self.all(x, true) | 1048577 | 5 | 17
map date | self.all(x, true) | 524288 | 10 | 32
map date-time | self.all(x, true) | 349526 | 25 | 77
string | self.find('[0-9]+') == '' | 629147 | 10 | 11
string | self.lowerAscii() == 'lower!' | 314575 | 10 | 6
map integer | oldSelf.size() == self.size() | 5 | 10 | 5
map date-time | self["a"] == self["b"] | 8 | 7 | 8
map duration | self["c"] == self["d"] | 8 | 42 | 8
int-or-string | isQuantity(self) | 314574 | 20 | 9
"#;

#[test]
fn estimates_are_those_of_upstream() {
    let mut wrong = Vec::new();
    for case in CASES.lines().filter(|line| !line.is_empty()) {
        let [words, rule, unlimited, limit, limited] =
            case.split(" | ").collect::<Vec<_>>().try_into().expect("a case has five parts");
        let number = |text: &str| text.parse::<u64>().ok();
        let found = [cost(&schema(words, None), rule), cost(&schema(words, number(limit)), rule)];
        let expected =
            number(unlimited).is_none_or(|cost| cost == found[0]) && number(limited) == Some(found[1]);
        if !expected {
            wrong.push(format!("{case}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// As the table, for schemas in which several values have the limit.
#[test]
fn limits_count_wherever_they_are() {
    let text = |limit: Option<u64>| schema("string", limit);
    let list = |limit: Option<u64>| {
        let mut list = schema("array string", limit);
        list["items"] = text(limit);
        list
    };
    let map = |limit: Option<u64>| {
        let mut map = schema("map string", limit);
        map["additionalProperties"] = text(limit);
        map
    };
    let object = |fields: [(&str, Value); 3]| {
        let properties: serde_json::Map<String, Value> =
            fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
        json!({"type": "object", "properties": properties})
    };
    let replaced = |limit: Option<u64>| {
        object([("str", text(limit)), ("before", text(Some(2))), ("after", text(Some(4)))])
    };
    let split =
        |limit: Option<u64>| object([("str", text(limit)), ("separator", text(limit)), ("z", text(None))]);
    let both = |of: &dyn Fn(Option<u64>) -> Value, limit: u64, rule: &str| {
        [cost(&of(None), rule), cost(&of(Some(limit)), rule)]
    };
    assert_eq!(both(&map, 10, "self.all(x, x.contains(self[x]))"), [2_752_507, 72]);
    assert_eq!(both(&list, 10, "self.join(' ') == 'aa bb'"), [329_853_068_905, 43]);
    assert_eq!(both(&list, 10, "self.isSorted() == true"), [329_854_432_052, 52]);
    let rule = "self.str.replace(self.before, self.after) == 'does not matter'";
    assert_eq!(both(&replaced, 4, rule), [629_154, 12]);
    assert_eq!(both(&split, 10, "self.str.split(self.separator) == []"), [629_160, 22]);
    let values = |limit: Option<u64>| {
        let mut values = json!({"type": "string", "enum": ["A", "B", "C", "LongValue"]});
        limit.into_iter().for_each(|limit| values["maxLength"] = limit.into());
        values
    };
    assert_eq!(both(&values, 1000, "self.contains('A')"), [2, 401]);
}

#[test]
fn every_macro_grows_with_its_range() {
    let texts = |length: u64, items: u64| json!({"type": "array", "maxItems": items, "items": {"type": "string", "maxLength": length}});
    let quadratic = "self.all(x, self.exists(y, x == y))";
    assert!(cost(&texts(10, 10), quadratic) < 2_000);
    assert!(cost(&json!({"type": "array", "items": {"type": "string"}}), quadratic) > 10_000_000);
    for rule in [
        "self.filter(x, x.startsWith('a')).all(x, x.endsWith('b'))",
        "self.map(x, x + 'a').exists_one(x, x.contains('b'))",
        "self.exists(x, x in ['a', 'b'])",
        "self.all(i, x, i < 3 || x != '')",
        "self.size() == 0 ? true : self.map(x, x.replace('a', 'bb').split(',')).size() > 1",
        "self.join(',').lowerAscii().matches('^a+$')",
    ] {
        let (small, large) = (cost(&texts(10, 10), rule), cost(&texts(1_000, 1_000), rule));
        assert!(small < large, "{rule}: {small} {large}");
    }
}
