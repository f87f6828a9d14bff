//! The ephemeral volume controller: makes the claims of generic ephemeral volumes, each owned by its Pod. The volume binder and
//! provisioners see to the rest, and the garbage collector deletes a claim after its Pod.

use serde_json::{Value, json};
use shim_model::{access, resource::GroupResource};

use super::{
    Action, Controller, EventRecord, EventSource, Input, Keys, ObjectChange, ObjectName, Plan, View,
    owned_pods, served,
};
use crate::rows::{Key, PersistentVolumeClaim, Pod, controller_reference, ephemeral_claim};

const CLAIMS: GroupResource = served("", "persistentvolumeclaims");
/// The source of its Events.
const COMPONENT: &str = "ephemeral_volume";
/// Seconds after which a claim of somebody else is looked at again.
const RETRY_SECONDS: i64 = 10;

/// Makes claims for Pods. Its keys are Pods.
pub struct EphemeralVolumeController;

impl Controller for EphemeralVolumeController {
    const NAME: &'static str = "ephemeral-volume-controller";
    const SERVICE_ACCOUNT: &'static str = "ephemeral-volume-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::views::<Pod>(), Input::views::<PersistentVolumeClaim>()]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        if !change.is_of("", "persistentvolumeclaims") {
            let pod = change.object.view::<Pod>();
            if pod.is_some_and(has_ephemeral_volumes) && !change.is_deletion() {
                keys.insert(change.name());
            }
        } else if let Some(owner) = change.header().controller()
            && change.is_deletion()
            && owner.kind == "Pod"
        {
            keys.insert(ObjectName::new(served("", "pods"), &change.header().namespace, &owner.name));
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(pod) = view.get::<Pod>(&key.key).filter(|pod| has_ephemeral_volumes(pod)) else {
            return plan;
        };
        if pod.deletion.is_some() || pod.phase.is_terminal() {
            return plan;
        }
        let spec: Value = serde_json::from_slice(pod.object.spec()).unwrap_or_default();
        for volume in access::list(&spec, &["volumes"]) {
            let Some(template) = access::get(volume, &["ephemeral", "volumeClaimTemplate"]) else { continue };
            let name = ephemeral_claim(&pod.header().name, volume);
            match view.get::<PersistentVolumeClaim>(&Key::new(&pod.header().namespace, &name)) {
                None => plan.actions.push(creation(pod, &name, template)),
                Some(claim) if claim.header().controller().is_some_and(|owner| owner.uid == pod.uid()) => {}
                Some(_) => {
                    plan.events.push(foreign(pod, &name, access::text(volume, &["name"])));
                    plan.requeue_after(RETRY_SECONDS);
                }
            }
        }
        plan
    }
}

fn has_ephemeral_volumes(pod: &Pod) -> bool {
    pod.shape.volume_claims.iter().any(|claim| claim.ephemeral)
}

fn creation(pod: &Pod, name: &str, template: &Value) -> Action {
    let (namespace, owner) = (&pod.header().namespace, controller_reference("v1", "Pod", pod.header()));
    let mut metadata = json!({"name": name, "namespace": namespace, "ownerReferences": [owner]});
    for member in ["labels", "annotations"] {
        if let Some(value) = access::get(template, &["metadata", member]) {
            metadata[member] = value.clone();
        }
    }
    let object = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"],
    });
    Action::Create { resource: CLAIMS, namespace: namespace.clone(), object }
}

/// The Event about a claim of that name which is not the Pod's.
fn foreign(pod: &Pod, claim: &str, volume: &str) -> EventRecord {
    let (namespace, name) = (&pod.header().namespace, &pod.header().name);
    EventRecord {
        about: owned_pods::target(pod),
        warning: true,
        reason: "FailedBinding",
        message: format!(
            "ephemeral volume {volume}: PVC {namespace}/{claim} was not created for pod {namespace}/{name} (pod is not owner)"
        ),
        source: EventSource::Component(COMPONENT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{controllers::Registration, testing::TestCluster};

    fn cluster() -> TestCluster {
        let mut cluster = TestCluster::default();
        let template = json!({
            "metadata": {"labels": {"app": "a"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        });
        cluster.add(
            served("", "pods"),
            json!({
                "metadata": {"name": "p", "namespace": "ns"},
                "spec": {"volumes": [
                    {"name": "data", "ephemeral": {"volumeClaimTemplate": template}},
                    {"name": "other", "emptyDir": {}},
                ]},
            }),
        );
        cluster
    }

    #[test]
    fn a_claim_is_made_once_and_again_after_its_deletion() {
        let mut cluster = cluster();
        for _ in 0..2 {
            cluster.run(&[Registration::new(EphemeralVolumeController)]);
            let claim = cluster.get("persistentvolumeclaims", "p-data").clone();
            assert_eq!(claim["metadata"]["labels"], json!({"app": "a"}));
            assert_eq!(claim["metadata"].get("annotations"), None);
            let owner = &claim["metadata"]["ownerReferences"][0];
            assert_eq!(
                (&owner["kind"], &owner["name"], &owner["controller"]),
                (&json!("Pod"), &json!("p"), &json!(true))
            );
            assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "1Gi");
            assert_eq!(cluster.all("persistentvolumeclaims").len(), 1);
            cluster.objects.retain(|(plural, _), _| plural != "persistentvolumeclaims");
        }
    }

    #[test]
    fn a_claim_of_somebody_else_is_reported_and_left() {
        let mut cluster = cluster();
        cluster.add(CLAIMS, json!({"metadata": {"name": "p-data", "namespace": "ns"}, "spec": {}}));
        let pod = ObjectName::new(served("", "pods"), "ns", "p");
        let plan = cluster.reconcile(&EphemeralVolumeController, &pod);
        assert!(plan.is_empty());
        let message = "ephemeral volume data: PVC ns/p-data was not created for pod ns/p (pod is not owner)";
        assert_eq!(plan.events.iter().map(|event| event.message.as_str()).collect::<Vec<_>>(), [message]);
        assert_eq!(plan.requeue_after, Some(RETRY_SECONDS));
    }

    #[test]
    fn a_pod_that_is_deleted_gets_no_claim() {
        let mut cluster = cluster();
        cluster.edit("pods", "p", |pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
        let pod = ObjectName::new(served("", "pods"), "ns", "p");
        assert!(cluster.reconcile(&EphemeralVolumeController, &pod).is_empty());
    }
}
