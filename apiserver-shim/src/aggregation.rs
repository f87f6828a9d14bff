//! Aggregation: group-versions that other API servers answer for. An APIService names the Service of such a server; this server
//! forwards requests to it with the user in headers, and merges its discovery. Each group-version of this server has an
//! APIService too, without a Service (`registration`).
//!
//! The index follows the watch cache of APIServices: a look-up first applies the changes that the cache has received.

pub mod availability;
pub mod discovery;
pub mod registration;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use shim_core::controllers::{condition, served};
use shim_core::kinds::api_service::AVAILABLE;
use shim_model::resource::GroupResource;
use shim_model::{access, base64};
use shim_pki::Issued;
use transport::client::Client;
use transport::tls::TlsError;

use crate::auth::authentication::User;
use crate::service_client::{ServerRef, ServiceClients, service_authority};
use crate::storage::followed_index::{FollowedIndex, Index};
use crate::storage::registry::Registry;
use crate::storage::watch_cache::{ChangeKind, Delivery};

pub use discovery::{RemoteDiscovery, RemoteDocument, RemoteVersion};

/// The resource.
pub const API_SERVICES: GroupResource = served("apiregistration.k8s.io", "apiservices");
/// A watch of an aggregated server may stay without an answer as long as the client likes: it ends the request.
const RESPONSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A server that answers for a group-version, as its APIService describes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct RemoteServer {
    /// Name of the APIService.
    pub name: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub service: String,
    pub port: u16,
    pub group_priority: i64,
    pub version_priority: i64,
    /// Whether the last check succeeded; requests are refused otherwise.
    pub is_available: bool,
    ca_bundle: String,
    insecure: bool,
}

impl RemoteServer {
    /// Reads an APIService; `None` if this server answers itself.
    fn parse(object: &Value) -> Option<RemoteServer> {
        let service = access::get(object, &["spec", "service"]).filter(|service| service.is_object())?;
        let text = |path: &[&str]| access::text(object, path).to_owned();
        let priority = |name| access::int(object, &["spec", name]).unwrap_or(0);
        let bundle = base64::decode(access::text(object, &["spec", "caBundle"])).unwrap_or_default();
        let available = condition(&object["status"], AVAILABLE);
        Some(RemoteServer {
            name: text(&["metadata", "name"]),
            group: text(&["spec", "group"]),
            version: text(&["spec", "version"]),
            namespace: access::text(service, &["namespace"]).to_owned(),
            service: access::text(service, &["name"]).to_owned(),
            port: access::int(service, &["port"]).and_then(|port| port.try_into().ok()).unwrap_or(443),
            group_priority: priority("groupPriorityMinimum"),
            version_priority: priority("versionPriority"),
            is_available: available.is_some_and(|a| access::text(a, &["status"]) == "True"),
            ca_bundle: String::from_utf8_lossy(&bundle).into_owned(),
            insecure: access::flag(object, &["spec", "insecureSkipTLSVerify"]),
        })
    }

    /// `host:port` of URIs of the server.
    pub fn authority(&self) -> String {
        service_authority(&self.namespace, &self.service, self.port)
    }
}

/// By group and version.
type Servers = HashMap<(String, String), Arc<RemoteServer>>;

/// Finds and calls aggregated API servers. Clones share.
#[derive(Clone)]
pub struct Aggregator {
    inner: Arc<Inner>,
}

struct Inner {
    clients: ServiceClients,
    identity: Option<(String, String)>,
    index: FollowedIndex<Servers>,
    discovery: ArcSwap<RemoteDiscovery>,
}

impl Aggregator {
    /// An aggregator that presents `identity` to aggregated servers.
    pub fn new(registry: Registry, clients: ServiceClients, identity: Option<Issued>) -> Self {
        let identity = identity.map(|issued| (issued.certificate, issued.key));
        let index = FollowedIndex::new(registry, [API_SERVICES]);
        let discovery = ArcSwap::default();
        Aggregator { inner: Arc::new(Inner { clients, identity, index, discovery }) }
    }

    /// The server that answers for a group-version; `None` if this one does.
    pub fn find(&self, group: &str, version: &str) -> Option<Arc<RemoteServer>> {
        let servers = self.inner.index.read();
        if servers.is_empty() {
            return None;
        }
        servers.get(&(group.to_owned(), version.to_owned())).cloned()
    }

    /// The server that answers a path such as `/apis/GROUP/VERSION/…`.
    pub fn find_path(&self, path: &str) -> Option<Arc<RemoteServer>> {
        if self.inner.index.read().is_empty() {
            return None;
        }
        let mut parts = path.split('/').skip(1);
        match (parts.next()?, parts.next()?) {
            ("api", version) => self.find("", version),
            ("apis", group) => self.find(group, parts.next()?),
            _ => None,
        }
    }

    /// Every server.
    pub fn servers(&self) -> Vec<Arc<RemoteServer>> {
        self.inner.index.read().values().cloned().collect()
    }

    /// What the aggregated servers say that they serve.
    pub fn discovery(&self) -> Arc<RemoteDiscovery> {
        self.inner.discovery.load_full()
    }

    /// The client of a server.
    pub fn client(&self, server: &RemoteServer, upgrades: bool) -> Result<Client, TlsError> {
        self.inner.clients.client(&ServerRef {
            service: Some((server.namespace.clone(), server.service.clone())),
            ca_bundle: server.ca_bundle.clone(),
            insecure: server.insecure,
            identity: self.inner.identity.clone(),
            http1: upgrades,
            response_timeout: RESPONSE_MAX,
        })
    }
}

impl Index for Servers {
    fn apply(&mut self, _resource: usize, delivery: &Delivery) {
        let name = delivery.object.name();
        self.retain(|_, server| server.name != name);
        let exists = delivery.kind != ChangeKind::Deleted;
        if let Some(server) = RemoteServer::parse(&delivery.object.value()).filter(|_| exists) {
            self.insert((server.group.clone(), server.version.clone()), Arc::new(server));
        }
    }
}

/// Replaces the headers that name the user for an aggregated server, which believes them because of this server's certificate.
pub fn set_user(headers: &mut HeaderMap, user: &User) {
    let forged: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    forged.iter().for_each(|name| drop(headers.remove(name)));
    let mut add = |name: &str, value: &str| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        if let Some((name, value)) = name.zip(HeaderValue::from_str(value).ok()) {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid);
    }
    user.groups.iter().for_each(|group| add("x-remote-group", group));
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escape(key));
        values.iter().for_each(|value| add(&name, value));
    }
}

/// What may not be in a header's name, and the percent sign.
const NO_TOKEN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'*')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Escapes what may not be in a header's name as a percent sign and two hexadecimal digits, as upstream.
fn escape(key: &str) -> String {
    utf8_percent_encode(key, NO_TOKEN).to_string()
}

#[cfg(test)]
mod tests;
