//! A thousand seeds without failures, replay of a seed, and seeds that show a rare situation.

use sim::{Options, Situation, run};

/// Runs a range of seeds on two threads. Every failure names its seed; `cargo xtask sim SEED` replays it.
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

/// Asserts that a seed has no failure and shows the situation in which a defect was found once. If the simulator draws other
/// numbers, another seed must be found (`sim run` prints the first of each situation).
/// One situation that no seed of the first thousands shows is a script:
/// `an_agent_without_id_replaces_the_one_at_its_address` (master).
#[track_caller]
fn shows(seed: u64, situation: Situation) {
    let report = run(seed, &Options::default());
    assert_eq!(report.failures, [""; 0]);
    assert!(report.situations.of(situation) > 0, "seed {seed} does not get into {situation:?}");
}

#[test]
fn seed_144_blackout_before_the_binding() {
    shows(144, Situation::BlackoutBeforeBinding);
}

#[test]
fn seed_7_intents_read_by_their_writer() {
    shows(7, Situation::IntentReadByItsWriter);
}

/// An agent that is being stopped refuses a launch, does not hear that its update is acknowledged, and repeats it.
#[test]
fn seed_3247_the_loss_of_an_earlier_launch() {
    shows(3247, Situation::LossOfEarlierLaunch);
}

#[test]
fn seed_3247_a_status_from_elsewhere() {
    shows(3247, Situation::StatusFromElsewhere);
}

#[test]
fn seed_9115_bound_elsewhere_while_its_agent_is_away() {
    shows(9115, Situation::BoundElsewhereWhileAgentIsAway);
}

/// The defect of commit a84895e: 61 of 500 Pods stayed Pending, since the write of the start overtook that of the next
/// status. Without the order of writes this seed fails.
#[test]
fn seed_132_an_older_status_after_a_newer_one() {
    shows(132, Situation::RunningBeforeStartIsStored);
}

#[test]
fn seed_6_a_task_ends_for_a_guarantee_and_a_driver_loses_its_master() {
    shows(6, Situation::TaskPreempted);
    shows(6, Situation::LostByDriver);
    shows(6, Situation::QuotaSet);
}

#[test]
fn seed_141_a_volume_is_used_again() {
    shows(141, Situation::VolumeUsedAgain);
}

#[test]
fn seed_2_an_agent_is_drained() {
    shows(2, Situation::AgentDrained);
}

/// Seeds that have found defects: an executor that exited while its agent registered (3709, 4625), a lost kill of a task without
/// Pod (5704), a binding over that of a client (943), a guarantee beside free parts (665), a reservation of what a disconnected agent
/// may still run (5497).
#[test]
fn seeds_that_have_found_defects() {
    for seed in [3709, 4521, 4625, 5704, 943, 665, 5497] {
        assert_eq!(run(seed, &Options::default()).failures, [""; 0], "seed {seed}");
    }
}
