//! The API server's auditor over a play: what the store says of Pods against what really runs on the machines, which is
//! more than the scheduler or the master may know.

use std::{collections::BTreeMap, time::Duration};

use shim_core::{
    audit::{Invariant, Note, State, audit},
    scheduler::Amounts,
};

use crate::world::World;

/// What every machine has, as `node::RESOURCES` has it for the kernel.
const TOTAL: Amounts =
    Amounts { cpu_milli: 4000, memory: 1024 << 20, ephemeral: i64::MAX, others: Vec::new() };
/// How long objects and tasks may disagree: a crash, the restart of a master, and an agent that stays away until it is
/// unreachable.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(400);
/// The same if others fill the cluster: a Pod that a client has bound waits for room on that machine.
const SETTLE_TIMEOUT_FULL: Duration = Duration::from_secs(1200);

impl World {
    /// Asks about the Pods of one framework.
    pub(crate) fn audit_api_server(&mut self, index: usize) {
        let now = self.now;
        let api = &self.frameworks[index].scheduler.api;
        let names: Vec<String> = self.nodes.iter().map(|node| format!("node{}", node.index)).collect();
        let running = |(node, name)| {
            let node: &crate::node::Node = node;
            let name: &String = name;
            let alive = node.pods.iter().filter(|(_, pod)| pod.outcome.is_none());
            alive.map(move |(id, _)| (id.as_str(), name.as_str()))
        };
        let state = State {
            pods: api.rows().collect(),
            nodes: api.node_rows().collect(),
            tasks: self.nodes.iter().zip(&names).flat_map(running).collect(),
            totals: names.iter().map(|name| (name.as_str(), TOTAL)).collect::<BTreeMap<_, _>>(),
        };
        let notes = audit(&state);
        let timeout = if self.variety.preemption { SETTLE_TIMEOUT_FULL } else { SETTLE_TIMEOUT };
        let standing = &mut self.frameworks[index].scheduler.standing;
        standing.retain(|note, _| notes.contains(note));
        for note in &notes {
            standing.entry(note.clone()).or_insert(now);
        }
        let broken: Vec<Note> = standing
            .iter()
            .filter(|(note, since)| !may_pass(note) || now.since(**since) > timeout)
            .map(|(note, _)| note.clone())
            .collect();
        broken.into_iter().for_each(|note| self.fail(note.to_string()));
    }
}

/// Whether a note compares objects with tasks, which are never of the same moment.
fn may_pass(note: &Note) -> bool {
    matches!(note.invariant, Invariant::NoOrphanTask | Invariant::TaskWhereBound)
}
