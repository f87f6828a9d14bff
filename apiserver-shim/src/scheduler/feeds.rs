//! Feeds the machine with changes of Pods, Nodes, Namespaces and volumes.

use std::sync::Arc;

use kernel_model::roles::Role;
use serde_json::Value;
use shim_core::controllers::served;
use shim_core::rows::{DisruptionBudget, Node, ObjectView};
use shim_core::scheduler::{DelayingClass, Volume, VolumeClaim, machine::Event};
use shim_model::{access, resource::GroupResource};

use super::Driver;
use crate::storage::object::Object;
use crate::storage::registry::Registry;
use crate::storage::selection::Selection;
use crate::storage::watch_cache::{ChangeKind, Delivery, WatchFrom, Watcher};

/// The annotation of a Namespace that sets the Mesos role of its Pods.
pub const ROLE_ANNOTATION: &str = "catamaran.dev/role";
const PODS: GroupResource = served("", "pods");
const NODES: GroupResource = served("", "nodes");
const NAMESPACES: GroupResource = served("", "namespaces");
const CLAIMS: GroupResource = served("", "persistentvolumeclaims");
const VOLUMES: GroupResource = served("", "persistentvolumes");
const CLASSES: GroupResource = served("storage.k8s.io", "storageclasses");
const BUDGETS: GroupResource = served("policy", "poddisruptionbudgets");
/// Changes read from one watcher per batch.
const DELIVERIES_MAX: usize = 1024;

/// The watchers.
pub(super) struct Watches {
    pods: Watcher,
    nodes: Watcher,
    namespaces: Watcher,
    claims: Watcher,
    volumes: Watcher,
    classes: Watcher,
    budgets: Watcher,
}

fn watch(registry: &Registry, resource: GroupResource) -> Watcher {
    registry
        .watch(resource, WatchFrom::Start, Selection::everything())
        .unwrap_or_else(|_| panic!("invariant: a watch from the start never lags"))
}

impl Watches {
    pub fn start(registry: &Registry) -> Self {
        Watches {
            pods: watch(registry, PODS),
            nodes: watch(registry, NODES),
            namespaces: watch(registry, NAMESPACES),
            claims: watch(registry, CLAIMS),
            volumes: watch(registry, VOLUMES),
            classes: watch(registry, CLASSES),
            budgets: watch(registry, BUDGETS),
        }
    }

    /// Waits until one of the watchers has changes.
    pub async fn changed(&mut self) {
        tokio::select! {
            () = self.pods.changed() => {}
            () = self.nodes.changed() => {}
            () = self.namespaces.changed() => {}
            () = self.claims.changed() => {}
            () = self.volumes.changed() => {}
            () = self.classes.changed() => {}
            () = self.budgets.changed() => {}
        }
    }
}

/// The next batch of a watcher; empty if it is up to date. `None` if the watcher lagged and was restarted.
fn next(registry: &Registry, watcher: &mut Watcher, resource: GroupResource) -> Option<Vec<Delivery>> {
    match watcher.poll(DELIVERIES_MAX) {
        Ok(batch) => Some(batch.deliveries),
        Err(_) => {
            *watcher = watch(registry, resource);
            None
        }
    }
}

impl Driver {
    pub(super) fn drain_watches(&mut self) {
        let registry = self.options.pipeline.registry().clone();
        loop {
            let Some(deliveries) = next(&registry, &mut self.watches.namespaces, NAMESPACES) else {
                continue;
            };
            if deliveries.is_empty() {
                break;
            }
            deliveries.iter().for_each(|delivery| self.namespace(delivery));
        }
        loop {
            let Some(deliveries) = next(&registry, &mut self.watches.nodes, NODES) else { continue };
            if deliveries.is_empty() {
                break;
            }
            deliveries.iter().for_each(|delivery| self.node(delivery));
        }
        self.drain_volumes(&registry);
        self.drain_budgets(&registry);
        loop {
            match next(&registry, &mut self.watches.pods, PODS) {
                None => self.forget_gone_pods(),
                Some(deliveries) if deliveries.is_empty() => break,
                Some(deliveries) => deliveries.iter().for_each(|delivery| self.pod(delivery)),
            }
        }
    }

