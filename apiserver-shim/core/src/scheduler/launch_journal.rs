//! Launch intents that outlive the process. Before a launch leaves for the kernel, the store holds a record of it: which Pod
//! goes to which agent. Many launches share a record, a record is one write, and it is removed with a later one, so that an
//! intent costs a Pod a small part of a write.
//!
//! After a crash the next scheduler reads the records, and asks the kernel about just these Pods at just these agents,
//! before one of them is launched anywhere else. The journal is pure: what is to be written comes out as values, and goes
//! back in when it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The intents of one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentRecord {
    /// Later records have larger numbers.
    pub number: u64,
    /// The Pods (by UID) that each agent was to get.
    pub agents: BTreeMap<Arc<str>, Vec<Box<str>>>,
}

/// The newest intent for one Pod.
#[derive(Debug, Clone)]
struct Intent {
    record: u64,
    agent: Arc<str>,
}

/// All open intents, and the records that hold them.
#[derive(Debug, Clone, Default)]
pub struct LaunchJournal {
    next: u64,
    of: BTreeMap<Box<str>, Intent>,
    /// How many open intents each record holds.
    open: BTreeMap<u64, usize>,
    /// Records without an open intent, which may be removed.
    spent: BTreeSet<u64>,
}

impl LaunchJournal {
    /// A record for these launches. They may leave once it is written.
    pub fn record_intent<'a>(
        &mut self,
        launches: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> IntentRecord {
        let number = self.next;
        self.next += 1;
        let mut agents: BTreeMap<Arc<str>, Vec<Box<str>>> = BTreeMap::new();
        for (uid, agent) in launches {
            match agents.get_mut(agent) {
                Some(pods) => pods.push(uid.into()),
                None => drop(agents.insert(agent.into(), vec![uid.into()])),
            }
        }
        let record = IntentRecord { number, agents };
        self.enter(&record);
        record
    }

    /// Forgets all intents, to read them from the store. No number is used again: a write that is under way may still
    /// arrive.
    pub fn restart(&mut self) {
        *self = LaunchJournal { next: self.next, ..LaunchJournal::default() };
    }

    /// Takes in a record that the store holds, of an earlier scheduler.
    pub fn load(&mut self, record: &IntentRecord) {
        self.enter(record);
        self.next = self.next.max(record.number.saturating_add(1));
    }

    fn enter(&mut self, record: &IntentRecord) {
        let number = record.number;
        let mut held = 0;
        for (agent, pods) in &record.agents {
            for uid in pods {
                // A later intent was recorded only when this one had come to nothing.
                if self.of.get(uid).is_some_and(|known| known.record >= number) {
                    continue;
                }
                held += 1;
                let intent = Intent { record: number, agent: agent.clone() };
                if let Some(older) = self.of.insert(uid.clone(), intent) {
                    self.release(older.record);
                }
            }
        }
        if held > 0 {
            *self.open.entry(number).or_default() += held;
        } else if !self.open.contains_key(&number) {
            self.spent.insert(number);
        }
    }

    /// The agent that a Pod is to go to.
    pub fn agent_of(&self, uid: &str) -> Option<&str> {
        self.of.get(uid).map(|intent| &*intent.agent)
    }

    /// An intent is over: its Pod is bound, refused, or gone.
    pub fn clear_intent(&mut self, uid: &str) {
        if let Some(intent) = self.of.remove(uid) {
            self.release(intent.record);
        }
    }

    /// The Pods (by UID) with an open intent.
    pub fn pods(&self) -> impl Iterator<Item = &str> {
        self.of.keys().map(|uid| &**uid)
    }

    /// Clears the intents of all Pods but those for which `keep` holds.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let over: Vec<Box<str>> = self.of.keys().filter(|uid| !keep(uid)).cloned().collect();
        over.iter().for_each(|uid| self.clear_intent(uid));
    }

    fn release(&mut self, record: u64) {
        let Some(left) = self.open.get_mut(&record) else { return };
        *left -= 1;
        if *left == 0 {
            self.open.remove(&record);
            self.spent.insert(record);
        }
    }

    /// Records to remove: at most `max`, with the next write.
    pub fn take_spent(&mut self, max: usize) -> Vec<u64> {
        let some: Vec<u64> = self.spent.iter().copied().take(max).collect();
        self.spent.retain(|number| !some.contains(number));
        some
    }

    /// The removal of these was not written.
    pub fn not_removed(&mut self, records: Vec<u64>) {
        self.spent.extend(records);
    }

    /// Whether a record could be removed.
    pub fn has_spent(&self) -> bool {
        !self.spent.is_empty()
    }
}

#[cfg(test)]
#[path = "launch_journal/tests.rs"]
mod tests;
