//! The controller of the status of ValidatingAdmissionPolicies: checks the types of their expressions once for each generation.

use std::sync::LazyLock;

use serde_json::{Value, json};
use shim_model::access;
use shim_model::resource::{GroupResource, KindRef};

use super::{Action, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Target, View, served};
use crate::admission_policy::type_check::{KnownKinds, TypedKind, builtin_type, warnings};
use crate::cel::declare;
use crate::definition::{ResourceDefinition, builtin};

const POLICIES: GroupResource = served("admissionregistration.k8s.io", "validatingadmissionpolicies");
const DEFINITIONS: GroupResource = served("apiextensions.k8s.io", "customresourcedefinitions");

/// Upstream's manager of the fields that it applies.
const MANAGER: &str = "validatingadmissionpolicy-status";

/// Writes `status.typeChecking` and `status.observedGeneration`.
pub struct PolicyStatusController;

impl Controller for PolicyStatusController {
    const NAME: &'static str = "validatingadmissionpolicy-status-controller";
    const SERVICE_ACCOUNT: &'static str = "validatingadmissionpolicy-status-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![
            Input::headers("admissionregistration.k8s.io", "validatingadmissionpolicies"),
            Input::headers("apiextensions.k8s.io", "customresourcedefinitions"),
        ]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        if change.resource == POLICIES && !change.is_deletion() {
            keys.insert(change.name());
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(object) = view.named(key) else { return plan };
        let policy = object.value();
        let observed = access::int(&policy, &["status", "observedGeneration"]).unwrap_or(0);
        let generation = access::int(&policy, &["metadata", "generation"]).unwrap_or(0);
        if generation <= observed {
            return plan;
        }
        let found = warnings(&policy, &Cached(view));
        let checking = if found.is_empty() { json!({}) } else { json!({"expressionWarnings": found}) };
        plan.actions.push(Action::Apply {
            target: Target::of(POLICIES, object.header()),
            subresource: Some("status"),
            manager: MANAGER,
            configuration: json!({"status": {"observedGeneration": generation, "typeChecking": checking}}),
        });
        plan
    }
}

/// The built-in kinds, and those of cached definitions.
struct Cached<'v, 'c>(&'v View<'c>);

static BUILTIN: LazyLock<Vec<ResourceDefinition>> = LazyLock::new(builtin);

impl Cached<'_, '_> {
    /// A version of a definition.
    fn version(&self, group: &str, version: &str, plural: &str) -> Option<(String, Value)> {
        let definition = self.0.object(&DEFINITIONS, "", &format!("{plural}.{group}"))?.value();
        let mut versions = access::list(&definition, &["spec", "versions"]).iter();
        let found = versions
            .find(|found| access::text(found, &["name"]) == version && access::flag(found, &["served"]))?;
        Some((access::text(&definition, &["spec", "names", "kind"]).to_owned(), found.clone()))
    }
}

impl KnownKinds for Cached<'_, '_> {
    fn kind_of(&self, group: &str, version: &str, plural: &str) -> Option<String> {
        let mut own = BUILTIN.iter();
        let own = own.find(|row| row.group == group && row.version == version && row.plural == plural);
        let custom = || self.version(group, version, plural).map(|(kind, _)| kind);
        own.map(|row| row.kind.clone()).or_else(custom)
    }

    fn type_of(&self, kind: KindRef<'_>) -> Option<TypedKind> {
        let is = |row: &&ResourceDefinition| row.object_type.kind() == kind;
        if let Some(own) = BUILTIN.iter().find(is) {
            return Some(Some(builtin_type(&own.object_type)));
        }
        let (resource, _) = self.0.kind(kind.group, kind.version, kind.kind)?;
        let (_, version) = self.version(kind.group, kind.version, resource.resource())?;
        let schema = access::get(&version, &["schema", "openAPIV3Schema"])?;
        Some(declare(schema, true))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::TestCluster;

    #[test]
    fn expressions_are_checked_with_the_types_of_the_kinds() {
        let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"],
            "resources": ["deployments", "replicasets", "deployments/scale"]});
        let wildcard = json!({"apiGroups": ["*"], "apiVersions": ["v1"], "resources": ["pods"]});
        cluster.add(
            POLICIES,
            json!({
                "metadata": {"name": "p"},
                "spec": {
                    "matchConstraints": {"resourceRules": [rule, wildcard]},
                    "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
                    "variables": [{"name": "replicas", "expression": "object.spec.replicas"}],
                    "validations": [
                        {"expression": "variables.replicas > 1 && params.data['max'] != ''"},
                        {"expression": "object.spec.nothing == 1", "messageExpression": "string(object.spec.strategy.type)"},
                        {"expression": "variables.replicas > '1'"},
                        {"expression": "object.spec.template.spec.containers.all(c, c.resources.limits['cpu'] != '')"},
                    ],
                },
            }),
        );
        let key = ObjectName::new(POLICIES, "", "p");
        let plan = cluster.reconcile(&PolicyStatusController, &key);
        cluster.apply(&plan);
        let status = &cluster.all("validatingadmissionpolicies")[0]["status"];
        assert_eq!(status["observedGeneration"], 1);
        let shown: Vec<String> = access::list(status, &["typeChecking", "expressionWarnings"])
            .iter()
            .map(|w| format!("{}: {}", access::text(w, &["fieldRef"]), access::text(w, &["warning"])))
            .collect();
        expect![[r#"
            spec.validations[1].expression: apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:12: undefined field 'nothing'
             | object.spec.nothing == 1
             | ...........^

            apps/v1, Kind=ReplicaSet: compilation failed: ERROR: <input>:1:12: undefined field 'nothing'
             | object.spec.nothing == 1
             | ...........^

            spec.validations[1].messageExpression: apps/v1, Kind=ReplicaSet: compilation failed: ERROR: <input>:1:19: undefined field 'strategy'
             | string(object.spec.strategy.type)
             | ..................^

            spec.validations[2].expression: apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:20: found no matching overload for '_>_' applied to '(int, string)'
             | variables.replicas > '1'
             | ...................^

            apps/v1, Kind=ReplicaSet: compilation failed: ERROR: <input>:1:20: found no matching overload for '_>_' applied to '(int, string)'
             | variables.replicas > '1'
             | ...................^
        "#]].assert_eq(&(shown.join("\n")));
        assert!(cluster.reconcile(&PolicyStatusController, &key).is_empty());
    }

    #[test]
    fn a_policy_without_warnings_has_been_checked() {
        let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
        cluster
            .add(POLICIES, json!({"metadata": {"name": "p", "generation": 1}, "spec": {"validations": []}}));
        let plan = cluster.reconcile(&PolicyStatusController, &ObjectName::new(POLICIES, "", "p"));
        cluster.apply(&plan);
        let status = &cluster.all("validatingadmissionpolicies")[0]["status"];
        assert_eq!(*status, json!({"observedGeneration": 1, "typeChecking": {}}));
    }
}
