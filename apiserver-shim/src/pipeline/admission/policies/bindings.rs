//! The policies of one kind that are bound, compiled. They follow the watch caches of policies and bindings.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use shim_core::admission_policy::Policy;
use shim_core::admission_policy::matching::MatchResources;
use shim_core::controllers::served;
use shim_model::access;

use crate::pipeline::admission::request::GROUP;
use crate::pipeline::blocking;
use crate::storage::followed_index::{FollowedIndex, Index};
use crate::storage::registry::Registry;
use crate::storage::watch_cache::{ChangeKind, Delivery};

/// A binding of a policy.
#[derive(Debug)]
pub(super) struct Binding {
    pub name: String,
    pub policy: String,
    /// What it matches of what the policy matches.
    pub resources: Option<MatchResources>,
    pub param_ref: Option<Value>,
    pub actions: Vec<String>,
}

/// A policy with its bindings.
pub(super) type Bound = (Arc<Policy>, Vec<Arc<Binding>>);

/// The compiled policies.
pub(super) struct PolicyCache {
    index: FollowedIndex<Policies>,
}

/// Policies and bindings by name.
#[derive(Default)]
struct Policies {
    policies: BTreeMap<String, Arc<Policy>>,
    bindings: BTreeMap<String, Arc<Binding>>,
    bound: Arc<[Bound]>,
}

impl PolicyCache {
    pub fn new(registry: &Registry, policies: &'static str, bindings: &'static str) -> PolicyCache {
        let resources = [served(GROUP, policies), served(GROUP, bindings)];
        PolicyCache { index: FollowedIndex::new(registry.clone(), resources) }
    }

    /// The policies that have a binding, sorted by name, with all changes that the caches have received.
    pub fn bound(&self) -> Arc<[Bound]> {
        self.index.read().bound.clone()
    }
}

impl Index for Policies {
    fn apply(&mut self, resource: usize, delivery: &Delivery) {
        let (object, name) = (&delivery.object, delivery.object.name());
        match (delivery.kind, resource) {
            (ChangeKind::Deleted, 0) => drop(self.policies.remove(name)),
            (ChangeKind::Deleted, _) => drop(self.bindings.remove(name)),
            (_, 0) => {
                let policy = blocking::run(|| Policy::compile(&object.value()));
                self.policies.insert(name.to_owned(), Arc::new(policy));
            }
            (_, _) => drop(self.bindings.insert(name.to_owned(), Arc::new(Binding::parse(&object.value())))),
        }
    }

    fn finish(&mut self) {
        let of = |name: &String| -> Vec<Arc<Binding>> {
            self.bindings.values().filter(|binding| binding.policy == *name).cloned().collect()
        };
        let bound = self.policies.iter().map(|(name, policy)| (policy.clone(), of(name)));
        self.bound = bound.filter(|(_, bindings)| !bindings.is_empty()).collect();
    }
}

impl Binding {
    fn parse(object: &Value) -> Binding {
        let spec = &object["spec"];
        let set = |member: &str| spec.get(member).filter(|value| !value.is_null());
        let actions = access::list(spec, &["validationActions"]).iter();
        Binding {
            name: access::text(object, &["metadata", "name"]).to_owned(),
            policy: access::text(spec, &["policyName"]).to_owned(),
            resources: set("matchResources").map(MatchResources::parse),
            param_ref: set("paramRef").cloned(),
            actions: actions.filter_map(|action| action.as_str().map(str::to_owned)).collect(),
        }
    }
}
