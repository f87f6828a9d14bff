//! Quantities: the canonical form is a fixed point and has the same value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shim_model::quantity::Quantity;

fuzz_target!(|text: &str| {
    let Ok(quantity) = text.parse::<Quantity>() else { return };
    let canonical = quantity.to_string();
    let again: Quantity = canonical.parse().expect("the canonical form parses");
    assert_eq!(again, quantity, "{canonical}");
    assert_eq!(again.to_string(), canonical);
    let _ = (quantity.units(), quantity.milli(), quantity.plus(again));
});
