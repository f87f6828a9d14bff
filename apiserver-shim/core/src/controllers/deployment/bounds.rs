//! `maxSurge` and `maxUnavailable` in Pods.

use serde_json::Value;

use crate::rows::{Deployment, Strategy};

/// Resolves an `intstr`: a number, or a percentage of `total`. Anything else is refused by validation and counts as zero.
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
    // With both zero a rollout could not move; upstream then allows one unavailable Pod.
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// The number of Pods above `spec.replicas` during an update.
pub fn max_surge(deployment: &Deployment) -> i64 {
    both(deployment).0
}

/// The number of Pods below `spec.replicas` during an update.
pub fn max_unavailable(deployment: &Deployment) -> i64 {
    match deployment.strategy {
        Strategy::Recreate => 0,
        Strategy::RollingUpdate { .. } => both(deployment).1.min(deployment.replicas),
    }
}
