//! The RBAC index, which follows the watch caches of roles and bindings. A decision first applies the changes that its caches
//! have received, so that it is as new as a read.

use std::sync::Arc;

use serde_json::Value;
use shim_core::authorization::index::{Binding, RoleRef};
use shim_core::authorization::{AccessRequest, PolicyRule, RbacIndex, Subject, UnknownRole};
use shim_core::controllers::served;
use shim_core::kinds::rbac::GROUP;

use crate::storage::followed_index::{FollowedIndex, Index};
use crate::storage::object::Object;
use crate::storage::registry::Registry;
use crate::storage::watch_cache::{ChangeKind, Delivery};

/// The resources, and whether their objects are bindings.
const RESOURCES: [(&str, bool); 4] =
    [("clusterroles", false), ("roles", false), ("clusterrolebindings", true), ("rolebindings", true)];
/// The ClusterRole whose rules the node authorizer uses.
const NODE_ROLE: &str = "system:node";

/// The roles and bindings of the cluster.
pub struct RbacCache {
    index: FollowedIndex<RbacIndex>,
}

impl RbacCache {
    /// The roles and bindings of this registry.
    pub fn new(registry: Registry) -> RbacCache {
        let resources = RESOURCES.iter().map(|(plural, _)| served(GROUP, plural));
        RbacCache { index: FollowedIndex::new(registry, resources) }
    }

    /// Decides a request: why it is allowed, or the roles that are missing.
    pub fn decide(
        &self,
        subject: &Subject<'_>,
        request: &AccessRequest<'_>,
    ) -> Result<String, Vec<UnknownRole>> {
        self.index.read().decide(subject, request).map(|grant| grant.to_string())
    }

    /// The rules that apply to a user in a namespace, or in the whole cluster if it is empty; and the roles that are
    /// missing.
    pub fn rules_for(&self, subject: &Subject<'_>, namespace: &str) -> (Vec<PolicyRule>, Vec<UnknownRole>) {
        self.index.read().rules_for(subject, namespace)
    }

    /// The rules of a role that is bound in a namespace; empty for a ClusterRoleBinding.
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Result<Vec<PolicyRule>, UnknownRole> {
        self.index.read().rules_of(role, namespace).map(<[PolicyRule]>::to_vec)
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
}

impl Index for RbacIndex {
    fn apply(&mut self, resource: usize, delivery: &Delivery) {
        let object: &Object = &delivery.object;
        let (namespace, name) = (object.namespace(), object.name());
        match (delivery.kind, RESOURCES[resource].1) {
            (ChangeKind::Deleted, true) => self.remove_binding(namespace, name),
            (ChangeKind::Deleted, false) => self.remove_role(namespace, name),
            (ChangeKind::Added | ChangeKind::Modified, binds) => {
                let value: Value = object.value();
                match binds {
                    true => self.put_binding(Binding::of(&value)),
                    false => self.put_role(namespace, name, PolicyRule::all_of(&value)),
                }
            }
        }
    }
}
