//! The machine under random strokes of fate.

use proptest::prelude::*;

use super::*;

/// What fate may do between two steps.
#[derive(Debug, Clone)]
enum Fate {
    Perform(usize),
    Look,
    Pass(u64),
    Exit(usize, i32),
    Restart,
    Reboot,
    Kill(u64),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => any::<usize>().prop_map(Fate::Perform),
        6 => Just(Fate::Look),
        3 => (0_u64..400).prop_map(Fate::Pass),
        3 => (any::<usize>(), 0_i32..3).prop_map(|(which, code)| Fate::Exit(which, code)),
        2 => Just(Fate::Restart),
        1 => Just(Fate::Reboot),
        1 => (0_u64..40).prop_map(Fate::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens in whatever order: never two instances of a container at once (the audit in `send`), no attempt
    /// used twice in a sandbox, and a Pod that is killed in the end always ends, leaving nothing.
    #[test]
    fn any_fate_ends_well(fates in proptest::collection::vec(fate(), 0..120), policy in 0..3_usize) {
        let policy = ["Always", "OnFailure", "Never"][policy];
        let mut world = World::new(json!({
            "restartPolicy": policy,
            "initContainers": [{ "name": "i", "image": "i" }, { "name": "s", "image": "i", "restartPolicy": "Always" }],
            "containers": [{ "name": "a", "image": "w" }, { "name": "b", "image": "w" }]
        }));
        for fate in fates {
            match fate {
                Fate::Perform(n) if !world.pending.is_empty() => world.perform(n % world.pending.len()),
                Fate::Perform(_) => {}
                Fate::Restart => {
                    // A pod whose end was persisted is not handed to a machine again.
                    if world.finals.is_empty() {
                        world.restart_executor();
                    }
                }
                Fate::Look => { world.now = after(world.now, Duration::from_millis(1)); world.look(); }
                Fate::Pass(s) => { world.pass(s); world.send(Event::Tick); }
                Fate::Exit(n, code) => {
                    let names: Vec<String> = world.containers.values().map(|c| c.name.clone()).collect();
                    if !names.is_empty() {
                        world.exit(&names[n % names.len()], code);
                    }
                }
                Fate::Reboot => {
                    for sandbox in world.sandboxes.values_mut() { sandbox.ready = false; }
                    let ids: Vec<String> = world.containers.keys().cloned().collect();
                    for id in ids { world.end_instance(&id, 255); }
                }
                Fate::Kill(grace) => world.send(Event::Kill { grace: Duration::from_secs(grace) }),
            }
        }
        world.send(Event::Kill { grace: Duration::ZERO });
        for _ in 0..50 {
            world.pass(1);
            world.look();
            while !world.pending.is_empty() {
                world.perform(0);
            }
        }
        prop_assert!(world.machine.outcome().is_some());
        prop_assert!(world.sandboxes.is_empty() && world.containers.is_empty());
        prop_assert_eq!(world.finals.len(), 1);
        // Attempts are forgotten with the sandbox that held them, and only with it.
        let mut unique = world.ran.clone();
        unique.sort();
        unique.dedup();
        prop_assert_eq!(unique.len(), world.ran.len());
    }
}
