//! YAML: no request body panics or takes long, and what the writer writes is read back unchanged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shim_model::{schema::plain_yaml, yaml};

fuzz_target!(|body: &[u8]| {
    let Ok(value) = plain_yaml(body) else { return };
    let text = yaml::to_string(&value);
    let again: serde_json::Value = serde_yaml_ng::from_str(&text).expect("the writer's output is YAML");
    assert_eq!(again, value, "{text}");
});
