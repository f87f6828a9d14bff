//! ServiceAccount: sets a new Pod's service account, its image pull secrets, and a token volume.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shim_core::controllers::served;
use shim_core::kinds::admission as rules;
use shim_model::access;
use shim_model::status::{self, Status};

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};
use crate::storage::catalog::ServedResource;
use crate::storage::object::Object;
use crate::storage::registry::{Registry, generate_name};

/// How long to wait for the default service account of a new namespace, which a controller creates.
const DEFAULT_ACCOUNT_WAIT_MAX: Duration = Duration::from_secs(2);
/// Polling interval during that wait.
const DEFAULT_ACCOUNT_POLL: Duration = Duration::from_millis(20);

pub(super) struct ServiceAccount {
    registry: Registry,
    accounts: Arc<ServedResource>,
}

impl ServiceAccount {
    pub(super) fn new(registry: Registry) -> ServiceAccount {
        let accounts = registry.builtin(&served("", "serviceaccounts"));
        ServiceAccount { registry, accounts }
    }
}

#[async_trait]
impl AdmissionPlugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is_core("pods")
    }

    async fn admit(
        &self,
        _context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let namespace = attributes.namespace;
        let Some(pod) = &mut attributes.object else { return Ok(()) };
        let name = match access::text(pod, &["spec", "serviceAccountName"]) {
            "" => "default".to_owned(),
            name => name.to_owned(),
        };
        let deadline = tokio::time::Instant::now() + DEFAULT_ACCOUNT_WAIT_MAX;
        let account = loop {
            if let Some(found) = self.registry.peek(&self.accounts, namespace, &name) {
                break account_of(&found)?;
            }
            if name != "default" || tokio::time::Instant::now() >= deadline {
                let why = format!(
                    "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
                );
                return Err(status::forbidden("", "pods", access::text(pod, &["metadata", "name"]), why));
            }
            tokio::time::sleep(DEFAULT_ACCOUNT_POLL).await;
        };
        rules::service_account(pod, &account, || generate_name(""));
        Ok(())
    }
}

fn account_of(object: &Object) -> Result<rules::ServiceAccount, Status> {
    // Most accounts are a name and nothing more.
    let more = match object.tail() {
        b"}" => rules::ServiceAccount::default(),
        _ => object.decode().map_err(status::internal)?,
    };
    Ok(rules::ServiceAccount { name: object.name().to_owned(), ..more })
}
