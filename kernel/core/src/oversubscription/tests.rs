//! Tables and properties of estimators and QoS controllers.

use proptest::prelude::*;

use super::*;

fn cpus(milli: i64) -> Resources {
    [Resource { revocable: true, ..Resource::scalar("cpus", Scalar(milli)) }].into_iter().collect()
}

fn usage(share: f64) -> Estimation {
    Estimation::new(Estimator::Usage { share })
}

fn at(secs: u64) -> Time {
    Time::default() + Duration::from_secs(secs)
}

fn load(five: f64, fifteen: f64) -> Sample {
    Sample { load: Some([five, fifteen]), ..Sample::default() }
}

fn pressure(cpu: f64, memory: f64) -> Sample {
    Sample { cpu_pressure: Some(cpu), memory_pressure: Some(memory), ..Sample::default() }
}

fn work(priority: i64, launched_at: u64) -> RevocableWork {
    RevocableWork { priority, launched_at: at(launched_at) }
}

#[test]
fn what_is_allocated_is_part_of_the_estimate() {
    let fixed = Estimation::new("fixed:cpus:4;mem:512".parse().unwrap());
    let free = |held: &Resources| fixed.oversubscribable(at(0), Scalar(0), held).to_string();
    assert_eq!(free(&Resources::new()), "cpus{REV}:4; mem{REV}:512");
    assert_eq!(free(&cpus(1500)), "cpus{REV}:2.5; mem{REV}:512");
    assert_eq!(free(&cpus(9000)), "mem{REV}:512");
}

#[test]
fn usage_is_offered_once_it_is_known_for_a_window() {
    let mut usage = usage(0.5);
    for secs in 0..60 {
        usage.observe(at(secs), Some(Scalar(1000)), Scalar(0));
        assert_eq!(usage.oversubscribable(at(secs), Scalar(4000), &Resources::new()), Resources::new());
    }
    let free = |usage: &Estimation, secs| usage.oversubscribable(at(secs), Scalar(4000), &Resources::new());
    usage.observe(at(60), Some(Scalar(1000)), Scalar(0));
    assert_eq!(free(&usage, 60), cpus(1500));
    // A peak counts as long as it is in the window, without what revocable tasks used.
    usage.observe(at(61), Some(Scalar(4000)), Scalar(1000));
    assert_eq!(free(&usage, 61), cpus(500));
    usage.observe(at(123), Some(Scalar(1000)), Scalar(0));
    assert_eq!(free(&usage, 123), cpus(1500));
    usage.observe(at(124), None, Scalar(0));
    assert_eq!(free(&usage, 124), Resources::new());
}

#[test]
fn nothing_ends_below_the_thresholds() {
    let all = [work(0, 1), work(0, 2)];
    let mut controller = Correction::new("load:5min=2,15min=1".parse().unwrap());
    assert!(controller.victims(at(0), &load(2.0, 1.0), &all).is_empty());
    assert!(controller.victims(at(0), &Sample::default(), &all).is_empty());
    assert_eq!(controller.victims(at(0), &load(2.1, 0.0), &all).len(), 2);
    assert_eq!(controller.victims(at(0), &load(0.0, 1.1), &all).len(), 2);
    let mut controller = Correction::new("pressure:memory=5".parse().unwrap());
    assert!(controller.victims(at(0), &pressure(90.0, 5.0), &all).is_empty());
    assert_eq!(controller.victims(at(0), &pressure(0.0, 5.1), &all), [1]);
}

#[test]
fn the_least_important_ends_first() {
    let all = [work(1, 1), work(0, 1), work(0, 2), work(-1, 0)];
    let mut controller = Correction::new("load:5min=1".parse().unwrap());
    assert_eq!(controller.victims(at(0), &load(2.0, 0.0), &all), [3, 2, 1, 0]);
    // Under pressure one ends after the other, as soon as the average shows the effect of the last one.
    let mut controller = Correction::new("pressure:cpu=50".parse().unwrap());
    assert_eq!(controller.victims(at(0), &pressure(60.0, 0.0), &all), [3]);
    assert!(controller.victims(at(9), &pressure(60.0, 0.0), &all[..3]).is_empty());
    assert_eq!(controller.victims(at(10), &pressure(60.0, 0.0), &all[..3]), [2]);
}

proptest! {
    #[test]
    fn no_more_is_offered_than_guaranteed_work_leaves(
        share in 0.01f64..=1.0,
        guaranteed in 0i64..64_000,
        held in 0i64..64_000,
        samples in prop::collection::vec((0i64..64_000, 0i64..8_000, 1u64..30), 1..40),
    ) {
        let mut usage = usage(share);
        let mut now = at(0);
        let mut seen: Vec<(Time, i64)> = Vec::new();
        for (busy, revocable, step) in samples {
            now = now + Duration::from_secs(step);
            usage.observe(now, Some(Scalar(busy)), Scalar(revocable));
            seen.push((now, (busy - revocable).max(0)));
            let free = usage.oversubscribable(now, Scalar(guaranteed), &cpus(held)).scalar("cpus").0;
            let peak = seen.iter().filter(|(at, _)| now.since(*at) <= WINDOW).map(|(_, used)| *used).max();
            prop_assert!(free >= 0);
            prop_assert!(free == 0 || free + held + peak.unwrap_or(0) <= guaranteed);
        }
    }
}
