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

fuzz_target!(|body: &[u8]| {
    let parsed = plain_yaml(body);
    [parsed, plain_json(body)].iter().flatten().for_each(read_back);
});
