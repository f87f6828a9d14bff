//! Builds a container's environment: Service variables, `envFrom`, `env`, and references to earlier variables.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret, Service};

use crate::{
    field::{self, FieldError, Node},
    spec,
};

/// The objects that a container's environment refers to. A missing name means that the object does not exist.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// ConfigMaps of the Pod's namespace.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// Secrets of the Pod's namespace.
    pub secrets: BTreeMap<String, Secret>,
}

/// Why an environment cannot be built yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EnvError {
    /// A ConfigMap or Secret that is not optional does not exist.
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        name: String,
    },
    /// A key that is not optional does not exist.
    MissingKey {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// `namespace/name`.
        object: String,
        key: String,
    },
    /// A value is not valid UTF-8.
    NotText {
        /// The variable.
        name: String,
    },
    /// A downward API reference names no field.
    Field(FieldError),
    /// A source that this node does not have.
    Unsupported {
        /// The variable.
        name: String,
    },
}

impl std::fmt::Display for EnvError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsupported { name } => {
                write!(f, "this node has no environment variables out of files (fileKeyRef), as {name} needs")
            }
            Self::Missing { kind, name } => write!(f, "{kind} \"{name}\" not found"),
            Self::MissingKey { kind, object, key } => write!(f, "couldn't find key {key} in {kind} {object}"),
            Self::NotText { name } => write!(f, "value of variable {name} is not valid UTF-8"),
            Self::Field(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EnvError {}

/// The names of the ConfigMaps and Secrets that a container's environment refers to.
pub fn references(container: &Container) -> (Vec<String>, Vec<String>) {
    let (mut config_maps, mut secrets) = (Vec::new(), Vec::new());
    for from in container.env_from.iter().flatten() {
        config_maps.extend(from.config_map_ref.iter().map(|r| r.name.clone()));
        secrets.extend(from.secret_ref.iter().map(|r| r.name.clone()));
    }
    for from in container.env.iter().flatten().filter_map(|var| var.value_from.as_ref()) {
        config_maps.extend(from.config_map_key_ref.iter().map(|r| r.name.clone()));
        secrets.extend(from.secret_key_ref.iter().map(|r| r.name.clone()));
    }
    for names in [&mut config_maps, &mut secrets] {
        names.sort();
        names.dedup();
    }
    (config_maps, secrets)
}

/// Builds the environment of a container, ordered by first occurrence. Any other source overrides `services`.
pub fn build(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    services: &[(String, String)],
    node: &Node,
) -> Result<Vec<(String, String)>, EnvError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut vars = Vars::default();
    for (name, value) in services {
        vars.set(name, value.clone());
    }
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            match sources.config_maps.get(&reference.name) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        vars.set(&format!("{prefix}{key}"), value.clone());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(missing("configmap", &reference.name)),
            }
        }
        if let Some(reference) = &from.secret_ref {
            match sources.secrets.get(&reference.name) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        let name = format!("{prefix}{key}");
                        vars.set(&name, text(&name, &value.0)?);
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(missing("secret", &reference.name)),
            }
        }
    }
    for var in container.env.iter().flatten() {
        let value = match &var.value_from {
            None => Some(expand(var.value.as_deref().unwrap_or_default(), |name| vars.get(name))),
            Some(from) => {
                if let Some(r) = &from.config_map_key_ref {
                    config_map_key(sources, namespace, &r.name, &r.key, r.optional == Some(true))?
                } else if let Some(r) = &from.secret_key_ref {
                    secret_key(sources, namespace, &r.name, &r.key, r.optional == Some(true), &var.name)?
                } else if let Some(r) = &from.field_ref {
                    Some(field::field(pod, node, &r.field_path).map_err(EnvError::Field)?)
                } else if let Some(r) = &from.resource_field_ref {
                    let name = r.container_name.as_deref().unwrap_or(&container.name);
                    let named = spec::container(pod, name);
                    let of = named.as_deref().unwrap_or(container);
                    let value = field::resource(of, node, &r.resource, r.divisor.as_ref());
                    Some(value.map_err(EnvError::Field)?)
                } else if from.file_key_ref.is_some() {
                    return Err(EnvError::Unsupported { name: var.name.clone() });
                } else {
                    None
                }
            }
        };
        if let Some(value) = value {
            vars.set(&var.name, value);
        }
    }
    Ok(vars.list)
}

fn missing(kind: &'static str, name: &str) -> EnvError {
    EnvError::Missing { kind, name: name.to_owned() }
}

fn missing_key(kind: &'static str, namespace: &str, name: &str, key: &str) -> EnvError {
    EnvError::MissingKey { kind, object: format!("{namespace}/{name}"), key: key.to_owned() }
}

fn text(name: &str, bytes: &[u8]) -> Result<String, EnvError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| EnvError::NotText { name: name.to_owned() })
}

