//! YAML: no request body panics or takes long, and what the writer writes is read back unchanged. The value comes from
//! YAML or from JSON, since JSON has strings that few YAML texts have.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use shim_model::{
    schema::{plain_json, plain_yaml},
    yaml,
};

fn read_back(value: &Value) {
    let text = yaml::to_string(value);
    let again: Value = serde_yaml_ng::from_str(&text).expect("the writer's output is YAML");
    assert_eq!(again, *value, "{text}");
    assert_eq!(plain_yaml(text.as_bytes()).as_ref(), Ok(value), "{text}");
}

/// Names that are numbers are printed like upstream's here, and as they are written there.
fn has_number_key(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            let number_like = |name: &str| name.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
            members.iter().any(|(name, value)| number_like(name) || has_number_key(value))
        }
        Value::Array(items) => items.iter().any(has_number_key),
        _ => false,
    }
}

fuzz_target!(|body: &[u8]| {
    let parsed = plain_yaml(body);
    // Without tags and aliases the reader agrees with the library's own reading into a value.
    if let (Ok(value), Ok(text)) = (&parsed, std::str::from_utf8(body))
        && !text.contains(['!', '&', '*'])
        && let Ok(theirs) = serde_yaml_ng::from_str::<Value>(text)
        && !has_number_key(&theirs)
    {
        assert_eq!(*value, theirs);
    }
    [parsed, plain_json(body)].iter().flatten().for_each(read_back);
});
