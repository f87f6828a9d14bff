//! The seats of the priority levels: the nominal ones by their shares, and the borrowing of what others do not use.

use serde_json::Value;
use shim_model::access;

use super::bootstrap::{CATCH_ALL, EXEMPT, default_spec};
use super::queue_set::QueueSetConfig;

/// The part of a level's nominal seats that one request may take (upstream's).
const MAX_SEATS_PART: f64 = 0.15;
/// How much of the smoothed demand remains from one period to the next (upstream's).
const SMOOTHING: f64 = 0.977;
/// A demand below this counts as this, so that nothing is divided by zero.
const TARGET_MIN: f64 = 0.001;

/// A PriorityLevelConfiguration.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct PriorityLevel {
    pub name: String,
    /// Empty for a mandatory level without an object.
    pub uid: String,
    pub queues: QueueSetConfig,
    shares: u64,
    lendable_percent: u64,
    borrowing_percent: Option<u64>,
}

/// The seats of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelLimits {
    /// By its shares.
    pub nominal: u64,
    /// What remains when all that is lendable is lent.
    pub lower: u64,
    /// With all that it may borrow.
    pub upper: u64,
    /// The seats that one request may take.
    pub per_request: u64,
}

/// How many seats were wanted in a period.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[allow(missing_docs)]
pub struct Demand {
    pub highest: f64,
    pub average: f64,
    pub deviation: f64,
}

/// The demand of a level over time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[allow(missing_docs)]
pub struct DemandStats {
    pub last: Demand,
    pub smoothed: f64,
}

impl DemandStats {
    /// Adds a period.
    pub fn update(&mut self, demand: Demand) {
        let envelope = demand.average + demand.deviation;
        self.last = demand;
        self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
    }
}

/// The priority levels; the mandatory ones are always there.
pub fn priority_levels<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Vec<PriorityLevel> {
    let mut out: Vec<PriorityLevel> = objects.into_iter().map(PriorityLevel::of).collect();
    for name in [EXEMPT, CATCH_ALL] {
        if !out.iter().any(|level| level.name == name) {
            let spec = default_spec("PriorityLevelConfiguration", name);
            out.extend(spec.map(|spec| PriorityLevel::new(name, "", &spec)));
        }
    }
    out
}

impl PriorityLevel {
    fn of(object: &Value) -> PriorityLevel {
        let text = |key| access::text(object, &["metadata", key]);
        PriorityLevel::new(text("name"), text("uid"), &object["spec"])
    }

    fn new(name: &str, uid: &str, spec: &Value) -> PriorityLevel {
        let exempt = access::text(spec, &["type"]) == "Exempt";
        let own = if exempt { &spec["exempt"] } else { &spec["limited"] };
        let number = |value: &Value, key: &str| {
            access::int(value, &[key]).and_then(|number| u64::try_from(number).ok())
        };
        let queuing = &own["limitResponse"]["queuing"];
        let queues = match access::text(own, &["limitResponse", "type"]) {
            _ if exempt => QueueSetConfig::Exempt,
            "Queue" => QueueSetConfig::Queue {
                queues: number(queuing, "queues").unwrap_or(64).max(1) as usize,
                hand_size: number(queuing, "handSize").unwrap_or(8).max(1) as usize,
                length_max: number(queuing, "queueLengthLimit").unwrap_or(50).max(1) as usize,
            },
            _ => QueueSetConfig::Reject,
        };
        PriorityLevel {
            name: name.to_owned(),
            uid: uid.to_owned(),
            queues,
            shares: number(own, "nominalConcurrencyShares").unwrap_or(if exempt { 0 } else { 30 }),
            lendable_percent: number(own, "lendablePercent").unwrap_or(0),
            borrowing_percent: number(own, "borrowingLimitPercent"),
        }
    }

    /// Whether its requests wait for no seat.
    pub fn is_exempt(&self) -> bool {
        self.queues == QueueSetConfig::Exempt
    }
}

/// The limits of levels that share `seats`, in the same order.
pub fn limits(levels: &[PriorityLevel], seats: u64) -> Vec<LevelLimits> {
    let all: u64 = levels.iter().map(|level| level.shares).sum();
    let part = |of: u64, percent: u64| (of as f64 * percent as f64 / 100.0).round() as u64;
    let of = |level: &PriorityLevel| {
        let nominal = (seats * level.shares).div_ceil(all.max(1));
        let borrowed = level.borrowing_percent.map_or(seats, |percent| part(nominal, percent));
        let per_request = match level.queues {
            QueueSetConfig::Queue { hand_size, .. } => {
                ((nominal as f64 * MAX_SEATS_PART).ceil() as u64).min(nominal / hand_size as u64).max(1)
            }
            QueueSetConfig::Exempt | QueueSetConfig::Reject => u64::MAX,
        };
        LevelLimits {
            nominal,
            lower: nominal - part(nominal, level.lendable_percent).min(nominal),
            upper: nominal + borrowed,
            per_request,
        }
    };
    levels.iter().map(of).collect()
}

impl LevelLimits {
    /// The seats until the first period is over.
    pub fn at_start(&self) -> u64 {
        self.nominal - (self.nominal - self.lower) / 2
    }
}

