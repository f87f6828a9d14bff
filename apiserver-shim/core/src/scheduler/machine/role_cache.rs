//! Roles, one per namespace. A role without pending Pods is suppressed; a pending Pod revives it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kernel_model::{offer::Filters, roles::Role, scheduler::Call, time::Time, wait::WaitNote};

use super::SchedulerMachine;
use super::framework::framework_info;

/// How long offers are kept after the last pending Pod. Pods arrive in bursts, and reviving the role for each would
/// cost an allocation cycle. The delay is short compared to any offer timeout.
const LINGER: Duration = Duration::from_millis(250);

/// How often the kernel is asked about a role: as often as a Pod without an offer is tried again at first.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The state of one role.
#[derive(Debug)]
struct Entry {
    role: Role,
    namespaces: usize,
    /// Whether the kernel sends offers to it.
    revived: bool,
    /// When the last pending Pod left.
    idle_since: Option<Time>,
    /// When the kernel was last asked why there are no offers.
    asked_at: Option<Time>,
    /// What it said.
    notes: Vec<WaitNote>,
}

/// All roles.
#[derive(Debug, Default)]
pub(super) struct RoleCache {
    by_namespace: BTreeMap<Box<str>, Arc<str>>,
    roles: BTreeMap<Arc<str>, Entry>,
    /// Whether the kernel has to be sent the present set of roles.
    changed: bool,
}

impl RoleCache {
    /// All roles, for SUBSCRIBE.
    pub fn all(&self) -> Vec<Role> {
        self.roles.values().map(|e| e.role.clone()).collect()
    }

    /// Whether any role keeps its offers without pending Pods.
    pub fn is_lingering(&self) -> bool {
        self.roles.values().any(|entry| entry.idle_since.is_some())
    }

    /// The role of a namespace.
    pub fn of(&self, namespace: &str) -> Arc<str> {
        self.by_namespace.get(namespace).cloned().unwrap_or_else(|| default_role(namespace).as_str().into())
    }

    /// Handles a new subscription with these roles, all suppressed.
    pub fn subscribed(&mut self, roles: &[Role]) {
        self.changed = self.roles.values().any(|e| !roles.contains(&e.role));
        for entry in self.roles.values_mut() {
            entry.revived = false;
            entry.idle_since = None;
        }
    }

    /// Sets the role of a Namespace; `None` means its default role.
    pub fn put(&mut self, namespace: &str, role: Option<Role>) {
        let role = role.unwrap_or_else(|| default_role(namespace));
        let name: Arc<str> = role.as_str().into();
        if self.by_namespace.get(namespace) == Some(&name) {
            return;
        }
        self.remove(namespace);
        self.by_namespace.insert(namespace.into(), name.clone());
        let fresh = || Entry {
            role,
            namespaces: 0,
            revived: false,
            idle_since: None,
            asked_at: None,
            notes: Vec::new(),
        };
        let known = self.roles.contains_key(&name);
        self.roles.entry(name).or_insert_with(fresh).namespaces += 1;
        self.changed |= !known;
    }

    /// The role to ask the kernel about, if it was not asked for a while.
    pub fn ask(&mut self, name: &str, now: Time) -> Option<Role> {
        let entry = self.roles.get_mut(name)?;
        if entry.asked_at.is_some_and(|at| now < at + ASK_EVERY) {
            return None;
        }
        entry.asked_at = Some(now);
        Some(entry.role.clone())
    }

    /// Takes the kernel's answer.
    pub fn explained(&mut self, role: &Role, notes: Vec<WaitNote>) {
        if let Some(entry) = self.roles.get_mut(role.as_str()) {
            entry.notes = notes;
        }
    }

    /// What the kernel said of a role.
    pub fn notes(&self, name: &str) -> &[WaitNote] {
        self.roles.get(name).map_or(&[], |entry| &entry.notes)
    }

    /// What the kernel said of a role: a sentence with each reason and its name, or nothing.
    pub fn told(&self, name: &str) -> String {
        let notes = self.notes(name);
        let told: Vec<String> = notes.iter().map(|n| format!("{} ({})", n.message, n.reason)).collect();
        if told.is_empty() { String::new() } else { format!(" offers in role {name}: {}.", told.join(", ")) }
    }

    pub fn remove(&mut self, namespace: &str) {
        let Some(name) = self.by_namespace.remove(namespace) else { return };
        if let Some(entry) = self.roles.get_mut(&name) {
            entry.namespaces -= 1;
            if entry.namespaces == 0 {
                // Tasks of the namespace may still run in the role, which is harmless: a role is only needed for
                // offers.
                self.roles.remove(&name);
                self.changed = true;
            }
        }
    }
}

/// The role of a namespace without the annotation.
fn default_role(namespace: &str) -> Role {
    Role::parse(&format!("k8s/{namespace}")).unwrap_or_else(|_| Role::any())
}

impl SchedulerMachine {
    /// Sends new roles to the kernel, and revives and suppresses roles by demand.
    pub(super) fn follow_roles(&mut self) {
        let Some(id) = self.framework_id.clone() else { return };
        let (now, demand) = (self.now, self.pods.roles_waiting.clone());
        if std::mem::take(&mut self.roles.changed) {
            let roles = self.roles.all();
            let suppressed: BTreeSet<Role> =
                self.roles.roles.values().filter(|e| !e.revived).map(|e| e.role.clone()).collect();
            let call = Call::UpdateFramework {
                framework: framework_info(Some(id), &roles).into(),
                suppressed_roles: suppressed,
                preferences: Default::default(),
            };
            self.call(call);
        }
        let mut revive = Vec::new();
        for (name, entry) in &mut self.roles.roles {
            if demand.contains(name) {
                entry.idle_since = None;
                if !entry.revived {
                    entry.revived = true;
                    revive.push(entry.role.clone());
                }
            } else if entry.revived && entry.idle_since.is_none() {
                entry.idle_since = Some(now);
            }
        }
        if !revive.is_empty() {
            self.offers.asked(now);
            self.call(Call::Revive { roles: revive });
        }
    }

    /// Declines the offers of roles that have been idle for [`LINGER`].
    pub(super) fn end_linger(&mut self) {
        let now = self.now;
        let over = |e: &Entry| e.revived && e.idle_since.is_some_and(|since| now >= since + LINGER);
        let mut suppress = Vec::new();
        let mut names = BTreeSet::new();
        for (name, entry) in self.roles.roles.iter_mut().filter(|(_, e)| over(e)) {
            entry.revived = false;
            entry.idle_since = None;
            suppress.push(entry.role.clone());
            names.insert(name.clone());
        }
        if suppress.is_empty() {
            return;
        }
        self.call(Call::Suppress { roles: suppress });
        let offer_ids = self.offers.take_of_roles(&names);
        if !offer_ids.is_empty() {
            let filters = Filters { refuse: Duration::ZERO };
            self.call(Call::Decline { offer_ids, filters });
        }
    }
}
