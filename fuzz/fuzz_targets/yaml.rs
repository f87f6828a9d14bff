//! YAML: no request body panics or takes long, and what the writer writes is read back unchanged. The value comes from
//! YAML or from JSON, since JSON has strings that few YAML texts have.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use shim_model::{
    schema::{plain_json, plain_yaml},
    yaml,
};

/// The value with integers for floats without a fraction that fit: so Go's JSON writes those that it reads from YAML.
fn as_read_from_yaml(value: &Value) -> Value {
    /// The first float that is no `i64`.
    const INTEGER_END: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Value::Array(items) => items.iter().map(as_read_from_yaml).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), as_read_from_yaml(member))).collect()
        }
        Value::Number(number) if number.is_f64() => {
            let fits = |float: &f64| float.fract() == 0.0 && (-INTEGER_END..INTEGER_END).contains(float);
            let whole = number.as_f64().filter(fits);
            whole.map_or_else(|| value.clone(), |float| (float as i64).into())
        }
        other => other.clone(),
    }
}

fn read_back(value: &Value) {
    let text = yaml::to_string(value);
    let again: Value = serde_yaml_ng::from_str(&text).expect("the writer's output is YAML");
    assert_eq!(again, *value, "{text}");
    assert_eq!(plain_yaml(text.as_bytes()), Ok(as_read_from_yaml(value)), "{text}");
}

fuzz_target!(|body: &[u8]| {
    let parsed = plain_yaml(body);
    [parsed, plain_json(body)].iter().flatten().for_each(read_back);
});
