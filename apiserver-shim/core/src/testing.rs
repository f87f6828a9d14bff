//! A little cluster of values for tests: objects by resource and key, changed by plans as the shell would change them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use shim_model::{
    access,
    object::{Header, StoredObject},
    pod_status::PodStatus,
    resource::GroupResource,
};

use crate::{
    controllers::{Action, Plan, Target, deployment, endpoints, replica_set, served},
    rows::{Deployment, Key, Pod, PodParts, ReplicaSet, Seconds, rfc3339},
    scheduler::PodShape,
};

/// Objects and a clock.
#[derive(Debug, Default, Clone)]
pub struct TestCluster {
    pub objects: BTreeMap<(String, Key), Value>,
    pub now: Seconds,
    pub made: u64,
}

fn place_of(target: &Target) -> (String, Key) {
    (target.resource.resource().to_owned(), target.key.clone())
}

pub fn stored(value: &Value) -> Arc<StoredObject> {
    Arc::new(StoredObject::bare(Header::of(value)))
}

pub fn pod(value: &Value) -> Pod {
    let status = PodStatus::of(&value["status"]);
    let parts =
        PodParts { annotations: &value["metadata"]["annotations"], spec: &value["spec"], status: &status };
    Pod::decode(stored(value), 1, parts, Arc::new(PodShape::decode(&value["spec"])))
}

impl TestCluster {
    pub fn add(&mut self, resource: GroupResource, mut value: Value) -> Key {
        self.made += 1;
        let meta = access::object_mut(&mut value, &["metadata"]);
        if !meta.contains_key("name") {
            let prefix =
                meta.remove("generateName").and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            meta.insert("name".into(), json!(format!("{prefix}{:04}", self.made)));
        }
        meta.insert("uid".into(), json!(format!("uid-{:04}", self.made)));
        meta.insert("creationTimestamp".into(), json!(rfc3339(self.now)));
        meta.insert("generation".into(), json!(1));
        let key = Key::of(&Header::of(&value));
        assert!(
            self.objects.insert((resource.resource().to_owned(), key.clone()), value).is_none(),
            "{} {key} made twice",
            resource
        );
        key
    }

    pub fn apply(&mut self, plan: &Plan) {
        for action in &plan.actions {
            match action {
                Action::Create { resource, object, .. } => {
                    self.add(resource.clone(), object.clone());
                }
                Action::Change { target, subresource, changes } => {
                    let object = self.get_mut(target);
                    let spec = object.get("spec").cloned();
                    for change in changes {
                        change.apply(object);
                    }
                    if subresource.is_none() && object.get("spec").cloned() != spec {
                        let generation = access::int(object, &["metadata", "generation"]).unwrap_or(0);
                        object["metadata"]["generation"] = json!(generation + 1);
                    }
                }
                Action::Delete { target, .. } => {
                    self.get_mut(target);
                    self.objects.remove(&place_of(target));
                }
            }
        }
    }

    fn get_mut(&mut self, target: &Target) -> &mut Value {
        let object = self.objects.get_mut(&place_of(target)).expect("target exists");
        assert_eq!(access::text(object, &["metadata", "uid"]), target.uid);
        object
    }

    /// The object of an action, whatever its UID.
    pub fn find(&mut self, target: &Target) -> Option<&mut Value> {
        self.objects.get_mut(&place_of(target))
    }

    pub fn get(&self, plural: &str, name: &str) -> &Value {
        &self.objects[&(plural.to_owned(), Key::new("ns", name))]
    }

    pub fn all(&self, plural: &str) -> Vec<&Value> {
        self.objects.iter().filter(|((p, _), _)| *p == plural).map(|(_, v)| v).collect()
    }

    pub fn edit(&mut self, plural: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let object = self.objects.get_mut(&(plural.to_owned(), Key::new("ns", name))).expect("object exists");
        let spec = object["spec"].clone();
        edit(object);
        if object["spec"] != spec {
            let generation = access::int(object, &["metadata", "generation"]).unwrap_or(0);
            object["metadata"]["generation"] = json!(generation + 1);
        }
    }

    pub fn pods(&self) -> Vec<Pod> {
        self.all("pods").into_iter().map(pod).collect()
    }

    pub fn sets(&self) -> Vec<ReplicaSet> {
        self.all("replicasets").into_iter().map(|v| ReplicaSet::decode(stored(v), v)).collect()
    }

    pub fn reconcile_deployment(&self, name: &str) -> Plan {
        let value = self.get("deployments", name);
        let deployment = Deployment::decode(stored(value), value);
        let (sets, pods) = (self.sets(), self.pods());
        deployment::reconcile(&deployment::Snapshot {
            deployment: &deployment,
            replica_sets: sets.iter().collect(),
            pods: pods.iter().collect(),
            refused: None,
            now: self.now,
        })
    }

    pub fn reconcile_replica_set(&self, name: &str) -> Plan {
        let value = self.get("replicasets", name);
        let set = ReplicaSet::decode(stored(value), value);
        let pods = self.pods();
        replica_set::reconcile(&replica_set::Snapshot {
            set: &set,
            pods: pods.iter().collect(),
            related_on_node: Vec::new(),
            refused: None,
            now: self.now,
        })
    }

    pub fn reconcile_service(&self, name: &str) -> Plan {
        let value = self.get("services", name);
        let header = Header::of(value);
        let pods = self.pods();
        let with_headers =
            |plural| self.all(plural).into_iter().map(|v| (Header::of(v), v)).collect::<Vec<_>>();
        let (slices, endpoints) = (with_headers("endpointslices"), with_headers("endpoints"));
        endpoints::reconcile(&endpoints::Snapshot {
            header: &header,
            value,
            pods: pods.iter().collect(),
            slices: slices.iter().map(|(h, v)| (h, *v)).collect(),
            endpoints: endpoints.first().map(|(h, v)| (h, *v)),
            now: self.now,
        })
    }

    /// Looks at everything until nothing is planned any more.
    pub fn settle(&mut self, deployment: &str) {
        for _ in 0..50 {
            let plan = self.reconcile_deployment(deployment);
            let mut idle = plan.is_empty();
            self.apply(&plan);
            for set in self.sets() {
                let plan = self.reconcile_replica_set(&set.header().name);
                idle &= plan.is_empty();
                self.apply(&plan);
            }
            if idle {
                return;
            }
        }
        panic!("does not settle");
    }

    /// Makes one Pod run and be ready.
    pub fn make_ready(&mut self, name: &str) {
        let now = rfc3339(self.now);
        self.edit("pods", name, |pod| {
            pod["spec"]["nodeName"] = json!("n1");
            pod["status"] = json!({
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
            });
        });
    }
}

/// A Deployment of `web`.
pub fn deployment(replicas: i64, surge: Value, unavailable: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "ns"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "web:1"}]},
            },
        },
    })
}

pub fn deployments() -> GroupResource {
    served("apps", "deployments")
}
