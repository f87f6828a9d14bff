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
fn the_allocators_largest_case_is_taken() {
    let mut figures = Figures::default();
    figures
        .offer_cycle(
            "agents frameworks fresh ms refused ms\n 1000 10 1.0 2.0 3 4\n 10000 100 11.5 22.5 3 4\n",
        )
        .unwrap();
    assert_eq!(figures.get("offer_cycle_fresh_ms"), Some(11.5));
    assert_eq!(figures.get("offer_cycle_refused_ms"), Some(22.5));
    assert!(Figures::default().offer_cycle("").is_err());
}
