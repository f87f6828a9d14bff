//! Durable launch intents. Before a launch is sent to the kernel, the store holds a record of which Pod goes to which
//! agent. Many launches share one record, a record is one write, and it is removed together with a later write. So an
//! intent costs a fraction of a write per Pod.
//!
//! After a crash the next scheduler reads the records. It asks the kernel about these Pods on these agents before it
//! launches any of them elsewhere. The journal is pure: it returns records to write, and loads records that were
//! read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The intents of one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentRecord {
    /// Later records have higher numbers.
    pub number: u64,
    /// The UIDs of the Pods that each agent was to receive.
    pub agents: BTreeMap<Arc<str>, Vec<Box<str>>>,
}

/// The newest intent of one Pod.
#[derive(Debug, Clone)]
struct Intent {
    record: u64,
    agent: Arc<str>,
}

/// All open intents and the records that contain them.
#[derive(Debug, Clone, Default)]
pub struct LaunchJournal {
    next: u64,
    of: BTreeMap<Box<str>, Intent>,
    /// The number of open intents in each record.
    open: BTreeMap<u64, usize>,
    /// Records without open intents, which may be removed.
    spent: BTreeSet<u64>,
    /// Records whose write is under way. A removal could overtake it, and the record would stay.
    writing: BTreeSet<u64>,
}

impl LaunchJournal {
    /// Creates a record for these launches. They may be sent once it is written.
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
        self.writing.insert(number);
        self.enter(&record);
        record
    }

    /// Clears all intents before they are read from the store. Record numbers are never reused, because a write in
    /// flight may still arrive.
    pub fn restart(&mut self) {
        let writing = std::mem::take(&mut self.writing);
        *self = LaunchJournal { next: self.next, writing, ..LaunchJournal::default() };
    }

    /// The write of a record is over. Whether or not it says so, the store may have the record.
    pub fn write_ended(&mut self, number: u64) {
        self.writing.remove(&number);
        if !self.open.contains_key(&number) {
            self.spent.insert(number);
        }
    }

    /// Loads a record of a previous scheduler.
    pub fn load(&mut self, record: &IntentRecord) {
        self.enter(record);
        self.next = self.next.max(record.number.saturating_add(1));
    }

    fn enter(&mut self, record: &IntentRecord) {
        let number = record.number;
        let mut held = 0;
        for (agent, pods) in &record.agents {
            for uid in pods {
                // A later intent means that this one had failed.
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

    /// The agent of a Pod's open intent.
    pub fn agent_of(&self, uid: &str) -> Option<&str> {
        self.of.get(uid).map(|intent| &*intent.agent)
    }

    /// Closes an intent: its Pod is bound, refused or deleted.
    pub fn clear_intent(&mut self, uid: &str) {
        if let Some(intent) = self.of.remove(uid) {
            self.release(intent.record);
        }
    }

    /// The UIDs of Pods with an open intent.
    pub fn pods(&self) -> impl Iterator<Item = &str> {
        self.of.keys().map(|uid| &**uid)
    }

    /// Closes the intents of all Pods for which `keep` returns false.
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

    /// Takes at most `max` records to remove with the next write.
    pub fn take_spent(&mut self, max: usize) -> Vec<u64> {
        let some: Vec<u64> = self.spent.difference(&self.writing).copied().take(max).collect();
        self.spent.retain(|number| !some.contains(number));
        some
    }

    /// Returns records whose removal failed.
    pub fn not_removed(&mut self, records: Vec<u64>) {
        self.spent.extend(records);
    }

    /// Whether any record can be removed.
    pub fn has_spent(&self) -> bool {
        !self.spent.is_subset(&self.writing)
    }
}

#[cfg(test)]
#[path = "launch_journal/tests.rs"]
mod tests;
