//! A scheduler that crashes at any point, against a durable store and kernel.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Happening {
    /// Launch these Pods on an agent; `how_far` says at which point the scheduler crashes, if it does.
    Launch {
        pods: Vec<u8>,
        agent: u8,
        reaches: Reach,
    },
    /// Write a binding.
    Bind(u8),
    /// The kernel answers that it does not have the task.
    Answer(u8),
    /// Remove unused records; the store may fail.
    Remove(bool),
    Crash,
    /// Subscribe again without a crash.
    Subscribe {
        anew: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reach {
    /// Crash before the record is written.
    Nothing,
    /// Crash before the kernel receives the launch.
    Store,
    /// Crash after the kernel received the launch.
    Kernel,
    /// No crash; the kernel refuses.
    Refused,
    /// No crash; the kernel accepts.
    CallOutcome,
}

fn happening() -> impl Strategy<Value = Happening> {
    let reach = prop_oneof![
        Just(Reach::Nothing),
        Just(Reach::Store),
        Just(Reach::Kernel),
        Just(Reach::Refused),
        Just(Reach::CallOutcome),
        Just(Reach::CallOutcome),
    ];
    prop_oneof![
        4 => (proptest::collection::vec(0u8..8, 1..4), 0u8..3, reach)
            .prop_map(|(pods, agent, reaches)| Happening::Launch { pods, agent, reaches }),
        4 => (0u8..8).prop_map(Happening::Bind),
        2 => (0u8..8).prop_map(Happening::Answer),
        2 => any::<bool>().prop_map(Happening::Remove),
        1 => Just(Happening::Crash),
        1 => any::<bool>().prop_map(|anew| Happening::Subscribe { anew }),
    ]
}

#[derive(Default)]
struct World {
    book: LaunchJournal,
    /// The records in the store.
    records: BTreeMap<u64, IntentRecord>,
    bound: Vec<String>,
    /// The tasks of the kernel: Pod and agent.
    tasks: BTreeMap<String, String>,
}

impl World {
    fn crash(&mut self) {
        self.book = LaunchJournal::default();
        self.read();
    }

    fn read(&mut self) {
        self.records.values().for_each(|record| self.book.load(record));
        self.book.retain(|uid| !self.bound.iter().any(|b| b == uid));
    }

    fn happen(&mut self, what: &Happening) {
        match what {
            Happening::Launch { pods, agent, reaches } => {
                self.launch(pods, &format!("agent{agent}"), *reaches)
            }
            Happening::Bind(n) => {
                let uid = n.to_string();
                if self.tasks.contains_key(&uid) && !self.bound.contains(&uid) {
                    self.bound.push(uid.clone());
                    self.book.clear_intent(&uid);
                }
            }
            Happening::Answer(n) => {
                let uid = n.to_string();
                if !self.tasks.contains_key(&uid) {
                    self.book.clear_intent(&uid);
                }
            }
            Happening::Remove(written) => {
                let spent = self.book.take_spent(2);
                if *written {
                    spent.iter().for_each(|number| drop(self.records.remove(number)));
                } else {
                    self.book.not_removed(spent);
                }
            }
            Happening::Crash => self.crash(),
            Happening::Subscribe { anew } => {
                if *anew {
                    self.book.restart();
                }
                self.read();
            }
        }
    }

    fn launch(&mut self, pods: &[u8], agent: &str, reaches: Reach) {
        let mut free: Vec<String> = pods.iter().map(u8::to_string).collect();
        free.sort();
        free.dedup();
        free.retain(|uid| self.book.agent_of(uid).is_none() && !self.bound.contains(uid));
        let record = self.book.record_intent(free.iter().map(|uid| (uid.as_str(), agent)));
        if reaches != Reach::Nothing {
            self.book.write_ended(record.number);
            assert!(self.records.insert(record.number, record).is_none(), "a number is used once");
        }
        if matches!(reaches, Reach::Kernel | Reach::CallOutcome) {
            for uid in &free {
                let other = self.tasks.insert(uid.clone(), agent.to_owned());
                assert_eq!(other, None, "{uid} is launched twice");
            }
        }
        match reaches {
            Reach::Refused => free.iter().for_each(|uid| self.book.clear_intent(uid)),
            Reach::CallOutcome => {}
            Reach::Nothing | Reach::Store | Reach::Kernel => self.crash(),
        }
    }
}

#[test]
fn a_record_is_not_removed_while_it_is_written() {
    let mut book = LaunchJournal::default();
    let record = book.record_intent([("uid", "agent")]);
    book.clear_intent("uid");
    assert!(!book.has_spent());
    // The record is written after a new subscription has read the store.
    book.restart();
    assert_eq!(book.take_spent(9), [0; 0]);
    book.write_ended(record.number);
    assert_eq!((book.take_spent(9), book.has_spent()), (vec![record.number], false));
}

proptest! {
    /// Wherever it crashes: a Pod that the kernel has and the store does not show as bound has an intent with its
    /// agent, so it is not launched elsewhere. When everything is bound, no record is left.
    #[test]
    fn no_launch_is_lost(happenings in proptest::collection::vec(happening(), 0..80)) {
        let mut world = World::default();
        for what in &happenings {
            world.happen(what);
            for (uid, agent) in &world.tasks {
                if !world.bound.contains(uid) {
                    prop_assert_eq!(world.book.agent_of(uid), Some(agent.as_str()), "{}", uid);
                }
            }
        }
        for n in 0..8 {
            world.happen(&Happening::Bind(n));
            world.happen(&Happening::Answer(n));
        }
        while world.book.has_spent() {
            world.happen(&Happening::Remove(true));
        }
        prop_assert!(world.records.is_empty(), "{:?}", world.records);
    }
}
