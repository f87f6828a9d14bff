//! Keeps the objects of priority and fairness: the default ones exist and have their specs (the producer, under upstream's name),
//! and each FlowSchema's condition `Dangling` says whether its priority level exists (the consumer).

use serde_json::{Value, json};
use shim_model::access;
use shim_model::resource::GroupResource;

use super::{
    Action, Change, Condition, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Propagation, Target,
    View, applied_condition, condition, says, served,
};
use crate::flow_control::GROUP;
use crate::flow_control::bootstrap::{AUTO_UPDATE, Upkeep, default_named, upkeep};
use crate::rows::rfc3339;

/// Keeps the default objects.
pub struct ConfigProducer;

/// Writes the condition of FlowSchemas.
pub struct ConfigConsumer;

const SCHEMAS: GroupResource = served(GROUP, "flowschemas");
/// The field manager of the conditions, which has the version of the group that upstream's server writes them in.
const CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";
const LEVELS: GroupResource = served(GROUP, "prioritylevelconfigurations");

fn inputs() -> Vec<Input> {
    vec![Input::headers(GROUP, "flowschemas"), Input::headers(GROUP, "prioritylevelconfigurations")]
}

impl Controller for ConfigProducer {
    const NAME: &'static str = "priority-and-fairness-config-producer";
    const SERVICE_ACCOUNT: &'static str = "api-priority-and-fairness";

    fn inputs(&self) -> Vec<Input> {
        inputs()
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        keys.insert(change.name());
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let default = default_named(key.resource.parts().1, &key.key.name);
        let Some(found) = view.named(key) else {
            if let Some(object) = default {
                let resource = key.resource.clone();
                plan.actions.push(Action::Create { resource, namespace: String::new(), object });
            }
            return plan;
        };
        let target = Target::of(key.resource.clone(), found.header());
        match upkeep(&found.value(), default.as_ref()) {
            Upkeep::Keep => {}
            Upkeep::Remove if found.header().deletion_timestamp.is_some() => {}
            Upkeep::Remove => {
                let propagation = Propagation::Background;
                plan.actions.push(Action::Delete { target, propagation, grace_seconds: None });
            }
            Upkeep::Update { auto_update, spec } => {
                let annotations =
                    json!({"metadata": {"annotations": {AUTO_UPDATE: auto_update.to_string()}}});
                let mut changes = vec![Change::Merge(annotations)];
                changes.extend(spec.map(|spec| Change::Put(&["spec"], spec)));
                plan.actions.push(Action::Change { target, subresource: None, changes });
            }
        }
        plan
    }
}

impl Controller for ConfigConsumer {
    const NAME: &'static str = "priority-and-fairness-config-consumer";
    const SERVICE_ACCOUNT: &'static str = "api-priority-and-fairness";

    fn inputs(&self) -> Vec<Input> {
        inputs()
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        if change.is_of(GROUP, "flowschemas") {
            keys.insert(change.name());
            return;
        }
        let name = change.header().name.as_str();
        let concerned = view.in_namespace(&SCHEMAS, "").filter(|schema| level_of(&schema.value()) == name);
        keys.extend(concerned.map(|schema| ObjectName::of(SCHEMAS, schema.header())));
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(schema) = view.named(key) else { return plan };
        let object = schema.value();
        let level = level_of(&object);
        let (status, reason, what) = match view.object(&LEVELS, "", level) {
            Some(_) => ("False", "Found", "and it exists"),
            None => ("True", "NotFound", "but there is no such object"),
        };
        let message = format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {what}"
        );
        let dangling = Condition { kind: "Dangling", status, reason, message: &message };
        if condition(&object["status"], dangling.kind).is_some_and(|old| says(old, &dangling)) {
            return plan;
        }
        let target = Target::of(SCHEMAS, schema.header());
        plan.actions.push(Action::Apply {
            target,
            subresource: Some("status"),
            manager: CONSUMER,
            configuration: applied_condition(&dangling, &rfc3339(view.now)),
        });
        plan
    }
}

fn level_of(schema: &Value) -> &str {
    access::text(schema, &["spec", "priorityLevelConfiguration", "name"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::Registration;
    use crate::testing::TestCluster;

    fn run(cluster: &mut TestCluster) {
        cluster.run(&[Registration::new(ConfigProducer), Registration::new(ConfigConsumer)]);
    }

    fn schema(cluster: &TestCluster, name: &str) -> Value {
        let all = cluster.all("flowschemas");
        all.into_iter().find(|schema| schema["metadata"]["name"] == name).cloned().unwrap_or_default()
    }

    #[test]
    fn defaults_are_restored_and_old_ones_removed() {
        let mut cluster = TestCluster::default();
        let mut probes = default_named("flowschemas", "probes").unwrap();
        probes["spec"]["matchingPrecedence"] = json!(77);
        cluster.add(SCHEMAS, probes);
        let mut old = default_named("flowschemas", "probes").unwrap();
        old["metadata"]["name"] = json!("of-an-earlier-version");
        cluster.add(SCHEMAS, old);
        run(&mut cluster);
        assert_eq!(schema(&cluster, "probes")["spec"]["matchingPrecedence"], 2);
        assert_eq!(cluster.all("flowschemas").len(), 1);
        let missing = ObjectName::new(LEVELS, "", "exempt");
        assert_eq!(cluster.reconcile(&ConfigProducer, &missing).actions.len(), 1);
    }

    #[test]
    fn the_condition_follows_the_level() {
        let mut cluster = TestCluster::default();
        cluster.add(
            SCHEMAS,
            json!({"metadata": {"name": "own"}, "spec": {"priorityLevelConfiguration": {"name": "level"}}}),
        );
        let dangling = |cluster: &mut TestCluster| {
            run(cluster);
            condition(&schema(cluster, "own")["status"], "Dangling").unwrap()["status"].clone()
        };
        assert_eq!(dangling(&mut cluster), "True");
        cluster.add(LEVELS, json!({"metadata": {"name": "level"}, "spec": {"type": "Limited"}}));
        assert_eq!(dangling(&mut cluster), "False");
    }
}
