//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: calls the webhooks that match a request. What their configurations
//! and answers mean is in `shim_core::admission_webhook`; here are the objects, namespaces and calls.

mod configured;
mod mutating;
mod validating;

pub(super) use mutating::MutatingAdmissionWebhook;
pub(super) use validating::ValidatingAdmissionWebhook;

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use shim_core::admission_policy::{Condition, PolicyInput};
use shim_core::admission_webhook::{Answer, CallError, Failure, Review};
use shim_model::status::{self, Status};

use super::authorizer::RequestAuthorizer;
use super::request::{Matched, Namespaces, configures_admission, is_dry_run, request_of};
use super::{Attributes, RequestContext};
use crate::auth::authorization::AccessControl;
use crate::metrics::admission::{AdmissionMetrics, WebhookCall, WebhookOutcome};
use crate::pipeline::blocking;
use crate::service_client::ServiceClients;
use crate::storage::registry::Registry;
use configured::{ConfiguredWebhooks, Hook};

/// The values of the metrics' label `error_type`.
const CALLING: &str = "calling_webhook_error";
const SERVER: &str = "apiserver_internal_error";
const NO_ERROR: &str = "no_error";

/// The prefix of audit annotations of webhooks whose failure is ignored.
const FAILED_OPEN: &str = "failed-open.";

/// What is needed to call webhooks.
pub struct WebhookCaller {
    /// The clients.
    pub clients: ServiceClients,
    /// Counts the calls.
    pub metrics: AdmissionMetrics,
}

impl WebhookCaller {
    /// With clients and metrics of its own.
    pub fn new(registry: &Registry) -> WebhookCaller {
        WebhookCaller { clients: ServiceClients::new(registry.clone()), metrics: AdmissionMetrics::new() }
    }
}

/// The part of the plugins that both share.
struct Webhooks {
    registry: Registry,
    access: AccessControl,
    caller: Arc<WebhookCaller>,
    configured: ConfiguredWebhooks,
    namespaces: Namespaces,
    phase: Phase,
}

/// Which webhooks are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Mutating,
    Validating,
}

impl Phase {
    /// The name in metrics.
    fn name(self) -> &'static str {
        match self {
            Phase::Mutating => "admit",
            Phase::Validating => "validating",
        }
    }

    fn configurations(self) -> &'static str {
        match self {
            Phase::Mutating => "mutatingwebhookconfigurations",
            Phase::Validating => "validatingwebhookconfigurations",
        }
    }
}

/// The objects of a request in the version of a webhook; null for none.
#[derive(Clone, Copy)]
struct Objects<'a> {
    new: &'a Value,
    old: &'a Value,
}

impl Webhooks {
    fn new(
        registry: &Registry,
        access: &AccessControl,
        caller: Arc<WebhookCaller>,
        phase: Phase,
    ) -> Webhooks {
        let configured = ConfiguredWebhooks::new(registry, phase.configurations());
        let namespaces = Namespaces::new(registry.clone());
        let (registry, access) = (registry.clone(), access.clone());
        Webhooks { registry, access, namespaces, caller, configured, phase }
    }

