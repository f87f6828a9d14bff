//! Services on the node: the packet filter's table with their routes, and their names. Packets to virtual addresses without a
//! route are rejected. The default gateway would get them, and whoever answers there would get the Pods' requests.

use std::{
    collections::BTreeMap,
    io::{Error, ErrorKind, Result, Write},
    net::IpAddr,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use executor_core::{
    dns::zone::{ServiceNames, SliceNames, Zone},
    services::{
        health_checks::health_checks,
        ranges,
        routes::{self, ObjectKey, ServiceView, SliceView},
        ruleset::{self, Networks, Ruleset},
        stale_flows::UdpBackends,
    },
};
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice, networking::v1::ServiceCIDR};
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt, watcher, watcher::Event},
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, sleep_until},
};

use crate::{
    config::Config,
    machine::{conntrack, health_checks::HealthChecks, netfilter, pod_network::network_name},
};

/// How often the configuration and the table are compared with the rules: the agent's latest start may have written other ranges,
/// and somebody may have removed the table.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long changes are collected: a rollout changes a Service's endpoints many times a second.
const COALESCE: Duration = Duration::from_millis(100);
/// The least pause between two transactions after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Whether packets between ports of a bridge pass the rules; absent without the module `br_netfilter`.
const BRIDGE_SETTING: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// A change of what routes are made of.
enum Change {
    Service(Event<Service>),
    Slice(Event<EndpointSlice>),
    Cidr(Event<ServiceCIDR>),
}

/// Watched objects, reduced to what is needed.
struct Watched<V> {
    known: BTreeMap<ObjectKey, V>,
    /// A new list that is not complete yet.
    listing: BTreeMap<ObjectKey, V>,
    complete: bool,
}

impl<V: PartialEq> Watched<V> {
    fn new() -> Self {
        Self { known: BTreeMap::new(), listing: BTreeMap::new(), complete: false }
    }

    /// Takes an event. Returns whether anything changed.
    fn take<K: Resource>(&mut self, event: &Event<K>, view: impl Fn(&K) -> Option<V>) -> bool {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                self.listing.extend(view(object).map(|view| (routes::key(object.meta()), view)));
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing);
                let changed = !self.complete || listed != self.known;
                self.known = listed;
                self.complete = true;
                return changed;
            }
            Event::Apply(object) => {
                let key = routes::key(object.meta());
                return match view(object) {
                    Some(view) if self.known.get(&key) == Some(&view) => false,
                    Some(view) => self.known.insert(key, view).is_none_or(|_| true),
                    None => self.known.remove(&key).is_some(),
                };
            }
            Event::Delete(object) => return self.known.remove(&routes::key(object.meta())).is_some(),
        }
        false
    }
}

/// The table and what it is made of.
struct Table {
    config: Arc<Config>,
    /// The ranges of the configuration.
    ranges: Vec<String>,
    /// Those of ServiceCIDRs. A server of an earlier version does not let nodes read them.
    cidrs: Watched<Vec<String>>,
    services: Watched<ServiceView>,
    slices: Watched<SliceView>,
    service_names: Watched<ServiceNames>,
    slice_names: Watched<SliceNames>,
    names: watch::Sender<Option<Arc<Zone>>>,
    have_names_changed: bool,
    /// What the table has, and the networks it was made for; `None` if that is unknown.
    applied: Option<(Networks, Ruleset)>,
    /// The endpoints of UDP ports for which stale flows were removed.
    cleaned: UdpBackends,
    has_warned: bool,
    health_checks: HealthChecks,
}

/// Keeps the table and the names until the process ends. [`remove`] takes the table away. Without a client, packets to Services are
/// rejected. Health checks listen at `address`.
pub(crate) async fn keep(
    config: Arc<Config>,
    client: Option<kube::Client>,
    names: watch::Sender<Option<Arc<Zone>>>,
    address: IpAddr,
) {
    let mut changes = Box::pin(changes(client));
    let mut table = Table::new(config, names, address);
    // A table of an earlier executor stays until the Services are known: their packets are not rejected meanwhile.
    let mut due = (!exist(&table.config)).then(Instant::now);
    let mut look = tokio::time::interval(LOOK_EVERY);
    // After a pause, changes come before further looks.
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let wait = due.unwrap_or_else(|| Instant::now() + LOOK_EVERY);
        tokio::select! {
            Some(change) = changes.next() => {
                if table.take(&change) && due.is_none() {
                    due = Some(Instant::now() + COALESCE);
                }
            }
            () = sleep_until(wait), if due.is_some() => {
                due = table.synchronize().await.map(|pause| Instant::now() + pause);
            }
            _ = look.tick() => {
                if table.is_outdated() && due.is_none() {
                    due = Some(Instant::now());
                }
            }
        }
    }
}

/// The watches; they are repeated for ever.
fn changes(client: Option<kube::Client>) -> impl Stream<Item = Change> + Send {
    let watch = |client: kube::Client| {
        let config = || watcher::Config::default().any_semantic();
        let services = watcher(Api::<Service>::all(client.clone()), config()).default_backoff();
        let slices = watcher(Api::<EndpointSlice>::all(client.clone()), config()).default_backoff();
        let cidrs = watcher(Api::<ServiceCIDR>::all(client), config()).default_backoff();
        let told = |error: &watcher::Error| tracing::debug!(%error, "watching Services");
        let services = services
            .filter_map(move |event| async move { event.inspect_err(told).ok().map(Change::Service) });
        let slices =
            slices.filter_map(move |event| async move { event.inspect_err(told).ok().map(Change::Slice) });
        let cidrs =
            cidrs.filter_map(move |event| async move { event.inspect_err(told).ok().map(Change::Cidr) });
        stream::select(stream::select(services, slices), cidrs)
    };
    stream::iter(client).flat_map_unordered(None, move |client| Box::pin(watch(client)))
}

