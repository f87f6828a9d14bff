//! Deletion of objects. Admission sees DELETE with the stored object. Grace period, finalizers and preconditions
//! decide whether the object is removed or only marked (`crate::storage::deletion`).

use serde_json::Value;
use shim_core::controllers::{Disruption, mark_disrupted, served};
use shim_core::disruption_budgets::{self, Decision as Eviction, decide as decide_eviction};
use shim_core::scheduler::preemption::PREEMPTION_BY_SCHEDULER;
use shim_model::access;
use shim_model::status::{self, Status};

use super::commit::{self, CommitError, Expect};
use super::component_audit::close_audit;
use super::{
    Attributes, CONFLICT_RETRIES_MAX, ObjectRef, Operation, Pipeline, Preconditions, RequestContext, gave_up,
    revision_of,
};
use crate::storage::deletion::{Decision, DeleteOptions, check_preconditions, decide};
use crate::storage::object::{Object, encoded, set_resource_version};
use crate::storage::registry::now;
use crate::storage::service_addresses;

/// The result of a deletion. The object is in the served version.
#[derive(Clone, Debug)]
pub enum DeletionOutcome {
    /// The object was removed; the value is its last state.
    Deleted(Value),
    /// The object is terminating: it is removed when its grace period has passed and its finalizers are gone.
    Terminating(Value),
}

impl DeletionOutcome {
    /// The object's last state.
    pub fn object(&self) -> &Value {
        match self {
            DeletionOutcome::Deleted(object) | DeletionOutcome::Terminating(object) => object,
        }
    }

    /// The revision of the removal or of the mark.
    pub fn revision(&self) -> u64 {
        revision_of(self.object())
    }
}

/// What a deletion follows from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause<'a> {
    /// A DELETE request.
    Request,
    /// Preemption by the scheduler; the message of the condition `DisruptionTarget`.
    Preemption(&'a str),
    /// The creation of an Eviction, for which admission plugins have run.
    Eviction,
}

impl Cause<'_> {
    /// Sets the condition `DisruptionTarget` of a Pod that is deleted for others. Returns whether anything changed.
    fn mark(self, pod: &mut Value) -> bool {
        let time = now().seconds();
        match self {
            Cause::Request => false,
            Cause::Eviction => EVICTION.mark(pod, time),
            Cause::Preemption(why) => mark_disrupted(pod, (PREEMPTION_BY_SCHEDULER, why), time),
        }
    }
}

/// The result of an eviction.
#[derive(Clone, Debug)]
pub enum EvictionOutcome {
    /// The Pod was deleted, or is terminating.
    Evicted(DeletionOutcome),
    /// Several PodDisruptionBudgets select the Pod; nothing was done.
    SeveralBudgets,
}

/// Why a deletion did not take place.
enum Stop {
    Refused(Status),
    /// Several PodDisruptionBudgets select the Pod.
    SeveralBudgets,
}

impl Stop {
    fn into_status(self) -> Status {
        match self {
            Stop::Refused(status) => status,
            Stop::SeveralBudgets => disruption_budgets::several(),
        }
    }
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Stop::Refused(status)
    }
}

const EVICTION: Disruption =
    Disruption { reason: "EvictionByEvictionAPI", message: "Eviction API: evicting" };

impl Pipeline {
    /// Deletes an object.
    pub async fn delete(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        options: &DeleteOptions,
    ) -> Result<DeletionOutcome, Status> {
        let audit = self.open_audit(context, &target, "").await;
        let deleted =
            self.run_delete(context, target, options, Cause::Request).await.map_err(Stop::into_status);
        close_audit(audit, 200, deleted.as_ref()).await;
        deleted
    }

    /// Deletes a Pod for one of higher priority: the deletion and its condition are one write.
    pub async fn preempt(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        options: &DeleteOptions,
        message: &str,
    ) -> Result<DeletionOutcome, Status> {
        let audit = self.open_audit(context, &target, "").await;
        let cause = Cause::Preemption(message);
        let deleted = self.run_delete(context, target, options, cause).await.map_err(Stop::into_status);
        close_audit(audit, 200, deleted.as_ref()).await;
        deleted
    }

