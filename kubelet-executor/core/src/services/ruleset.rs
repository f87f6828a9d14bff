//! nftables rules for routes, and the transactions that lead from one ruleset to the next. A transaction changes only what
//! differs, so that the recorded clients of session affinity stay.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    net::Ipv4Addr,
};

use sha2::{Digest, Sha256};

use super::routes::{Endpoint, Route};

/// The mark of packets that get this machine's address as source; kube-proxy's.
const MASQUERADE: &str = "0x4000";
/// Maps address, protocol and port to a verdict.
const ADDRESSES: &str = "service-addresses";
/// Maps protocol and port of the node's own addresses to a verdict.
const NODE_PORTS: &str = "node-ports";
/// Maps address, protocol and port from outside of the cluster, which nobody answers, to a verdict.
const UNANSWERED: &str = "unanswered";
/// The chain that rejects.
const REJECT: &str = "rejections";
/// The chain that looks into the maps.
pub const SERVICES: &str = "services";

/// The node's networks, as rules need them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks {
    /// Ranges of addresses that are on no network: that of Services. Packets to those without a route are rejected.
    pub virtual_ranges: Vec<String>,
    /// The node's Pod CIDR.
    pub pod_cidr: Option<String>,
    /// Packets between two Pods of this node pass the rules too (`bridge-nf-call-iptables`). Otherwise the answer of a Pod to
    /// another one would not be translated back, so such connections get this machine's address as source.
    pub bridged_packets_pass: bool,
}

/// The rules of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Sets of recorded clients, with the seconds until a client is forgotten.
    affinities: BTreeMap<String, u32>,
    chains: BTreeMap<String, Vec<String>>,
    /// Map and key of each verdict.
    elements: BTreeMap<(&'static str, String), String>,
}

impl Networks {
    /// Whether an address is one of the cluster's own: of Services or of Pods.
    fn contain(&self, address: Ipv4Addr) -> bool {
        let is_within = |range: &String| {
            let (base, bits) = range.split_once('/')?;
            let (base, bits): (Ipv4Addr, u32) = (base.parse().ok()?, bits.parse().ok()?);
            let mask = u32::MAX.checked_shl(32u32.checked_sub(bits)?).unwrap_or(0);
            Some(base.to_bits() & mask == address.to_bits() & mask)
        };
        self.virtual_ranges.iter().chain(&self.pod_cidr).any(|range| is_within(range) == Some(true))
    }
}

/// The chains that choose one of a route's endpoints: of all, and of those on this node.
struct Balanced {
    everywhere: Option<String>,
    here: Option<String>,
}

/// A name for the chains of something, which nobody can find another thing for.
fn id(of: &str) -> String {
    let mut id = format!("{:x}", Sha256::digest(of.as_bytes()));
    id.truncate(32);
    id
}

/// The key of a route at an address.
fn at(map: &'static str, address: &dyn Display, route: &Route) -> (&'static str, String) {
    (map, format!("{address} . {} . {}", route.protocol.name(), route.port))
}

/// The rules for packets from outside of the cluster.
fn from_outside(networks: &Networks, route: &Route, everywhere: &str, here: Option<&str>) -> Vec<String> {
    let masqueraded = format!("meta mark set meta mark | {MASQUERADE} goto {everywhere}");
    match route.external_local {
        false => vec![masqueraded],
        // Pods and this machine's own processes are inside the cluster.
        true => {
            let pods = networks.pod_cidr.iter().map(|pods| format!("ip saddr {pods} goto {everywhere}"));
            let own = format!("fib saddr type local {masqueraded}");
            pods.chain([own]).chain(here.map(|here| format!("goto {here}"))).collect()
        }
    }
}

impl Ruleset {
    /// The rules for these routes.
    pub fn new(networks: &Networks, routes: &[Route]) -> Self {
        let mut ruleset = Self::default();
        ruleset.base_chains(networks);
        // Addresses that clients choose come after those of the cluster, which they cannot take over.
        let balanced: Vec<_> = routes.iter().map(|route| ruleset.add(route)).collect();
        for (route, balanced) in routes.iter().zip(balanced) {
            ruleset.add_external(networks, route, balanced);
        }
        ruleset
    }

