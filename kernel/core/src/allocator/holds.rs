//! Held resources: what is free on an agent, or becomes free there, is kept for one role for a while. Others are offered what is
//! beyond it. So what a preemption frees reaches the role for which it was freed.

use std::sync::Arc;

use kernel_model::{resources::Resources, roles::Role, time::Time};

use super::{AgentRow, AgentSlot, Allocator};

/// Resources of an agent that only one role may be offered.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Hold {
    /// Identifies the hold on its agent; a newer one with the same id replaces it.
    pub id: Arc<str>,
    pub role: Role,
    /// Unreserved resources without allocation roles.
    pub resources: Resources,
    pub until: Time,
}

impl AgentRow {
    /// What is held for other roles than this one and those above it.
    pub(super) fn held_for_others(&self, role: &Role) -> Option<Resources> {
        let mut held: Option<Resources> = None;
        for hold in self.holds.iter().filter(|hold| !role.is_within(&hold.role)) {
            *held.get_or_insert_default() += &hold.resources;
        }
        held
    }
}

impl Allocator {
    /// Adds or replaces a hold.
    pub fn hold(&mut self, agent: AgentSlot, hold: Hold) {
        let Some(row) = self.agents.get_mut(agent.0 as usize) else { return };
        row.holds.retain(|known| known.id != hold.id);
        self.expiries.entry(hold.until).or_default().insert(agent.0);
        row.holds.push(hold);
        self.holds_changed(agent);
    }

    /// Ends a hold. Returns whether there was one.
    pub fn release_hold(&mut self, agent: AgentSlot, id: &str) -> bool {
        let Some(row) = self.agents.get_mut(agent.0 as usize) else { return false };
        let before = row.holds.len();
        row.holds.retain(|known| &*known.id != id);
        let ended = row.holds.len() < before;
        if ended {
            self.holds_changed(agent);
        }
        ended
    }

    /// The holds on an agent.
    pub fn holds(&self, agent: AgentSlot) -> &[Hold] {
        self.agents.get(agent.0 as usize).map_or(&[], |row| &row.holds)
    }

    /// Ends the holds on an agent whose time is over. Returns whether there were any.
    pub(super) fn expire_holds(&mut self, agent: AgentSlot, now: Time) -> bool {
        let Some(row) = self.agents.get_mut(agent.0 as usize) else { return false };
        let before = row.holds.len();
        row.holds.retain(|hold| hold.until > now);
        row.holds.len() < before
    }

    fn holds_changed(&mut self, agent: AgentSlot) {
        self.version += 1;
        if let Some(row) = self.agents.get_mut(agent.0 as usize) {
            // Cached results of filters are of another offer.
            row.version = self.version;
        }
        self.candidates.insert(agent.0);
    }
}
