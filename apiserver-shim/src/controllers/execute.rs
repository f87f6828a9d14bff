//! Executes plans. Each action is one write; no decisions are made here.

use serde_json::Value;
use shim_core::controllers::{Action, Change, CreationEvents, Plan, Propagation, Refusal, Target};
use shim_core::kinds::Subresource;
use shim_core::rows::Key;
use shim_model::access;
use shim_model::resource::GroupResource;
use shim_model::status::{self, Status};
use tokio::task::JoinSet;

use super::events::EventRecorder;
use crate::pipeline::{Configuration, Identity, ObjectRef, Pipeline, RequestContext};
use crate::storage::deletion::{self, DeleteOptions};

/// Concurrent creations and deletions of one plan; they share the store's group commits.
const AT_ONCE_MAX: usize = 64;

/// The result of executing a plan.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The highest revision written; the key's next reconcile must see it.
    pub revision: u64,
    /// The error that stopped the plan.
    pub refused: Option<Refusal>,
}

/// Executes a plan as its controller.
pub(crate) async fn execute(
    pipeline: &Pipeline,
    events: &EventRecorder,
    identity: &Identity,
    plan: Plan,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut actions = plan.actions.into_iter().peekable();
    while let Some(action) = actions.next() {
        let mut run = vec![action];
        // Changes run in order, except for those that only remove finalizers; successive creations run in parallel, and so
        // do successive deletions.
        while let Some(next) = actions.next_if(|next| runs_beside(&run[0], next)) {
            run.push(next);
        }
        let about = plan.creation_events.as_ref();
        execute_in_parallel((pipeline, identity), events, run, about, &mut outcome).await;
        if let Some(refusal) = &outcome.refused {
            tracing::debug!(user = identity.user().name, code = refusal.code, "write refused");
            return outcome;
        }
    }
    for event in plan.events {
        events.record(event);
    }
    outcome
}

/// Whether the order of two successive writes does not matter.
fn runs_beside(action: &Action, next: &Action) -> bool {
    let releases = |action: &Action| match action {
        Action::Change { changes, .. } => changes.iter().all(|c| matches!(c, Change::RemoveFinalizer(_))),
        _ => false,
    };
    match (action, next) {
        (Action::Create { .. }, Action::Create { .. }) | (Action::Delete { .. }, Action::Delete { .. }) => {
            true
        }
        _ => releases(action) && releases(next),
    }
}

/// Slow start, as upstream: one write, then two, then four, so that a refused plan of 500 writes causes one refusal.
async fn execute_in_parallel(
    (pipeline, identity): (&Pipeline, &Identity),
    events: &EventRecorder,
    run: Vec<Action>,
    about: Option<&CreationEvents>,
    outcome: &mut Outcome,
) {
    let mut left = run.into_iter();
    let mut size = 1;
    loop {
        let mut flying = JoinSet::new();
        for action in left.by_ref().take(size) {
            let (pipeline, identity) = (pipeline.clone(), identity.clone());
            flying.spawn(async move {
                let creating = match &action {
                    Action::Create { resource, object, .. } => {
                        let name = object["metadata"]["name"].as_str().unwrap_or("").to_owned();
                        Some((resource.clone(), name))
                    }
                    Action::Change { .. } | Action::Apply { .. } | Action::Delete { .. } => None,
                };
                (creating, write(&pipeline, &identity, action).await)
            });
        }
        if flying.is_empty() {
            return;
        }
        while let Some(done) = flying.join_next().await {
            let (creating, done) = match done {
                Ok(done) => done,
                // The worker contains the panic and retries the key.
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => continue,
            };
            if let (Some((resource, name)), Some(about)) = (&creating, about) {
                record_creation(events, about, (resource, name), &done);
            }
            match done {
                Ok(written) => outcome.revision = outcome.revision.max(written.map_or(0, |w| w.1)),
                Err(Status { code, message, .. }) => {
                    outcome.refused = Some(Refusal { creating: creating.is_some(), code, message })
                }
            }
        }
        if outcome.refused.is_some() {
            return;
        }
        size = (size * 2).min(AT_ONCE_MAX);
    }
}

/// Records the Event about a creation. The name is the one that the plan gave; empty if it is generated.
fn record_creation(
    events: &EventRecorder,
    about: &CreationEvents,
    (resource, name): (&GroupResource, &str),
    done: &Result<Option<(String, u64)>, Status>,
) {
    let event = match done {
        Ok(Some((name, _))) => about.event(resource, name, None),
        Ok(None) => return,
        Err(status) => about.event(resource, name, Some((status.code, &status.message))),
    };
    if let Some(event) = event {
        events.record(event);
    }
}

