//! Requests and limits as cgroup values, and the quality-of-service class of a Pod.

use k8s_openapi::{
    api::core::v1::{Container, Pod, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::{action::ResizeRefusal, spec};

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

/// The relative CPU weight of a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuWeight {
    /// Of cgroup v1, 2 to 262144.
    Shares(i64),
    /// Of cgroup v2, 1 to 10000.
    Weight(i64),
}

impl CpuWeight {
    /// Whether it is what a runtime sets for these shares.
    fn is_of(self, shares: i64) -> bool {
        match self {
            Self::Shares(own) => own == shares,
            Self::Weight(own) => own == cgroup_weight(shares),
        }
    }

    /// The request in thousandths of a CPU; of a weight, approximately.
    fn request_milli(self) -> i64 {
        let shares = match self {
            Self::Shares(shares) => shares,
            Self::Weight(weight) => CPU_SHARES_MIN + (weight - 1) * (CPU_SHARES_MAX - 2) / 9999,
        };
        (shares * 1000 + 1023) / 1024
    }
}

/// The kernel's mapping of shares (2 to 262144) to weights (1 to 10000).
pub fn cgroup_weight(shares: i64) -> i64 {
    1 + ((shares - CPU_SHARES_MIN) * 9999) / (CPU_SHARES_MAX - CPU_SHARES_MIN)
}

/// A container's limits as its cgroup has them; zero means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CgroupLimits {
    pub cpu_weight: CpuWeight,
    /// Microseconds per [`CPU_PERIOD_US`].
    pub cpu_quota_us: i64,
    pub memory_bytes: i64,
}

/// The kernel rounds memory limits down to pages, which have at most 64 KiB.
const PAGE_BYTES_MAX: i64 = 64 << 10;

impl CgroupLimits {
    /// What the spec asks for.
    pub fn wanted(pod: &Pod, container: &Container) -> Self {
        // The node's memory counts for the OOM score only.
        let limits = limits(pod, container, 1);
        Self {
            cpu_weight: CpuWeight::Shares(limits.cpu_shares),
            cpu_quota_us: limits.cpu_quota_us,
            memory_bytes: limits.memory_bytes,
        }
    }

    /// Whether a cgroup with these limits does not have to be updated.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        self.satisfies_cpu(wanted) && self.satisfies_memory(wanted)
    }

    /// [`Self::satisfies`] for the CPU.
    pub fn satisfies_cpu(&self, wanted: &Self) -> bool {
        let weight = match wanted.cpu_weight {
            CpuWeight::Shares(shares) => self.cpu_weight.is_of(shares),
            CpuWeight::Weight(_) => self.cpu_weight == wanted.cpu_weight,
        };
        weight && self.cpu_quota_us == wanted.cpu_quota_us
    }

    /// [`Self::satisfies`] for the memory.
    pub fn satisfies_memory(&self, wanted: &Self) -> bool {
        let unlimited = |bytes: i64| bytes == 0;
        unlimited(self.memory_bytes) == unlimited(wanted.memory_bytes)
            && (0..PAGE_BYTES_MAX).contains(&(wanted.memory_bytes - self.memory_bytes))
    }
}

/// The resources of a container for its status: those in the spec, and what the cgroup has where it differs.
pub fn actual(pod: &Pod, container: &Container, applied: &CgroupLimits) -> Option<ResourceRequirements> {
    let mut resources = container.resources.clone()?;
    let wanted = CgroupLimits::wanted(pod, container);
    let milli = |milli: i64| Quantity(quantity::Quantity::from_milli(milli).to_string());
    let mut replace = |list: &str, resource: &str, actual: Quantity| {
        let list = if list == "limits" { &mut resources.limits } else { &mut resources.requests };
        if let Some(value) = list.as_mut().and_then(|list| list.get_mut(resource)) {
            *value = actual;
        }
    };
    if applied.cpu_quota_us != wanted.cpu_quota_us && applied.cpu_quota_us > 0 {
        replace("limits", "cpu", milli(applied.cpu_quota_us * 1000 / CPU_PERIOD_US));
    }
    if !applied.satisfies_memory(&wanted) && applied.memory_bytes > 0 {
        let bytes = quantity::Quantity::from_bytes(applied.memory_bytes).to_string();
        replace("limits", "memory", Quantity(bytes));
    }
    if let CpuWeight::Shares(shares) = wanted.cpu_weight
        && !applied.cpu_weight.is_of(shares)
    {
        replace("requests", "cpu", milli(applied.cpu_weight.request_milli()));
    }
    Some(resources)
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

fn of_pod<'p>(pod: &'p Pod, limits: bool, resource: &str) -> Option<&'p Quantity> {
    let resources = spec::spec(pod).resources.as_ref()?;
    let list = if limits { &resources.limits } else { &resources.requests };
    list.as_ref()?.get(resource).filter(|quantity| milli(quantity).is_some_and(|m| m > 0))
}