    /// Whether any webhook has a rule for the request.
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let hooks = self.configured.all();
        let matches =
            |hook: &Arc<Hook>| Matched::find(&self.registry, &hook.webhook.matching, attributes).is_some();
        !hooks.is_empty() && !configures_admission(attributes) && hooks.iter().any(matches)
    }

    /// The version in which a webhook is to be called; `None` if the request does not match.
    async fn matched(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        hook: &Hook,
    ) -> Result<Option<Matched>, Status> {
        let matching = &hook.webhook.matching;
        let Some(matched) = Matched::find(&self.registry, matching, attributes) else { return Ok(None) };
        let object = attributes.object.as_ref().unwrap_or(&Value::Null);
        if !matching.matches_objects(object, attributes.old_object.unwrap_or(&Value::Null)) {
            return Ok(None);
        }
        if matching.selects_namespaces() {
            let namespace = self.namespaces.for_selectors(attributes).await?;
            if !matching.matches_namespace(&namespace) {
                return Ok(None);
            }
        }
        let meets = self.meets_conditions(context, attributes, (hook, &matched)).await?;
        Ok(meets.then_some(matched))
    }

    async fn meets_conditions(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        (hook, matched): (&Hook, &Matched),
    ) -> Result<bool, Status> {
        if hook.webhook.conditions.is_empty() {
            return Ok(true);
        }
        let object = matched.convert(attributes, attributes.object.as_ref()).await?;
        let old_object = matched.convert(attributes, attributes.old_object).await?;
        let request = request_of(context, attributes, matched.row(attributes));
        let conditions = &hook.webhook.conditions;
        let is_used = conditions.uses_authorizer();
        let authorizer = &RequestAuthorizer::new(&self.access, context, attributes, is_used).await?;
        let input = PolicyInput {
            object: &object,
            old_object: &old_object,
            request: &request,
            namespace: &Value::Null,
            params: &Value::Null,
            authorizer,
        };
        let start = Instant::now();
        let judge = || conditions.matches(&input);
        let condition = blocking::of_expressions(&input, conditions.len(), judge);
        let failed = matches!(condition, Condition::Failed(_));
        let call = self.call_of(attributes, hook);
        self.caller.metrics.evaluated(call, start.elapsed(), failed);
        match condition {
            Condition::Met => Ok(true),
            Condition::Failed(why) if !hook.webhook.ignores_failures => {
                let resource = attributes.resource;
                Err(status::forbidden(&resource.group, &resource.plural, attributes.object_name(), why))
            }
            Condition::NotMet | Condition::Failed(_) => {
                self.caller.metrics.excluded(call);
                Ok(false)
            }
        }
    }

    /// Calls a webhook and waits for its answer, which allows the request.
    async fn call(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        (hook, matched): (&Hook, &Matched),
        objects: Objects<'_>,
    ) -> Result<Answer, Failure> {
        let webhook = &hook.webhook;
        if is_dry_run(context, attributes) && !webhook.supports_dry_run {
            return Err(Failure::no_dry_run(&webhook.name));
        }
        let uid = uuid::Uuid::new_v4().to_string();
        let review = Review::new(webhook, &uid).map_err(Failure::Calling)?;
        let request = request_of(context, attributes, matched.row(attributes));
        let body = review.body(request, objects.new, objects.old);
        let timeout = webhook.timeout.min(context.time_left());
        tracing::debug!(webhook = webhook.name, review = uid, audit_id = %context.audit_id, "calling webhook");
        let answer = hook.client(&self.caller.clients).post(&body, timeout).await;
        let answer = answer.map_err(|error| {
            Failure::Calling(CallError::Call { code: error.code(), reason: error.to_string() })
        })?;
        let answer = review.answer(self.phase == Phase::Mutating, answer).map_err(Failure::Calling)?;
        for (key, value) in &answer.annotations {
            context.annotate(&format!("{}/{key}", webhook.name), value.as_str());
        }
        answer.warnings.iter().for_each(|warning| context.warn(warning.as_str()));
        match answer.denial(&webhook.name) {
            Some(denial) => Err(Failure::Denied(denial)),
            None => Ok(answer),
        }
    }

    /// Counts a call and applies the failure policy: the status of a refused request, or nothing. `annotation` is the key of
    /// an audit annotation without its prefix.
    fn conclude(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        (hook, start): (&Hook, Instant),
        outcome: Result<(), Failure>,
        annotation: &str,
    ) -> Result<(), Status> {
        let (name, ignores) = (&hook.webhook.name, hook.webhook.ignores_failures);
        let (code, rejected) = match &outcome {
            Ok(()) => (200, None),
            Err(Failure::Calling(error)) => (error.code(), (!ignores).then_some(CALLING)),
            Err(Failure::Denied(status)) => (status.code, Some(NO_ERROR)),
            Err(Failure::Server(_)) => (0, Some(SERVER)),
        };
        let call = self.call_of(attributes, hook);
        self.caller.metrics.observe(call, start.elapsed(), WebhookOutcome { code, rejected });
        let Err(failure) = outcome else { return Ok(()) };
        if let Failure::Calling(error) = &failure {
            tracing::warn!(webhook = name, %error, ignored = ignores, audit_id = %context.audit_id, "webhook failed");
            if ignores {
                self.caller.metrics.failed_open(call);
                context.annotate(&format!("{FAILED_OPEN}{annotation}"), name.as_str());
                return match context.time_left().is_zero() {
                    true => Err(status::timeout("request did not complete within requested timeout", 0)),
                    false => Ok(()),
                };
            }
        }
        Err(failure.into_status(name))
    }

    fn call_of<'a>(&self, attributes: &Attributes<'_>, hook: &'a Hook) -> WebhookCall<'a> {
        let operation = attributes.operation.name();
        WebhookCall { name: &hook.webhook.name, phase: self.phase.name(), operation }
    }
}
