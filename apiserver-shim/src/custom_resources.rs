//! Serves what CustomResourceDefinitions define. One task follows the definitions: it accepts names, installs and replaces
//! resources in the catalog, and writes the conditions; `cleanup` deletes the objects of a deleted definition. The decisions
//! are in `shim_core::custom_resources`.
//!
//! A resource is installed before its definition says that it is established, and at the start of the server before it
//! accepts requests.

mod cleanup;
mod webhook;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shim_core::controllers::served;
use shim_core::converter::Converter;
use shim_core::custom_resources::conversion::RenameVersion;
use shim_core::custom_resources::names::{self, TakenNames};
use shim_core::custom_resources::{self as core, Environment, Family, conditions};
use shim_core::definition::ResourceDefinition;
use shim_model::access;
use shim_model::resource::GroupResource;
use shim_model::schema::ObjectType;
use tokio::task::JoinSet;

use crate::pipeline::blocking;
use crate::pipeline::{Identity, ObjectRef, Pipeline};
use crate::service_client::ServiceClients;
use crate::storage::object::Object;
use crate::storage::registry::{Registry, now};
use crate::storage::selection::Selection;
use crate::storage::watch_cache::{WatchFrom, Watcher};

use webhook::WebhookConverter;

/// The resource of definitions.
pub(crate) const DEFINITIONS: GroupResource = served("apiextensions.k8s.io", "customresourcedefinitions");
/// Delay before what failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Changes read at once. What they change is looked up afterwards, so that the number does not matter.
const CHANGES_MAX: usize = 1024;

/// Follows the definitions.
pub struct CustomResources {
    pipeline: Pipeline,
    identity: Identity,
    scale: ObjectType,
    clients: ServiceClients,
    /// What is installed, by the definitions' names: everything of a definition on which its rows depend.
    installed: BTreeMap<String, Installed>,
    deleting: BTreeSet<String>,
    cleanups: JoinSet<String>,
}

struct Installed {
    resource: GroupResource,
    /// What its store depends on.
    stored_by: Value,
    is_terminating: bool,
}

impl CustomResources {
    /// Installs the resources of all established definitions. A definition that cannot be installed is logged and left to
    /// [`CustomResources::run`].
    pub async fn start(pipeline: Pipeline) -> CustomResources {
        let deployments = pipeline.registry().builtin(&served("apps", "deployments"));
        let scale = deployments.subresource("scale").and_then(|scale| scale.object_type.clone());
        let mut this = CustomResources {
            clients: pipeline.clients().clone(),
            pipeline,
            identity: Identity::apiserver(),
            scale: scale.expect("invariant: Deployments have a scale with a type"),
            installed: BTreeMap::new(),
            deleting: BTreeSet::new(),
            cleanups: JoinSet::new(),
        };
        for object in this.registry().cache(&DEFINITIONS).list(None) {
            let crd = object.value();
            if conditions::is_true(&crd, "NamesAccepted") || conditions::is_true(&crd, "Established") {
                this.install(&crd).await;
            }
        }
        this
    }

    fn registry(&self) -> &Registry {
        self.pipeline.registry()
    }

    /// Runs until the task is aborted.
    pub async fn run(mut self) {
        let mut watcher = self.watch();
        let mut pending = self.all();
        loop {
            let mut failed = BTreeSet::new();
            for name in std::mem::take(&mut pending) {
                if !self.reconcile(&name).await {
                    failed.insert(name);
                }
            }
            tokio::select! {
                () = watcher.changed() => {
                    pending = drain(&mut watcher, || self.watch(), || self.all());
                    // What a definition has given up may be what another waits for.
                    pending.extend(self.not_accepted());
                }
                Some(done) = self.cleanups.join_next() => {
                    if let Ok(name) = done {
                        self.deleting.remove(&name);
                        pending.insert(name);
                    }
                }
                () = tokio::time::sleep(RETRY_AFTER), if !failed.is_empty() => {}
            }
            pending.extend(failed);
        }
    }

    fn watch(&self) -> Watcher {
        let watcher = self.registry().watch(&DEFINITIONS, WatchFrom::Now, Selection::everything());
        watcher.expect("invariant: a built-in resource is always served and can be watched from now on")
    }

    fn all(&self) -> BTreeSet<String> {
        let cache = self.registry().cache(&DEFINITIONS);
        let present = cache.list(None).iter().map(|object| object.name().to_owned()).collect::<Vec<_>>();
        present.into_iter().chain(self.installed.keys().cloned()).collect()
    }

    fn not_accepted(&self) -> BTreeSet<String> {
        let all = self.registry().cache(&DEFINITIONS).list(None);
        let waits = all.iter().filter(|object| {
            let status = status_of(object);
            let names = conditions::find(&status, "NamesAccepted");
            names.is_some_and(|condition| access::text(condition, &["status"]) == "False")
        });
        waits.map(|object| object.name().to_owned()).collect()
    }

