//! Clients of servers that objects name: webhooks and aggregated API servers. Such a server is a Service of this cluster, or a
//! URL. This server reaches a Service through its endpoints, since cluster IPs are virtual on nodes only; the certificate must
//! be for `NAME.NAMESPACE.svc`, as upstream.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use shim_core::controllers::served;
use shim_model::access;
use transport::client::{AddressSource, Client, ClientOptions};
use transport::tls::{ALPN_HTTP, ALPN_HTTP1, TlsError, Trust, client_config_trusting};

use crate::storage::object::Object;
use crate::storage::registry::Registry;

/// Clients that are kept with their connections. Each has at most eight idle ones: a cluster with more webhooks than this opens
/// connections again.
const CLIENTS_MAX: usize = 256;

/// The label by which an EndpointSlice belongs to a Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A server that an object names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerRef {
    /// Namespace and name of the Service; `None` for a URL.
    pub service: Option<(String, String)>,
    /// PEM certificates of the server, or of authorities that may have signed its; empty for those of this machine.
    pub ca_bundle: String,
    /// Whether every certificate is accepted.
    pub insecure: bool,
    /// The certificate and the key (PEM) that this server presents.
    pub identity: Option<(String, String)>,
    /// Whether HTTP/2 is not used: it has no upgraded connections, and has one connection for all requests, so that only one
    /// endpoint of a Service would get them.
    pub http1: bool,
    /// Time limit for an answer's head.
    pub response_timeout: Duration,
}

/// Makes clients and keeps them. Clones share.
#[derive(Clone)]
pub struct ServiceClients {
    registry: Registry,
    clients: Arc<Mutex<HashMap<ServerRef, Client>>>,
}

impl ServiceClients {
    /// Without clients yet.
    pub fn new(registry: Registry) -> Self {
        ServiceClients { registry, clients: Arc::default() }
    }

    /// The client of a server. A URI of a Service has the authority that [`service_authority`] returns.
    pub fn client(&self, server: &ServerRef) -> Result<Client, TlsError> {
        let mut clients = self.clients.lock().expect("invariant: no holder of the lock panics");
        if let Some(client) = clients.get(server) {
            return Ok(client.clone());
        }
        let trust = match (server.insecure, server.ca_bundle.as_str()) {
            (true, _) => Trust::Anybody,
            (false, "") => Trust::Machine,
            (false, bundle) => Trust::Bundle(bundle),
        };
        let identity =
            server.identity.as_ref().map(|(certificate, key)| (certificate.as_str(), key.as_str()));
        let alpn = if server.http1 { ALPN_HTTP1 } else { ALPN_HTTP };
        let config = client_config_trusting(trust, identity, alpn)?;
        let client = Client::new(ClientOptions {
            response_timeout: server.response_timeout,
            address: server.service.clone().map(|service| self.address_source(service)),
            server_name: server.service.as_ref().map(|(namespace, name)| service_host(namespace, name)),
            ..ClientOptions::with_tls(config)
        });
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(server.clone(), client.clone());
        Ok(client)
    }

    /// The endpoints of a Service, one after the other. A redirect may lead to another host.
    fn address_source(&self, (namespace, name): (String, String)) -> AddressSource {
        let (registry, turn) = (self.registry.clone(), AtomicUsize::new(0));
        let own = service_host(&namespace, &name);
        Arc::new(move |host, port| {
            if host != own {
                return Ok((host.to_owned(), port));
            }
            let turn = turn.fetch_add(1, Ordering::Relaxed);
            resolve(&registry, (&namespace, &name), port, turn)
        })
    }
}

/// `host:port` of a Service in the URIs of requests to it.
pub fn service_authority(namespace: &str, name: &str, port: u16) -> String {
    format!("{}:{port}", service_host(namespace, name))
}

fn service_host(namespace: &str, name: &str) -> String {
    format!("{name}.{namespace}.svc")
}

/// A ready endpoint of a Service's port; `turn` chooses among them.
fn resolve(
    registry: &Registry,
    (namespace, name): (&str, &str),
    port: u16,
    turn: usize,
) -> Result<(String, u16), String> {
    let read = |plural| registry.peek(served("", plural), namespace, name).map(|object| object.value());
    let service = read("services").ok_or_else(|| format!("service \"{name}\" not found"))?;
    endpoint(&service, &slices(registry, namespace, name), port, turn)
}

