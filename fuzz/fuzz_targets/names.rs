//! Join tokens and image references: what parses prints to a text that parses to the same.
#![no_main]

use executor_core::image_name::{self, ImageName};
use libfuzzer_sys::fuzz_target;
use shim_pki::JoinToken;

fuzz_target!(|text: &str| {
    if let Ok(token) = text.parse::<JoinToken>() {
        assert!(token.accepts(&token.to_string()));
        assert!(token.accepts(text));
    }
    if let Ok(image) = image_name::parse(text) {
        let ImageName { registry, repository, tag, digest } = &image;
        let part = |mark: char, part: &Option<String>| {
            part.as_ref().map(|part| format!("{mark}{part}")).unwrap_or_default()
        };
        let whole = format!("{registry}/{repository}{}{}", part(':', tag), part('@', digest));
        assert_eq!(image_name::parse(&whole).as_ref(), Ok(&image), "{whole}");
    }
});
