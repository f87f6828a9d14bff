//! The records of the cluster's domain, made of Services and EndpointSlices.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
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
/// Aliases that are followed one after the other, as by CoreDNS.
const ALIASES_MAX: usize = 8;
/// The sum of the weights of SRV records, as of CoreDNS.
const WEIGHTS: usize = 100;

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
                let name = spec.external_name.as_ref()?.trim_end_matches('.').to_ascii_lowercase();
                if name.parse::<IpAddr>().is_ok() {
                    // An address is no name, so that there is no alias.
                    return None;
                }
                Some(name)
            }
            _ => None,
        };
        let cluster_ip = spec.cluster_ip.as_ref().and_then(|address| address.parse().ok());
        let ports = spec.ports.iter().flatten().filter_map(|port| {
            let protocol = port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
            Some((port.name.clone().unwrap_or_default(), protocol, u16::try_from(port.port).ok()?))
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
    /// The name exists.
    Records {
        /// What was asked for, possibly nothing. An alias may lead out of the zone, as the last record.
        answers: Vec<Record>,
        /// The addresses of what the answers name.
        additional: Vec<Record>,
    },
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
    /// The zone of these objects, of which a server at this address answers.
    pub fn new(
        services: &BTreeMap<ObjectKey, ServiceNames>,
        slices: &BTreeMap<ObjectKey, SliceNames>,
        server: Option<Ipv4Addr>,
    ) -> Self {
        let mut zone = Self::default();
        if let Some(address) = server {
            let name = format!("ns.dns.{DOMAIN}");
            zone.add(DOMAIN.to_owned(), Data::Ns(name.clone()));
            zone.add(name, Data::A(address));
        }
        zone.add(format!("dns-version.{DOMAIN}"), Data::Txt(VERSION.to_owned()));
        zone.add(DOMAIN.to_owned(), Self::authority(1).data);
        let mut by_service: BTreeMap<&ObjectKey, Vec<&SliceNames>> = BTreeMap::new();
        for slice in slices.values() {
            by_service.entry(&slice.service).or_default().push(slice);
        }
        for (key, service) in services {
            let name = format!("{}.{}.svc.{DOMAIN}", key.1, key.0);
            if let Some(alias) = &service.external_name {
                zone.add(name.clone(), Data::Cname(alias.clone()));
                zone.add(name, Data::Srv { weight: 0, port: 0, target: alias.clone() });
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
            for (_, _, number) in &slice.ports {
                self.add(name.clone(), Data::Srv { weight: 0, port: *number, target: name.clone() });
            }
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

    /// Each port is at the Service's name, and one with a name at its own too.
    fn add_port(&mut self, name: &str, (port, protocol, number): (&str, &str, u16), target: &str) {
        let data = Data::Srv { weight: 0, port: number, target: target.to_owned() };
        if !port.is_empty() {
            self.add(format!("_{port}._{protocol}.{name}"), data.clone());
        }
        self.add(name.to_owned(), data);
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

    /// Answers a question, as CoreDNS' plugin `kubernetes` does.
    pub fn answer(&self, query: &Query) -> Answer {
        if !query.is_internet {
            return Answer::Elsewhere;
        }
        let name = query.name.as_str();
        let answers = match query.kind {
            kind::A | kind::AAAA => self.addresses(name, query.kind),
            kind => self.of_kind(name, kind),
        };
        let exists =
            || self.records.contains_key(name) || self.above.contains(name) || pod_address(name).is_some();
        if answers.is_empty() && !exists() {
            return if is_inside(name) { Answer::NoName } else { Answer::Elsewhere };
        }
        Answer::Records { additional: self.additional(&answers), answers }
    }

    /// The addresses of a name. Aliases are followed within the zone; one that leads to nothing, or in a circle, is not told.
    fn addresses(&self, name: &str, kind: u16) -> Vec<Record> {
        let (mut name, mut records) = (name, Vec::new());
        loop {
            let all = || self.records.get(name).into_iter().flatten();
            let alias = all().find_map(|data| match data {
                Data::Cname(alias) => Some(alias),
                _ => None,
            });
            let Some(alias) = alias else {
                let mut found = self.of_kind(name, kind);
                if let Some(address) = pod_address(name).filter(|_| found.is_empty() && kind == kind::A) {
                    found.push(record(name, Data::A(address)));
                }
                return if found.is_empty() { found } else { [records, found].concat() };
            };
            if records.len() == ALIASES_MAX || records.iter().any(|known: &Record| known.name == name) {
                return Vec::new();
            }
            records.push(record(name, Data::Cname(alias.clone())));
            if !is_inside(alias) {
                return records;
            }
            name = alias;
        }
    }

    fn of_kind(&self, name: &str, kind: u16) -> Vec<Record> {
        let all = self.records.get(name).into_iter().flatten().filter(|data| data.kind() == kind);
        let mut found: Vec<Record> = all.map(|data| record(name, data.clone())).collect();
        let share = u16::try_from(WEIGHTS / found.len().max(1)).unwrap_or(0).max(1);
        for record in &mut found {
            if let Data::Srv { weight, .. } = &mut record.data {
                *weight = share;
            }
        }
        found
    }

    /// The addresses of what ports and the zone are served by.
    fn additional(&self, answers: &[Record]) -> Vec<Record> {
        let targets: BTreeSet<&String> = answers
            .iter()
            .filter_map(|record| match &record.data {
                Data::Srv { target, .. } | Data::Ns(target) => Some(target),
                _ => None,
            })
            .collect();
        // An alias that leads out of the zone would have to be asked of others.
        let addresses = targets.into_iter().map(|target| self.addresses(target, kind::A));
        let complete = addresses.filter(|records| self.leads_out(records).is_none());
        complete.flatten().collect()
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
        record(DOMAIN, Data::Soa { zone: DOMAIN.to_owned(), serial })
    }
}

fn record(name: &str, data: Data) -> Record {
    Record { name: name.to_owned(), ttl: TTL, data }
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