    fn drain_volumes(&mut self, registry: &Registry) {
        loop {
            let watches = &mut self.watches;
            let claims = next(registry, &mut watches.claims, CLAIMS);
            let volumes = next(registry, &mut watches.volumes, VOLUMES);
            let classes = next(registry, &mut watches.classes, CLASSES);
            let (Some(claims), Some(volumes), Some(classes)) = (claims, volumes, classes) else {
                // What is known is not complete: start over with all three.
                watches.claims = watch(registry, CLAIMS);
                watches.volumes = watch(registry, VOLUMES);
                watches.classes = watch(registry, CLASSES);
                self.step(Event::VolumesLost);
                continue;
            };
            if claims.is_empty() && volumes.is_empty() && classes.is_empty() {
                return;
            }
            for delivery in &claims {
                let namespace = delivery.object.header().namespace.as_str().into();
                let claim = present(delivery).map(|claim| VolumeClaim::decode(&claim));
                self.step(Event::VolumeClaim { namespace, name: delivery.object.name().into(), claim });
            }
            for delivery in &volumes {
                let volume = present(delivery).map(|volume| Volume::decode(&volume));
                self.step(Event::Volume { name: delivery.object.name().into(), volume });
            }
            for delivery in &classes {
                let class = present(delivery).and_then(|class| DelayingClass::decode(&class));
                self.step(Event::StorageClass { name: delivery.object.name().into(), class });
            }
        }
    }

    fn drain_budgets(&mut self, registry: &Registry) {
        loop {
            let Some(deliveries) = next(registry, &mut self.watches.budgets, BUDGETS) else {
                self.step(Event::BudgetsLost);
                continue;
            };
            if deliveries.is_empty() {
                return;
            }
            for delivery in &deliveries {
                let object = &delivery.object;
                let present = delivery.kind != ChangeKind::Deleted;
                let parsed = || DisruptionBudget::parse(object.stored(), object.revision).ok();
                let budget = if present { parsed().map(Arc::new) } else { None };
                let namespace = object.header().namespace.as_str().into();
                self.step(Event::Budget { namespace, name: object.name().into(), budget });
            }
        }
    }

    fn namespace(&mut self, delivery: &Delivery) {
        let name = delivery.object.name().into();
        if delivery.kind == ChangeKind::Deleted {
            return self.step(Event::NamespaceGone(name));
        }
        let value = decoded(&delivery.object);
        let named = access::text(&value, &["metadata", "annotations", ROLE_ANNOTATION]);
        let role = Role::parse(named).ok().filter(|_| !named.is_empty());
        self.step(Event::Namespace { name, role });
    }

    fn node(&mut self, delivery: &Delivery) {
        let object = &delivery.object;
        if delivery.kind == ChangeKind::Deleted {
            return self.step(Event::NodeGone(object.name().into()));
        }
        let node = Node::decode(object.stored().clone(), object.revision, &decoded(object));
        self.step(Event::Node(Arc::new(node)));
    }

    fn pod(&mut self, delivery: &Delivery) {
        if delivery.kind == ChangeKind::Deleted {
            let uid = &delivery.object.header().uid;
            self.step(Event::PodGone(uid.as_str().into()));
            self.options.pod_views.forget(uid);
        } else {
            match self.options.pod_views.of(&delivery.object) {
                Ok(row) => self.step(Event::Pod(row)),
                Err(error) => {
                    let header = delivery.object.header();
                    let (namespace, name) = (&header.namespace, &header.name);
                    tracing::error!(pod_uid = header.uid, namespace, name, %error, "stored pod cannot be decoded; it is not scheduled");
                }
            }
        }
    }

    /// Handles Pods that were deleted while the watcher lagged.
    fn forget_gone_pods(&mut self) {
        let cache = self.options.pipeline.registry().cache(PODS);
        let is_gone = |pod: &shim_core::rows::Pod| {
            let header = pod.header();
            cache.get(&header.namespace, &header.name).is_none_or(|o| o.header().uid != header.uid)
        };
        let gone: Vec<Box<str>> =
            self.machine.pods().filter(|(_, pod)| is_gone(pod)).map(|(uid, _)| uid.into()).collect();
        gone.into_iter().for_each(|uid| self.step(Event::PodGone(uid)));
    }
}

/// The object, unless it was deleted.
fn present(delivery: &Delivery) -> Option<Value> {
    (delivery.kind != ChangeKind::Deleted).then(|| decoded(&delivery.object))
}

/// Stored objects were encoded by this API server.
fn decoded(object: &Object) -> Value {
    serde_json::from_slice(object.bytes()).expect("invariant: a stored object is JSON")
}
