//! Numbers of Pods that are given as a number or a percentage.

use serde_json::Value;

/// Resolves an `intstr`: a number, or a percentage of `total`. Anything else is refused by validation and counts as zero.
pub fn resolve(bound: &Value, total: i64, round_up: bool) -> i64 {
    if let Some(number) = bound.as_i64() {
        return number.max(0);
    }
    let percent =
        bound.as_str().and_then(|s| s.strip_suffix('%')).and_then(|s| s.parse::<i64>().ok()).unwrap_or(0);
    let hundredths = percent.clamp(0, 100_000).saturating_mul(total);
    if round_up { (hundredths + 99) / 100 } else { hundredths / 100 }
}
