//! The RBAC index, which follows the watch caches of roles and bindings. A decision first applies the changes that its caches
//! have received, so that it is as new as a read.

use std::sync::{Arc, RwLock, RwLockReadGuard};

use serde_json::Value;
use shim_core::authorization::index::{Binding, RoleRef};
use shim_core::authorization::{AccessRequest, PolicyRule, RbacIndex, Subject, UnknownRole};
use shim_core::controllers::served;
use shim_core::kinds::rbac::GROUP;

use crate::storage::object::Object;
use crate::storage::registry::Registry;
use crate::storage::selection::Selection;
use crate::storage::watch_cache::{ChangeKind, Delivery, WatchFrom, Watcher};

/// Changes applied between two looks at the caches.
const BATCH_MAX: usize = 1024;
/// The resources, and whether their objects are bindings.
const RESOURCES: [(&str, bool); 4] =
    [("clusterroles", false), ("roles", false), ("clusterrolebindings", true), ("rolebindings", true)];
/// The ClusterRole whose rules the node authorizer uses.
const NODE_ROLE: &str = "system:node";

/// The roles and bindings of the cluster.
pub struct RbacCache {
    registry: Registry,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    index: RbacIndex,
    /// One watcher for each of [`RESOURCES`], in that order.
    watchers: Vec<Watcher>,
}

impl RbacCache {
    /// Reads all roles and bindings.
    pub fn new(registry: Registry) -> RbacCache {
        let mut state = State::default();
        state.follow(&registry);
        RbacCache { registry, state: RwLock::new(state) }
    }

    /// Decides a request: why it is allowed, or the roles that are missing.
    pub fn decide(
        &self,
        subject: &Subject<'_>,
        request: &AccessRequest<'_>,
    ) -> Result<String, Vec<UnknownRole>> {
        self.read().index.decide(subject, request).map(|grant| grant.to_string())
    }

    /// The rules that apply to a user in a namespace, or in the whole cluster if it is empty; and the roles that are
    /// missing.
    pub fn rules_for(&self, subject: &Subject<'_>, namespace: &str) -> (Vec<PolicyRule>, Vec<UnknownRole>) {
        self.read().index.rules_for(subject, namespace)
    }

    /// The rules of a role that is bound in a namespace; empty for a ClusterRoleBinding.
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Result<Vec<PolicyRule>, UnknownRole> {
        self.read().index.rules_of(role, namespace).map(<[PolicyRule]>::to_vec)
    }

    /// The rules that all nodes have. They are upstream's default and not those of the stored ClusterRole, which somebody
    /// may have changed.
    pub fn node_rules(&self) -> Arc<[PolicyRule]> {
        static RULES: std::sync::LazyLock<Arc<[PolicyRule]>> = std::sync::LazyLock::new(|| {
            let mut defaults = shim_core::authorization::bootstrap::defaults().into_iter();
            let role = defaults.find(|each| each.object["metadata"]["name"] == NODE_ROLE);
            role.map(|role| PolicyRule::all_of(&role.object)).unwrap_or_default().into()
        });
        RULES.clone()
    }

    /// The index with all changes that the caches have received.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        const SOUND: &str = "invariant: no holder of the lock panics";
        let state = self.state.read().expect(SOUND);
        if !state.watchers.iter().any(Watcher::is_due) {
            return state;
        }
        drop(state);
        self.state.write().expect(SOUND).follow(&self.registry);
        self.state.read().expect(SOUND)
    }
}

impl State {
    /// Applies all pending changes. If changes were missed, everything is read again.
    fn follow(&mut self, registry: &Registry) {
        if self.watchers.len() == RESOURCES.len() && self.apply_pending() {
            return;
        }
        *self = State::default();
        let watch = |(plural, _): &(&'static str, bool)| {
            registry.watch(served(GROUP, plural), WatchFrom::Start, Selection::everything()).ok()
        };
        self.watchers = RESOURCES.iter().filter_map(watch).collect();
        self.apply_pending();
    }

    /// Returns whether no change was missed.
    fn apply_pending(&mut self) -> bool {
        for (watcher, (_, binds)) in self.watchers.iter_mut().zip(RESOURCES) {
            loop {
                let Ok(batch) = watcher.poll(BATCH_MAX) else { return false };
                if batch.deliveries.is_empty() && !batch.cut {
                    break;
                }
                batch.deliveries.iter().for_each(|delivery| apply(&mut self.index, binds, delivery));
            }
        }
        true
    }
}

fn apply(index: &mut RbacIndex, binds: bool, delivery: &Delivery) {
    let object: &Object = &delivery.object;
    let (namespace, name) = (object.namespace(), object.name());
    match (delivery.kind, binds) {
        (ChangeKind::Deleted, true) => index.remove_binding(namespace, name),
        (ChangeKind::Deleted, false) => index.remove_role(namespace, name),
        (ChangeKind::Added | ChangeKind::Modified, binds) => {
            let value: Value = object.value();
            match binds {
                true => index.put_binding(Binding::of(&value)),
                false => index.put_role(namespace, name, PolicyRule::all_of(&value)),
            }
        }
    }
}