/// The EndpointSlices of a Service.
pub fn slices(registry: &Registry, namespace: &str, name: &str) -> Vec<Value> {
    let of_service = |object: &Arc<Object>| {
        let value = object.value();
        (access::text(&value, &["metadata", "labels", SERVICE_NAME]) == name).then_some(value)
    };
    let all = registry.cache(served("discovery.k8s.io", "endpointslices")).list(Some(namespace));
    all.iter().filter_map(of_service).collect()
}

/// Addresses and ports of the ready endpoints of a Service's port, by the name of the port.
pub fn ready_endpoints(slices: &[Value], port_name: &str) -> Vec<(String, u16)> {
    let mut ready = Vec::new();
    for slice in slices {
        let mut ports = access::list(slice, &["ports"]).iter();
        let number = ports.find(|p| access::text(p, &["name"]) == port_name);
        let number = number.and_then(|p| u16::try_from(access::int(p, &["port"])?).ok());
        let Some(number) = number else { continue };
        for endpoint in access::list(slice, &["endpoints"]) {
            // As upstream, an endpoint without the condition is ready.
            let is_ready = access::get(endpoint, &["conditions", "ready"]) != Some(&Value::Bool(false));
            let address = access::list(endpoint, &["addresses"]).first().and_then(Value::as_str);
            ready.extend(address.filter(|_| is_ready).map(|address| (address.to_owned(), number)));
        }
    }
    ready
}

fn endpoint(service: &Value, slices: &[Value], port: u16, turn: usize) -> Result<(String, u16), String> {
    let name = access::text(service, &["metadata", "name"]);
    if access::text(service, &["spec", "type"]) == "ExternalName" {
        return Ok((access::text(service, &["spec", "externalName"]).to_owned(), port));
    }
    let ports = access::list(service, &["spec", "ports"]);
    let found = ports.iter().find(|p| access::int(p, &["port"]) == Some(port.into()));
    let found = found.ok_or_else(|| format!("no service port {port} found for service \"{name}\""))?;
    let mut ready = ready_endpoints(slices, access::text(found, &["name"]));
    match ready.len() {
        0 => Err(format!("no endpoints available for service \"{name}\"")),
        all => Ok(ready.swap_remove(turn % all)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "hook"}, "spec": spec})
    }

    #[test]
    fn the_port_of_a_service_leads_to_its_ready_endpoints_in_turn() {
        let service =
            service(json!({"ports": [{"name": "https", "port": 443}, {"name": "http", "port": 80}]}));
        let endpoint_of = |ip: &str, ready: bool| json!({"addresses": [ip], "conditions": {"ready": ready}});
        let slices = [
            json!({"endpoints": [endpoint_of("10.0.0.1", true), endpoint_of("10.0.0.2", true), endpoint_of("10.0.0.9", false)],
                "ports": [{"name": "https", "port": 9443}, {"name": "http", "port": 8080}]}),
            json!({"endpoints": [{"addresses": ["10.0.0.3"]}], "ports": [{"name": "https", "port": 9444}]}),
        ];
        let at = |turn| endpoint(&service, &slices, 443, turn).expect("an endpoint");
        assert_eq!(at(0), ("10.0.0.1".to_owned(), 9443));
        assert_eq!(at(1), ("10.0.0.2".to_owned(), 9443));
        assert_eq!(at(2), ("10.0.0.3".to_owned(), 9444));
        assert_eq!(at(3), at(0));
        assert_eq!(endpoint(&service, &slices, 80, 1), Ok(("10.0.0.2".to_owned(), 8080)));
    }

    #[test]
    fn what_is_missing_is_named() {
        let with_port = service(json!({"ports": [{"port": 443}]}));
        let none = Err("no endpoints available for service \"hook\"".to_owned());
        assert_eq!(endpoint(&with_port, &[], 443, 0), none);
        let no_port = Err("no service port 8443 found for service \"hook\"".to_owned());
        assert_eq!(endpoint(&with_port, &[], 8443, 0), no_port);
    }

    #[test]
    fn an_external_name_is_resolved_by_dns() {
        let external = service(json!({"type": "ExternalName", "externalName": "hooks.example.com"}));
        assert_eq!(endpoint(&external, &[], 8443, 0), Ok(("hooks.example.com".to_owned(), 8443)));
    }
}
