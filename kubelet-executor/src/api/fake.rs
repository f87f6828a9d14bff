//! An in-memory API.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::SubjectAccessReviewSpec;
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, Node, PersistentVolume, PersistentVolumeClaim, Secret, Service,
};
use k8s_openapi::api::node::v1::RuntimeClass;

use super::{Api, ApiError, Token, TokenRequest};

/// An API without a server.
#[derive(Debug, Default)]
pub struct FakeApi {
    state: Mutex<State>,
}

/// The content of a [`FakeApi`].
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct State {
    /// By namespace and name.
    pub config_maps: BTreeMap<(String, String), ConfigMap>,
    /// By namespace and name.
    pub secrets: BTreeMap<(String, String), Secret>,
    /// By namespace and name.
    pub claims: BTreeMap<(String, String), PersistentVolumeClaim>,
    pub volumes: BTreeMap<String, PersistentVolume>,
    pub runtime_classes: BTreeMap<String, RuntimeClass>,
    pub services: Vec<Service>,
    /// Any node.
    pub node: Option<Node>,
    /// Of every node.
    pub pod_uids: Vec<String>,
    /// In recording order.
    pub events: Vec<Event>,
    /// Tokens issued so far.
    pub tokens: u64,
    /// Users by their bearer tokens.
    pub users: BTreeMap<String, UserInfo>,
    /// What users may do with the Node: user, verb and subresource.
    pub allowed: BTreeSet<(String, String, String)>,
}

impl FakeApi {
    /// The content, to change or inspect.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Api for FakeApi {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, ApiError> {
        Ok(self.state().config_maps.get(&(namespace.to_owned(), name.to_owned())).cloned())
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ApiError> {
        Ok(self.state().secrets.get(&(namespace.to_owned(), name.to_owned())).cloned())
    }

    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<PersistentVolumeClaim>, ApiError> {
        Ok(self.state().claims.get(&(namespace.to_owned(), name.to_owned())).cloned())
    }

    async fn volume(&self, name: &str) -> Result<Option<PersistentVolume>, ApiError> {
        Ok(self.state().volumes.get(name).cloned())
    }

    async fn runtime_class(&self, name: &str) -> Result<Option<RuntimeClass>, ApiError> {
        Ok(self.state().runtime_classes.get(name).cloned())
    }

    async fn services(&self, _namespace: &str) -> Result<Vec<Service>, ApiError> {
        Ok(self.state().services.clone())
    }

    async fn token(&self, request: &TokenRequest) -> Result<Token, ApiError> {
        let mut state = self.state();
        state.tokens += 1;
        let life = Duration::from_secs(u64::try_from(request.expiration_seconds).unwrap_or(600));
        let expires_at = executor_core::time::after(Timestamp::now(), life);
        Ok(Token { token: format!("token-{}", state.tokens), expires_at })
    }

    async fn node(&self, _name: &str) -> Result<Option<Node>, ApiError> {
        Ok(self.state().node.clone())
    }

    async fn pod_uids(&self, _node: &str) -> Result<Vec<String>, ApiError> {
        Ok(self.state().pod_uids.clone())
    }

    async fn review_token(&self, token: &str) -> Result<Option<UserInfo>, ApiError> {
        Ok(self.state().users.get(token).cloned())
    }

    async fn review_access(&self, asked: SubjectAccessReviewSpec) -> Result<bool, ApiError> {
        let attributes = asked.resource_attributes.unwrap_or_default();
        let part = |text: Option<String>| text.unwrap_or_default();
        let asked = (part(asked.user), part(attributes.verb), part(attributes.subresource));
        Ok(self.state().allowed.contains(&asked))
    }

    async fn record(&self, event: &Event) -> Result<(), ApiError> {
        self.state().events.push(event.clone());
        Ok(())
    }
}
