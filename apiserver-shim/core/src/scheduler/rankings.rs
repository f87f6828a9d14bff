//! What classes of Pods have found of the machines, kept from cycle to cycle: a load of Pods comes in many cycles, and in
//! between only those machines change that Pods came to or went from.
//!
//! Whatever changes of a machine, what runs there or what is offered of it is noted in one log. A class knows up to where it
//! has read; an entry of its heap counts as long as its machine has not changed since.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use super::{Amounts, PendingPod, PodShape, Report};

/// Classes kept at most: a ranking takes some 50 bytes a machine.
const KEPT_MAX: usize = 32;

/// The rankings of classes, and what has changed since they were made.
#[derive(Debug, Default)]
pub struct Rankings {
    classes: BTreeMap<ClassKey, Ranking>,
    changes: ChangeLog,
    /// How many machines there were in the last cycle.
    machines: usize,
}

impl Rankings {
    /// A machine, what runs there, or what is offered of it is not what it was in the last cycle.
    pub fn changed(&mut self, machine: usize) {
        // Who has ranked nothing yet looks at everything.
        if !self.classes.is_empty() {
            self.changes.note(machine);
            if self.changes.len() > 2 * self.machines {
                self.trim();
            }
        }
    }

    /// Everything may have changed; machines may have other numbers.
    pub fn clear(&mut self) {
        *self = Rankings::default();
    }

    pub(super) fn begin_cycle(&mut self, machines: usize) {
        self.machines = machines;
        for class in self.classes.values_mut() {
            class.report = None;
            class.placed.clear();
        }
    }

    pub(super) fn parts(&mut self) -> (&mut BTreeMap<ClassKey, Ranking>, &mut ChangeLog) {
        (&mut self.classes, &mut self.changes)
    }

    pub(super) fn end_cycle(&mut self) {
        self.classes.retain(|class, _| class.bound_to.is_none());
        if self.classes.len() > KEPT_MAX {
            self.classes.clear();
        }
        self.trim();
    }

    /// Drops the rankings that would be made anew if they were asked for, and the changes that nobody reads any more.
    fn trim(&mut self) {
        let end = self.changes.end();
        self.classes.retain(|_, class| end - class.seen <= self.machines);
        let read = self.classes.values().map(|class| class.seen).min();
        self.changes.forget_before(read.unwrap_or(end));
    }
}

/// Pods that can stand for each other. Shapes are shared, so that their address tells them apart (the class holds on to its
/// shape); two shapes that are equal but not shared merely make two classes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassKey {
    shape: usize,
    role: Arc<str>,
    owner: Option<Arc<str>>,
    bound_to: Option<Box<str>>,
}

impl ClassKey {
    pub fn of(pod: &PendingPod) -> Self {
        ClassKey {
            shape: Arc::as_ptr(&pod.shape).addr(),
            role: pod.role.clone(),
            owner: pod.owner.clone(),
            bound_to: pod.bound_to.clone(),
        }
    }
}

/// The machines as one class sees them.
#[derive(Debug)]
pub(super) struct Ranking {
    /// Held so that no other shape has its address.
    _shape: Arc<PodShape>,
    pub charge: Amounts,
    pub candidates: BinaryHeap<Candidate>,
    /// How many changes it has seen.
    pub seen: usize,
    /// Why its Pods wait in this cycle.
    pub report: Option<Arc<Report>>,
    /// How many of its Pods this cycle has put on machines.
    pub placed: BTreeMap<usize, u32>,
}

impl Ranking {
    pub fn of(pod: &PendingPod) -> Self {
        Ranking {
            _shape: pod.shape.clone(),
            charge: pod.shape.charge(),
            candidates: BinaryHeap::new(),
            seen: 0,
            report: None,
            placed: BTreeMap::new(),
        }
    }
}

/// A machine as one class sees it; the largest is the best.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub fewest_untolerated: Reverse<u32>,
    pub fewest_same_owner: Reverse<u32>,
    pub free_share: i64,
    pub first: Reverse<usize>,
    /// The machine's last change that the score knows of.
    pub as_of: usize,
}

/// NodeInfos that have changed, in the order in which they did. Changes are counted from 1.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    machines: Vec<usize>,
    /// How many changes there were before these.
    forgotten: usize,
    /// By machine: its last change, 0 for none.
    last_of: Vec<usize>,
}

impl ChangeLog {
    pub fn note(&mut self, machine: usize) {
        self.machines.push(machine);
        if self.last_of.len() <= machine {
            self.last_of.resize(machine + 1, 0);
        }
        self.last_of[machine] = self.end();
    }

    /// How many changes there have been.
    pub fn end(&self) -> usize {
        self.forgotten + self.machines.len()
    }

    pub fn last_of(&self, machine: usize) -> usize {
        self.last_of.get(machine).copied().unwrap_or(0)
    }

    /// The machines that have changed after the first `seen` changes, each once.
    pub fn since(&self, seen: usize) -> impl Iterator<Item = usize> {
        let unseen = self.machines[seen - self.forgotten..].iter().zip(seen + 1..);
        unseen.filter(|(machine, change)| self.last_of(**machine) == *change).map(|(machine, _)| *machine)
    }

    fn len(&self) -> usize {
        self.machines.len()
    }

    fn forget_before(&mut self, seen: usize) {
        self.machines.drain(..seen - self.forgotten);
        self.forgotten = seen;
    }
}
