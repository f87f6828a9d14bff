//! The webhooks of all configurations of one kind, with their clients. They follow the watch cache of the configurations.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use shim_core::admission_webhook::{Webhook, webhooks};
use shim_core::controllers::served;

use crate::pipeline::admission::request::GROUP;
use crate::service_client::ServiceClients;
use crate::storage::followed_index::{FollowedIndex, Index};
use crate::storage::registry::Registry;
use crate::storage::watch_cache::{ChangeKind, Delivery};
use crate::webhook_client::WebhookClient;

/// A webhook with its client.
pub(super) struct Hook {
    pub webhook: Webhook,
    /// Made with the first call.
    client: OnceLock<WebhookClient>,
}

impl Hook {
    /// The client.
    pub fn client(&self, clients: &ServiceClients) -> &WebhookClient {
        self.client.get_or_init(|| WebhookClient::new(&self.webhook.client_config, clients.clone()))
    }
}

/// The webhooks.
pub(super) struct ConfiguredWebhooks {
    index: FollowedIndex<Configurations>,
}

/// The webhooks by the name of their configuration, and all in the order in which they are called.
#[derive(Default)]
struct Configurations {
    by_name: BTreeMap<String, Configuration>,
    all: Arc<[Arc<Hook>]>,
}

/// The webhooks of one object, with their source.
struct Configuration {
    source: Value,
    hooks: Vec<Arc<Hook>>,
}

impl ConfiguredWebhooks {
    pub fn new(registry: &Registry, plural: &'static str) -> ConfiguredWebhooks {
        ConfiguredWebhooks { index: FollowedIndex::new(registry.clone(), [served(GROUP, plural)]) }
    }

    /// All webhooks, sorted by the name of their configuration and then in its order, with all changes that the cache has
    /// received.
    pub fn all(&self) -> Arc<[Arc<Hook>]> {
        self.index.read().all.clone()
    }
}

impl Index for Configurations {
    fn apply(&mut self, _: usize, delivery: &Delivery) {
        let (object, name) = (&delivery.object, delivery.object.name());
        if delivery.kind == ChangeKind::Deleted {
            self.by_name.remove(name);
            return;
        }
        let value = object.value();
        // Changes of the metadata keep the clients, and so their connections.
        if self.by_name.get(name).is_some_and(|known| known.source == value["webhooks"]) {
            return;
        }
        let hook = |webhook| Arc::new(Hook { webhook, client: OnceLock::new() });
        let hooks = webhooks(&value).into_iter().map(hook).collect();
        self.by_name.insert(name.to_owned(), Configuration { source: value["webhooks"].clone(), hooks });
    }

    fn finish(&mut self) {
        self.all = self.by_name.values().flat_map(|configuration| &configuration.hooks).cloned().collect();
    }
}
