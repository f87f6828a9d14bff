//! ComponentStatuses: whether scheduler, controllers and store work, found out by each request. They are read-only and not
//! stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use shim_model::go_quote::Quoted;
use shim_model::status::{self, Details, Status};
use tokio::task::AbortHandle;

use super::body::Response;
use super::objects::ResourceRequest;
use super::{list, shapes};
use crate::http::service::Api;
use crate::storage::object::{Object, encoded};
use crate::storage::registry::Registry;

/// Timeout of the question to the store; upstream's.
const STORE_TIMEOUT: Duration = Duration::from_secs(20);

/// The components with a task in this process, under upstream's names.
pub const COMPONENTS: [&str; 2] = [CONTROLLER_MANAGER, SCHEDULER];
/// The controllers.
pub const CONTROLLER_MANAGER: &str = "controller-manager";
/// The scheduler.
pub const SCHEDULER: &str = "scheduler";
/// The store, whatever it is.
const STORE: &str = "etcd-0";

/// The tasks of the components of this process. Clones share.
#[derive(Clone, Debug, Default)]
pub struct ComponentTasks(Arc<Mutex<BTreeMap<&'static str, AbortHandle>>>);

impl ComponentTasks {
    /// Tells which task a component is, as long as it runs.
    pub fn insert(&self, component: &'static str, task: AbortHandle) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(component, task);
    }

    fn runs(&self, component: &str) -> bool {
        let tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.get(component).is_some_and(|task| !task.is_finished())
    }
}

/// Serves `get` and `list`.
pub async fn serve(api: &Api, asked: &ResourceRequest<'_>) -> Result<Response, Status> {
    let accepted = asked.accepted()?;
    let name = asked.target.name.as_str();
    match asked.verb {
        "get" if COMPONENTS.contains(&name) || name == STORE => {
            let found = component_status(&api.registry, &api.components, name).await;
            shapes::one_value(200, asked.resource, accepted, asked.query, found)
        }
        // Upstream names the singular here.
        "get" => {
            let mut missing = status::not_found(asked.resource, name);
            missing.message = format!("componentstatus {} not found", Quoted(name));
            if let Some(details) = &mut missing.details {
                details.kind = "componentstatus".to_owned();
            }
            Err(missing)
        }
        "list" => {
            let options = list::options(asked.resource, "", name, asked.query, false)?;
            let mut items = Vec::new();
            for name in [CONTROLLER_MANAGER, STORE, SCHEDULER] {
                let item = component_status(&api.registry, &api.components, name).await;
                let object = Object::new(Arc::new(encoded(&item)), asked.resource.definition(), 0);
                if object.is_some_and(|object| options.selection.matches(&object)) {
                    items.push(item);
                }
            }
            shapes::many_unstored(asked.resource, accepted, asked.query, items)
        }
        "watch" => {
            let plural = &asked.resource.plural;
            let details = Details { kind: plural.clone(), ..Details::default() };
            let message =
                format!("watch is not supported on resources of kind {plural}", plural = Quoted(plural));
            Err(Status::failure(405, "MethodNotAllowed", message).about(details))
        }
        _ => Err(status::method_not_allowed()),
    }
}

async fn component_status(registry: &Registry, tasks: &ComponentTasks, name: &str) -> Value {
    let health = match name {
        STORE => store_health(registry).await,
        name if tasks.runs(name) => Ok(()),
        name => Err(format!("the {name} does not run in this process")),
    };
    let mut condition = json!({"type": "Healthy"});
    match (health, name) {
        (Ok(()), _) => (condition["status"], condition["message"]) = ("True".into(), "ok".into()),
        (Err(why), STORE) => (condition["status"], condition["error"]) = ("False".into(), why.into()),
        (Err(why), _) => (condition["status"], condition["message"]) = ("False".into(), why.into()),
    }
    json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name}, "conditions": [condition]})
}

async fn store_health(registry: &Registry) -> Result<(), String> {
    match tokio::time::timeout(STORE_TIMEOUT, registry.store().current_revision()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the store does not answer".to_owned()),
    }
}
