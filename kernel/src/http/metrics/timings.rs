//! How long something took, as the timers of libprocess report it.

use std::{collections::VecDeque, time::Duration};

/// The durations that are kept: as many as libprocess keeps of a metric.
const SAMPLES_MAX: usize = 1000;

/// The latest durations in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Timings(VecDeque<f64>);

impl Timings {
    pub(super) fn record(&mut self, took: Duration) {
        if self.0.len() == SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(took.as_secs_f64() * 1000.0);
    }

    /// The last duration, and statistics if there are several.
    pub(super) fn metrics(&self, name: &str) -> Vec<(String, f64)> {
        let Some(last) = self.0.back() else { return Vec::new() };
        let mut all = vec![(name.to_owned(), *last)];
        let mut sorted: Vec<f64> = self.0.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        if let [min, .., max] = sorted[..] {
            let mut put = |suffix: &str, value: f64| all.push((format!("{name}/{suffix}"), value));
            put("count", sorted.len() as f64);
            put("min", min);
            put("max", max);
            for (suffix, part) in
                [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)]
            {
                put(suffix, percentile(&sorted, part));
            }
        }
        all
    }
}

/// Interpolated between the two nearest of at least two values.
fn percentile(sorted: &[f64], part: f64) -> f64 {
    let position = part * (sorted.len() - 1) as f64;
    let below = position as usize;
    sorted[below] + (sorted[below + 1] - sorted[below]) * position.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_need_two_durations() {
        let mut timings = Timings::default();
        assert_eq!(timings.metrics("t_ms"), []);
        timings.record(Duration::from_millis(4));
        assert_eq!(timings.metrics("t_ms"), [("t_ms".to_owned(), 4.0)]);
        (1..=3).for_each(|ms| timings.record(Duration::from_millis(ms)));
        let shown: Vec<String> =
            timings.metrics("t_ms").iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
        expect_test::expect!["t_ms 3.000, t_ms/count 4.000, t_ms/min 1.000, t_ms/max 4.000, t_ms/p50 2.500, t_ms/p90 3.700, t_ms/p95 3.850, t_ms/p99 3.970, t_ms/p999 3.997, t_ms/p9999 4.000"]
            .assert_eq(&shown.join(", "));
        (0..2000).for_each(|_| timings.record(Duration::from_millis(7)));
        assert_eq!(timings.0.len(), SAMPLES_MAX);
    }
}
