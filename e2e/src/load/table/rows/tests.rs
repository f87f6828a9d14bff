//! Tests of the table's format.

use serde_json::json;

use super::*;

#[test]
fn figures_of_both_servers_stand_side_by_side() {
    let mut figures = Figures::default();
    let line = |each: f64| json!({"bench": "creates", "per_s": 12345.6, "server_cpu_us_each": each});
    figures.line("ours", line(90.04));
    figures.line("peer", line(1420.0));
    let table = render("what was run", &figures);
    let row = table.lines().find(|line| line.contains("server CPU per create")).unwrap();
    assert!(row.contains("90.0 µs") && row.contains("1,420 µs"), "{row}");
    assert!(table.lines().any(|line| line.contains("12,346 /s")));
    assert_eq!(table.lines().count(), ROWS.len() + 3);
}

#[test]
fn the_allocators_cases_are_taken() {
    let mut figures = Figures::default();
    figures
        .offer_cycle(
            "agents frameworks fresh ms refused ms\n 1000 10 1.0 2.0 3 4\n 10000 100 11.5 22.5 3 4\n 20000 2000 30.5 - 3 4\n\n\
             agents frameworks one event µs\n 1000 100 1.25\n 100000 100 1.75\n",
        )
        .unwrap();
    let taken = ["cycle_fresh_ms", "cycle_refused_ms", "cycle_large_ms", "event_small_us", "event_large_us"]
        .map(|name| figures.get(&format!("offer_{name}")).unwrap());
    assert_eq!(taken, [11.5, 22.5, 30.5, 1.25, 1.75]);
    assert!(Figures::default().offer_cycle("").is_err());
}
