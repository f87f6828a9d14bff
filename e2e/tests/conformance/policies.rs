//! What admission policies do to Deployments.

use anyhow::ensure;
use e2e::program::wait_for;
use serde_json::{Value, json};

use crate::{
    Test,
    client::{Answer, Api, DEADLINE, Namespace},
    kinds::pod_spec,
};

pub const TESTS: &[Test] = &[
    ("mutate_a_deployment", mutate_a_deployment),
    ("mutate_the_annotations_of_a_deployment", mutate_the_annotations_of_a_deployment),
    ("refer_to_variables", refer_to_variables),
    ("validate_a_deployment", validate_a_deployment),
];

/// A policy for Deployments of one namespace with its binding; dropping it deletes both.
struct Policy<'a> {
    api: &'a Api,
    namespace: Namespace<'a>,
    paths: [String; 2],
}

impl<'a> Policy<'a> {
    fn create(api: &'a Api, prefix: &str, fields: Value) -> anyhow::Result<Self> {
        let namespace = api.namespace("policy")?;
        let resources = json!({
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}},
            "resourceRules": [{
                "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"],
                "operations": ["CREATE", "UPDATE"],
            }],
        });
        let mut spec = fields;
        spec["matchConstraints"] = resources;
        spec["failurePolicy"] = json!("Fail");
        let mut binding = json!({"policyName": namespace.name});
        if prefix == "validating" {
            binding["validationActions"] = json!(["Deny"]);
        }
        let root = format!("/apis/admissionregistration.k8s.io/v1/{prefix}admission");
        let collections = [format!("{root}policies"), format!("{root}policybindings")];
        for (collection, spec) in collections.iter().zip([&spec, &binding]) {
            api.create(collection, &json!({"metadata": {"name": namespace.name}, "spec": spec}))?
                .with(201)?;
        }
        let paths = collections.map(|collection| format!("{collection}/{}", namespace.name));
        Ok(Policy { api, namespace, paths })
    }

    /// Creates a workload and deletes it again.
    fn creates(&self, plural: &str, name: &str, replicas: u32) -> anyhow::Result<Answer> {
        let collection = self.namespace.path("apps/v1", plural);
        let mut spec = pod_spec();
        spec["restartPolicy"] = json!("Always");
        // The Pods need not run.
        spec["nodeSelector"] = json!({"example.com/nowhere": "true"});
        let object = json!({
            "metadata": {"name": name, "annotations": {"own": "kept"}},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "some"}},
                "template": {"metadata": {"labels": {"app": "some"}}, "spec": spec},
            },
        });
        let answer = self.api.create(&collection, &object)?;
        if answer.code == 201 {
            self.api.delete(&format!("{collection}/{name}"))?.ok()?;
            self.api.wait_gone(&format!("{collection}/{name}"))?;
        }
        Ok(answer)
    }

    /// Creates Deployments until one is answered as the policy demands: it is in force then.
    fn is_in_force(&self, replicas: u32, by: impl Fn(&Answer) -> bool) -> anyhow::Result<Answer> {
        wait_for("the policy to be in force", DEADLINE, || {
            let answer = self.creates("deployments", "marker", replicas)?;
            Ok(by(&answer).then_some(answer))
        })
    }
}

impl Drop for Policy<'_> {
    fn drop(&mut self) {
        for path in &self.paths {
            // A failed deletion leaves a policy of a namespace that no test uses again.
            let _ = self.api.delete(path);
        }
    }
}

fn mutation(expression: &str) -> Value {
    let mutation =
        json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    json!({"reinvocationPolicy": "Never", "mutations": [mutation]})
}

fn mutate_a_deployment(api: &Api) -> anyhow::Result<()> {
    let policy = Policy::create(api, "mutating", mutation("Object{spec: Object.spec{replicas: 7}}"))?;
    policy.is_in_force(1, |answer| answer.code == 201 && answer.body["spec"]["replicas"] == 7).map(drop)
}

fn mutate_the_annotations_of_a_deployment(api: &Api) -> anyhow::Result<()> {
    let expression = "Object{metadata: Object.metadata{annotations: {\"added\": \"by the policy\"}}}";
    let policy = Policy::create(api, "mutating", mutation(expression))?;
    let annotations = |answer: &Answer| answer.body["metadata"]["annotations"].clone();
    let answer = policy.is_in_force(1, |answer| annotations(answer)["added"] == "by the policy")?;
    ensure!(annotations(&answer)["own"] == "kept", "{answer:?}");
    Ok(())
}

fn validate_a_deployment(api: &Api) -> anyhow::Result<()> {
    let validations = json!([
        {"expression": "object.spec.replicas > 1", "messageExpression": "'too few replicas: ' + string(object.spec.replicas)"},
        {"expression": "namespaceObject.metadata.name.startsWith('policy-')", "message": "another namespace"},
    ]);
    let policy = Policy::create(api, "validating", json!({"validations": validations}))?;
    let refused = policy.is_in_force(1, |answer| answer.code != 201)?;
    refused.refused(422, &[policy.namespace.name.as_str(), "denied request: too few replicas: 1"])?;
    policy.creates("deployments", "two", 2)?.with(201)?;
    policy.creates("replicasets", "other-kind", 1)?.with(201).map(drop)
}

fn refer_to_variables(api: &Api) -> anyhow::Result<()> {
    let fields = json!({
        "variables": [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "odd", "expression": "variables.replicas % 2 == 1"},
        ],
        "validations": [{"expression": "variables.replicas > 1"}, {"expression": "variables.odd"}],
    });
    let policy = Policy::create(api, "validating", fields)?;
    policy.is_in_force(1, |answer| answer.code == 422)?;
    policy.creates("deployments", "even", 2)?.refused(422, &["variables.odd"])?;
    policy.creates("deployments", "odd", 3)?.with(201)?;
    policy.creates("replicasets", "other-kind", 1)?.with(201).map(drop)
}