    /// Brings one definition up to date. Returns false if it has to be tried again.
    async fn reconcile(&mut self, name: &str) -> bool {
        let Some(object) = self.registry().peek(&DEFINITIONS, "", name) else {
            self.uninstall(name).await;
            return true;
        };
        let crd = object.value();
        let mut wanted = crd.clone();
        let taken = self.taken(&crd);
        apply_status(&mut wanted, &taken);
        let accepted = ["NamesAccepted", "Established"].iter().any(|kind| conditions::is_true(&wanted, kind));
        if accepted && !self.install(&wanted).await {
            return false;
        }
        if wanted["status"] != crd["status"] && !self.write_status(name, &taken).await {
            return false;
        }
        let cleanup = shim_core::kinds::custom_resource_definition::CLEANUP_FINALIZER;
        let held = object.header().finalizers.iter().any(|finalizer| finalizer == cleanup);
        if object.header().deletion_timestamp.is_some() && held && self.deleting.insert(name.to_owned()) {
            let (pipeline, name) = (self.pipeline.clone(), name.to_owned());
            self.cleanups.spawn(async move {
                if let Err(status) = cleanup::run(&pipeline, &name).await {
                    tracing::warn!(definition = name, %status, "objects of a deleted definition remain");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                name
            });
        }
        true
    }

    /// The names that others of the group have.
    fn taken(&self, crd: &Value) -> TakenNames {
        let group = access::text(crd, &["spec", "group"]);
        let mut taken = TakenNames::default();
        for object in self.registry().cache(&DEFINITIONS).list(None) {
            // A definition's name is that of its resource and group.
            let in_group = object.name().split_once('.').is_some_and(|(_, of)| of == group);
            if in_group && object.name() != access::text(crd, &["metadata", "name"]) {
                taken.add_definition(&status_of(&object));
            }
        }
        let catalog = self.registry().catalog();
        let built_in = catalog.resources().filter(|row| row.group == group && row.custom.is_none());
        built_in.for_each(|row| taken.add_resource(row));
        taken
    }

    async fn write_status(&self, name: &str, taken: &TakenNames) -> bool {
        let row = self.registry().builtin(&DEFINITIONS);
        let target = ObjectRef::new(&row, "", name).status();
        let change = |current: &Value| {
            let mut wanted = current.clone();
            apply_status(&mut wanted, taken);
            Ok(wanted)
        };
        let written = self.pipeline.update_with(&self.identity.context("update"), target, change).await;
        match written {
            // The next look must see it.
            Ok(outcome) => self.registry().wait_for(outcome.revision()).await.is_ok(),
            Err(gone) if gone.code == 404 => true,
            Err(status) => {
                tracing::warn!(definition = name, %status, "the status of a definition cannot be written");
                false
            }
        }
    }

    /// Installs or replaces the resource of a definition whose names are accepted.
    async fn install(&mut self, crd: &Value) -> bool {
        let name = access::text(crd, &["metadata", "name"]);
        let (stored_by, is_terminating) = (stored_by(crd), conditions::is_true(crd, "Terminating"));
        let as_before = self.installed.get(name).filter(|installed| installed.stored_by == stored_by);
        let is_stored_as_before = as_before.is_some();
        if as_before.is_some_and(|installed| installed.is_terminating == is_terminating) {
            return true;
        }
        let definitions = match blocking::run(|| self.definitions(crd)) {
            Ok(definitions) => definitions,
            Err(error) => {
                tracing::error!(definition = name, %error, "a definition cannot be served");
                return true;
            }
        };
        let is_served = |d: &ResourceDefinition| d.custom.as_ref().is_some_and(|custom| custom.is_served);
        if !definitions.iter().any(is_served) {
            self.uninstall(name).await;
            return true;
        }
        let resource = definitions[0].group_resource();
        if is_stored_as_before {
            // Watches must not end here: they show how the objects of a terminating definition are deleted.
            self.registry().redefine(definitions).await;
        } else if let Err(error) = self.registry().replace(definitions).await {
            tracing::warn!(definition = name, %error, "a custom resource cannot be installed");
            return false;
        }
        self.installed.insert(name.to_owned(), Installed { resource, stored_by, is_terminating });
        true
    }

    fn definitions(&self, crd: &Value) -> Result<Vec<ResourceDefinition>, core::NotServable> {
        let webhook = access::text(crd, &["spec", "conversion", "strategy"]) == "Webhook";
        let clients = &self.clients;
        let converter = |family: &Arc<Family>, version: &str| -> Arc<dyn Converter> {
            match webhook {
                true => Arc::new(WebhookConverter::new(clients.clone(), crd, family.clone(), version)),
                false => RenameVersion::new(family.clone(), version),
            }
        };
        core::definitions(crd, Environment { converter: &converter, scale: &self.scale })
    }

    async fn uninstall(&mut self, name: &str) {
        if let Some(installed) = self.installed.remove(name) {
            self.registry().uninstall(&installed.resource).await;
        }
    }
}

/// A definition with nothing but its status, which is small.
fn status_of(object: &Object) -> Value {
    json!({"status": serde_json::from_slice::<Value>(object.stored().status()).unwrap_or_default()})
}

/// What decides how a definition's objects are stored and read.
fn stored_by(crd: &Value) -> Value {
    json!([
        crd["metadata"]["uid"],
        crd["spec"],
        crd["status"]["acceptedNames"],
        crd["status"]["storedVersions"],
    ])
}

fn apply_status(crd: &mut Value, taken: &TakenNames) {
    let time = now().to_rfc3339();
    conditions::set_approval(crd, &time);
    names::accept(crd, taken, &time);
    conditions::set_non_structural(crd, &time);
}

/// The names of the definitions that have changed.
fn drain(
    watcher: &mut Watcher,
    watch: impl Fn() -> Watcher,
    all: impl Fn() -> BTreeSet<String>,
) -> BTreeSet<String> {
    let mut changed = BTreeSet::new();
    loop {
        match watcher.poll(CHANGES_MAX) {
            Ok(batch) if batch.deliveries.is_empty() => return changed,
            Ok(batch) => changed.extend(batch.deliveries.iter().map(|d| d.object.name().to_owned())),
            Err(_) => {
                *watcher = watch();
                return all();
            }
        }
    }
}
