//! Roles: one a namespace, and whether it asks for offers. No pending Pod, role suppressed; pending Pod, revived.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel_model::{offer::Filters, roles::Role, scheduler::Call};
use serde_json::Value;
use shim_model::access;

use super::Runner;
use crate::scheduler::kernel_client::framework_info;
use crate::storage::watch_cache::ChangeKind;

/// The annotation of a namespace that names its role.
pub const ROLE_ANNOTATION: &str = "catamaran.dev/role";
/// How long offers are kept after the last pending Pod has gone: Pods come in bursts, and asking anew for each would cost a
/// round of the whole cluster. Short beside any lease and any person's patience.
const LINGER: Duration = Duration::from_millis(250);

/// One role.
#[derive(Debug)]
struct Entry {
    role: Role,
    namespaces: usize,
    /// Whether the kernel sends offers.
    revived: bool,
    /// When the last pending Pod went.
    idle_since: Option<Instant>,
}

/// All roles.
#[derive(Debug, Default)]
pub(crate) struct RoleBook {
    by_namespace: BTreeMap<Box<str>, Arc<str>>,
    roles: BTreeMap<Arc<str>, Entry>,
    /// The kernel does not know the present set of roles yet.
    changed: bool,
}

impl RoleBook {
    /// Every role, for SUBSCRIBE.
    pub fn all(&self) -> Vec<Role> {
        self.roles.values().map(|e| e.role.clone()).collect()
    }

    /// The role of a namespace.
    pub fn of(&self, namespace: &str) -> Arc<str> {
        self.by_namespace.get(namespace).cloned().unwrap_or_else(|| default_role(namespace).as_str().into())
    }

    /// A subscription in these roles, all suppressed, has begun.
    pub fn subscribed(&mut self, roles: &[Role]) {
        self.changed = self.roles.values().any(|e| !roles.contains(&e.role));
        for entry in self.roles.values_mut() {
            entry.revived = false;
            entry.idle_since = None;
        }
    }

    fn put(&mut self, namespace: &str, role: Role) {
        let name: Arc<str> = role.as_str().into();
        if self.by_namespace.get(namespace) == Some(&name) {
            return;
        }
        self.remove(namespace);
        self.by_namespace.insert(namespace.into(), name.clone());
        let fresh = || Entry { role, namespaces: 0, revived: false, idle_since: None };
        let known = self.roles.contains_key(&name);
        self.roles.entry(name).or_insert_with(fresh).namespaces += 1;
        self.changed |= !known;
    }

    fn remove(&mut self, namespace: &str) {
        let Some(name) = self.by_namespace.remove(namespace) else { return };
        if let Some(entry) = self.roles.get_mut(&name) {
            entry.namespaces -= 1;
            if entry.namespaces == 0 {
                // Tasks of the last Pods may still run in it, which does no harm: a role is needed for offers only.
                self.roles.remove(&name);
                self.changed = true;
            }
        }
    }
}

/// The role of a namespace that names none.
fn default_role(namespace: &str) -> Role {
    Role::parse(&format!("k8s/{namespace}")).unwrap_or_else(|_| Role::any())
}

impl Runner {
    pub(crate) fn drain_namespaces(&mut self) {
        while let Some(deliveries) = self.next_deliveries(|w| &mut w.namespaces, "namespaces") {
            for delivery in deliveries {
                let name = delivery.object.name();
                if delivery.kind == ChangeKind::Deleted {
                    self.roles.remove(name);
                    continue;
                }
                let value: Value = serde_json::from_slice(delivery.object.bytes()).unwrap_or_default();
                let named = access::text(&value, &["metadata", "annotations", ROLE_ANNOTATION]);
                let role = match Role::parse(named) {
                    Ok(role) if !named.is_empty() => role,
                    _ => default_role(name),
                };
                self.roles.put(name, role);
            }
        }
    }

    /// Tells the kernel of new roles, and revives and suppresses by demand.
    pub(crate) fn follow_roles(&mut self, now: Instant) {
        let Some(id) = self.framework_id.clone() else { return };
        let demand = self.pods.demand().clone();
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

    /// Lets go of the offers of roles that have had no demand for a while.
    pub(crate) fn end_linger(&mut self, now: Instant) {
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
