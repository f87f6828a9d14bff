//! Expressions in CEL: what is compiled ends within its budget, and has the same result each time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use shim_core::cel::{Activation, Environment, Type, Val};

fuzz_target!(|source: &str| {
    let environment = Environment::default().variable("object", Type::Dyn);
    let Ok(program) = environment.compile(source) else { return };
    let object = json!({"a": 1, "b": "text", "c": [1, 2, 3], "d": {"e": true, "f": null}, "g": 1.5});
    let result = || {
        let activation = Activation::new(vec![Val::of_json(&object, &Type::Dyn)]);
        program.evaluate(&activation).map(|value| value.to_string())
    };
    assert_eq!(result(), result());
});
