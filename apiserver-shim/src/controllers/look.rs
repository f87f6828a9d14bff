//! One look: gathers a snapshot out of the world and the caches, and asks the controller for its plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use shim_core::controllers::{
    Plan, Target, deployment, endpoints,
    garbage_collector::{self, FOREGROUND, OwnerState},
    namespace, node_lifecycle, pod_gc, replica_set, root_ca, served, service_account,
};
use shim_core::rows::{Deployment, Key, Pod, ReplicaSet};
use shim_model::object::{Header, Owner};
use shim_model::resource::{self, GroupResource};

use super::world::{ObjectName, World};
use super::{Controller, Runner};
use crate::storage::object::Object;

impl Runner {
    /// What to do next about a key.
    pub(crate) fn look(&mut self, controller: Controller, name: &ObjectName) -> Plan {
        let key = &name.key;
        match controller {
            Controller::Deployments => self.look_at_deployment(name),
            Controller::ReplicaSets => self.look_at_set(name),
            Controller::Namespaces => self.look_at_namespace(key),
            Controller::NamespaceDefaults => self.look_at_namespace_defaults(key),
            Controller::Endpoints => self.look_at_service(key),
            Controller::Nodes => {
                let node = self.world.nodes.get(&key.name);
                node.map_or_else(Plan::default, |node| node_lifecycle::reconcile(node, now()))
            }
            Controller::PodsOnNodes => self.look_at_pod(key),
            Controller::GarbageCollector => self.look_at_owned(name),
        }
    }

    fn look_at_deployment(&self, name: &ObjectName) -> Plan {
        let Some(deployment) = self.world.deployments.get(&name.key) else { return Plan::default() };
        let sets: Vec<&Arc<ReplicaSet>> = World::in_namespace(&self.world.sets, &name.key.namespace)
            .filter(|(_, set)| concerns(deployment, set))
            .map(|(_, set)| set)
            .collect();
        let pods: Vec<&Pod> =
            sets.iter().flat_map(|set| self.world.pods_of(&set.header().uid)).map(|p| &**p).collect();
        let refused = self.refusals.get(&(Controller::Deployments, name.clone()));
        let refused =
            refused.filter(|r| r.creating && r.status.code != 409).map(|r| r.status.message.as_str());
        deployment::reconcile(&deployment::Snapshot {
            deployment,
            replica_sets: sets.iter().map(|s| &***s).collect(),
            pods,
            refused,
            now: now(),
        })
    }

    fn look_at_set(&self, name: &ObjectName) -> Plan {
        let Some(set) = self.world.sets.get(&name.key) else { return Plan::default() };
        let uid = &set.header().uid;
        let mut pods: Vec<&Pod> = self.world.pods_of(uid).map(|p| &**p).collect();
        let orphans = self.world.orphan_pods(&name.key.namespace);
        pods.extend(orphans.map(|p| &**p).filter(|p| set.selector.matches(&p.header().labels)));
        let refused = self.refusals.get(&(Controller::ReplicaSets, name.clone()));
        let refused = refused
            .map(|r| replica_set::Refusal { creating: r.creating, message: r.status.message.as_str() });
        let crowded = pods.iter().filter(|p| p.is_active()).count() as i64 > set.replicas;
        let related_on_node = if crowded { self.related_on_node(set) } else { Vec::new() };
        replica_set::reconcile(&replica_set::Snapshot { set, pods, related_on_node, refused, now: now() })
    }

