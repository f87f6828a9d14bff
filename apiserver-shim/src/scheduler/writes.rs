//! The scheduler's writes: bindings, statuses, removals and Nodes. All use the pipeline: bindings and conditions as
//! the scheduler, statuses and Nodes as the node. `shim_core::scheduler` decides what a write changes.

use std::sync::Mutex;

use kernel_model::{agent::AgentSnapshot, ids::FrameworkId, wait::WaitNote};
use serde_json::json;
use shim_core::controllers::served;
use shim_core::kinds::Subresource;
use shim_core::rows::{Key, SELECTED_NODE};
use shim_core::scheduler::machine::node_projection::{
    POD_CIDR_ATTRIBUTE, ReportedByNode, attribute, creates_node, new_node, project, set_pod_cidr, wants_cidr,
};
use shim_core::scheduler::machine::{
    BindOutcome, BindWrite, Event, EvictWrite, NodeOutcome, NodeWrite, PodEdit, PreemptWrite, StatusWrite,
    WriteFailure,
};
use shim_core::scheduler::{BindRefusal, NominatedNode, set_unschedulable as mark_unschedulable};
use shim_model::access;
use shim_model::patch::merge;
use shim_model::status::{self, Status};

use crate::controllers::event_to_store;
use crate::pipeline::{BINDING, BoundPod, EvictionOutcome, Identity, ObjectRef, Pipeline, PreparedOutcome};
use crate::storage::deletion::DeleteOptions;
use crate::storage::pod_cidrs::{PodCidrError, PodCidrs};

/// Attempts while the store is unavailable; after that, reconciliation repeats the write.
const TRIES_MAX: u32 = 5;
/// Delay between attempts.
const REST: std::time::Duration = std::time::Duration::from_millis(100);

/// Writes a binding together with its Event and the node's first status, if there is one. Returns the revision if it
/// is known.
pub(super) async fn bind(pipeline: &Pipeline, write: &BindWrite) -> (Event, u64) {
    let header = write.pod.header();
    let (result, revision) = match try_bind(pipeline, write).await {
        Ok((outcome, revision)) => (Ok(outcome), revision),
        Err(failure) => {
            tracing::debug!(?failure, uid = header.uid, "binding not written");
            (Err(failure), 0)
        }
    };
    (Event::Bound { uid: header.uid.as_str().into(), result }, revision)
}

async fn try_bind(pipeline: &Pipeline, write: &BindWrite) -> Result<(BindOutcome, u64), WriteFailure> {
    let header = write.pod.header();
    let event = event_to_store(pipeline.registry(), &write.event)
        .expect("invariant: the Event is about a Pod, and Pods are always served");
    let prepared = BoundPod { pod: write.bound.clone(), revision: write.pod.revision, event };
    let identity = Identity::scheduler();
    match pipeline.bind_prepared(&identity.context("create"), prepared).await {
        Ok(Some(PreparedOutcome { revision, with_event })) => {
            Ok((BindOutcome { with_status: write.with_status, with_event }, revision))
        }
        Ok(None) => {
            let edits = [PodEdit::Bind { node: write.node.clone() }];
            let revision = edit(pipeline, &identity, &Key::of(header), &header.uid, &edits).await?;
            Ok((BindOutcome { with_status: false, with_event: false }, revision))
        }
        Err(status) => {
            tracing::debug!(%status, uid = header.uid, "binding refused");
            Err(WriteFailure::Unavailable)
        }
    }
}

/// Writes the status that the kernel and the node report for a Pod. Returns the revision if it is known.
pub(super) async fn status(pipeline: &Pipeline, write: &StatusWrite) -> (Event, u64) {
    let (result, revision) = match try_status(pipeline, write).await {
        Ok(revision) => (Ok(()), revision),
        Err(failure) => {
            tracing::debug!(?failure, uid = &*write.uid, "status not written");
            (Err(failure), 0)
        }
    };
    (Event::StatusWritten { uid: write.uid.clone(), result }, revision)
}

