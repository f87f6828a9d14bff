//! The scanner of encoded messages, by way of the check of required fields and the JSON printer.
#![no_main]

use kernel_wire::{codec::descriptor, json, required, v1::scheduler::Call};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let message = descriptor::<Call>();
    let _ = required::missing(&message, bytes);
    let Ok(text) = json::print(&message, bytes) else { return };
    assert!(serde_json::from_slice::<serde_json::Value>(text.as_ref()).is_ok(), "{text:?}");
});