/// The seats of each level for the next period, and the fair fraction of the demand that all get. Exempt levels get what they
/// have taken; the others share the rest by their demand, within their bounds.
pub fn borrow(levels: &[(bool, LevelLimits, DemandStats)]) -> (Vec<u64>, f64) {
    let floor = |(exempt, limits, demand): &(bool, LevelLimits, DemandStats)| {
        let highest = demand.last.highest.round() as u64;
        limits.lower.max(if *exempt { highest } else { highest.min(limits.nominal) })
    };
    let limited = || levels.iter().filter(|(exempt, ..)| !exempt);
    let nominal: u64 = levels.iter().map(|(_, limits, _)| limits.nominal).sum();
    let taken: u64 = levels.iter().filter(|(exempt, ..)| *exempt).map(floor).sum();
    let left = nominal.saturating_sub(taken);
    let lowest: u64 = limited().map(|(_, limits, _)| limits.lower).sum();
    let floors: u64 = limited().map(floor).sum();
    if left <= floors {
        // Not even the floors are free: what is above the lower bounds is shared.
        let part = (left.saturating_sub(lowest)) as f64 / (floors - lowest).max(1) as f64;
        let of = |level: &(bool, LevelLimits, DemandStats)| match level.0 {
            true => floor(level),
            false => level.1.lower + ((floor(level) - level.1.lower) as f64 * part).round() as u64,
        };
        return (levels.iter().map(of).collect(), 0.0);
    }
    let bounds: Vec<(f64, f64, f64)> = limited()
        .map(|level| {
            let floor = floor(level) as f64;
            let target = floor.max(level.2.smoothed).max(TARGET_MIN);
            (floor, (level.1.upper as f64).max(floor), target)
        })
        .collect();
    let fraction = fair_fraction(&bounds, left as f64);
    let mut shares =
        bounds.iter().map(|(low, high, target)| (fraction * target).clamp(*low, *high).round() as u64);
    let seats = levels.iter().map(|level| if level.0 { floor(level) } else { shares.next().unwrap_or(0) });
    (seats.collect(), fraction)
}

/// The fraction of their targets at which all together get `seats`. What each gets grows with the fraction, so it is found by
/// halving an interval: after 64 steps it is exact to the precision of the numbers.
fn fair_fraction(bounds: &[(f64, f64, f64)], seats: f64) -> f64 {
    let sum = |fraction: f64| -> f64 {
        bounds.iter().map(|(low, high, target)| (fraction * target).clamp(*low, *high)).sum()
    };
    let (mut low, mut high) = (0.0, bounds.iter().map(|(_, high, target)| high / target).fold(1.0, f64::max));
    if sum(high) <= seats {
        return high;
    }
    for _ in 0..64 {
        let middle = (low + high) / 2.0;
        if sum(middle) < seats { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow_control::bootstrap::defaults;
    use proptest::prelude::*;

    fn default_levels() -> Vec<PriorityLevel> {
        let objects: Vec<Value> = defaults().into_iter().map(|default| default.object).collect();
        priority_levels(objects.iter().filter(|object| object["kind"] == "PriorityLevelConfiguration"))
    }

    #[test]
    fn default_levels_have_upstreams_seats() {
        let levels = default_levels();
        let found = limits(&levels, 600);
        let shown: Vec<(&str, u64, u64, u64)> =
            levels.iter().zip(&found).map(|(l, f)| (l.name.as_str(), f.nominal, f.lower, f.upper)).collect();
        assert_eq!(
            shown,
            [
                ("catch-all", 13, 13, 613),
                ("exempt", 0, 0, 600),
                ("global-default", 49, 24, 649),
                ("leader-election", 25, 25, 625),
                ("node-high", 98, 73, 698),
                ("system", 74, 50, 674),
                ("workload-high", 98, 49, 698),
                ("workload-low", 245, 24, 845),
            ]
        );
    }

    #[test]
    fn unused_seats_are_lent() {
        let levels = default_levels();
        let found = limits(&levels, 600);
        let demand = |name: &str| {
            let wanted = if name == "global-default" { 500.0 } else { 0.0 };
            let mut stats = DemandStats::default();
            stats.update(Demand { highest: wanted, average: wanted, deviation: 0.0 });
            stats
        };
        let all: Vec<_> =
            levels.iter().zip(&found).map(|(l, f)| (l.is_exempt(), *f, demand(&l.name))).collect();
        let (seats, _) = borrow(&all);
        let of = |name: &str| seats[levels.iter().position(|level| level.name == name).unwrap()];
        assert!(of("global-default") > 350, "{seats:?}");
        assert_eq!((of("workload-low"), of("leader-election")), (24, 25));
    }

    proptest! {
        #[test]
        fn borrowing_stays_within_the_bounds(
            given in proptest::collection::vec((0u64..100, 0u64..=100, 0.0f64..700.0), 1..8), seats in 1u64..1000,
        ) {
            let levels: Vec<PriorityLevel> = given.iter().map(|(shares, lendable, _)| PriorityLevel {
                name: String::new(), uid: String::new(), queues: QueueSetConfig::Reject,
                shares: *shares, lendable_percent: *lendable, borrowing_percent: None,
            }).collect();
            let found = limits(&levels, seats);
            let all: Vec<_> = found.iter().zip(&given).map(|(limits, (.., wanted))| {
                let mut stats = DemandStats::default();
                stats.update(Demand { highest: *wanted, average: *wanted, deviation: 0.0 });
                (false, *limits, stats)
            }).collect();
            let (shares, _) = borrow(&all);
            let nominal: u64 = found.iter().map(|limits| limits.nominal).sum();
            for (share, limits) in shares.iter().zip(&found) {
                prop_assert!((limits.lower..=limits.upper).contains(share));
            }
            // Each share is rounded.
            prop_assert!(shares.iter().sum::<u64>() <= nominal + given.len() as u64);
        }
    }
}
