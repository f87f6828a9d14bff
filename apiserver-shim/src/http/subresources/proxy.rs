//! `proxy` of Pods, Services and nodes: passes an HTTP request on and its response back, upgraded connections included.
//! The server connects to the Pod's address itself, with `https:` whatever the certificate is, as upstream; to a node's
//! executor with its client certificate.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::header::{HeaderValue, LOCATION};
use serde_json::Value;
use shim_core::controllers::served;
use shim_model::access;
use shim_model::status::{self, Status};
use transport::client::{Client, ClientOptions};
use transport::tls::unverified_client_config;

use super::streams::admit_connect;
use crate::http::body::{Request, Response};
use crate::http::forward::{ForwardError, Onward};
use crate::http::objects::ResourceRequest;
use crate::http::reply;
use crate::http::service::Api;

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
struct Location {
    scheme: String,
    /// `host`, or `host:port`.
    authority: String,
    /// Whether the node's executor answers, to which the server authenticates.
    executor: bool,
}

pub(super) async fn serve(
    api: &Api,
    asked: &ResourceRequest<'_>,
    request: Request,
) -> Result<Response, Status> {
    admit_connect(api, asked).await?;
    let (kind, target) = (&asked.resource.singular, asked.target.name.as_str());
    let target = ProxyTarget::parse(target)
        .ok_or_else(|| status::bad_request(format!("invalid {kind} request \"{target}\"")))?;
    let location = match asked.resource.kind.as_str() {
        "Pod" => of_pod(
            &api.registry.get(asked.resource, &asked.target.namespace, target.name).await?.value(),
            &target,
        ),
        "Service" => of_service(api, asked, &target).await,
        _ => of_node(api, asked, &target).await,
    }?;
    let path = path_below(request.uri().path(), asked.resource.namespaced);
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if path.is_empty() && matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(redirect(&format!("{}/{query}", request.uri().path())));
    }
    let path = if path.is_empty() { "/" } else { path };
    let uri = format!("{}://{}{path}{query}", location.scheme, location.authority);
    // What the client's path has in front of the backend's.
    let prefix = request.uri().path();
    let prefix = prefix[..prefix.len() - path_below(prefix, asked.resource.namespaced).len()].to_owned();
    let client = match (&api.node_client, location.executor) {
        (Some(client), true) => client,
        (None, true) => return Err(unreachable(&"this server has no client for nodes")),
        _ => &api.proxy_client,
    };
    let onward = Onward { uri, authority: location.authority, prefix };
    onward.send(client, request, |_| {}).await.map_err(|error| match error {
        ForwardError::Request(error) => status::internal(error),
        ForwardError::Client(error) => unreachable(&error),
    })
}

/// The client for Pods, Services and ports of nodes. As upstream, it trusts every certificate and waits for an answer as
/// long as its own client does. An address may soon belong to another Pod: a connection to the old one must not block.
pub fn proxy_client() -> Client {
    Client::new(ClientOptions {
        tls: Some(Arc::new(unverified_client_config)),
        response_timeout: Duration::MAX,
        unacknowledged_max: Some(UNACKNOWLEDGED_MAX),
        ..ClientOptions::default()
    })
}

/// As long as upstream waits for a connection.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

fn unreachable(why: &dyn std::fmt::Display) -> Status {
    status::service_unavailable(format!("error trying to reach service: {why}"))
}

/// `name`, `name:port` or `scheme:name:port`.
#[derive(Debug, PartialEq, Eq)]
struct ProxyTarget<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

impl<'a> ProxyTarget<'a> {
    fn parse(text: &'a str) -> Option<ProxyTarget<'a>> {
        let parts: Vec<&str> = text.split(':').collect();
        let target = match parts[..] {
            [name] => ProxyTarget { scheme: "", name, port: "" },
            [name, port] => ProxyTarget { scheme: "", name, port },
            [scheme @ ("" | "http" | "https"), name, port] => ProxyTarget { scheme, name, port },
            _ => return None,
        };
        (!target.name.is_empty()).then_some(target)
    }

    fn scheme(&self) -> String {
        if self.scheme.is_empty() { "http" } else { self.scheme }.to_owned()
    }

    fn at(&self, host: &str, port: &str) -> Result<Location, Status> {
        check_address(host)?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let authority = if port.is_empty() { host } else { format!("{host}:{port}") };
        Ok(Location { scheme: self.scheme(), authority, executor: false })
    }
}

/// As upstream: the server is no way to what listens on its own machine only, or to a cloud's metadata.
fn check_address(host: &str) -> Result<(), Status> {
    let refused = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_unspecified()
                || ip.is_broadcast()
        }
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unicast_link_local() || ip.is_multicast() || ip.is_unspecified()
        }
        Err(_) => true,
    };
    if refused { Err(status::bad_request("address not allowed")) } else { Ok(()) }
}

