//! What a change asks for: which controller looks at which key again. Asking too often costs a look; asking too seldom is
//! made good by the resync.

use shim_core::controllers::{
    garbage_collector::{FOREGROUND, ORPHAN},
    root_ca, served,
};
use shim_core::rows::{Key, Pod, TaintEffect};
use shim_model::object::Header;
use shim_model::resource::GroupResource;

use super::world::World;
use super::{Controller, Runner};
use crate::storage::object::Object;
use crate::storage::watch_cache::ChangeKind;

impl Runner {
    /// Asks for all looks that a change calls for.
    pub(crate) fn trigger(
        &mut self,
        resource: &GroupResource,
        kind: ChangeKind,
        object: &Object,
        before: Option<&Object>,
        revision: u64,
    ) {
        let header = object.header();
        let key = Key::of(header);
        self.trigger_collector(resource, kind, header, before, revision);
        match resource.parts() {
            ("", "pods") => self.trigger_pod(kind, object, before, revision),
            ("apps", "replicasets") => {
                self.ask(Controller::ReplicaSets, resource.clone(), key, revision);
                self.trigger_deployments(header, revision);
                if let Some(before) = before {
                    self.trigger_deployments(before.header(), revision);
                }
            }
            ("apps", "deployments") => self.ask(Controller::Deployments, resource.clone(), key, revision),
            ("", "namespaces") => {
                self.ask(Controller::NamespaceDefaults, resource.clone(), key.clone(), revision);
                if header.deletion_timestamp.is_some() {
                    self.ask(Controller::Namespaces, resource.clone(), key, revision);
                }
            }
            ("", "serviceaccounts") if kind == ChangeKind::Deleted && header.name == "default" => {
                self.ask_namespace_defaults(&header.namespace, revision);
            }
            ("", "configmaps") if header.name == root_ca::NAME => {
                self.ask_namespace_defaults(&header.namespace, revision);
            }
            ("", "services") => self.ask(Controller::Endpoints, resource.clone(), key, revision),
            ("", "endpoints") => self.ask(Controller::Endpoints, served("", "services"), key, revision),
            ("discovery.k8s.io", "endpointslices") => {
                if let Some(service) = header.labels.get("kubernetes.io/service-name") {
                    let key = Key::new(&header.namespace, service);
                    self.ask(Controller::Endpoints, served("", "services"), key, revision);
                }
            }
            ("", "nodes") => self.trigger_node(header, revision),
            _ => {}
        }
        if kind == ChangeKind::Deleted && !header.namespace.is_empty() {
            self.trigger_emptied_namespace(&header.namespace, revision);
        }
    }

    fn ask_namespace_defaults(&mut self, namespace: &str, revision: u64) {
        let key = Key::new("", namespace);
        self.ask(Controller::NamespaceDefaults, served("", "namespaces"), key, revision);
    }

    fn trigger_emptied_namespace(&mut self, namespace: &str, revision: u64) {
        let namespaces = served("", "namespaces");
        let deleting = self
            .registry
            .peek(&namespaces, "", namespace)
            .is_some_and(|n| n.header().deletion_timestamp.is_some());
        if deleting {
            self.ask(Controller::Namespaces, namespaces, Key::new("", namespace), revision);
        }
    }

    /// The Deployment that controls a ReplicaSet; for one without a controller, all that might adopt it.
    fn trigger_deployments(&mut self, set: &Header, revision: u64) {
        let resource = served("apps", "deployments");
        if let Some(owner) = set.controller() {
            if owner.kind == "Deployment" {
                let key = Key::new(&set.namespace, &owner.name);
                self.ask(Controller::Deployments, resource.clone(), key, revision);
            }
            return;
        }
        let adopters: Vec<Key> = World::in_namespace(&self.world.deployments, &set.namespace)
            .filter(|(_, d)| d.selector.matches(&set.labels))
            .map(|(key, _)| key.clone())
            .collect();
        for key in adopters {
            self.ask(Controller::Deployments, resource.clone(), key, revision);
        }
    }

