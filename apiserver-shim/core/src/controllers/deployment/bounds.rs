//! How far a rolling update may go above and below the wanted size.

use serde_json::Value;

use crate::rows::{Deployment, Strategy};

/// An `intstr`: a number, or a percentage of `total`, rounded as told. What is neither counts as zero; validation has
/// refused it.
fn resolve(bound: &Value, total: i64, round_up: bool) -> i64 {
    if let Some(number) = bound.as_i64() {
        return number.max(0);
    }
    let percent =
        bound.as_str().and_then(|s| s.strip_suffix('%')).and_then(|s| s.parse::<i64>().ok()).unwrap_or(0);
    let hundredths = percent.clamp(0, 100_000).saturating_mul(total);
    if round_up { (hundredths + 99) / 100 } else { hundredths / 100 }
}

fn both(deployment: &Deployment) -> (i64, i64) {
    let Strategy::RollingUpdate { max_surge, max_unavailable } = &deployment.strategy else { return (0, 0) };
    let surge = resolve(max_surge, deployment.replicas, true);
    let unavailable = resolve(max_unavailable, deployment.replicas, false);
    // Both zero would never move: then one may be missing.
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// Pods above the wanted size that an update may have.
pub fn max_surge(deployment: &Deployment) -> i64 {
    both(deployment).0
}

/// Pods below the wanted size that an update may have.
pub fn max_unavailable(deployment: &Deployment) -> i64 {
    match deployment.strategy {
        Strategy::Recreate => 0,
        Strategy::RollingUpdate { .. } => both(deployment).1.min(deployment.replicas),
    }
}