fn config_map_key(
    sources: &Sources,
    namespace: &str,
    name: &str,
    key: &str,
    optional: bool,
) -> Result<Option<String>, EnvError> {
    let Some(map) = sources.config_maps.get(name) else {
        return if optional { Ok(None) } else { Err(missing("configmap", name)) };
    };
    match map.data.as_ref().and_then(|data| data.get(key)) {
        Some(value) => Ok(Some(value.clone())),
        None if optional => Ok(None),
        None => Err(missing_key("ConfigMap", namespace, name, key)),
    }
}

fn secret_key(
    sources: &Sources,
    namespace: &str,
    name: &str,
    key: &str,
    optional: bool,
    variable: &str,
) -> Result<Option<String>, EnvError> {
    let Some(secret) = sources.secrets.get(name) else {
        return if optional { Ok(None) } else { Err(missing("secret", name)) };
    };
    match secret.data.as_ref().and_then(|data| data.get(key)) {
        Some(value) => text(variable, &value.0).map(Some),
        None if optional => Ok(None),
        None => Err(missing_key("Secret", namespace, name, key)),
    }
}

/// Variables ordered by first occurrence.
#[derive(Default)]
struct Vars {
    list: Vec<(String, String)>,
    places: BTreeMap<String, usize>,
}

impl Vars {
    fn set(&mut self, name: &str, value: String) {
        match self.places.get(name) {
            Some(place) => self.list[*place].1 = value,
            None => {
                self.places.insert(name.to_owned(), self.list.len());
                self.list.push((name.to_owned(), value));
            }
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        self.places.get(name).map(|place| self.list[*place].1.clone())
    }
}

/// Replaces `$(NAME)` with the result of `lookup`, keeps unknown references, and turns `$$` into a literal `$`.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// How a Pod reaches the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiServer {
    /// At the address of the Service `kubernetes`.
    Service,
    /// At this address: the API server listens on a loopback address, which no route leads to, and the Pod has the
    /// machine's network.
    At {
        /// The address, or a name.
        host: String,
        /// The port.
        port: u16,
    },
    /// Not at all: it listens on a loopback address, which leads a Pod with its own network to itself.
    Nowhere,
}

impl ApiServer {
    /// How a Pod reaches the address in the node's configuration (`https://host:port`).
    pub fn seen_by_pod(url: &str, host_network: bool) -> Self {
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
        let Some((host, port)) = authority.trim_end_matches('/').rsplit_once(':') else {
            return Self::Service;
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let loopback = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        match port.parse() {
            Ok(port) if loopback && host_network => Self::At { host: host.to_owned(), port },
            _ if loopback => Self::Nowhere,
            _ => Self::Service,
        }
    }
}

/// The Service variables of a namespace, and those of `kubernetes` in `default` for every namespace. `links` is the
/// Pod's `enableServiceLinks`; without it only `kubernetes` is included.
///
/// `api_server` is where the Pod reaches the API server.
pub fn service_variables(
    services: &[Service],
    namespace: &str,
    links: bool,
    api_server: &ApiServer,
) -> Vec<(String, String)> {
    let mut vars = Vars::default();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let home = service.metadata.namespace.as_deref().unwrap_or_default();
        let is_master = name == "kubernetes" && home == "default";
        if !(is_master || (links && home == namespace)) {
            continue;
        }
        let Some(spec) = &service.spec else { continue };
        let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else {
            continue;
        };
        let mut ports = spec.ports.clone().unwrap_or_default();
        let mut ip = ip;
        if is_master {
            match api_server {
                ApiServer::Service => {}
                ApiServer::Nowhere => continue,
                ApiServer::At { host, port: at } => {
                    ip = host;
                    ports.iter_mut().for_each(|port| port.port = i32::from(*at));
                }
            }
        }
        let Some(first) = ports.first() else { continue };
        let prefix = name.to_ascii_uppercase().replace('-', "_");
        vars.set(&format!("{prefix}_SERVICE_HOST"), ip.to_owned());
        vars.set(&format!("{prefix}_SERVICE_PORT"), first.port.to_string());
        for port in &ports {
            if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
                let port_name = port_name.to_ascii_uppercase().replace('-', "_");
                vars.set(&format!("{prefix}_SERVICE_PORT_{port_name}"), port.port.to_string());
            }
        }
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        for (i, port) in ports.iter().enumerate() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let url = format!("{}://{host}:{}", protocol.to_ascii_lowercase(), port.port);
            if i == 0 {
                vars.set(&format!("{prefix}_PORT"), url.clone());
            }
            let stem = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_ascii_uppercase());
            vars.set(&stem, url);
            vars.set(&format!("{stem}_PROTO"), protocol.to_ascii_lowercase());
            vars.set(&format!("{stem}_PORT"), port.port.to_string());
            vars.set(&format!("{stem}_ADDR"), ip.to_owned());
        }
    }
    vars.list
}

#[cfg(test)]
mod tests;
