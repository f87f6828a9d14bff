//! The policies of one kind that are bound, compiled. They follow the watch caches of policies and bindings.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use serde_json::Value;
use shim_core::admission_policy::Policy;
use shim_core::admission_policy::matching::MatchResources;
use shim_core::controllers::served;
use shim_model::access;

use super::GROUP;
use crate::storage::catalog::ServedResource;
use crate::storage::registry::Registry;

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
    policies: Arc<ServedResource>,
    bindings: Arc<ServedResource>,
    state: RwLock<State>,
}

/// What was made of an object, by the object's name, with the object's revision.
type Parsed<T> = BTreeMap<String, (u64, Arc<T>)>;

#[derive(Default)]
struct State {
    /// The last changes of the watch caches of policies and bindings that are applied.
    seen: Option<(u64, u64)>,
    policies: Parsed<Policy>,
    bindings: Parsed<Binding>,
    bound: Arc<[Bound]>,
}

impl PolicyCache {
    pub fn new(registry: &Registry, policies: &'static str, bindings: &'static str) -> PolicyCache {
        let row = |plural| registry.builtin(&served(GROUP, plural));
        PolicyCache { policies: row(policies), bindings: row(bindings), state: RwLock::default() }
    }

    /// The policies that have a binding, sorted by name, with all changes that the caches have received.
    pub fn bound(&self) -> Arc<[Bound]> {
        const SOUND: &str = "invariant: no holder of the lock panics";
        let last_change = |row: &ServedResource| row.cache().view().last_change();
        let last = (last_change(&self.policies), last_change(&self.bindings));
        let state = self.state.read().expect(SOUND);
        if state.seen == Some(last) {
            return state.bound.clone();
        }
        drop(state);
        let mut state = self.state.write().expect(SOUND);
        state.seen = Some(last);
        update(&mut state.policies, &self.policies, Policy::compile);
        update(&mut state.bindings, &self.bindings, Binding::parse);
        let of = |name: &String| -> Vec<Arc<Binding>> {
            let bindings = state.bindings.values().map(|(_, binding)| binding);
            bindings.filter(|binding| binding.policy == *name).cloned().collect()
        };
        let bound = state.policies.iter().map(|(name, (_, policy))| (policy.clone(), of(name)));
        let bound: Arc<[Bound]> = bound.filter(|(_, bindings)| !bindings.is_empty()).collect();
        state.bound = bound.clone();
        bound
    }
}

/// Reads the objects of a resource; what was made of those that have not changed is kept.
fn update<T>(all: &mut Parsed<T>, row: &ServedResource, make: impl Fn(&Value) -> T) {
    let old = std::mem::take(all);
    for object in row.cache().list(None) {
        let kept = old.get(object.name()).filter(|(revision, _)| *revision == object.revision).cloned();
        let parsed = kept.unwrap_or_else(|| (object.revision, Arc::new(make(&object.value()))));
        all.insert(object.name().to_owned(), parsed);
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
