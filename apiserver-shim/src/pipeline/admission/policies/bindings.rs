//! The policies of one kind that are bound. They follow the watch caches of policies and bindings. A policy is compiled when a
//! request first matches it, and once for each spec.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

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

/// A policy, compiled on demand: to compile its expressions may take as long as many requests.
pub(super) struct StoredPolicy {
    /// What it matches.
    pub constraints: MatchResources,
    object: Value,
    compiled: OnceLock<Arc<Policy>>,
}

impl StoredPolicy {
    fn parse(object: Value) -> StoredPolicy {
        let constraints = MatchResources::parse(&object["spec"]["matchConstraints"]);
        StoredPolicy { constraints, object, compiled: OnceLock::new() }
    }

    /// The compiled policy.
    pub fn compiled(&self) -> &Arc<Policy> {
        // Those who wait for another thread to compile it also give their other tasks away.
        let compile = || self.compiled.get_or_init(|| Arc::new(Policy::compile(&self.object)));
        self.compiled.get().unwrap_or_else(|| blocking::run(compile))
    }
}

/// A policy with its bindings.
pub(super) type Bound = (Arc<StoredPolicy>, Vec<Arc<Binding>>);

/// The bound policies.
pub(super) struct PolicyCache {
    index: FollowedIndex<Policies>,
}

/// Policies and bindings by name.
#[derive(Default)]
struct Policies {
    policies: BTreeMap<String, Arc<StoredPolicy>>,
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
                let policy = object.value();
                // Changes of the status and the metadata keep what is compiled.
                let is_same = |known: &Arc<StoredPolicy>| known.object["spec"] == policy["spec"];
                if !self.policies.get(name).is_some_and(is_same) {
                    self.policies.insert(name.to_owned(), Arc::new(StoredPolicy::parse(policy)));
                }
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shim_core::definition::builtin;

    use super::*;
    use crate::storage::object::{Object, encoded};

    fn deliver(policies: &mut Policies, resource: usize, plural: &str, object: Value, kind: ChangeKind) {
        let definition = builtin().into_iter().find(|row| row.plural == plural && row.version == "v1");
        let definition = Arc::new(definition.expect("a built-in resource"));
        let object = Object::new(Arc::new(encoded(&object)), &definition, 1).expect("an object");
        policies.apply(resource, &Delivery { kind, revision: 1, object, change: None });
        policies.finish();
    }

    fn policy(expression: &str, observed: u64) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "p"},
            "spec": {"validations": [{"expression": expression}]},
            "status": {"observedGeneration": observed},
        })
    }

    #[test]
    fn a_policy_is_compiled_on_demand_and_once_for_each_spec() {
        let mut policies = Policies::default();
        let put = |policies: &mut Policies, object| {
            deliver(policies, 0, "validatingadmissionpolicies", object, ChangeKind::Modified);
            policies.bound.first().map(|(policy, _)| policy.clone())
        };
        assert!(put(&mut policies, policy("true", 0)).is_none(), "not bound");
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": "b"}, "spec": {"policyName": "p"},
        });
        deliver(&mut policies, 1, "validatingadmissionpolicybindings", binding, ChangeKind::Added);
        let first = put(&mut policies, policy("true", 0)).unwrap();
        assert!(first.compiled.get().is_none(), "nobody has needed it");
        let compiled = first.compiled().clone();
        let after_status = put(&mut policies, policy("true", 1)).unwrap();
        assert!(after_status.compiled.get().is_some_and(|known| Arc::ptr_eq(known, &compiled)));
        let changed = put(&mut policies, policy("false", 1)).unwrap();
        assert!(changed.compiled.get().is_none() && changed.compiled().expressions() == 1);
        deliver(&mut policies, 0, "validatingadmissionpolicies", policy("false", 1), ChangeKind::Deleted);
        assert!(policies.bound.is_empty());
    }
}