/// The quality-of-service class of a Pod: what the API server has computed, with regard to `spec.resources`, or that of
/// its containers.
pub fn qos_class(pod: &Pod) -> QosClass {
    let stored = pod.status.as_ref().and_then(|status| status.qos_class.as_deref());
    let classes = [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort];
    if let Some(known) = classes.into_iter().find(|class| stored == Some(class.as_str())) {
        return known;
    }
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

/// What a Pod requests of its node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Requests {
    pub cpu_milli: i128,
    pub memory_bytes: i128,
}

/// The Pod's requests: its own, or what its containers request at once at any time, and its overhead.
pub fn requests(pod: &Pod) -> Requests {
    let one = |container: &Container| Requests {
        cpu_milli: amount(container, false, "cpu").as_ref().and_then(milli).unwrap_or(0),
        memory_bytes: amount(container, false, "memory").as_ref().and_then(units).unwrap_or(0).into(),
    };
    let plus = |a: Requests, b: Requests| Requests {
        cpu_milli: a.cpu_milli + b.cpu_milli,
        memory_bytes: a.memory_bytes + b.memory_bytes,
    };
    let (mut sidecars, mut mains, mut peak) = <(Requests, Requests, Requests)>::default();
    for (role, container) in spec::containers(pod) {
        match role {
            spec::Role::Main => mains = plus(mains, one(container)),
            spec::Role::Sidecar => sidecars = plus(sidecars, one(container)),
            spec::Role::Init => {
                let during = plus(sidecars, one(container));
                peak.cpu_milli = peak.cpu_milli.max(during.cpu_milli);
                peak.memory_bytes = peak.memory_bytes.max(during.memory_bytes);
            }
        }
    }
    let all = plus(sidecars, mains);
    let whole = spec::spec(pod).resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let whole = |resource: &str| whole.and_then(|requests| requests.get(resource));
    let overhead = spec::spec(pod).overhead.as_ref();
    let of = |resource: &str| overhead.and_then(|overhead| overhead.get(resource));
    Requests {
        cpu_milli: whole("cpu").and_then(milli).unwrap_or(all.cpu_milli.max(peak.cpu_milli))
            + of("cpu").and_then(milli).unwrap_or(0),
        memory_bytes: whole("memory")
            .and_then(units)
            .map_or(all.memory_bytes.max(peak.memory_bytes), i128::from)
            + i128::from(of("memory").and_then(units).unwrap_or(0)),
    }
}