async fn try_status(pipeline: &Pipeline, write: &StatusWrite) -> Result<u64, WriteFailure> {
    let mut revision = 0;
    let key = (&*write.key.namespace, &*write.key.name);
    let identity = author(pipeline, write);
    if let [PodEdit::MergeStatus(from_node)] = &write.edits[..]
        && let Ok(Some(written)) =
            pipeline.swap_pod_status(&identity.context("patch"), key, &write.uid, from_node).await
    {
        revision = written;
    } else if !write.edits.is_empty() {
        revision = edit(pipeline, &identity, &write.key, &write.uid, &write.edits).await?;
    }
    if write.remove {
        remove(pipeline, &write.key, &write.uid).await?;
    }
    Ok(revision)
}

/// Writes the node for which volumes are to be made into their claims.
pub(super) async fn select_node(
    pipeline: &Pipeline,
    namespace: &str,
    names: &[Box<str>],
    node: &str,
) -> Result<(), Status> {
    let claims = pipeline.registry().builtin(&served("", "persistentvolumeclaims"));
    for name in names {
        let context = Identity::scheduler().context("update");
        let selected = pipeline.update_with(&context, ObjectRef::new(&claims, namespace, name), |stored| {
            let mut claim = stored.clone();
            // A volume that was bound meanwhile decides the node.
            if access::text(&claim, &["spec", "volumeName"]).is_empty() {
                merge::apply(&mut claim, &json!({"metadata": {"annotations": {SELECTED_NODE: node}}}));
            }
            Ok(claim)
        });
        selected
            .await
            .inspect_err(|error| tracing::debug!(%error, namespace, name, node, "no node selected"))?;
    }
    Ok(())
}

/// The identity that writes a status: the node that reported it, else the scheduler.
fn author(pipeline: &Pipeline, write: &StatusWrite) -> Identity {
    let reported = matches!(write.edits[..], [PodEdit::MergeStatus(_)]);
    let pod = pipeline.registry().peek(served("", "pods"), &write.key.namespace, &write.key.name);
    match pod.as_ref().and_then(|pod| pod.field("spec.nodeName")).filter(|node| reported && !node.is_empty())
    {
        Some(node) => Identity::node(node),
        None => Identity::scheduler(),
    }
}

/// Edits the Pod with this UID.
async fn edit(
    pipeline: &Pipeline,
    identity: &Identity,
    key: &Key,
    uid: &str,
    edits: &[PodEdit],
) -> Result<u64, WriteFailure> {
    let refusal: Mutex<Option<BindRefusal>> = Mutex::new(None);
    let now = super::now_seconds();
    let pods = pipeline.registry().builtin(&served("", "pods"));
    let (refused, context) = (&refusal, &identity.context("patch"));
    let target = ObjectRef::new(&pods, &key.namespace, &key.name);
    let written = retried(|| {
        pipeline.update_parts(context, target, &[BINDING, Subresource::Status], move |pod| {
            let mut pod = pod.clone();
            if access::text(&pod, &["metadata", "uid"]) != uid {
                // Another Pod has the name.
                return Err(status::not_found(target.resource, target.name));
            }
            for edit in edits {
                edit.apply(&mut pod, uid, now).map_err(|why| {
                    *refused.lock().expect("invariant: no holder panics") = Some(why);
                    status::conflict(target.resource, target.name, "")
                })?;
            }
            Ok(pod)
        })
    })
    .await;
    match written {
        Ok(outcome) => Ok(outcome.revision()),
        Err(status) if status.code == 404 => Err(WriteFailure::Gone),
        Err(status) => match refusal.into_inner().expect("invariant: no holder panics") {
            Some(refused) => Err(WriteFailure::Refused(refused)),
            None => {
                tracing::warn!(%status, uid, "failed to write a Pod; reconciling its task with the kernel");
                Err(WriteFailure::Unavailable)
            }
        },
    }
}

