//! A thousand seeds, each sound; and a seed replays.

use sim::{Options, run};

#[test]
fn a_thousand_seeds() {
    let failures: Vec<String> = (0..1000)
        .flat_map(|seed| {
            let report = run(seed, &Options::default());
            report.failures.into_iter().map(move |failure| format!("seed {seed}: {failure}"))
        })
        .collect();
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