/// Whether a node with this capacity, of which other Pods use a part, has room; the messages are upstream's.
pub fn fits(wanted: Requests, used: Requests, capacity: Requests) -> Result<(), ResizeRefusal> {
    let cpu = ("cpu", wanted.cpu_milli, used.cpu_milli, capacity.cpu_milli);
    let memory = ("memory", wanted.memory_bytes, used.memory_bytes, capacity.memory_bytes);
    if let Some((resource, wanted, _, capacity)) =
        [memory, cpu].into_iter().find(|(_, wanted, _, capacity)| wanted > capacity)
    {
        let message = format!(
            "Node didn't have enough capacity: {resource}, requested: {wanted}, capacity: {capacity}"
        );
        return Err(ResizeRefusal::Infeasible(message));
    }
    let full =
        |(_, wanted, used, capacity): &(&str, i128, i128, i128)| *wanted > 0 && wanted + used > *capacity;
    match [cpu, memory].into_iter().find(full) {
        None => Ok(()),
        Some((resource, wanted, used, capacity)) => Err(ResizeRefusal::Deferred(format!(
            "Node didn't have enough resource: {resource}, requested: {wanted}, used: {used}, capacity: {capacity}"
        ))),
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

/// The limits of the Pod as a whole (`spec.resources`) as cgroup values; zero means unlimited.
pub fn pod_limits(pod: &Pod) -> (i64, i64) {
    let cpu = of_pod(pod, true, "cpu").and_then(milli).map_or(0, cpu_quota_us);
    (cpu, of_pod(pod, true, "memory").and_then(units).unwrap_or(0))
}

/// The Pod's CPU shares: its own request, or the sum over its containers' requests.
pub fn pod_cpu_shares(pod: &Pod) -> i64 {
    if let Some(own) = of_pod(pod, false, "cpu").and_then(milli) {
        return cpu_shares(own);
    }
    let sum: i128 = spec::spec(pod)
        .containers
        .iter()
        .filter_map(|c| milli(&amount(c, false, "cpu").or_else(|| amount(c, true, "cpu"))?))
        .sum();
    cpu_shares(sum)
}

/// The most memory that the Pod can have, if it is limited: its own limit, or those of all its containers.
pub fn memory_limit(pod: &Pod) -> Option<i64> {
    if let Some(limit) = of_pod(pod, true, "memory").and_then(units) {
        return Some(limit);
    }
    let (mut main, mut sidecars, mut peak) = (0_i64, 0_i64, 0_i64);
    for (role, container) in spec::containers(pod) {
        let limit = amount(container, true, "memory").as_ref().and_then(units).filter(|limit| *limit > 0)?;
        match role {
            spec::Role::Main => main = main.saturating_add(limit),
            spec::Role::Sidecar => sidecars = sidecars.saturating_add(limit),
            spec::Role::Init => peak = peak.max(limit.saturating_add(sidecars)),
        }
    }
    Some(peak.max(main.saturating_add(sidecars)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_the_pod_as_a_whole() {
        let resources =
            serde_json::json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "500m", "memory": "64Mi"}});
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "spec": {"containers": [{"name": "a"}], "resources": resources}, "status": {"qosClass": "Burstable"},
        }))
        .unwrap();
        assert_eq!(pod_limits(&pod), (50_000, 64 << 20));
        assert_eq!((pod_cpu_shares(&pod), qos_class(&pod).as_str()), (256, "Burstable"));
        assert_eq!(pod_limits(&Pod::default()), (0, 0));
    }

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
    fn the_memory_of_a_pod_is_limited_if_that_of_each_container_is() {
        let of = |spec: serde_json::Value| {
            memory_limit(&serde_json::from_value(serde_json::json!({ "spec": spec })).unwrap())
        };
        let container =
            |limit: &str| serde_json::json!({ "name": "c", "resources": { "limits": { "memory": limit } } });
        let sidecar = serde_json::json!({
            "name": "s", "restartPolicy": "Always", "resources": { "limits": { "memory": "10" } }
        });
        assert_eq!(of(serde_json::json!({ "containers": [container("1Ki"), container("1Ki")] })), Some(2048));
        assert_eq!(of(serde_json::json!({ "containers": [container("1Ki"), { "name": "d" }] })), None);
        let init = serde_json::json!([sidecar, container("500")]);
        assert_eq!(
            of(serde_json::json!({ "initContainers": init, "containers": [container("5")] })),
            Some(510)
        );
        let whole = serde_json::json!({ "limits": { "memory": "7" } });
        assert_eq!(of(serde_json::json!({ "resources": whole, "containers": [{ "name": "d" }] })), Some(7));
    }

    #[test]
    fn requests_that_do_not_fit() {
        let requests = |cpu_milli, memory_bytes| Requests { cpu_milli, memory_bytes };
        let capacity = requests(2000, 1000);
        let cpu = "Node didn't have enough resource: cpu, requested: 1500, used: 600, capacity: 2000";
        let memory = "Node didn't have enough resource: memory, requested: 900, used: 101, capacity: 1000";
        let never_cpu = "Node didn't have enough capacity: cpu, requested: 2001, capacity: 2000";
        let never_memory = "Node didn't have enough capacity: memory, requested: 1001, capacity: 1000";
        let table = [
            (requests(1500, 0), requests(500, 2000), Ok(())),
            (requests(1500, 0), requests(600, 0), Err(("Deferred", cpu))),
            (requests(0, 900), requests(3000, 101), Err(("Deferred", memory))),
            (requests(2001, 0), requests(0, 0), Err(("Infeasible", never_cpu))),
            (requests(2001, 1001), requests(0, 0), Err(("Infeasible", never_memory))),
        ];
        for (wanted, used, expected) in table {
            let verdict = fits(wanted, used, capacity);
            let shown =
                verdict.as_ref().map(|&()| ()).map_err(|refusal| (refusal.reason(), refusal.message()));
            assert_eq!(shown, expected);
        }
        let pod = pod(&[("cpu", "100m"), ("memory", "1Ki")], &[]);
        assert_eq!(super::requests(&pod), requests(100, 1024));
    }

    #[test]
    fn status_shows_what_the_cgroup_has() {
        let pod = pod(&[("cpu", "200m")], &[("cpu", "600m"), ("memory", "100000000")]);
        let container = &spec::spec(&pod).containers[0];
        let shown = |applied: CgroupLimits| {
            let resources = actual(&pod, container, &applied).unwrap();
            let (limits, requests) = (resources.limits.unwrap(), resources.requests.unwrap());
            format!("{} {} {}", limits["cpu"].0, limits["memory"].0, requests["cpu"].0)
        };
        let limits =
            |cpu_weight, cpu_quota_us, memory_bytes| CgroupLimits { cpu_weight, cpu_quota_us, memory_bytes };
        let wanted = CgroupLimits::wanted(&pod, container);
        assert_eq!(shown(wanted), "600m 100000000 200m");
        // The kernel rounds to pages and weights.
        let rounded = limits(CpuWeight::Weight(8), 60_000, 99_999_744);
        assert_eq!((shown(rounded).as_str(), rounded.satisfies(&wanted)), ("600m 100000000 200m", true));
        let other = limits(CpuWeight::Shares(102), 50_000, 64 << 20);
        assert_eq!((shown(other).as_str(), other.satisfies(&wanted)), ("500m 64Mi 100m", false));
        assert!(!limits(CpuWeight::Shares(204), 60_000, 0).satisfies(&wanted), "unlimited memory");
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