/// Carries out one action. Returns the name and revision of the written object, or `None` if nothing was written.
async fn write(
    pipeline: &Pipeline,
    identity: &Identity,
    action: Action,
) -> Result<Option<(String, u64)>, Status> {
    match action {
        Action::Create { resource, namespace, object } => {
            let Some(resource) = pipeline.registry().catalog().named(&resource).cloned() else {
                return Err(status::unknown_path());
            };
            let context = identity.context("create");
            let made = pipeline.create(&context, ObjectRef::new(&resource, &namespace, ""), object).await?;
            Ok(made.stored.map(|object| (object.name().to_owned(), object.revision)))
        }
        Action::Change { target, subresource, changes } => {
            change(pipeline, identity, &target, subresource, &changes).await
        }
        Action::Apply { target, subresource, manager, configuration } => {
            let context = identity.applying(manager);
            apply_configuration(pipeline, &context, (&target, subresource), configuration).await
        }
        Action::Delete { target, propagation, grace_seconds } => {
            delete(pipeline, identity, &target, propagation, grace_seconds).await
        }
    }
}

/// Changes an object through the pipeline, so that managed fields are kept.
async fn change(
    pipeline: &Pipeline,
    identity: &Identity,
    target: &Target,
    subresource: Option<&'static str>,
    changes: &[Change],
) -> Result<Option<(String, u64)>, Status> {
    let subresource = part(subresource);
    let Key { namespace, name } = &target.key;
    let Some(resource) = pipeline.registry().catalog().named(&target.resource).cloned() else {
        return Ok(None);
    };
    let object = ObjectRef { resource: &resource, subresource, namespace, name };
    let context = identity.context("patch");
    let changed = pipeline.update_with(&context, object, |current| {
        let mut object = current.clone();
        apply(target, changes, &mut object);
        Ok(object)
    });
    match changed.await {
        Ok(outcome) => Ok(Some((name.to_string(), outcome.revision()))),
        Err(status) if status.code == 404 => Ok(None),
        Err(status) => Err(status),
    }
}

fn part(subresource: Option<&'static str>) -> Subresource<'static> {
    match subresource {
        None => Subresource::Main,
        Some("status") => Subresource::Status,
        Some(other) => Subresource::Other(other),
    }
}

/// Applies a configuration to an object that exists.
async fn apply_configuration(
    pipeline: &Pipeline,
    context: &RequestContext,
    (target, subresource): (&Target, Option<&'static str>),
    mut configuration: Value,
) -> Result<Option<(String, u64)>, Status> {
    let Key { namespace, name } = &target.key;
    let Some(resource) = pipeline.registry().catalog().named(&target.resource).cloned() else {
        return Ok(None);
    };
    let kind = resource.kind_ref();
    let members = access::object_mut(&mut configuration, &[]);
    members.insert("apiVersion".into(), kind.api_version().into());
    members.insert("kind".into(), kind.kind.into());
    let metadata = access::object_mut(&mut configuration, &["metadata"]);
    metadata.insert("name".into(), (**name).into());
    metadata.insert("uid".into(), target.uid.as_str().into());
    if !namespace.is_empty() {
        metadata.insert("namespace".into(), (**namespace).into());
    }
    let object = ObjectRef { resource: &resource, subresource: part(subresource), namespace, name };
    let applied = Configuration { value: &configuration, force: true, complaint: None };
    // An object that is gone is not created again.
    let may_create = || Err(status::not_found(&resource, name));
    match pipeline.apply(context, object, applied, may_create).await {
        Ok(outcome) => Ok(Some((name.to_string(), outcome.revision()))),
        Err(status) if status.code == 404 => Ok(None),
        Err(status) => Err(status),
    }
}

fn apply(target: &Target, changes: &[Change], object: &mut Value) {
    // The plan is for this UID, not for a newer object with the same name.
    if object["metadata"]["uid"].as_str() == Some(target.uid.as_str()) {
        for change in changes {
            change.apply(object);
        }
    }
}

async fn delete(
    pipeline: &Pipeline,
    identity: &Identity,
    target: &Target,
    propagation: Propagation,
    grace_seconds: Option<i64>,
) -> Result<Option<(String, u64)>, Status> {
    let Key { namespace, name } = &target.key;
    let propagation = match propagation {
        Propagation::Background => deletion::Propagation::Background,
        Propagation::Foreground => deletion::Propagation::Foreground,
        Propagation::Orphan => deletion::Propagation::Orphan,
    };
    let options = DeleteOptions {
        grace_period_seconds: grace_seconds,
        propagation: Some(propagation),
        uid: Some(target.uid.clone()),
        ..DeleteOptions::default()
    };
    let Some(resource) = pipeline.registry().catalog().named(&target.resource).cloned() else {
        return Ok(None);
    };
    let object = ObjectRef::new(&resource, namespace, name);
    match pipeline.delete(&identity.context("delete"), object, &options).await {
        Ok(outcome) => Ok(Some((name.to_string(), outcome.revision()))),
        // Already deleted, or replaced by a newer object with the same name.
        Err(status) if matches!(status.code, 404 | 409) => Ok(None),
        Err(status) => Err(status),
    }
}
