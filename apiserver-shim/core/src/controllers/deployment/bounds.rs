//! `maxSurge` and `maxUnavailable` in Pods.

use crate::controllers::int_or_percent::resolve;
use crate::rows::{Deployment, Strategy};

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