    fn base_chains(&mut self, networks: &Networks) {
        let key = "ct state new ip daddr . meta l4proto . th dport";
        let mut reject = vec![format!("{key} vmap @{UNANSWERED}")];
        if !networks.virtual_ranges.is_empty() {
            let new = format!("ct state new ip daddr {{ {} }}", networks.virtual_ranges.join(", "));
            reject.push(format!("{new} goto {REJECT}"));
        }
        // A reset ends a TCP client of this machine at once; an ICMP error only at its first retransmission.
        let rejects = vec!["meta l4proto tcp reject with tcp reset".to_owned(), "reject".to_owned()];
        let jump = vec![format!("jump {SERVICES}")];
        let lookups = vec![
            format!("ip daddr . meta l4proto . th dport vmap @{ADDRESSES}"),
            format!(
                "fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @{NODE_PORTS}"
            ),
        ];
        let mut masquerade = vec![format!(
            "meta mark & {MASQUERADE} == {MASQUERADE} meta mark set meta mark & 0xffffbfff masquerade"
        )];
        if let Some(pods) = networks.pod_cidr.as_ref().filter(|_| !networks.bridged_packets_pass) {
            masquerade.push(format!("ct status dnat ip saddr {pods} ip daddr {pods} masquerade"));
        }
        let chains = [
            ("forward", reject.clone()),
            ("output", reject),
            ("nat-prerouting", jump.clone()),
            ("nat-output", jump),
            ("nat-postrouting", masquerade),
            (SERVICES, lookups),
            (REJECT, rejects),
        ];
        self.chains.extend(chains.map(|(name, rules)| (name.to_owned(), rules)));
    }

    /// Adds the route at its cluster IP.
    fn add(&mut self, route: &Route) -> Balanced {
        let id = id(&route.name);
        let everywhere = self.balance(route, format!("cluster-{id}"), &route.endpoints);
        let here = (route.internal_local || route.external_local)
            .then(|| self.balance(route, format!("local-{id}"), &route.local_endpoints))
            .flatten();
        if let Some(chain) = if route.internal_local { &here } else { &everywhere } {
            self.elements.insert(at(ADDRESSES, &route.cluster_ip, route), format!("goto {chain}"));
        }
        Balanced { everywhere, here }
    }

    /// Adds the route at node ports, external addresses and those of balancers. Of two routes, the first one has an address.
    fn add_external(&mut self, networks: &Networks, route: &Route, Balanced { everywhere, here }: Balanced) {
        let free = |address: &&Ipv4Addr| !networks.contain(**address);
        let external: Vec<&Ipv4Addr> = route.external.iter().filter(free).collect();
        let balancers: Vec<&Ipv4Addr> = route.balancers.iter().filter(free).collect();
        let protocol = route.protocol.name();
        let node_port = route.node_port.map(|port| (NODE_PORTS, format!("{protocol} . {port}")));
        if node_port.is_none() && external.is_empty() && balancers.is_empty() {
            return;
        }
        let unanswered = match (&everywhere, &here) {
            (None, _) => Some(format!("goto {REJECT}")),
            // Another machine may answer: the packets went astray.
            (Some(_), None) if route.external_local => Some("drop".to_owned()),
            _ => None,
        };
        let refused = unanswered.clone().or((!route.sources.is_empty()).then(|| "drop".to_owned()));
        let verdicts = external.iter().map(|address| (address, &unanswered));
        let verdicts = verdicts.chain(balancers.iter().map(|address| (address, &refused)));
        for (address, verdict) in verdicts {
            if let Some(verdict) = verdict {
                self.elements.entry(at(UNANSWERED, address, route)).or_insert_with(|| verdict.clone());
            }
        }
        let Some(everywhere) = everywhere else { return };
        let id = id(&route.name);
        let chain = format!("external-{id}");
        self.chains.insert(chain.clone(), from_outside(networks, route, &everywhere, here.as_deref()));
        let admitted = match route.sources.is_empty() {
            true => chain.clone(),
            // What comes from elsewhere gets no route.
            false => {
                let admitted = format!("admitted-{id}");
                let rule = format!("ip saddr {{ {} }} goto {chain}", route.sources.join(", "));
                self.chains.insert(admitted.clone(), vec![rule]);
                admitted
            }
        };
        let balancers = balancers.into_iter().map(|address| (at(ADDRESSES, address, route), &admitted));
        let others = external.into_iter().map(|address| at(ADDRESSES, address, route)).chain(node_port);
        for (key, chain) in balancers.chain(others.map(|key| (key, &chain))) {
            self.elements.entry(key).or_insert_with(|| format!("goto {chain}"));
        }
    }

    /// A chain that chooses one of the endpoints; `None` if there are none.
    fn balance(&mut self, route: &Route, chain: String, endpoints: &[Endpoint]) -> Option<String> {
        if endpoints.is_empty() {
            return None;
        }
        let targets: Vec<String> = endpoints.iter().map(|endpoint| self.endpoint(route, *endpoint)).collect();
        let mut rules = Vec::new();
        if route.affinity_seconds.is_some() {
            let stay = |target: &String| format!("ip saddr @clients-of-{target} goto {target}");
            rules.extend(targets.iter().map(stay));
        }
        let numbered = targets.iter().enumerate().map(|(at, target)| format!("{at} : goto {target}"));
        let choices = numbered.collect::<Vec<_>>().join(", ");
        rules.push(format!("numgen random mod {} vmap {{ {choices} }}", targets.len()));
        self.chains.insert(chain.clone(), rules);
        Some(chain)
    }

