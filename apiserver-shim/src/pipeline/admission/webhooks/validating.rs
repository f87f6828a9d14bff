//! ValidatingAdmissionWebhook: calls all webhooks at once and refuses the request if one denies it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::Value;
use shim_model::status::{self, Status};

use super::configured::Hook;
use super::{Objects, Phase, WebhookCaller, Webhooks};
use crate::auth::authorization::AccessControl;
use crate::pipeline::admission::request::Matched;
use crate::pipeline::admission::{AdmissionPlugin, Attributes, Preconditions, RequestContext};
use crate::storage::registry::Registry;

/// The prefix of audit annotations.
const VALIDATING: &str = "validating.webhook.admission.k8s.io/";

pub(in crate::pipeline::admission) struct ValidatingAdmissionWebhook {
    webhooks: Webhooks,
}

/// The objects of a request in one version.
struct Version<'v> {
    matched: Matched,
    new: Cow<'v, Value>,
    old: Cow<'v, Value>,
}

impl ValidatingAdmissionWebhook {
    pub(in crate::pipeline::admission) fn new(
        registry: &Registry,
        access: &AccessControl,
        caller: Arc<WebhookCaller>,
    ) -> Self {
        ValidatingAdmissionWebhook { webhooks: Webhooks::new(registry, access, caller, Phase::Validating) }
    }

    async fn call(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        (hook, version): (&Hook, &Version<'_>),
        index: usize,
    ) -> Result<(), Status> {
        let start = Instant::now();
        let objects = Objects { new: &version.new, old: &version.old };
        let called = self.webhooks.call(context, attributes, (hook, &version.matched), objects).await;
        let annotation = format!("{VALIDATING}round_0_index_{index}");
        self.webhooks.conclude(context, attributes, (hook, start), called.map(drop), &annotation)
    }
}

#[async_trait]
impl AdmissionPlugin for ValidatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        self.webhooks.handles(attributes)
    }

    async fn validate(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        if context.skips_webhooks() {
            return Ok(());
        }
        let all = self.webhooks.configured.all();
        // Each version is converted to once, however many webhooks want it.
        let mut versions: Vec<Version<'_>> = Vec::new();
        let mut called: Vec<(&Hook, usize)> = Vec::new();
        for hook in all.iter() {
            let Some(matched) = self.webhooks.matched(context, attributes, hook).await? else { continue };
            let known = versions.iter().position(|version| version.matched.is(&matched));
            let version = match known {
                Some(known) => known,
                None => {
                    let new = matched.convert(attributes, attributes.object.as_ref()).await;
                    let old = matched.convert(attributes, attributes.old_object).await;
                    let (new, old) = (new.map_err(status::internal)?, old.map_err(status::internal)?);
                    versions.push(Version { matched, new, old });
                    versions.len() - 1
                }
            };
            called.push((hook, version));
        }
        if called.is_empty() {
            return Ok(());
        }
        if context.time_left().is_zero() {
            return Err(status::timeout("request did not complete within requested timeout", 0));
        }
        let calls = called
            .iter()
            .enumerate()
            .map(|(at, (hook, version))| self.call(context, attributes, (hook, &versions[*version]), at));
        // The answer is that of the first webhook that refuses, in the order of the configurations.
        join_all(calls).await.into_iter().collect()
    }
}