fn of_pod(pod: &Value, target: &ProxyTarget<'_>) -> Result<Location, Status> {
    let ports = access::list(pod, &["spec", "containers"]).iter();
    let first =
        ports.filter_map(|c| access::int(access::list(c, &["ports"]).first()?, &["containerPort"])).next();
    let port = match target.port {
        "" => first.map(|port| port.to_string()).unwrap_or_default(),
        port => port.to_owned(),
    };
    target.at(access::text(pod, &["status", "podIP"]), &port)
}

async fn of_service(
    api: &Api,
    asked: &ResourceRequest<'_>,
    target: &ProxyTarget<'_>,
) -> Result<Location, Status> {
    let (namespace, name) = (asked.target.namespace.as_str(), target.name);
    let service = api.registry.get(asked.resource, namespace, name).await?.value();
    let endpoints = api.registry.get(served("", "endpoints"), namespace, name).await;
    let endpoints = endpoints.map_err(|_| status::not_found(asked.resource, name))?.value();
    service_endpoint(&service, &endpoints, target)
}

/// The first ready endpoint of the requested port, out of the Endpoints as upstream; webhooks and aggregated servers are found
/// through EndpointSlices (`service_client`). The port is a number, a name, or the Service's first port.
fn service_endpoint(
    service: &Value,
    endpoints: &Value,
    target: &ProxyTarget<'_>,
) -> Result<Location, Status> {
    let ports = access::list(service, &["spec", "ports"]);
    let by_number = target.port.parse::<i64>().ok();
    let wanted = match by_number {
        _ if target.port.is_empty() => ports.first().map(|port| access::text(port, &["name"])),
        Some(number) => {
            let found = ports.iter().find(|port| access::int(port, &["port"]) == Some(number));
            found.map(|port| access::text(port, &["name"]))
        }
        None => Some(target.port),
    };
    let none = || {
        // As upstream: a Service without any endpoints is named without the port.
        let id = match access::list(endpoints, &["subsets"]) {
            [] => target.name.to_owned(),
            _ => asked_id(target),
        };
        status::service_unavailable(format!("no endpoints available for service \"{id}\""))
    };
    let wanted = wanted.ok_or_else(|| {
        status::service_unavailable(format!(
            "no service port \"{}\" found for service \"{}\"",
            target.port, target.name
        ))
    })?;
    for subset in access::list(endpoints, &["subsets"]) {
        let port =
            access::list(subset, &["ports"]).iter().find(|port| access::text(port, &["name"]) == wanted);
        let number = port.and_then(|port| access::int(port, &["port"]));
        let address = access::list(subset, &["addresses"]).first();
        if let (Some(number), Some(address)) = (number, address) {
            return target.at(access::text(address, &["ip"]), &number.to_string());
        }
    }
    Err(none())
}

fn asked_id(target: &ProxyTarget<'_>) -> String {
    match (target.scheme, target.port) {
        ("", "") => target.name.to_owned(),
        ("", port) => format!("{}:{port}", target.name),
        (scheme, port) => format!("{scheme}:{}:{port}", target.name),
    }
}

async fn of_node(
    api: &Api,
    asked: &ResourceRequest<'_>,
    target: &ProxyTarget<'_>,
) -> Result<Location, Status> {
    let node = api.registry.get(asked.resource, "", target.name).await?.value();
    let own = access::int(&node, &["status", "daemonEndpoints", "kubeletEndpoint", "Port"]);
    let addresses = access::list(&node, &["status", "addresses"]);
    if addresses.is_empty() {
        return Err(status::unclassified("no preferred addresses found; known addresses: []"));
    }
    if target.port.is_empty() || own.is_some_and(|own| own.to_string() == target.port) {
        let endpoint = api.nodes.get(target.name).ok_or_else(|| {
            let why =
                format!("error trying to reach service: node {} has not reported an address", target.name);
            status::service_unavailable(why)
        })?;
        return Ok(Location { scheme: "https".to_owned(), authority: endpoint.to_string(), executor: true });
    }
    let internal = addresses.iter().find(|a| access::text(a, &["type"]) == "InternalIP");
    target.at(internal.map_or("", |a| access::text(a, &["address"])), target.port)
}

/// The undecoded path after `/proxy`.
fn path_below(path: &str, namespaced: bool) -> &str {
    // "", api, v1, [namespaces, NAMESPACE,] PLURAL, NAME, proxy
    let before = if namespaced { 8 } else { 6 };
    path.match_indices('/').nth(before - 1).map_or("", |(at, _)| &path[at..])
}

fn redirect(to: &str) -> Response {
    let mut response = reply::text(301, "");
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

#[cfg(test)]
mod tests;
