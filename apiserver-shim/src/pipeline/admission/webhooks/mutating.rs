//! MutatingAdmissionWebhook: calls webhooks one after the other; each sees the changes of those before.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde_json::Value;
use shim_core::admission_webhook::{Failure, Reinvocation, mutated, mutation_annotation, patch_annotation};
use shim_core::kinds::restore_managed_fields;
use shim_model::status::{self, Status};

use super::configured::Hook;
use super::{Objects, Phase, WebhookCaller, Webhooks};
use crate::auth::authorization::AccessControl;
use crate::pipeline::admission::request::{Matched, managed_fields};
use crate::pipeline::admission::{
    AdmissionPlugin, Attributes, Preconditions, ReinvocationPolicy, RequestContext,
};
use crate::storage::registry::Registry;

/// The prefixes of audit annotations.
const MUTATION: &str = "mutation.webhook.admission.k8s.io/";
const PATCH: &str = "patch.webhook.admission.k8s.io/";

pub(in crate::pipeline::admission) struct MutatingAdmissionWebhook {
    webhooks: Webhooks,
}

impl MutatingAdmissionWebhook {
    pub(in crate::pipeline::admission) fn new(
        registry: &Registry,
        access: &AccessControl,
        caller: Arc<WebhookCaller>,
    ) -> Self {
        MutatingAdmissionWebhook { webhooks: Webhooks::new(registry, access, caller, Phase::Mutating) }
    }

    async fn call_all(
        &self,
        context: &RequestContext,
        attributes: &mut Attributes<'_>,
        state: &mut Reinvocation,
    ) -> Result<(), Status> {
        let again = attributes.is_reinvocation();
        for (at, hook) in self.webhooks.configured.all().iter().enumerate() {
            let id = &hook.webhook.id;
            // One that did not match in the first run is not called in the second, whatever has changed.
            if again && !state.runs_again(id) {
                continue;
            }
            let Some(matched) = self.webhooks.matched(context, attributes, hook).await? else { continue };
            let key = format!("round_{}_index_{at}", u8::from(again));
            let start = Instant::now();
            let called = self.call(context, attributes, (hook, &matched), &key).await;
            let changed = matches!(called, Ok(true));
            context.annotate(&format!("{MUTATION}{key}"), mutation_annotation(&hook.webhook, changed));
            if changed {
                state.note_change();
                attributes.note_change();
            }
            if hook.webhook.reinvoked {
                state.note_invoked(id);
            }
            let outcome = called.map(drop);
            let annotation = format!("{MUTATION}{key}");
            self.webhooks.conclude(context, attributes, (hook, start), outcome, &annotation)?;
        }
        Ok(())
    }

    /// Calls a webhook and applies its patch; returns whether it has changed the object.
    async fn call(
        &self,
        context: &RequestContext,
        attributes: &mut Attributes<'_>,
        (hook, matched): (&Hook, &Matched),
        key: &str,
    ) -> Result<bool, Failure> {
        let server = |status: Status| Failure::Server(internal(status));
        let new = matched.convert(attributes, attributes.object.as_ref()).await.map_err(server)?;
        let old = matched.convert(attributes, attributes.old_object).await.map_err(server)?;
        let objects = Objects { new: &new, old: &old };
        let answer = self.webhooks.call(context, attributes, (hook, matched), objects).await?;
        let operations = answer.operations().map_err(Failure::Calling)?;
        if operations.is_empty() {
            return Ok(false);
        }
        if new.is_null() {
            return Err(Failure::no_object(&hook.webhook.name));
        }
        let ty = matched.object_type(attributes);
        let patched = mutated(ty.as_ref(), &new, &operations);
        let mut patched = patched.map_err(|why| Failure::Server(status::internal(why)))?;
        let changed = patched != *new;
        context.annotate_request(&format!("{PATCH}{key}"), || patch_annotation(&hook.webhook, &operations));
        if attributes.is_own_kind() {
            matched.row(attributes).strategy().default(&mut patched);
        }
        drop(new);
        let patched = matched.convert_back(attributes, patched).await.map_err(server)?;
        attributes.object = Some(patched);
        Ok(changed)
    }
}

/// As upstream, what fails between webhooks is the server's fault.
fn internal(status: Status) -> Status {
    if status.code == 500 { status } else { status::internal(status.message) }
}

#[async_trait]
impl AdmissionPlugin for MutatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        self.webhooks.handles(attributes)
    }

    fn reinvocation_policy(&self) -> ReinvocationPolicy {
        ReinvocationPolicy::PerItem
    }

    async fn admit(
        &self,
        context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        if context.skips_webhooks() {
            return Ok(());
        }
        let owners: Option<Value> = managed_fields(attributes.object.as_ref());
        let mut state = attributes.begin_items(self.name());
        let done = self.call_all(context, attributes, &mut state).await;
        if let Some(object) = &mut attributes.object {
            let warning = restore_managed_fields(object, owners);
            warning.into_iter().for_each(|warning| context.warn(warning));
        }
        attributes.finish_items(self.name(), state);
        done
    }
}
