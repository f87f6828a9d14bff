//! Tests of the `/proc` parsers and of the latency percentiles.

use super::*;

#[test]
fn ticks_are_found_behind_any_name() {
    let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 70 30 13 14 15";
    let taken = Cpu { user: Duration::from_millis(700), kernel: Duration::from_millis(300) };
    assert_eq!(Cpu::parse(stat), Some(taken));
    assert_eq!(Cpu::parse("nonsense"), None);
}

#[test]
fn percentiles_are_of_the_sorted_latencies() {
    let mut latencies = Latencies::default();
    (1..=100).rev().for_each(|ms| latencies.push(Duration::from_millis(ms)));
    let mut fields = Map::new();
    latencies.report(&mut fields);
    assert_eq!((&fields["p50_ms"], &fields["p99_ms"]), (&json!(51.0), &json!(100.0)));
}

#[test]
fn own_counters_can_be_read() {
    let own = [std::process::id()];
    assert!(rss_mib(&own).unwrap() > 0.5);
    assert!(Cpu::of(&own).is_ok());
    assert!(Cpu::of(&[u32::MAX]).is_err());
}
