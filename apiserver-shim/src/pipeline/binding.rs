//! Binding of Pods to nodes. `shim_core::scheduler::bind` defines what it does to a Pod; this file has the two
//! callers. One is the Binding that a client creates. The other is the scheduler, whose bindings are prepared on the
//! encoded Pod before the launch and written together with their Event.

use std::sync::Arc;

use serde_json::{Value, json};
use shim_core::controllers::served;
use shim_core::kinds::Subresource;
use shim_core::scheduler::{BindRefusal, BindRequest, bind};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::object::StoredObject;
use shim_model::resource::{KindRef, Resource};
use shim_model::status::{self, Status};

use super::commit::{self, CommitError, Expect};
use super::component_audit::close_audit;
use super::pod_status::is_plain;
use super::{
    Attributes, CONFLICT_RETRIES_MAX, ObjectRef, Operation, Pipeline, Preconditions, RequestContext, gave_up,
};
use crate::storage::object::encoded;
use crate::storage::registry::now;

/// The part of a Pod that a binding writes, for [`Pipeline::update_parts`].
pub const BINDING: Subresource<'static> = Subresource::Other("binding");

/// The kind that admission plugins see.
const KIND: KindRef<'static> = KindRef { group: "", version: "v1", kind: "Binding" };

/// A bound Pod, prepared from one revision of the Pod.
#[derive(Clone, Debug)]
pub struct BoundPod {
    /// The Pod with its node, and with the node's first status if there is one.
    pub pod: StoredObject,
    /// The revision that it was prepared from.
    pub revision: u64,
    /// The Event that reports the binding, written in the same transaction.
    pub event: StoredObject,
}

/// The result of writing a prepared binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreparedOutcome {
    /// The revision of the Pod.
    pub revision: u64,
    /// Whether the transaction wrote the Event.
    pub with_event: bool,
}

impl Pipeline {
    /// Binds a Pod as a Binding object specifies: node, labels and annotations.
    pub async fn bind(
        &self,
        context: &RequestContext,
        namespace: &str,
        name: &str,
        binding: Value,
    ) -> Result<(), Status> {
        check_target(&binding)?;
        let pods = &self.registry.builtin(&served("", "pods"));
        let target = ObjectRef::new(pods, namespace, name);
        let mut current = self.registry.get(pods, namespace, name).await?;
        let mut broken = None;
        for _ in 0..CONFLICT_RETRIES_MAX {
            let mut preconditions = Preconditions::default();
            let mut attributes = binding_attributes(&target);
            attributes.object = Some(binding.clone());
            let admitted = self.admit_only(context, attributes, &mut preconditions).await?;
            let mut pod = current.value();
            let admitted = admitted.unwrap_or_default();
            let request = request(&admitted, false);
            bind(&mut pod, &request).map_err(|refusal| refused(pods, name, request.uid, refusal))?;
            if context.dry_run {
                return Ok(());
            }
            let expect = Expect::Revision(current.revision);
            match commit::put(&self.registry, pods, encoded(&pod), expect, &preconditions).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict(Some(newer))) => (current, broken) = (newer, None),
                Err(CommitError::Conflict(None)) => return Err(status::not_found(pods, name)),
                Err(CommitError::Precondition(key)) => {
                    self.catch_up(&key).await?;
                    broken = Some(key);
                }
                Err(CommitError::Status(status)) => return Err(status),
            }
        }
        Err(gave_up(&target, broken.as_ref()))
    }

    /// Fast path for the scheduler: writes the prepared Pod if the stored one has not changed. `None` means that the
    /// caller must use the general path ([`Pipeline::update_parts`] with [`BINDING`]).
    #[tracing::instrument(name = "write", skip_all, fields(audit_id = %context.audit_id, uid = prepared.pod.header.uid))]
    pub async fn bind_prepared(
        &self,
        context: &RequestContext,
        prepared: BoundPod,
    ) -> Result<Option<PreparedOutcome>, Status> {
        let pods = &self.registry.builtin(&served("", "pods"));
        let header = prepared.pod.header.clone();
        let target = ObjectRef::new(pods, &header.namespace, &header.name);
        let audit = self.open_audit(context, &target, "binding").await;
        let bound = self.put_prepared(context, &target, prepared).await;
        if let Ok(Some(_)) | Err(_) = &bound {
            close_audit(audit, 201, bound.as_ref()).await;
        }
        bound
    }

    async fn put_prepared(
        &self,
        context: &RequestContext,
        target: &ObjectRef<'_>,
        prepared: BoundPod,
    ) -> Result<Option<PreparedOutcome>, Status> {
        let mut attributes = binding_attributes(target);
        let status = prepared.pod.status();
        if !self.admission.does_without_object(&attributes) || !is_plain(status, status) {
            return Ok(None);
        }
        let mut preconditions = Preconditions::default();
        self.admission.admit(context, &mut attributes, &mut preconditions).await?;
        self.admission.validate(context, &attributes, &mut preconditions).await?;
        // As upstream, a refused Event does not prevent the binding.
        let event = self.admit_encoded_event(context, &prepared.event).await.ok().flatten();
        let with_event = event.is_some();
        if let Some(more) = event {
            let header = &prepared.event.header;
            let events = self.registry.builtin(&served("", "events"));
            let key = events.key(&header.namespace, &header.name);
            preconditions.extend(more);
            preconditions.put(key, 0, prepared.event);
        }
        let expect = Expect::Revision(prepared.revision);
        match commit::put(&self.registry, target.resource, prepared.pod, expect, &preconditions).await {
            Ok(object) => Ok(Some(PreparedOutcome { revision: object.revision, with_event })),
            Err(CommitError::Conflict(_) | CommitError::Precondition(_)) => Ok(None),
            Err(CommitError::Status(status)) => Err(status),
        }
    }

    /// The pass of an update that binds a Pod; admission sees a Binding. `None` if the Pod's node does not change.
    pub(super) async fn binding_pass(
        &self,
        context: &RequestContext,
        target: &ObjectRef<'_>,
        old: &Value,
        (wanted, preconditions): (Value, &mut Preconditions),
    ) -> Result<Value, Status> {
        let mut pod = old.clone();
        let node = access::text(&wanted, &["spec", "nodeName"]);
        if node == access::text(old, &["spec", "nodeName"]) {
            return Ok(pod);
        }
        let mut attributes = binding_attributes(target);
        attributes.object = Some(json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {
                "name": target.name, "namespace": target.namespace, "uid": access::text(old, &["metadata", "uid"]),
            },
            "target": {"kind": "Node", "name": node},
        }));
        let admitted = self.admit_only(context, attributes, preconditions).await?.unwrap_or_default();
        let request = request(&admitted, true);
        let bound = bind(&mut pod, &request);
        bound.map_err(|refusal| refused(target.resource, target.name, request.uid, refusal))?;
        Ok(pod)
    }
}

