//! Requests and limits as cgroup values, and the quality-of-service class of a Pod.

use k8s_openapi::{
    api::core::v1::{Container, Pod},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::spec;

/// The CFS period, in microseconds.
pub const CPU_PERIOD_US: i64 = 100_000;
const CPU_QUOTA_US_MIN: i64 = 1_000;
const CPU_SHARES_MIN: i64 = 2;
const CPU_SHARES_MAX: i64 = 262_144;

/// A container's limits as cgroup values; zero means unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Limits {
    /// Relative CPU weight.
    pub cpu_shares: i64,
    /// Microseconds per [`CPU_PERIOD_US`].
    pub cpu_quota_us: i64,
    pub memory_bytes: i64,
    /// A higher score is killed earlier when memory runs out.
    pub oom_score_adj: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum QosClass {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl QosClass {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// Thousandths of a quantity, rounded up; `None` if it is malformed.
pub fn milli(quantity: &Quantity) -> Option<i128> {
    quantity.0.parse::<quantity::Quantity>().ok().map(|quantity| quantity.milli().into())
}

/// Whole units of a quantity, rounded up; `None` if it is malformed.
pub fn units(quantity: &Quantity) -> Option<i64> {
    quantity.0.parse::<quantity::Quantity>().ok().map(quantity::Quantity::units)
}

fn amount(container: &Container, limits: bool, resource: &str) -> Option<Quantity> {
    let resources = container.resources.as_ref()?;
    let list = if limits { &resources.limits } else { &resources.requests };
    list.as_ref()?.get(resource).filter(|quantity| milli(quantity).is_some_and(|m| m > 0)).cloned()
}

/// The quality-of-service class of a Pod.
pub fn qos_class(pod: &Pod) -> QosClass {
    let mut any = false;
    let mut guaranteed = true;
    for (_, container) in spec::containers(pod) {
        for resource in ["cpu", "memory"] {
            let (request, limit) = (amount(container, false, resource), amount(container, true, resource));
            any |= request.is_some() || limit.is_some();
            // A missing request defaults to the limit.
            guaranteed &= limit.is_some()
                && request.as_ref().or(limit.as_ref()).and_then(milli) == limit.as_ref().and_then(milli);
        }
    }
    match (any, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

/// A container's limits. `memory_capacity_bytes` is the node's memory, for the score of Burstable Pods.
pub fn limits(pod: &Pod, container: &Container, memory_capacity_bytes: i64) -> Limits {
    let request_cpu = amount(container, false, "cpu").or_else(|| amount(container, true, "cpu"));
    let cpu_milli = request_cpu.as_ref().and_then(milli).unwrap_or(0);
    let limit_cpu = amount(container, true, "cpu").as_ref().and_then(milli);
    Limits {
        cpu_shares: cpu_shares(cpu_milli),
        cpu_quota_us: limit_cpu.map_or(0, cpu_quota_us),
        memory_bytes: amount(container, true, "memory").as_ref().and_then(units).unwrap_or(0),
        oom_score_adj: oom_score_adj(pod, container, memory_capacity_bytes),
    }
}

/// Converts thousandths of a CPU to CPU shares.
pub fn cpu_shares(cpu_milli: i128) -> i64 {
    i64::try_from(cpu_milli * 1024 / 1000).unwrap_or(CPU_SHARES_MAX).clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)
}

fn cpu_quota_us(cpu_milli: i128) -> i64 {
    let quota = cpu_milli * i128::from(CPU_PERIOD_US) / 1000;
    i64::try_from(quota).unwrap_or(i64::MAX).max(CPU_QUOTA_US_MIN)
}

fn oom_score_adj(pod: &Pod, container: &Container, capacity: i64) -> i64 {
    match qos_class(pod) {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let request = amount(container, false, "memory").as_ref().and_then(units).unwrap_or(0);
            let capacity = capacity.max(1);
            let score =
                1000 - i64::try_from(1000 * i128::from(request) / i128::from(capacity)).unwrap_or(1000);
            score.clamp(3, 999)
        }
    }
}

/// The Pod's CPU shares: the sum over its containers' requests.
pub fn pod_cpu_shares(pod: &Pod) -> i64 {
    let sum: i128 = spec::spec(pod)
        .containers
        .iter()
        .filter_map(|c| milli(&amount(c, false, "cpu").or_else(|| amount(c, true, "cpu"))?))
        .sum();
    cpu_shares(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Pod {
        let list = |pairs: &[(&str, &str)]| {
            serde_json::Value::Object(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect())
        };
        serde_json::from_value(serde_json::json!({ "spec": { "containers": [
            { "name": "a", "resources": { "requests": list(requests), "limits": list(limits) } }
        ] } }))
        .unwrap()
    }

    #[test]
    fn classes_and_scores() {
        let gi: i64 = 1 << 30;
        let table = [
            (pod(&[], &[]), "BestEffort", 1000, 2, 0),
            (pod(&[("cpu", "100m")], &[]), "Burstable", 999, 102, 0),
            (pod(&[("memory", "512Mi")], &[("cpu", "1")]), "Burstable", 500, 1024, 100_000),
            (pod(&[], &[("cpu", "250m"), ("memory", "64Mi")]), "Guaranteed", -997, 256, 25_000),
            (pod(&[("cpu", "0")], &[("cpu", "0")]), "BestEffort", 1000, 2, 0),
        ];
        for (pod, class, score, shares, quota) in table {
            let found = limits(&pod, &spec::spec(&pod).containers[0], gi);
            let got = (qos_class(&pod).as_str(), found.oom_score_adj, found.cpu_shares, found.cpu_quota_us);
            assert_eq!(got, (class, score, shares, quota));
        }
    }
}
