//! ServiceAccount: sets a new Pod's service account, its image pull secrets, and a token volume. Limits the Secrets that it
//! references where the account says so.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use memchr::memmem;
use serde_json::Value;
use shim_core::controllers::served;
use shim_core::kinds::admission as rules;
use shim_core::secret_references;
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

/// The subresource through which a Pod gets ephemeral containers.
const EPHEMERAL: &str = "ephemeralcontainers";

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
        match attributes.operation {
            Operation::Create => attributes.is_core("pods"),
            Operation::Update => attributes.subresource == EPHEMERAL && attributes.resource.is("", "pods"),
            Operation::Delete | Operation::Connect => false,
        }
    }

    async fn admit(
        &self,
        _context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let namespace = attributes.namespace;
        if attributes.operation != Operation::Create {
            return Ok(());
        }
        let Some(pod) = &mut attributes.object else { return Ok(()) };
        // A node that reports its static Pods would take a change for one of the Pod.
        if secret_references::is_mirror(pod) {
            return self.check(attributes.operation, namespace, pod);
        }
        let name = match access::text(pod, &["spec", "serviceAccountName"]) {
            "" => "default".to_owned(),
            name => name.to_owned(),
        };
        let deadline = tokio::time::Instant::now() + DEFAULT_ACCOUNT_WAIT_MAX;
        let mut is_fresh = false;
        let account = loop {
            if let Some(found) = self.registry.peek(&self.accounts, namespace, &name) {
                break account_of(&found)?;
            }
            if !is_fresh {
                // It may have been created a moment ago.
                self.registry.fresh().await?;
                is_fresh = true;
                continue;
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
        self.check(attributes.operation, namespace, pod)
    }

    async fn validate(
        &self,
        _context: &RequestContext,
        attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let Some(pod) = &attributes.object else { return Ok(()) };
        self.check(attributes.operation, attributes.namespace, pod)
    }
}

impl ServiceAccount {
    /// Refuses what the Pod references. As upstream, both phases do: the first before the Pod is validated.
    fn check(&self, operation: Operation, namespace: &str, pod: &Value) -> Result<(), Status> {
        let why = match (operation, secret_references::is_mirror(pod)) {
            (Operation::Create, true) => secret_references::refuse_mirror(pod).map(str::to_owned),
            (Operation::Create, false) => self.refuse(namespace, pod, secret_references::refuse_pod),
            _ => self.refuse(namespace, pod, secret_references::refuse_ephemeral),
        };
        match why {
            Some(why) => Err(status::forbidden("", "pods", access::text(pod, &["metadata", "name"]), why)),
            None => Ok(()),
        }
    }

    /// Why the Pod's service account does not allow its references, by `rule`.
    fn refuse(
        &self,
        namespace: &str,
        pod: &Value,
        rule: fn(&Value, &Value) -> Option<String>,
    ) -> Option<String> {
        let name = access::text(pod, &["spec", "serviceAccountName"]);
        let account = self.registry.peek(&self.accounts, namespace, name)?;
        // Few accounts have the annotation: the others need no decoding.
        memmem::find(account.bytes(), secret_references::ENFORCE_ANNOTATION.as_bytes())?;
        let account = account.value();
        if !secret_references::is_limited(&account) {
            return None;
        }
        rule(pod, &account)
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
