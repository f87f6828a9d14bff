//! Join tokens and image references.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shim_pki::JoinToken;

fuzz_target!(|text: &str| {
    if let Ok(token) = text.parse::<JoinToken>() {
        assert!(token.accepts(&token.to_string()));
    }
    let _ = executor_core::image_name::parse(text);
});