/// Retries a write while the store is unavailable.
async fn retried<T, F>(mut write: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let mut tries = 0;
    loop {
        match write().await {
            Ok(written) => return Ok(written),
            Err(status) if status.code >= 500 && tries < TRIES_MAX => {
                tries += 1;
                tokio::time::sleep(REST * tries).await;
            }
            Err(status) => return Err(status),
        }
    }
}

/// Removes a terminating Pod that has finished; finalizers may keep it longer.
async fn remove(pipeline: &Pipeline, key: &Key, uid: &str) -> Result<(), WriteFailure> {
    let options = DeleteOptions {
        grace_period_seconds: Some(0),
        uid: Some(uid.to_owned()),
        ..DeleteOptions::default()
    };
    let pods = pipeline.registry().builtin(&served("", "pods"));
    let target = ObjectRef::new(&pods, &key.namespace, &key.name);
    let context = &Identity::scheduler().context("delete");
    let removed = retried(|| pipeline.delete(context, target, &options)).await;
    match removed {
        Err(status) if matches!(status.code, 404 | 409) => Ok(()),
        Err(_) => Err(WriteFailure::Unavailable),
        Ok(_) => Ok(()),
    }
}

/// Sets the `PodScheduled` condition with the reason why the Pod is pending.
pub(super) async fn set_unschedulable(
    pipeline: &Pipeline,
    key: &Key,
    message: Option<&str>,
    offers: &[WaitNote],
    nominated: &NominatedNode,
) {
    let now = super::now_seconds();
    let pods = pipeline.registry().builtin(&served("", "pods"));
    let target = ObjectRef::new(&pods, &key.namespace, &key.name).status();
    let context = Identity::scheduler().context("patch");
    let written = pipeline.update_parts(&context, target, &[Subresource::Status], |pod| {
        let mut pod = pod.clone();
        mark_unschedulable(&mut pod, message, offers, nominated, now);
        Ok(pod)
    });
    if let Err(status) = written.await {
        tracing::debug!(%status, %key, "failed to write the PodScheduled condition");
    }
}

/// Evicts a victim of preemption. Returns whether its deletion has begun.
pub(super) async fn preempt(pipeline: &Pipeline, write: &PreemptWrite) -> bool {
    let options = DeleteOptions { uid: Some(write.uid.to_string()), ..DeleteOptions::default() };
    let pods = pipeline.registry().builtin(&served("", "pods"));
    let target = ObjectRef::new(&pods, &write.key.namespace, &write.key.name);
    let context = &Identity::scheduler().context("delete");
    let deleted = retried(|| pipeline.preempt(context, target, &options, &write.message)).await;
    if let Err(status) = &deleted
        && !matches!(status.code, 404 | 409)
    {
        tracing::warn!(%status, key = %write.key, "failed to evict a Pod for one of higher priority");
    }
    deleted.is_ok()
}

/// Evicts a Pod as the eviction API does. Returns whether its deletion has begun: a PodDisruptionBudget may refuse it.
pub(super) async fn evict(pipeline: &Pipeline, write: &EvictWrite) -> bool {
    let pods = pipeline.registry().builtin(&served("", "pods"));
    let target = ObjectRef::new(&pods, &write.key.namespace, &write.key.name);
    let context = &Identity::scheduler().context("create");
    let uid = write.uid.to_string();
    let eviction = serde_json::json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": &*write.key.name, "namespace": &*write.key.namespace},
    });
    let options =
        |_: &serde_json::Value| Ok(DeleteOptions { uid: Some(uid.clone()), ..DeleteOptions::default() });
    match retried(|| pipeline.evict(context, target, eviction.clone(), options)).await {
        Ok(EvictionOutcome::Evicted(_)) => true,
        Ok(EvictionOutcome::SeveralBudgets) => false,
        Err(status) => {
            tracing::debug!(%status, key = %write.key, "a Pod is not evicted for a guarantee");
            // A Pod that is gone is as good as evicted.
            matches!(status.code, 404 | 409)
        }
    }
}

