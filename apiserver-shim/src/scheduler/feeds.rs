//! Feeds the machine with changes of Pods, Nodes and Namespaces.

use std::sync::Arc;

use kernel_model::roles::Role;
use serde_json::Value;
use shim_core::controllers::served;
use shim_core::rows::Node;
use shim_core::scheduler::machine::Event;
use shim_model::access;

use super::Driver;
use crate::storage::object::Object;
use crate::storage::registry::Registry;
use crate::storage::selection::Selection;
use crate::storage::watch_cache::{ChangeKind, Delivery, WatchFrom, Watcher};

/// The annotation of a Namespace that sets the Mesos role of its Pods.
pub const ROLE_ANNOTATION: &str = "catamaran.dev/role";
/// Changes read from one watcher per batch.
const DELIVERIES_MAX: usize = 1024;

/// The watchers.
pub(super) struct Watches {
    pods: Watcher,
    nodes: Watcher,
    namespaces: Watcher,
}

fn watch(registry: &Registry, plural: &'static str) -> Watcher {
    registry
        .watch(served("", plural), WatchFrom::Start, Selection::everything())
        .unwrap_or_else(|_| panic!("invariant: a watch from the start never lags"))
}

impl Watches {
    pub fn start(registry: &Registry) -> Self {
        Watches {
            pods: watch(registry, "pods"),
            nodes: watch(registry, "nodes"),
            namespaces: watch(registry, "namespaces"),
        }
    }

    /// Waits until one of the watchers has changes.
    pub async fn changed(&mut self) {
        tokio::select! {
            () = self.pods.changed() => {}
            () = self.nodes.changed() => {}
            () = self.namespaces.changed() => {}
        }
    }
}

/// The next batch of a watcher; empty if it is up to date. `None` if the watcher lagged and was restarted.
fn next(registry: &Registry, watcher: &mut Watcher, plural: &'static str) -> Option<Vec<Delivery>> {
    match watcher.poll(DELIVERIES_MAX) {
        Ok(batch) => Some(batch.deliveries),
        Err(_) => {
            *watcher = watch(registry, plural);
            None
        }
    }
}

impl Driver {
    pub(super) fn drain_watches(&mut self) {
        let registry = self.options.pipeline.registry().clone();
        loop {
            let Some(deliveries) = next(&registry, &mut self.watches.namespaces, "namespaces") else {
                continue;
            };
            if deliveries.is_empty() {
                break;
            }
            deliveries.iter().for_each(|delivery| self.namespace(delivery));
        }
        loop {
            let Some(deliveries) = next(&registry, &mut self.watches.nodes, "nodes") else { continue };
            if deliveries.is_empty() {
                break;
            }
            deliveries.iter().for_each(|delivery| self.node(delivery));
        }
        loop {
            match next(&registry, &mut self.watches.pods, "pods") {
                None => self.forget_gone_pods(),
                Some(deliveries) if deliveries.is_empty() => break,
                Some(deliveries) => deliveries.iter().for_each(|delivery| self.pod(delivery)),
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
        let cache = self.options.pipeline.registry().cache(served("", "pods"));
        let is_gone = |pod: &shim_core::rows::Pod| {
            let header = pod.header();
            cache.get(&header.namespace, &header.name).is_none_or(|o| o.header().uid != header.uid)
        };
        let gone: Vec<Box<str>> =
            self.machine.pods().filter(|(_, pod)| is_gone(pod)).map(|(uid, _)| uid.into()).collect();
        gone.into_iter().for_each(|uid| self.step(Event::PodGone(uid)));
    }
}

/// Stored objects were encoded by this API server.
fn decoded(object: &Object) -> Value {
    serde_json::from_slice(object.bytes()).expect("invariant: a stored object is JSON")
}
