//! `sim replay SEED` prints the event log of one seed. `sim run FIRST COUNT` runs many, and prints those that fail and the
//! first seed of each rare situation.

use std::{collections::BTreeMap, process::ExitCode, time::Instant};

use sim::{Options, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u64> = arguments.iter().skip(1).filter_map(|text| text.parse().ok()).collect();
    match (arguments.first().map(String::as_str), numbers.as_slice()) {
        (Some("replay"), [seed]) => replay(*seed),
        (Some("run"), [first, count]) => many(*first, *count),
        _ => {
            eprintln!("usage: sim replay SEED | sim run FIRST COUNT");
            ExitCode::from(2)
        }
    }
}

fn replay(seed: u64) -> ExitCode {
    let report = run(seed, &Options { log: true, ..Options::default() });
    print!("{}", report.log);
    for (situation, count) in report.situations.iter() {
        println!("{situation:?}: {count}");
    }
    println!(
        "seed {seed}: {} events, {} faults, {:.1?} of virtual time, hash {:016x}",
        report.events, report.faults, report.elapsed, report.hash
    );
    conclude(report.failures.is_empty())
}

fn many(first: u64, count: u64) -> ExitCode {
    let begin = Instant::now();
    let (mut failed, mut events, mut faults) = (0, 0, 0);
    let mut situations = BTreeMap::new();
    for seed in first..first.saturating_add(count) {
        let report = run(seed, &Options::default());
        events += report.events;
        faults += report.faults;
        for (situation, _) in report.situations.iter() {
            situations.entry(situation).or_insert((seed, 0)).1 += 1;
        }
        if !report.failures.is_empty() {
            failed += 1;
            println!("seed {seed}: {}", report.failures.join("; "));
        }
    }
    for (situation, (seed, count)) in situations {
        println!("{situation:?}: {count} seeds, the first is {seed}");
    }
    println!("{count} seeds, {failed} failed; {events} events, {faults} faults in {:.1?}", begin.elapsed());
    conclude(failed == 0)
}

fn conclude(sound: bool) -> ExitCode {
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
