//! The scanner of encoded messages, by way of the check of required fields and the JSON printer: it takes what prost takes,
//! it prints JSON, and it misses the fields of an encoding that prost wrote only if they are unset.
#![no_main]

use kernel_wire::{codec::descriptor, json, required, v1::scheduler::Call};
use libfuzzer_sys::fuzz_target;
use prost::Message;

/// The scanner follows fewer nested groups than prost.
const GROUP_DEPTH_MAX: usize = 32;

fuzz_target!(|bytes: &[u8]| {
    let message = descriptor::<Call>();
    let missing = required::missing(&message, bytes);
    let printed = json::print(&message, bytes);
    if let Ok(text) = &printed {
        assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text:?}");
    }
    let Ok(call) = Call::decode(bytes) else { return };
    let groups = bytes.iter().filter(|byte| **byte & 7 == 3).count();
    assert!(groups > GROUP_DEPTH_MAX || (missing.is_ok() && printed.is_ok()), "prost takes it");
    // prost writes required fields always, so that none is missing in what it encoded.
    let encoded = call.encode_to_vec();
    assert_eq!(required::missing(&message, &encoded), Ok(Vec::new()));
    assert!(json::print(&message, &encoded).is_ok());
});
