//! Conversion of custom resources by the webhook of their definition.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use shim_core::converter::{Conversion, Converter};
use shim_core::custom_resources::Family;
use shim_core::custom_resources::review::Review;
use shim_model::access;
use shim_model::status::{self, Status};

use crate::service_client::ServiceClients;
use crate::webhook_client::WebhookClient;

/// Time that a webhook has for an answer (upstream's).
const TIMEOUT: Duration = Duration::from_secs(30);

/// The converter of one version.
pub(super) struct WebhookConverter {
    family: Arc<Family>,
    served: String,
    client: WebhookClient,
    review_versions: Vec<Value>,
}

impl WebhookConverter {
    pub fn new(clients: ServiceClients, crd: &Value, family: Arc<Family>, served: &str) -> Self {
        let webhook = access::get(crd, &["spec", "conversion", "webhook"]).unwrap_or(&Value::Null);
        let config = webhook.get("clientConfig").unwrap_or(&Value::Null);
        WebhookConverter {
            family,
            served: served.to_owned(),
            client: WebhookClient::new(config, clients),
            review_versions: access::list(webhook, &["conversionReviewVersions"]).to_vec(),
        }
    }

    /// Objects that are in the version already are not sent.
    async fn convert(&self, objects: Vec<Value>, version: &str) -> Result<Vec<Value>, Status> {
        let desired = format!("{}/{version}", self.family.group);
        let is_there = |object: &Value| object["apiVersion"] == desired.as_str();
        let originals: Vec<Value> = objects.iter().filter(|object| !is_there(object)).cloned().collect();
        if originals.is_empty() {
            return Ok(objects);
        }
        let uid = uuid::Uuid::new_v4().to_string();
        let review = Review::new(&self.review_versions, &desired, &uid)
            .ok_or_else(|| status::internal("no supported conversion review versions"))?;
        let answer = self.client.post(&review.body(&originals), TIMEOUT).await;
        let answer = answer.map_err(|error| {
            let kind = access::text(&originals[0], &["kind"]);
            let from = access::text(&originals[0], &["apiVersion"]);
            status::unclassified(format!("conversion webhook for {from}, Kind={kind} failed: {error}"))
        })?;
        let converted = review.converted(&originals, answer).map_err(status::unclassified)?;
        let mut converted = converted.into_iter();
        let schema = self.family.schema(version);
        let mut all = Vec::with_capacity(objects.len());
        for object in objects {
            match is_there(&object) {
                true => all.push(object),
                false => all.extend(converted.next().map(|mut object| {
                    if let Some(schema) = schema {
                        schema.prune(&mut object);
                    }
                    object
                })),
            }
        }
        Ok(all)
    }
}

impl Converter for WebhookConverter {
    fn to_served(&self, stored: Vec<Value>) -> Conversion<'_> {
        Box::pin(self.convert(stored, &self.served))
    }

    fn to_stored(&self, served: Vec<Value>) -> Conversion<'_> {
        Box::pin(self.convert(served, &self.family.storage_version))
    }

    fn is_remote(&self) -> bool {
        true
    }
}
