//! The records of the cluster's domain, made of Services and EndpointSlices.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};

use super::message::{Data, Query, Record, kind};
use crate::services::routes::{ObjectKey, SERVICE_NAME, key};

/// The cluster's domain, as of every cluster that does not set another.
pub const DOMAIN: &str = "cluster.local";
/// The version of the specification, which the name `dns-version` has.
const VERSION: &str = "1.1.0";
/// Seconds for which an answer may be kept: endpoints change. CoreDNS' default for Services.
const TTL: u32 = 5;

/// What names need of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceNames {
    cluster_ip: Option<Ipv4Addr>,
    /// The name that an ExternalName Service stands for.
    external_name: Option<String>,
    /// Name, protocol in lower case, number.
    ports: Vec<(String, String, u16)>,
}

impl ServiceNames {
    /// Reads a Service.
    pub fn of(service: &Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let external_name = match spec.type_.as_deref() {
            Some("ExternalName") => {
                Some(spec.external_name.clone()?.trim_end_matches('.').to_ascii_lowercase())
            }
            _ => None,
        };
        let cluster_ip = spec.cluster_ip.as_ref().and_then(|address| address.parse().ok());
        let ports = spec.ports.iter().flatten().filter_map(|port| {
            let protocol = port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
            Some((port.name.clone()?, protocol, u16::try_from(port.port).ok()?))
        });
        Some(Self { cluster_ip, external_name, ports: ports.collect() })
    }
}

/// What names need of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceNames {
    service: ObjectKey,
    /// Host name, if it has one, and address of each ready endpoint.
    endpoints: Vec<(Option<String>, Ipv4Addr)>,
    /// Name, protocol in lower case, number.
    ports: Vec<(String, String, u16)>,
}

impl SliceNames {
    /// Reads a slice.
    pub fn of(slice: &EndpointSlice) -> Option<Self> {
        if slice.address_type != "IPv4" {
            return None;
        }
        let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?.clone();
        let mut endpoints = Vec::new();
        for endpoint in slice.endpoints.iter().flatten() {
            if endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(false) {
                continue;
            }
            let addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
            endpoints.extend(addresses.map(|address| (endpoint.hostname.clone(), address)));
        }
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            let protocol = port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
            Some((port.name.clone().unwrap_or_default(), protocol, u16::try_from(port.port?).ok()?))
        });
        Some(Self { service: (key(&slice.metadata).0, service), endpoints, ports: ports.collect() })
    }
}

/// What the zone says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These records, possibly none. An alias may lead out of the zone, as its last record.
    Records(Vec<Record>),
    /// There is no such name.
    NoName,
    /// The name is not of the cluster.
    Elsewhere,
}

/// All names of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    records: BTreeMap<String, BTreeSet<Data>>,
    /// Names that have no record, and are above some that have.
    above: BTreeSet<String>,
}

impl Zone {
    /// The zone of these objects.
    pub fn new(
        services: &BTreeMap<ObjectKey, ServiceNames>,
        slices: &BTreeMap<ObjectKey, SliceNames>,
    ) -> Self {
        let mut zone = Self::default();
        zone.add(format!("dns-version.{DOMAIN}"), Data::Txt(VERSION.to_owned()));
        zone.add(DOMAIN.to_owned(), Self::authority(1).data);
        let mut by_service: BTreeMap<&ObjectKey, Vec<&SliceNames>> = BTreeMap::new();
        for slice in slices.values() {
            by_service.entry(&slice.service).or_default().push(slice);
        }
        for (key, service) in services {
            let name = format!("{}.{}.svc.{DOMAIN}", key.1, key.0);
            if let Some(alias) = &service.external_name {
                zone.add(name, Data::Cname(alias.clone()));
                continue;
            }
            if let Some(address) = service.cluster_ip {
                zone.add_address(&name, address);
                for (port, protocol, number) in &service.ports {
                    zone.add_port(&name, (port, protocol, *number), &name);
                }
            }
            for slice in by_service.get(key).into_iter().flatten() {
                zone.add_endpoints(&name, slice, service.cluster_ip.is_none());
            }
        }
        zone.above = zone.ancestors();
        zone
    }

