//! Prints a JSON value like Go's `%v`, which some messages use to quote patches.

use serde_json::Value;

/// `map[a:1 b:[x y]]`.
pub fn print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(s) => s.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(print).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let members: Vec<String> = members.iter().map(|(k, v)| format!("{k}:{}", print(v))).collect();
            format!("map[{}]", members.join(" "))
        }
        other => other.to_string(),
    }
}
