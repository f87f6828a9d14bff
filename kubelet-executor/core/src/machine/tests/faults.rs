//! The state machine under random faults.

use proptest::prelude::*;

use super::*;

/// Ephemeral containers that are added at most.
const EPHEMERAL_MAX: usize = 3;

/// What may happen between two steps.
#[derive(Debug, Clone)]
enum Fault {
    Perform(usize),
    List,
    Pass(u64),
    Exit(usize, i32),
    Restart,
    Reboot,
    Kill(u64),
    Debug,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        8 => any::<usize>().prop_map(Fault::Perform),
        6 => Just(Fault::List),
        3 => (0_u64..400).prop_map(Fault::Pass),
        3 => (any::<usize>(), 0_i32..3).prop_map(|(which, code)| Fault::Exit(which, code)),
        2 => Just(Fault::Restart),
        1 => Just(Fault::Reboot),
        1 => (0_u64..40).prop_map(Fault::Kill),
        1 => Just(Fault::Debug),
    ]
}

/// A Pod with each kind of container, one of which can restart all of them.
fn rules(policy: &str) -> Harness {
    Harness::new(json!({
        "restartPolicy": policy,
        "initContainers": [{ "name": "i", "image": "i" }, { "name": "s", "image": "i", "restartPolicy": "Always" }],
        "containers": [
            { "name": "a", "image": "w" },
            { "name": "b", "image": "w", "restartPolicy": policy, "restartPolicyRules": [
                { "action": "RestartAllContainers", "exitCodes": { "operator": "In", "values": [2] } },
            ] },
        ]
    }))
}

/// Runs the faults, then kills the Pod, and expects that it ends and leaves nothing.
fn run(mut harness: Harness, faults: Vec<Fault>) -> Result<(), TestCaseError> {
    let mut added = 0;
    for fault in faults {
        match fault {
            Fault::Perform(n) if !harness.pending.is_empty() => harness.perform(n % harness.pending.len()),
            Fault::Perform(_) => {}
            Fault::Restart => {
                // A Pod whose end was persisted is not handed to a state machine again.
                if harness.final_statuses.is_empty() {
                    harness.restart_executor();
                }
            }
            Fault::List => {
                harness.now = after(harness.now, Duration::from_millis(1));
                harness.list();
            }
            Fault::Pass(s) => {
                harness.advance_clock(s);
                harness.send(Event::Tick);
            }
            Fault::Exit(n, code) => {
                let names: Vec<String> = harness.containers.values().map(|c| c.name.clone()).collect();
                if !names.is_empty() {
                    harness.exit(&names[n % names.len()], code);
                }
            }
            Fault::Reboot => {
                for sandbox in harness.sandboxes.values_mut() {
                    sandbox.ready = false;
                }
                let ids: Vec<String> = harness.containers.keys().cloned().collect();
                for id in ids {
                    harness.end_instance(&id, 255);
                }
            }
            Fault::Debug if added < EPHEMERAL_MAX => {
                harness.add_ephemeral(json!({ "name": format!("e{added}"), "image": "i" }));
                added += 1;
            }
            Fault::Debug => {}
            Fault::Kill(grace) => harness.send(Event::Kill { grace: Duration::from_secs(grace) }),
        }
    }
    harness.send(Event::Kill { grace: Duration::ZERO });
    for _ in 0..50 {
        harness.advance_clock(1);
        harness.list();
        while !harness.pending.is_empty() {
            harness.perform(0);
        }
    }
    prop_assert!(harness.machine.outcome().is_some());
    prop_assert!(harness.sandboxes.is_empty() && harness.containers.is_empty());
    prop_assert_eq!(harness.final_statuses.len(), 1);
    for ephemeral in 0..added {
        let name = format!("e{ephemeral}");
        let starts = harness.starts.iter().filter(|(started, _)| *started == name).count();
        prop_assert!(starts <= 1, "{} was started {} times", name, starts);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Under any sequence of faults: at most one instance of a container runs at a time (the audit in `send`), no
    /// attempt writes to the log of another (`Harness::start`), a Pod that is killed ends and leaves nothing, and no
    /// ephemeral container is started twice.
    #[test]
    fn any_fault_sequence_ends_cleanly(faults in proptest::collection::vec(fault(), 0..120), policy in 0..3_usize) {
        let policy = ["Always", "OnFailure", "Never"][policy];
        run(rules(policy), faults)?;
    }
}

/// Found by `any_fault_sequence_ends_cleanly`.
#[test]
fn attempts_go_on_after_a_restart_between_removal_and_start() {
    use Fault::{Exit, List, Perform, Restart};
    let faults = vec![
        List,
        Perform(0),
        Perform(0),
        Exit(0, 0),
        List,
        Perform(0),
        Perform(14_851_853_533_404_531_359),
        Exit(10_789_680_163_425_127_983, 2),
        Perform(0),
        List,
        Perform(0),
        Perform(0),
        List,
        Perform(5_090_941_586_931_931_297),
        Restart,
        List,
        Perform(0),
    ];
    run(rules("Always"), faults).unwrap();
}

/// The instances are gone when the executor restarts, and their logs are not: the count goes on.
#[test]
fn attempts_go_on_after_all_containers_were_removed() {
    let mut harness = rules("Always");
    harness.settle();
    harness.exit("i", 0);
    harness.settle();
    let counts = |harness: &Harness| {
        let status = harness.machine.status();
        let main = status
            .container_statuses
            .into_iter()
            .flatten()
            .chain(status.init_container_statuses.into_iter().flatten());
        main.map(|status| (status.name, status.restart_count)).collect::<BTreeMap<_, _>>()
    };
    harness.exit("b", 2);
    // Stops what runs, then removes everything.
    harness.list();
    while !matches!(harness.pending.first(), None | Some(Action::StartContainer { .. })) {
        harness.perform(0);
        if harness.pending.is_empty() {
            harness.list();
        }
    }
    assert!(harness.containers.is_empty(), "{:?}", harness.containers);
    harness.restart_executor();
    harness.settle();
    harness.exit("i", 0);
    harness.settle();
    let once = ["a", "b", "i", "s"].map(|name| (name.to_owned(), 1));
    assert_eq!(counts(&harness), BTreeMap::from(once));
}