    fn trigger_pod(&mut self, kind: ChangeKind, object: &Object, before: Option<&Object>, revision: u64) {
        let header = object.header();
        self.trigger_sets(header, revision);
        if let Some(before) = before.filter(|b| b.header().owners != header.owners) {
            self.trigger_sets(before.header(), revision);
        }
        let services: Vec<Key> = World::in_namespace(&self.world.services, &header.namespace)
            .filter(|(_, s)| {
                s.matches(&header.labels) || before.is_some_and(|b| s.matches(&b.header().labels))
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in services {
            self.ask(Controller::Endpoints, served("", "services"), key, revision);
        }
        if kind != ChangeKind::Deleted
            && let Some(pod) = self.world.pods.get(&Key::of(header)).cloned()
            && self.is_in_trouble(&pod)
        {
            self.ask(Controller::PodsOnNodes, served("", "pods"), Key::of(header), revision);
        }
        if kind == ChangeKind::Deleted {
            self.trigger_recreating_deployment(header, revision);
        }
    }

    /// A Deployment that recreates waits for its old Pods to be gone, which no ReplicaSet tells it.
    fn trigger_recreating_deployment(&mut self, pod: &Header, revision: u64) {
        let Some(owner) = pod.controller().filter(|o| o.kind == "ReplicaSet") else { return };
        let set = self.world.sets.get(&Key::new(&pod.namespace, &owner.name)).cloned();
        if let Some(set) = set {
            self.trigger_deployments(set.header(), revision);
        }
    }

    /// Whether the node of a Pod is gone, does not answer or drives Pods away; or nobody will end the Pod.
    fn is_in_trouble(&self, pod: &Pod) -> bool {
        match &pod.node {
            None => pod.deletion.is_some(),
            Some(node) => self.world.nodes.get(node).is_none_or(|node| {
                !node.is_ready() || node.taints.iter().any(|t| t.effect == TaintEffect::NoExecute)
            }),
        }
    }

    /// The ReplicaSet that controls a Pod; for one without a controller, all that might adopt it.
    fn trigger_sets(&mut self, pod: &Header, revision: u64) {
        let resource = served("apps", "replicasets");
        if let Some(owner) = pod.controller() {
            if owner.kind == "ReplicaSet" {
                self.ask(
                    Controller::ReplicaSets,
                    resource.clone(),
                    Key::new(&pod.namespace, &owner.name),
                    revision,
                );
            }
            return;
        }
        let adopters: Vec<Key> = World::in_namespace(&self.world.sets, &pod.namespace)
            .filter(|(_, s)| s.selector.matches(&pod.labels))
            .map(|(key, _)| key.clone())
            .collect();
        for key in adopters {
            self.ask(Controller::ReplicaSets, resource.clone(), key, revision);
        }
    }

    fn trigger_node(&mut self, header: &Header, revision: u64) {
        self.ask(Controller::Nodes, served("", "nodes"), Key::of(header), revision);
        let node = self.world.nodes.get(header.name.as_str());
        if node.is_some() {
            self.missing_nodes.remove(header.name.as_str());
        }
        let calm =
            node.is_some_and(|n| n.is_ready() && n.taints.iter().all(|t| t.effect != TaintEffect::NoExecute));
        if calm {
            return;
        }
        let pods: Vec<Key> = self.world.pods_on(&header.name).map(|p| Key::of(p.header())).collect();
        for key in pods {
            self.ask(Controller::PodsOnNodes, served("", "pods"), key, revision);
        }
    }

    fn trigger_collector(
        &mut self,
        resource: &GroupResource,
        kind: ChangeKind,
        header: &Header,
        before: Option<&Object>,
        revision: u64,
    ) {
        let deleting = header.deletion_timestamp.is_some();
        let has = |finalizer: &str| header.finalizers.iter().any(|f| f == finalizer);
        if kind == ChangeKind::Deleted || (deleting && has(FOREGROUND)) {
            let dependents: Vec<_> =
                self.world.dependents(&header.uid).map(|(name, _)| name.clone()).collect();
            for name in dependents {
                self.ask(Controller::GarbageCollector, name.resource, name.key, revision);
            }
        }
        if kind != ChangeKind::Deleted {
            let fresh = before.is_none_or(|b| b.header().owners != header.owners);
            let waits = deleting && (has(FOREGROUND) || has(ORPHAN));
            if (fresh && !header.owners.is_empty()) || waits {
                self.ask(Controller::GarbageCollector, resource.clone(), Key::of(header), revision);
            }
        }
        // Owners that wait for this one to go or to change.
        for owner in header.owners.iter().filter(|o| o.block_owner_deletion) {
            let (group, version) = shim_model::resource::split_api_version(&owner.api_version);
            let catalog = self.registry.catalog();
            let Some(kind) = catalog.by_kind(group, version, &owner.kind) else { continue };
            let namespace = if kind.namespaced { header.namespace.as_str() } else { "" };
            let waiting = kind.store().is_some()
                && self.registry.peek(kind, namespace, &owner.name).is_some_and(|o| {
                    o.header().deletion_timestamp.is_some()
                        && o.header().finalizers.iter().any(|f| f == FOREGROUND)
                });
            if waiting {
                self.ask(
                    Controller::GarbageCollector,
                    kind.group_resource(),
                    Key::new(namespace, &owner.name),
                    revision,
                );
            }
        }
    }

    /// Asks for a look at everything.
    pub(crate) fn resync(&mut self) {
        let asks: Vec<(Controller, GroupResource, Key)> = self
            .world
            .deployments
            .keys()
            .map(|k| (Controller::Deployments, served("apps", "deployments"), k.clone()))
            .chain(
                self.world
                    .sets
                    .keys()
                    .map(|k| (Controller::ReplicaSets, served("apps", "replicasets"), k.clone())),
            )
            .chain(
                self.world
                    .services
                    .keys()
                    .map(|k| (Controller::Endpoints, served("", "services"), k.clone())),
            )
            .chain(self.world.nodes.keys().map(|n| (Controller::Nodes, served("", "nodes"), Key::new("", n))))
            .chain(
                self.world
                    .pods
                    .iter()
                    .filter(|(_, pod)| self.is_in_trouble(pod))
                    .map(|(k, _)| (Controller::PodsOnNodes, served("", "pods"), k.clone())),
            )
            .collect();
        for (controller, resource, key) in asks {
            self.ask(controller, resource, key, 0);
        }
        let namespaces = served("", "namespaces");
        for namespace in self.registry.cache(&namespaces).list(None) {
            let key = Key::of(namespace.header());
            self.ask(Controller::NamespaceDefaults, namespaces.clone(), key.clone(), 0);
            if namespace.header().deletion_timestamp.is_some() {
                self.ask(Controller::Namespaces, namespaces.clone(), key, 0);
            }
        }
    }
}