    /// Deletes objects one by one. An object that another request removed meanwhile counts as deleted.
    pub async fn delete_collection(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        items: &[std::sync::Arc<Object>],
        options: &DeleteOptions,
    ) -> Result<(), Status> {
        for item in items {
            let each = ObjectRef { namespace: item.namespace(), name: item.name(), ..target };
            match self.delete(context, each, options).await {
                Ok(_) => {}
                Err(gone) if gone.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
        Ok(())
    }

    /// Evicts a Pod; `options` are those of an Eviction, which admission may have changed. As upstream, plugins see the
    /// creation of the Eviction, and not the deletion that follows. The PodDisruptionBudget is charged in the transaction that
    /// deletes the Pod.
    pub async fn evict(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        eviction: Value,
        options: impl Fn(&Value) -> Result<DeleteOptions, Status> + Send,
    ) -> Result<EvictionOutcome, Status> {
        let mut attributes = Attributes::new(Operation::Create, target.resource, target.namespace);
        (attributes.name, attributes.subresource) = (target.name, "eviction");
        attributes.kind = shim_model::resource::KindRef { group: "policy", version: "v1", kind: "Eviction" };
        attributes.object = Some(eviction);
        let admitted = self.admit_only(context, attributes, &mut Preconditions::default()).await?;
        let options = options(&admitted.unwrap_or_default())?;
        match self.run_delete(context, target, &options, Cause::Eviction).await {
            Err(Stop::SeveralBudgets) => Ok(EvictionOutcome::SeveralBudgets),
            Err(Stop::Refused(status)) => Err(status),
            Ok(deleted) => Ok(EvictionOutcome::Evicted(deleted)),
        }
    }

    /// Asks the PodDisruptionBudgets whether a Pod may be evicted, and charges the one that selects it.
    fn ask_budgets(&self, pod: &Value, preconditions: &mut Preconditions) -> Result<(), Stop> {
        let resource = self.registry.builtin(&served("policy", "poddisruptionbudgets"));
        let namespace = access::text(pod, &["metadata", "namespace"]);
        let found = resource.cache().list(Some(namespace));
        let budgets: Vec<Value> = found.iter().map(|budget| budget.value()).collect();
        match decide_eviction(pod, &budgets, now().seconds())? {
            Eviction::Evict => {}
            Eviction::Several => return Err(Stop::SeveralBudgets),
            Eviction::Charge(charged) => {
                let name = access::text(&charged, &["metadata", "name"]);
                if let Some(read) = found.iter().find(|budget| budget.name() == name) {
                    preconditions.update(&resource, read, &charged);
                }
            }
        }
        Ok(())
    }

    #[tracing::instrument(name = "write", skip_all, fields(audit_id = %context.audit_id, verb = context.verb, resource = target.resource.plural, namespace = target.namespace, name = target.name))]
    async fn run_delete(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        options: &DeleteOptions,
        cause: Cause<'_>,
    ) -> Result<DeletionOutcome, Stop> {
        let ObjectRef { resource, namespace, name, .. } = target;
        let dry_run = options.dry_run || context.dry_run;
        let mut current = self.registry.get(resource, namespace, name).await?;
        let mut broken = None;
        for _ in 0..CONFLICT_RETRIES_MAX {
            let mut before = current.value();
            check_preconditions(resource, &before, options, current.revision)?;
            let disrupted = cause.mark(&mut before);
            let mut decision = decide(resource, &before, options, now());
            if decision == Decision::Nothing && disrupted {
                decision = Decision::Mark(before.clone());
            } else if decision == Decision::Nothing {
                return Ok(DeletionOutcome::Terminating(resource.to_served(before).await?));
            }
            let mut preconditions = Preconditions::default();
            match cause {
                Cause::Request | Cause::Preemption(_) => {
                    self.admit_delete(context, &target, &current, (options, &mut preconditions)).await?;
                }
                Cause::Eviction => self.ask_budgets(&current.value(), &mut preconditions)?,
            }
            let outcome = match decision {
                Decision::Nothing => Ok(DeletionOutcome::Terminating(before)),
                Decision::Remove(last) if dry_run => Ok(DeletionOutcome::Deleted(last)),
                Decision::Mark(marked) if dry_run => Ok(DeletionOutcome::Terminating(marked)),
                Decision::Remove(mut last) => {
                    service_addresses::release_all(&self.registry, resource, &last, &mut preconditions);
                    let removed = commit::remove(&self.registry, resource, &current, &preconditions).await;
                    removed.map(|revision| {
                        set_resource_version(&mut last, revision);
                        DeletionOutcome::Deleted(last)
                    })
                }
                Decision::Mark(marked) => {
                    let expect = Expect::Revision(current.revision);
                    let stored = encoded(&marked);
                    let written = commit::put(&self.registry, resource, stored, expect, &preconditions).await;
                    written.map(|object| DeletionOutcome::Terminating(object.value()))
                }
            };
            match outcome {
                Ok(DeletionOutcome::Deleted(object)) => {
                    return Ok(DeletionOutcome::Deleted(resource.to_served(object).await?));
                }
                Ok(DeletionOutcome::Terminating(object)) => {
                    return Ok(DeletionOutcome::Terminating(resource.to_served(object).await?));
                }
                Err(CommitError::Conflict(Some(newer))) => (current, broken) = (newer, None),
                Err(CommitError::Conflict(None)) => return Err(status::not_found(resource, name).into()),
                Err(CommitError::Precondition(key)) => {
                    self.catch_up(&key).await?;
                    current = self.registry.get(resource, namespace, name).await?;
                    broken = Some(key);
                }
                Err(CommitError::Status(status)) => return Err(status.into()),
            }
        }
        Err(gave_up(&target, broken.as_ref()).into())
    }

    async fn admit_delete(
        &self,
        context: &RequestContext,
        target: &ObjectRef<'_>,
        current: &Object,
        (options, preconditions): (&DeleteOptions, &mut Preconditions),
    ) -> Result<(), Status> {
        let old = target.resource.decode(current).await?;
        let mut attributes = Attributes::new(Operation::Delete, target.resource, target.namespace);
        // As upstream, a deletion of a collection names no object.
        attributes.name = if context.verb == "deletecollection" { "" } else { target.name };
        attributes.old_object = Some(&old);
        attributes.delete_options = Some(options);
        self.admission.admit(context, &mut attributes, preconditions).await?;
        self.admission.validate(context, &attributes, preconditions).await
    }
}