fn binding_attributes<'a>(target: &ObjectRef<'a>) -> Attributes<'a> {
    let resource: &'a Arc<_> = target.resource;
    let mut attributes = Attributes::new(Operation::Create, resource, target.namespace);
    (attributes.name, attributes.subresource, attributes.kind) = (target.name, "binding", KIND);
    attributes
}

fn request(binding: &Value, observed_generation: bool) -> BindRequest<'_> {
    BindRequest {
        node: access::text(binding, &["target", "name"]),
        uid: access::text(binding, &["metadata", "uid"]),
        metadata: &binding["metadata"],
        observed_generation,
        now: now().seconds(),
    }
}

fn check_target(binding: &Value) -> Result<(), Status> {
    let node = access::text(binding, &["target", "name"]);
    let kind = access::text(binding, &["target", "kind"]);
    let mut errors = Vec::new();
    if !kind.is_empty() && kind != "Node" {
        errors.push(FieldError::not_supported("target.kind", kind, &["Node", "<empty>"]));
    }
    if node.is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    // As upstream, this error has no reason.
    if errors.is_empty() { Ok(()) } else { Err(status::unclassified(status::aggregate(&errors))) }
}

/// Translates a refused binding into the API status that clients get.
fn refused(pods: &Resource, name: &str, uid: &str, refusal: BindRefusal) -> Status {
    let why = match refusal {
        BindRefusal::OtherUid { found } => {
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {found}")
        }
        BindRefusal::BeingDeleted => format!("pod {name} is being deleted, cannot be assigned to a host"),
        BindRefusal::AlreadyBound { node } => format!("pod {name} is already assigned to node \"{node}\""),
        BindRefusal::Gated => format!("pod {name} has non-empty .spec.schedulingGates"),
    };
    let mut status = status::conflict(pods, name, "");
    status.message = format!("Operation cannot be fulfilled on pods/binding \"{name}\": {why}");
    if let Some(details) = &mut status.details {
        details.kind = "pods/binding".into();
    }
    status
}
