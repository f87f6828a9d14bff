//! Requests and limits as cgroup values, and the quality-of-service class of a Pod.

use k8s_openapi::{
    api::core::v1::{Container, Pod, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::{action::ResizeRefusal, spec};

/// The CFS period, in microseconds.
pub const CPU_PERIOD_US: i64 = 100_000;
const CPU_QUOTA_US_MIN: i64 = 1_000;
/// The least CPU shares that Linux knows.
pub const CPU_SHARES_MIN: i64 = 2;
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

impl std::ops::Add for Requests {
    type Output = Requests;

    fn add(self, other: Requests) -> Requests {
        Requests {
            cpu_milli: self.cpu_milli + other.cpu_milli,
            memory_bytes: self.memory_bytes + other.memory_bytes,
        }
    }
}

impl Requests {
    /// The amounts of a list.
    fn of<'q>(amount: impl Fn(&str) -> Option<&'q Quantity>) -> Requests {
        Requests {
            cpu_milli: amount("cpu").and_then(milli).unwrap_or(0),
            memory_bytes: amount("memory").and_then(units).unwrap_or(0).into(),
        }
    }
}

/// The Pod's requests: its own, or what its containers request at once at any time, and its overhead.
pub fn requests(pod: &Pod) -> Requests {
    without_overhead(pod, false) + overhead(pod)
}

/// What the Pod's sandbox needs beside the containers.
fn overhead(pod: &Pod) -> Requests {
    let list = spec::spec(pod).overhead.as_ref();
    Requests::of(|resource| list.and_then(|list| list.get(resource)))
}

/// The Pod's requests or limits without its overhead. What is not limited counts as zero.
fn without_overhead(pod: &Pod, limits: bool) -> Requests {
    let one = |container: &Container| {
        let list = container.resources.as_ref();
        let list = list.and_then(|own| if limits { own.limits.as_ref() } else { own.requests.as_ref() });
        Requests::of(|resource| list.and_then(|list| list.get(resource)))
    };
    let (mut sidecars, mut mains, mut peak) = <(Requests, Requests, Requests)>::default();
    for (role, container) in spec::containers(pod) {
        match role {
            spec::Role::Main => mains = mains + one(container),
            spec::Role::Sidecar => sidecars = sidecars + one(container),
            spec::Role::Init => {
                let during = sidecars + one(container);
                peak.cpu_milli = peak.cpu_milli.max(during.cpu_milli);
                peak.memory_bytes = peak.memory_bytes.max(during.memory_bytes);
            }
            // They use what the Pod has.
            spec::Role::Ephemeral => {}
        }
    }
    let all = sidecars + mains;
    let whole = spec::spec(pod).resources.as_ref();
    let whole = whole.and_then(|own| if limits { own.limits.as_ref() } else { own.requests.as_ref() });
    let whole = |resource: &str| whole.and_then(|list| list.get(resource));
    Requests {
        cpu_milli: whole("cpu").and_then(milli).unwrap_or(all.cpu_milli.max(peak.cpu_milli)),
        memory_bytes: whole("memory")
            .and_then(units)
            .map_or(all.memory_bytes.max(peak.memory_bytes), i128::from),
    }
}

/// What a runtime that runs each Pod in a machine of its own sizes it by: the resources of the containers, and the overhead.
pub fn sandbox_limits(pod: &Pod) -> (Limits, Option<Limits>) {
    let of = |requests: Requests, limits: Requests| Limits {
        cpu_shares: cpu_shares(if requests.cpu_milli > 0 { requests.cpu_milli } else { limits.cpu_milli }),
        cpu_quota_us: if limits.cpu_milli > 0 { cpu_quota_us(limits.cpu_milli) } else { 0 },
        memory_bytes: i64::try_from(limits.memory_bytes).unwrap_or(i64::MAX),
        oom_score_adj: 0,
    };
    let containers = of(without_overhead(pod, false), without_overhead(pod, true));
    let overhead = spec::spec(pod).overhead.as_ref().map(|_| of(overhead(pod), overhead(pod)));
    (containers, overhead)
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

/// The limits of the Pod as a whole (`spec.resources`), and its overhead, as cgroup values; zero means unlimited.
pub fn pod_limits(pod: &Pod) -> (i64, i64) {
    let more = overhead(pod);
    let cpu = of_pod(pod, true, "cpu").and_then(milli).map_or(0, |own| cpu_quota_us(own + more.cpu_milli));
    let memory = of_pod(pod, true, "memory").and_then(units);
    let more = i64::try_from(more.memory_bytes).unwrap_or(i64::MAX);
    (cpu, memory.map_or(0, |own| own.saturating_add(more)))
}

/// The annotation of Pods whose CPUs are revocable.
const REVOCABLE_ANNOTATION: &str = "catamaran.dev/revocable";

/// Whether the Pod's CPUs are revocable: it has what others do not use.
pub fn is_revocable(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(REVOCABLE_ANNOTATION)).is_some_and(|value| value == "true")
}

/// The Pod's CPU shares: its own request, or the sum over its containers' requests, and its overhead.
pub fn pod_cpu_shares(pod: &Pod) -> i64 {
    let more = overhead(pod).cpu_milli;
    if let Some(own) = of_pod(pod, false, "cpu").and_then(milli) {
        return cpu_shares(own + more);
    }
    let sum: i128 = spec::spec(pod)
        .containers
        .iter()
        .filter_map(|c| milli(&amount(c, false, "cpu").or_else(|| amount(c, true, "cpu"))?))
        .sum();
    cpu_shares(sum + more)
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
            spec::Role::Ephemeral => {}
        }
    }
    Some(peak.max(main.saturating_add(sidecars)))
}

#[cfg(test)]
mod tests;