impl Table {
    fn new(config: Arc<Config>, names: watch::Sender<Option<Arc<Zone>>>, address: IpAddr) -> Self {
        Self {
            ranges: config.virtual_ranges.clone(),
            config,
            cidrs: Watched::new(),
            health_checks: HealthChecks::new(address),
            services: Watched::new(),
            slices: Watched::new(),
            service_names: Watched::new(),
            slice_names: Watched::new(),
            names,
            have_names_changed: false,
            applied: None,
            cleaned: UdpBackends::default(),
            has_warned: false,
        }
    }

    /// Takes a change. Returns whether rules or names may differ now.
    fn take(&mut self, change: &Change) -> bool {
        let (routes, names) = match change {
            Change::Service(event) => {
                (self.services.take(event, ServiceView::of), self.service_names.take(event, ServiceNames::of))
            }
            Change::Slice(event) => (
                self.slices.take(event, |slice| SliceView::of(slice, &self.config.node_name)),
                self.slice_names.take(event, SliceNames::of),
            ),
            Change::Cidr(event) => (self.cidrs.take(event, ranges::of_service_cidr), false),
        };
        self.have_names_changed |= names;
        (routes || names) && self.services.complete && self.slices.complete
    }

    fn publish_names(&mut self) {
        if std::mem::take(&mut self.have_names_changed) && self.services.complete && self.slices.complete {
            let server = self.config.cluster_dns();
            let zone = Zone::new(&self.service_names.known, &self.slice_names.known, server);
            self.names.send_replace(Some(Arc::new(zone)));
        }
    }

    fn networks(&self) -> Networks {
        Networks {
            virtual_ranges: ranges::merged(self.ranges.iter().chain(self.cidrs.known.values().flatten())),
            pod_cidr: self.config.pod_cidr.clone(),
            bridged_packets_pass: std::fs::read_to_string(BRIDGE_SETTING).is_ok_and(|on| on.trim() == "1"),
        }
    }

    /// Makes the table and the health checks what they should be. Returns when to try again what has failed.
    async fn synchronize(&mut self) -> Option<Duration> {
        self.publish_names();
        let are_set = self.set_rules().await;
        let checks = health_checks(&self.services.known, &self.slices.known);
        let listen = self.health_checks.synchronize(&checks, are_set).await;
        match (are_set, listen) {
            (false, _) => Some(RETRY),
            // Somebody else has the port.
            (true, false) => Some(LOOK_EVERY),
            (true, true) => None,
        }
    }

    /// Makes the table what it should be. Returns whether it is.
    async fn set_rules(&mut self) -> bool {
        let networks = self.networks();
        let routes = routes::routes(&self.services.known, &self.slices.known);
        let wanted = Ruleset::new(&networks, &routes);
        let name = network_name(&self.config);
        let transaction = match &self.applied {
            Some((_, applied)) => wanted.changes(applied, &name),
            None => wanted.replacement(&name),
        };
        match apply(transaction).await {
            Ok(()) => {
                self.applied = Some((networks, wanted));
                self.has_warned = false;
                // After the rules, which decide where the next packets of these flows go.
                self.remove_stale_flows(UdpBackends::of(&routes)).await;
                true
            }
            Err(error) => {
                self.applied = None;
                if !self.has_warned {
                    self.has_warned = true;
                    tracing::warn!(%error, "packets to Services take no route, and leave the machine: the rules cannot be set");
                }
                false
            }
        }
    }

    /// Removes the UDP flows whose endpoint is gone, if endpoints have changed.
    async fn remove_stale_flows(&mut self, backends: UdpBackends) {
        if backends == self.cleaned {
            return;
        }
        self.cleaned = UdpBackends::default();
        if backends.is_empty() {
            return;
        }
        match conntrack::remove_stale(backends.clone()).await {
            Ok(removed) => {
                tracing::debug!(removed, "UDP flows to endpoints that are gone");
                self.cleaned = backends;
            }
            Err(error) => tracing::warn!(%error, "UDP flows to endpoints that are gone go on"),
        }
    }

    /// Whether the ranges, the machine's settings or somebody else's changes make another table necessary. Changes of Services
    /// are applied when they come.
    fn is_outdated(&mut self) -> bool {
        if let Some(newest) = self.config.newest() {
            self.ranges = newest.virtual_ranges;
        }
        if self.applied.is_some() && !exist(&self.config) {
            self.applied = None;
        }
        let known = self.services.complete && self.slices.complete;
        known && self.applied.as_ref().is_none_or(|(networks, _)| *networks != self.networks())
    }
}

/// Removes the rules.
pub(crate) async fn remove(config: &Config) {
    if let Err(error) = apply(ruleset::removal(&network_name(config))).await {
        tracing::debug!(%error, "cannot remove the rules of Services");
    }
}

/// Whether the table of the rules exists, with the rules that look Services up: somebody may have flushed it.
pub(crate) fn exist(config: &Config) -> bool {
    netfilter::count_rules(&network_name(config), ruleset::SERVICES).is_ok_and(|rules| rules > 0)
}

/// Applies a transaction.
async fn apply(rules: String) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let applied = tokio::task::spawn_blocking(move || {
        let mut child = Command::new("nft")
            .args(["--file", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // nft may end before it has read everything; its own message is better.
            match stdin.write_all(rules.as_bytes()) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        let output = child.wait_with_output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    });
    applied.await.map_err(Error::other)?
}

#[cfg(test)]
mod tests;
