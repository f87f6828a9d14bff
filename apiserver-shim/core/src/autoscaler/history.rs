//! What was recommended and done before: a number of replicas follows its metrics only as fast as `behavior` allows. Upstream keeps
//! this in memory too.

use std::collections::VecDeque;

use super::spec::{Amount, Behavior, DECREASE_WINDOW, Rules, Select, Spec};
use crate::rows::Seconds;

/// The longest window and period that validation admits, in seconds.
const LONGEST: i64 = 3_600;

/// The recent past of one HorizontalPodAutoscaler.
#[derive(Debug, Default)]
pub(super) struct History {
    recommendations: VecDeque<(Seconds, i64)>,
    increases: VecDeque<(Seconds, i64)>,
    decreases: VecDeque<(Seconds, i64)>,
}

/// A number of replicas within its limits, and what is told about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limited {
    pub replicas: i64,
    /// The condition `AbleToScale`.
    pub able: (&'static str, &'static str),
    /// The condition `ScalingLimited`.
    pub limited: (bool, &'static str, &'static str),
}

const UP: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const READY: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");

impl History {
    /// Before the first recommendation, what is there counts as one.
    pub fn begin(&mut self, current: i64, now: Seconds) {
        if self.recommendations.is_empty() {
            self.recommendations.push_back((now, current));
        }
    }

    /// Records a recommendation, and limits it.
    pub fn limit(&mut self, spec: &Spec, current: i64, wanted: i64, now: Seconds) -> Limited {
        let stable = match &spec.behavior {
            None => self.highest(DECREASE_WINDOW, now, wanted),
            Some(behavior) => {
                let lowest = self.within(behavior.up.window, now).fold(wanted, i64::min);
                let highest = self.highest(behavior.down.window, now, wanted);
                current.max(lowest).min(highest)
            }
        };
        keep(&mut self.recommendations, (now, wanted));
        let able = match () {
            () if stable == wanted => READY,
            () if spec.behavior.is_some() && wanted >= current => UP,
            () => DOWN,
        };
        let (lowest, highest) = self.bounds(spec, current, now);
        let (replicas, reason, message) = match () {
            () if stable < lowest.0 => lowest,
            () if stable > highest.0 => highest,
            () => (stable, "DesiredWithinRange", "the desired count is within the acceptable range"),
        };
        Limited { replicas, able, limited: (replicas != stable, reason, message) }
    }

    /// Records that the number of replicas was changed.
    pub fn changed(&mut self, from: i64, to: i64, now: Seconds) {
        match to > from {
            true => keep(&mut self.increases, (now, to - from)),
            false => keep(&mut self.decreases, (now, from - to)),
        }
    }

    /// The lowest and the highest number of replicas that are possible now, each with its reason.
    fn bounds(
        &self,
        spec: &Spec,
        current: i64,
        now: Seconds,
    ) -> ((i64, &'static str, &'static str), (i64, &'static str, &'static str)) {
        let (slowest, fastest) = match &spec.behavior {
            None => (None, (2 * current).max(4)),
            Some(Behavior { up, down }) => {
                let (up, down) = (self.bound(up, 1, current, now), self.bound(down, -1, current, now));
                (Some(down.min(current)), up.max(current))
            }
        };
        let lowest = match slowest.filter(|slowest| *slowest > spec.min) {
            Some(slowest) => (
                slowest,
                "ScaleDownLimit",
                "the desired replica count is decreasing faster than the maximum scale rate",
            ),
            None => (
                spec.min,
                "TooFewReplicas",
                "the desired replica count is less than the minimum replica count",
            ),
        };
        let highest = match fastest < spec.max {
            true => (
                fastest,
                "ScaleUpLimit",
                "the desired replica count is increasing faster than the maximum scale rate",
            ),
            false => (
                spec.max,
                "TooManyReplicas",
                "the desired replica count is more than the maximum replica count",
            ),
        };
        (lowest, highest)
    }

    /// How far the policies of a direction (1 or -1) allow to go from the current number.
    fn bound(&self, rules: &Rules, direction: i64, current: i64, now: Seconds) -> i64 {
        let bounds = rules.policies.iter().map(|policy| {
            let sum = |changes: &VecDeque<(Seconds, i64)>| -> i64 {
                changes.iter().filter(|(at, _)| now - at < policy.period).map(|(_, by)| by).sum()
            };
            let at_start = current - sum(&self.increases) + sum(&self.decreases);
            match policy.amount {
                Amount::Pods(count) => at_start + direction * count,
                Amount::Percent(percent) => {
                    let exact = at_start as f64 * (1.0 + (direction * percent) as f64 / 100.0);
                    // Rounded up: an increase by less than one would never happen.
                    if direction > 0 { exact.ceil() as i64 } else { exact as i64 }
                }
            }
        });
        // The distance decides, in both directions.
        let by_distance = bounds.map(|bound| direction * bound);
        let farthest = match rules.select {
            Select::Disabled => None,
            Select::Max => by_distance.max(),
            Select::Min => by_distance.min(),
        };
        farthest.map_or(current, |farthest| direction * farthest)
    }

    fn within(&self, window: i64, now: Seconds) -> impl Iterator<Item = i64> {
        self.recommendations.iter().filter(move |(at, _)| now - at < window).map(|(_, replicas)| *replicas)
    }

    fn highest(&self, window: i64, now: Seconds, wanted: i64) -> i64 {
        self.within(window, now).fold(wanted, i64::max)
    }
}

/// Adds an entry, and drops those that no window reaches.
fn keep(entries: &mut VecDeque<(Seconds, i64)>, new: (Seconds, i64)) {
    entries.retain(|(at, _)| new.0 - at <= LONGEST);
    entries.push_back(new);
}
