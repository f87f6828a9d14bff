//! An in-memory cluster for tests of controllers: objects by resource and key, to which plans are applied as the
//! shell would.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use serde_json::{Value, json};
use shim_model::{
    access,
    object::{Header, StoredObject},
    resource::{self, GroupResource},
    schema::Schema,
};

use crate::{
    controllers::{
        Action, AnyView, Controller, ControllerCache, ControllerConfig, Keys, NewObject, ObjectName, Plan,
        Refusal, Registration, Target, View, all, deployment::DeploymentController,
        endpoint_slices::EndpointSliceController, endpoints::EndpointsController,
        replica_set::ReplicaSetController, served,
    },
    rows::{Key, ObjectView, Pod, ReplicaSet, Seconds, rfc3339},
};

/// Objects and a clock.
#[derive(Debug, Default, Clone)]
pub struct TestCluster {
    pub objects: BTreeMap<(String, Key), Value>,
    pub now: Seconds,
    pub made: u64,
    /// The refusal of the last plan, passed to the next reconcile.
    pub refusal: Option<Refusal>,
    /// What [`TestCluster::cache`] has decoded.
    pub decoded: RefCell<BTreeMap<(String, Key), Decoded>>,
}

/// A value, and what it was decoded to.
type Decoded = (Value, Arc<StoredObject>, Option<AnyView>);

fn place_of(target: &Target) -> (String, Key) {
    (target.resource.resource().to_owned(), target.key.clone())
}

pub fn stored(value: &Value) -> Arc<StoredObject> {
    Arc::new(StoredObject::parse(value.to_string().into()).unwrap())
}

pub fn pod(value: &Value) -> Pod {
    Pod::parse(&stored(value), 1).unwrap()
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
            "{} {key} created twice",
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
                Action::Apply { target, configuration, .. } => {
                    shim_model::patch::merge::apply(self.get_mut(target), configuration);
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

    /// The object that an action targets, regardless of its UID.
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
        self.all("replicasets").into_iter().map(|v| ReplicaSet::parse(&stored(v), 1).unwrap()).collect()
    }

    /// A controllers' cache with all objects.
    pub fn cache(&self) -> ControllerCache {
        let controllers =
            all(&ControllerConfig { ca_pem: "certificate".to_owned(), ..ControllerConfig::default() });
        let mut cache = ControllerCache::new(controllers.iter().flat_map(|c| &c.inputs));
        let decoder = cache.decoder();
        let resources = builtin_resources();
        resources.iter().for_each(|resource| cache.add_resource(resource));
        let mut decoded = self.decoded.borrow_mut();
        for (place, value) in &self.objects {
            let stored_here = |r: &&resource::Resource| r.plural == place.0 && r.storage_group == r.group;
            let resource = resources.iter().find(stored_here).unwrap().group_resource();
            // Decoding is most of the work, and few objects change between two reconciles.
            let known = decoded.get(place).filter(|(of, ..)| of == value);
            let known = known.map(|(_, object, view)| (object.clone(), view.clone()));
            let (object, view) = known.unwrap_or_else(|| {
                let object = stored(value);
                let view = decoder.decode(&resource, &object, 1).unwrap();
                decoded.insert(place.clone(), (value.clone(), object.clone(), view.clone()));
                (object, view)
            });
            cache.put(&resource, NewObject { object, revision: 1, view }, self.now);
        }
        cache
    }

    /// Runs one reconcile.
    pub fn reconcile(&self, controller: &impl Controller, name: &ObjectName) -> Plan {
        let cache = self.cache();
        controller.reconcile(&View::new(&cache, self.now, self.refusal.as_ref()), name)
    }

    /// Passes every object to these controllers as added and applies their plans, until they plan nothing.
    pub fn run(&mut self, controllers: &[Registration]) {
        for _ in 0..50 {
            let mut idle = true;
            for controller in controllers {
                let cache = self.cache();
                let view = View::new(&cache, self.now, None);
                let keys: Keys =
                    cache.all_as_added().flat_map(|change| controller.keys(&change, &view)).collect();
                let plans: Vec<Plan> = keys.iter().map(|key| controller.reconcile(&view, key)).collect();
                for plan in plans.iter().filter(|plan| !plan.is_empty()) {
                    idle = false;
                    self.apply(plan);
                }
            }
            if idle {
                return;
            }
        }
        panic!("the controllers do not converge");
    }

    pub fn reconcile_deployment(&self, name: &str) -> Plan {
        self.reconcile(&DeploymentController, &ObjectName::new(served("apps", "deployments"), "ns", name))
    }

    pub fn reconcile_replica_set(&self, name: &str) -> Plan {
        self.reconcile(&ReplicaSetController, &ObjectName::new(served("apps", "replicasets"), "ns", name))
    }

    /// The combined plan of both endpoint controllers for a Service.
    pub fn reconcile_service(&self, name: &str) -> Plan {
        let name = ObjectName::new(served("", "services"), "ns", name);
        let mut plan = self.reconcile(&EndpointSliceController, &name);
        plan.actions.extend(self.reconcile(&EndpointsController, &name).actions);
        plan
    }

    /// Reconciles a Deployment and its ReplicaSets until nothing is planned.
    pub fn converge(&mut self, deployment: &str) {
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
        panic!("does not converge");
    }

    /// Makes a Pod running and ready.
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

/// The built-in resources, created once.
pub fn builtin_resources() -> &'static [resource::Resource] {
    static ALL: LazyLock<Vec<resource::Resource>> = LazyLock::new(|| resource::builtin(&Schema::builtin()));
    &ALL
}

/// A Deployment named `web`.
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