/// Updates a Node from its agent, or removes it.
pub(super) async fn node(pipeline: &Pipeline, pod_cidrs: &PodCidrs, write: NodeWrite) -> Vec<Event> {
    let name: Box<str> = write.name().into();
    let result = match write {
        NodeWrite::Remove { name, stored } => remove_node(pipeline, pod_cidrs, &name, stored).await,
        NodeWrite::Put { name, agent, ours, reported } => {
            put_node(pipeline, pod_cidrs, &name, (&agent, reported), ours.as_ref()).await
        }
    };
    let outcome = result.unwrap_or_else(|status| {
        tracing::warn!(%status, node = &*name, "failed to write a Node; will retry");
        NodeOutcome::Failed
    });
    if let NodeOutcome::WithoutCidr(why) = &outcome {
        tracing::warn!(node = &*name, why, "no Pod CIDR for this node");
    }
    vec![Event::NodeWritten { name, outcome }]
}

/// Removes the Node of an agent that was removed, and releases its Pod CIDR.
async fn remove_node(
    pipeline: &Pipeline,
    pod_cidrs: &PodCidrs,
    name: &str,
    stored: bool,
) -> Result<NodeOutcome, Status> {
    if stored {
        let context = Identity::controller("node-controller").context("delete");
        let nodes = pipeline.registry().builtin(&served("", "nodes"));
        let node = ObjectRef::new(&nodes, "", name);
        match pipeline.delete(&context, node, &DeleteOptions::default()).await {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    pod_cidrs.release(name).await.map_err(|error| status::service_unavailable(error.to_string()))?;
    Ok(NodeOutcome::Removed)
}

async fn put_node(
    pipeline: &Pipeline,
    pod_cidrs: &PodCidrs,
    name: &str,
    (agent, reported): (&AgentSnapshot, ReportedByNode),
    ours: Option<&FrameworkId>,
) -> Result<NodeOutcome, Status> {
    let nodes = pipeline.registry().builtin(&served("", "nodes"));
    let (identity, target) = (Identity::node(name), ObjectRef::new(&nodes, "", name));
    let now = super::now_seconds();
    let stored = pipeline.registry().peek(&nodes, "", name);
    if stored.is_none() && !creates_node(agent) {
        // Deleted by a client since the decision.
        return Ok(NodeOutcome::Written);
    }
    let (mut cidr, mut refused) = (None, None);
    if stored.as_ref().is_none_or(|stored| wants_cidr(&stored.value(), agent)) {
        let requested = attribute(agent, POD_CIDR_ATTRIBUTE).and_then(|own| own.parse().ok());
        match pod_cidrs.assign(name, requested).await {
            Ok(assigned) => cidr = Some(assigned.to_string()),
            Err(PodCidrError::Refused(why)) => refused = Some(why.to_string()),
            Err(error) => return Err(status::service_unavailable(error.to_string())),
        }
    }
    let written = refused.map_or(NodeOutcome::Written, NodeOutcome::WithoutCidr);
    if stored.is_none() {
        let mut node = new_node(agent, cidr.as_deref());
        project(&mut node, agent, ours, reported, now);
        match pipeline.create(&identity.context("create"), target, node).await {
            Err(status) if status.code == 409 => {}
            other => return other.map(|_| written),
        }
    }
    let context = identity.context("patch");
    let parts = [Subresource::Main, Subresource::Status];
    let projected = pipeline.update_parts(&context, target, &parts, |node| {
        let mut node = node.clone();
        if let Some(cidr) = &cidr {
            set_pod_cidr(&mut node, cidr);
        }
        project(&mut node, agent, ours, reported, now);
        Ok(node)
    });
    projected.await.map(|_| written)
}
