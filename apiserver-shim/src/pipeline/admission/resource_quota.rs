//! ResourceQuota: refuses what would exceed a quota of the namespace, and charges the quotas in the transaction that writes
//! the object. What a deletion frees is counted by the controller.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use shim_core::controllers::served;
use shim_core::kinds::reset_fields::reset_fields;
use shim_core::quota::{Evaluator, Quota, Request, charge};
use shim_model::access;
use shim_model::managed_fields::{self, OneVersion, Writer};
use shim_model::status::Status;

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};
use crate::storage::catalog::ServedResource;
use crate::storage::object::Object;
use crate::storage::preconditions::Turn;
use crate::storage::registry::{Registry, now};

/// Locks over which the namespaces with quotas are spread. Requests in namespaces that share one wait for each other; 64
/// make that rare among the writes in progress, which are some dozens.
const TURNS: usize = 64;

pub(super) struct ResourceQuota {
    registry: Registry,
    quotas: Arc<ServedResource>,
    turns: Vec<Turn>,
    hasher: RandomState,
}

impl ResourceQuota {
    pub(super) fn new(registry: Registry) -> ResourceQuota {
        let quotas = registry.builtin(&served("", "resourcequotas"));
        let turns = (0..TURNS).map(|_| Turn::default()).collect();
        ResourceQuota { registry, quotas, turns, hasher: RandomState::new() }
    }

    fn quotas_of(&self, namespace: &str) -> Vec<Arc<Object>> {
        self.quotas.cache().view().iter(Some(namespace)).cloned().collect()
    }

    /// Records who charges: as upstream, the API server is a manager of its own.
    fn record_charge(&self, old: &Value, new: &mut Value) {
        let writer = Writer {
            manager: "kube-apiserver",
            ty: &self.quotas.object_type,
            subresource: "status",
            now: now(),
            reset: reset_fields(&self.quotas, "status"),
            versions: &OneVersion,
        };
        managed_fields::record_update(Some(old), new, writer);
    }

    /// Waits until no other request is charging the quotas of the namespace. Without it, all but one of the requests that
    /// arrive together would find that the quota has changed, and start again.
    async fn wait_for_turn(&self, namespace: &str, preconditions: &mut Preconditions) -> Result<(), Status> {
        let at = usize::try_from(self.hasher.hash_one(namespace) % TURNS as u64).unwrap_or(0);
        preconditions.hold(&self.turns[at]).await;
        self.registry.fresh().await.map(drop)
    }
}

#[async_trait]
impl AdmissionPlugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let creates = attributes.operation == Operation::Create;
        if attributes.namespace.is_empty() || !(creates || attributes.operation == Operation::Update) {
            return false;
        }
        let resource = attributes.resource;
        let evaluator = Evaluator::of(&resource.group, &resource.plural);
        evaluator.is_some_and(|evaluator| evaluator.counts_requests(creates, attributes.subresource))
    }

    async fn validate(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let resource = attributes.resource;
        let Some(evaluator) = Evaluator::of(&resource.group, &resource.plural) else { return Ok(()) };
        let Some(object) = &attributes.object else { return Ok(()) };
        if self.quotas_of(attributes.namespace).is_empty() {
            return Ok(());
        }
        let request = Request {
            evaluator,
            subresource: attributes.subresource,
            object,
            old: attributes.old_object,
            now: now().seconds(),
        };
        if !context.dry_run {
            self.wait_for_turn(attributes.namespace, preconditions).await?;
        }
        let found = self.quotas_of(attributes.namespace);
        let mut values: Vec<_> = found.iter().map(|quota| quota.value()).collect();
        let quotas: Vec<Quota> = values.iter().map(Quota::decode).collect();
        let charges = charge(&quotas, &request).map_err(|why| attributes.forbidden(why))?;
        if charges.is_empty() {
            preconditions.release_turn();
        }
        for charge in charges {
            let value = &mut values[charge.quota];
            let old = value.clone();
            access::object_mut(value, &["status"]).insert("used".into(), charge.used.to_value());
            self.record_charge(&old, value);
            preconditions.update(&self.quotas, &found[charge.quota], value);
        }
        Ok(())
    }
}