    /// Active Pods by node, of every ReplicaSet with the same controller.
    fn related_on_node(&self, set: &ReplicaSet) -> Vec<(&str, usize)> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let owner = set.header().controller().map(|o| o.uid.as_str());
        let related = World::in_namespace(&self.world.sets, &set.header().namespace).filter(|(_, other)| {
            let same = owner.is_some() && other.header().controller().map(|o| o.uid.as_str()) == owner;
            same || other.header().uid == set.header().uid
        });
        for (_, other) in related {
            for pod in self.world.pods_of(&other.header().uid).filter(|p| p.is_active()) {
                if let Some(node) = pod.node.as_deref() {
                    *counts.entry(node).or_default() += 1;
                }
            }
        }
        counts.into_iter().collect()
    }

    fn look_at_namespace(&self, key: &Key) -> Plan {
        let Some(object) = self.registry.peek(served("", "namespaces"), "", &key.name) else {
            return Plan::default();
        };
        let mut content: Vec<(GroupResource, Arc<Object>)> = Vec::new();
        let catalog = self.registry.catalog();
        let stored = catalog.iter().filter(|r| r.namespaced && r.storage_group == r.group);
        for (resource, store) in stored.filter_map(|r| Some((r.group_resource(), r.store()?))) {
            let objects = store.cache().list(Some(&key.name));
            content.extend(objects.into_iter().map(|o| (resource.clone(), o)));
        }
        let value = decoded(&object);
        namespace::reconcile(&namespace::Snapshot {
            header: object.header(),
            value: &value,
            content: content.iter().map(|(r, o)| (r.clone(), o.header())).collect(),
            now: now(),
        })
    }

    fn look_at_namespace_defaults(&self, key: &Key) -> Plan {
        let Some(object) = self.registry.peek(served("", "namespaces"), "", &key.name) else {
            return Plan::default();
        };
        let exists = self.registry.peek(served("", "serviceaccounts"), &key.name, "default").is_some();
        let mut plan = service_account::reconcile(object.header(), exists);
        let map = self.registry.peek(served("", "configmaps"), &key.name, root_ca::NAME);
        let map = map.map(|m| (m.header().clone(), decoded(&m)));
        let more = root_ca::reconcile(object.header(), map.as_ref().map(|(h, v)| (h, v)), &self.ca_pem);
        plan.actions.extend(more.actions);
        plan
    }

    fn look_at_service(&self, key: &Key) -> Plan {
        let Some(selector) = self.world.services.get(key) else { return Plan::default() };
        let Some(service) = self.registry.peek(served("", "services"), &key.namespace, &key.name) else {
            return Plan::default();
        };
        let pods = World::in_namespace(&self.world.pods, &key.namespace)
            .map(|(_, pod)| &**pod)
            .filter(|pod| selector.matches(&pod.header().labels))
            .collect();
        let of_service = |o: &Arc<Object>| {
            let labels = &o.header().labels;
            labels.get("kubernetes.io/service-name").is_some_and(|s| **s == *key.name)
                && labels
                    .get("endpointslice.kubernetes.io/managed-by")
                    .is_some_and(|m| m == endpoints::MANAGED_BY)
        };
        let slices =
            self.registry.cache(served("discovery.k8s.io", "endpointslices")).list(Some(&key.namespace));
        let slices: Vec<(Arc<Object>, Value)> =
            slices.into_iter().filter(of_service).map(|o| (o.clone(), decoded(&o))).collect();
        let legacy = self.registry.peek(served("", "endpoints"), &key.namespace, &key.name);
        let legacy = legacy.map(|o| (o.clone(), decoded(&o)));
        let value = decoded(&service);
        endpoints::reconcile(&endpoints::Snapshot {
            header: service.header(),
            value: &value,
            pods,
            slices: slices.iter().map(|(o, v)| (o.header(), v)).collect(),
            endpoints: legacy.as_ref().map(|(o, v)| (o.header(), v)),
            now: now(),
        })
    }

    fn look_at_pod(&mut self, key: &Key) -> Plan {
        let Some(pod) = self.world.pods.get(key).cloned() else { return Plan::default() };
        let Some(node_name) = pod.node.as_deref() else { return pod_gc::reconcile(&pod, None, now()) };
        match self.world.nodes.get(node_name) {
            Some(node) => {
                self.missing_nodes.remove(node_name);
                let value: Value = serde_json::from_slice(&pod.object.bytes).unwrap_or_default();
                node_lifecycle::reconcile_pod(&pod, &value["status"], node, now())
            }
            None => {
                let since = *self.missing_nodes.entry(node_name.into()).or_insert_with(now);
                pod_gc::reconcile(&pod, Some(since), now())
            }
        }
    }

    fn look_at_owned(&self, name: &ObjectName) -> Plan {
        let resource = &name.resource;
        let Some(object) = self.registry.peek(resource, &name.key.namespace, &name.key.name) else {
            return Plan::default();
        };
        let header = object.header();
        let owners = header
            .owners
            .iter()
            .map(|o| garbage_collector::Owner { uid: &o.uid, state: self.owner_state(header, o) })
            .collect();
        let dependents = self
            .world
            .dependents(&header.uid)
            .filter_map(|(name, row)| {
                let found = self.registry.peek(&name.resource, &name.key.namespace, &name.key.name)?;
                let deleting = found.header().deletion_timestamp.is_some();
                (found.header().uid == row.uid).then(|| garbage_collector::Dependent {
                    target: Target {
                        resource: name.resource.clone(),
                        key: name.key.clone(),
                        uid: row.uid.clone(),
                    },
                    blocks: row.blocks,
                    deleting,
                    deleting_dependents: deleting
                        && found.header().finalizers.iter().any(|f| f == FOREGROUND),
                })
            })
            .collect();
        garbage_collector::reconcile(&garbage_collector::Snapshot {
            target: Target::of(resource.clone(), header),
            deleting: header.deletion_timestamp.is_some(),
            finalizers: &header.finalizers,
            owners,
            dependents,
        })
    }

    fn owner_state(&self, dependent: &Header, owner: &Owner) -> OwnerState {
        let (group, version) = resource::split_api_version(&owner.api_version);
        let catalog = self.registry.catalog();
        let kind = catalog.by_kind(group, version, &owner.kind);
        let Some(kind) = kind.filter(|k| k.store().is_some()) else {
            return OwnerState::Solid;
        };
        let namespace = match (kind.namespaced, dependent.namespace.is_empty()) {
            // An object of the whole cluster cannot be owned from within a namespace: not for us to judge.
            (true, true) => return OwnerState::Solid,
            (true, false) => dependent.namespace.as_str(),
            (false, _) => "",
        };
        match self.registry.peek(kind, namespace, &owner.name) {
            Some(found) if found.header().uid == owner.uid => {
                let waiting = found.header().deletion_timestamp.is_some()
                    && found.header().finalizers.iter().any(|f| f == FOREGROUND);
                if waiting { OwnerState::Waiting } else { OwnerState::Solid }
            }
            _ => OwnerState::Absent,
        }
    }
}

/// Whether a ReplicaSet is the Deployment's, or may become it, or has a name that it might want.
fn concerns(deployment: &Deployment, set: &ReplicaSet) -> bool {
    shim_core::rows::controlled_by(&set.object, &deployment.header().uid)
        || deployment.selector.matches(&set.header().labels)
        || set.header().name.starts_with(deployment.header().name.as_str())
}

fn decoded(object: &Object) -> Value {
    serde_json::from_slice(object.bytes()).unwrap_or_default()
}

fn now() -> i64 {
    crate::storage::registry::now().seconds()
}