    /// The chain that sends a connection to an endpoint.
    fn endpoint(&mut self, route: &Route, endpoint: Endpoint) -> String {
        let Endpoint { address, port } = endpoint;
        // Another timeout is another set: that of a set cannot be changed.
        let affinity = route.affinity_seconds.map(|seconds| format!("/{seconds}")).unwrap_or_default();
        let name = format!("{}/{address}/{port}{affinity}", route.name);
        let chain = format!("endpoint-{}", id(&name));
        // A Pod that reaches itself would ignore an answer from its own address.
        let mut rules = vec![format!("ip saddr {address} meta mark set meta mark | {MASQUERADE}")];
        if let Some(seconds) = route.affinity_seconds {
            let clients = format!("clients-of-{chain}");
            rules.push(format!("update @{clients} {{ ip saddr }}"));
            self.affinities.insert(clients, seconds);
        }
        rules.push(format!("meta l4proto {} dnat to {address}:{port}", route.protocol.name()));
        self.chains.insert(chain.clone(), rules);
        chain
    }

    /// The transaction that puts these rules in the place of whatever the table has.
    pub fn replacement(&self, table: &str) -> String {
        let mut text = removal(table);
        let _ = writeln!(text, "add table ip {table}");
        let address = "ipv4_addr . inet_proto . inet_service";
        let maps = [(ADDRESSES, address), (UNANSWERED, address), (NODE_PORTS, "inet_proto . inet_service")];
        for (map, key) in maps {
            let _ = writeln!(text, "add map ip {table} {map} {{ type {key} : verdict; }}");
        }
        text + &self.changes(&Self::default(), table)
    }

    /// The transaction that leads from the `previous` rules to these; empty if they are equal.
    pub fn changes(&self, previous: &Self, table: &str) -> String {
        let mut text = String::new();
        for (name, seconds) in
            self.affinities.iter().filter(|(name, _)| !previous.affinities.contains_key(*name))
        {
            let options = format!("type ipv4_addr; flags dynamic, timeout; timeout {seconds}s;");
            let _ = writeln!(text, "add set ip {table} {name} {{ {options} }}");
        }
        for name in self.chains.keys().filter(|name| !previous.chains.contains_key(*name)) {
            let _ = writeln!(text, "add chain ip {table} {name}{}", hook(name));
        }
        let element = |((map, key), verdict): (&(&str, String), &String)| {
            format!("ip {table} {map} {{ {key} : {verdict} }}")
        };
        for gone in
            previous.elements.iter().filter(|(key, verdict)| self.elements.get(*key) != Some(*verdict))
        {
            let _ = writeln!(text, "delete element {}", element(gone));
        }
        for (name, rules) in
            self.chains.iter().filter(|(name, rules)| previous.chains.get(*name) != Some(*rules))
        {
            if previous.chains.contains_key(name) {
                let _ = writeln!(text, "flush chain ip {table} {name}");
            }
            for rule in rules {
                let _ = writeln!(text, "add rule ip {table} {name} {rule}");
            }
        }
        for new in self.elements.iter().filter(|(key, verdict)| previous.elements.get(*key) != Some(*verdict))
        {
            let _ = writeln!(text, "add element {}", element(new));
        }
        let gone: Vec<_> = previous.chains.keys().filter(|name| !self.chains.contains_key(*name)).collect();
        for (verb, name) in
            gone.iter().map(|name| ("flush", name)).chain(gone.iter().map(|name| ("delete", name)))
        {
            let _ = writeln!(text, "{verb} chain ip {table} {name}");
        }
        for name in previous.affinities.keys().filter(|name| !self.affinities.contains_key(*name)) {
            let _ = writeln!(text, "delete set ip {table} {name}");
        }
        text
    }
}

/// The transaction that removes the table. An empty definition precedes the deletion: a table that does not exist cannot be
/// deleted.
pub fn removal(table: &str) -> String {
    format!("table ip {table} {{}}\ndelete table ip {table}\n")
}

/// What a base chain is attached to; empty for the others.
fn hook(chain: &str) -> &'static str {
    match chain {
        "forward" => " { type filter hook forward priority 0; policy accept; }",
        "output" => " { type filter hook output priority 0; policy accept; }",
        "nat-prerouting" => " { type nat hook prerouting priority -100; policy accept; }",
        "nat-output" => " { type nat hook output priority -100; policy accept; }",
        "nat-postrouting" => " { type nat hook postrouting priority 100; policy accept; }",
        _ => "",
    }
}
