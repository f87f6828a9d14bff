//! A thousand seeds, each sound; a seed replays; and seeds that once failed, by what they showed.

use sim::{Options, run};

/// Plays a range of seeds on a few threads; every failure names its seed: `cargo xtask sim SEED` shows it.
fn failures(seeds: std::ops::Range<u64>, options: &Options) -> Vec<String> {
    const THREADS: u64 = 2;
    let play = |seed: u64| {
        let report = run(seed, options);
        report.failures.into_iter().map(move |failure| format!("seed {seed}: {failure}"))
    };
    std::thread::scope(|scope| {
        let part = |offset| {
            let mine = seeds.clone().skip(offset as usize).step_by(THREADS as usize);
            scope.spawn(move || mine.flat_map(play).collect::<Vec<String>>())
        };
        let parts: Vec<_> = (0..THREADS).map(part).collect();
        parts.into_iter().flat_map(|thread| thread.join().expect("no seed panics")).collect()
    })
}

#[test]
fn a_thousand_seeds() {
    let failures = failures(0..1000, &Options::default());
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_seed_replays() {
    for seed in [3, 1_000_003] {
        let quiet = run(seed, &Options::default());
        let loud = run(seed, &Options { log: true, ..Options::default() });
        assert_eq!((quiet.hash, quiet.events), (loud.hash, loud.events));
        assert!(!loud.log.is_empty());
    }
    assert_ne!(run(1, &Options::default()).hash, run(2, &Options::default()).hash);
}

/// A machine whose agent lost its id registers anew while its earlier self is unreachable.
#[test]
fn seed_1893_wiped_while_unreachable() {
    assert_eq!(run(1893, &Options::default()).failures, [""; 0]);
}

/// A lost launch is told twice, the second time when the same pod has been launched again.
#[test]
fn seed_1637_told_twice() {
    assert_eq!(run(1637, &Options::default()).failures, [""; 0]);
}

/// An agent returns with a status of a Pod that runs elsewhere by now.
#[test]
fn seed_1238_status_of_an_earlier_intent() {
    assert_eq!(run(1238, &Options::default()).failures, [""; 0]);
}

/// Master and API server stop after an ACCEPT, and the machine that has the task stays away.
#[test]
fn seed_520_blackout_before_the_binding() {
    assert_eq!(run(520, &Options::default()).failures, [""; 0]);
}

/// A launch intent that its writer reads again.
#[test]
fn seed_2408_intents_read_twice() {
    assert_eq!(run(2408, &Options::default()).failures, [""; 0]);
}

/// A client binds a pod to another node while the agent that took its launch is away.
#[test]
fn seed_402_bound_elsewhere_while_its_agent_is_away() {
    assert_eq!(run(402, &Options::default()).failures, [""; 0]);
}