    /// Each endpoint has a name; those of a headless Service are the Service's too.
    fn add_endpoints(&mut self, service: &str, slice: &SliceNames, headless: bool) {
        for (host, address) in &slice.endpoints {
            let own = host.clone().unwrap_or_else(|| address.to_string().replace('.', "-"));
            let name = format!("{own}.{service}");
            self.add_address(&name, *address);
            if headless {
                self.add(service.to_owned(), Data::A(*address));
                for (port, protocol, number) in &slice.ports {
                    self.add_port(service, (port, protocol, *number), &name);
                }
            }
        }
    }

    fn add_address(&mut self, name: &str, address: Ipv4Addr) {
        self.add(name.to_owned(), Data::A(address));
        self.add(reverse_name(address), Data::Ptr(name.to_owned()));
    }

    fn add_port(&mut self, name: &str, (port, protocol, number): (&str, &str, u16), target: &str) {
        if !port.is_empty() {
            self.add(
                format!("_{port}._{protocol}.{name}"),
                Data::Srv { port: number, target: target.to_owned() },
            );
        }
    }

    fn add(&mut self, name: String, data: Data) {
        self.records.entry(name).or_default().insert(data);
    }

    fn ancestors(&self) -> BTreeSet<String> {
        let mut above = BTreeSet::from(["svc", "pod"].map(|kind| format!("{kind}.{DOMAIN}")));
        above.insert(DOMAIN.to_owned());
        for name in self.records.keys().filter(|name| is_inside(name)) {
            let mut rest = name.as_str();
            while let Some((_, parent)) = rest.split_once('.').filter(|(_, parent)| is_inside(parent)) {
                above.insert(parent.to_owned());
                rest = parent;
            }
        }
        above
    }

    /// Answers a question.
    pub fn answer(&self, query: &Query) -> Answer {
        if !query.is_internet {
            return Answer::Elsewhere;
        }
        let mut records = Vec::new();
        let mut name = query.name.as_str();
        // An alias may lead to an alias; as many as resolvers follow.
        for _ in 0..8 {
            let Some(all) = self.records.get(name) else { break };
            let wanted = |data: &&Data| query.kind == kind::ANY || data.kind() == query.kind;
            let found = all.iter().filter(wanted).cloned();
            records.extend(found.map(|data| Record { name: name.to_owned(), ttl: TTL, data }));
            let alias = all.iter().find_map(|data| match data {
                Data::Cname(alias) => Some(alias),
                _ => None,
            });
            let Some(alias) = alias.filter(|_| query.kind != kind::CNAME && query.kind != kind::ANY) else {
                return Answer::Records(records);
            };
            records.push(Record { name: name.to_owned(), ttl: TTL, data: Data::Cname(alias.clone()) });
            name = alias;
        }
        if !records.is_empty() || self.above.contains(name) {
            return Answer::Records(records);
        }
        if let Some(address) = pod_address(name) {
            let record = Record { name: name.to_owned(), ttl: TTL, data: Data::A(address) };
            return Answer::Records(if query.kind == kind::A { vec![record] } else { Vec::new() });
        }
        if is_inside(name) { Answer::NoName } else { Answer::Elsewhere }
    }

    /// The name to ask others for: the target of an alias that ends an answer and leads out of the cluster.
    pub fn leads_out<'r>(&self, records: &'r [Record]) -> Option<&'r str> {
        match &records.last()?.data {
            Data::Cname(alias) if !is_inside(alias) && !self.records.contains_key(alias) => Some(alias),
            _ => None,
        }
    }

    /// The record that accompanies an answer without records.
    pub fn authority(serial: u32) -> Record {
        Record { name: DOMAIN.to_owned(), ttl: TTL, data: Data::Soa { zone: DOMAIN.to_owned(), serial } }
    }
}

fn is_inside(name: &str) -> bool {
    name.strip_suffix(DOMAIN).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn reverse_name(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}

/// The address in `a-b-c-d.NAMESPACE.pod.cluster.local`.
fn pod_address(name: &str) -> Option<Ipv4Addr> {
    let (own, namespace) = name.strip_suffix(DOMAIN)?.strip_suffix(".pod.")?.split_once('.')?;
    let is_label = namespace.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let own = Some(own).filter(|_| is_label && !namespace.is_empty())?;
    own.replace('-', ".").parse().ok()
}
