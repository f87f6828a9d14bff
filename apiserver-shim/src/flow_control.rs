//! Priority and fairness: makes requests wait, or refuses them, as `shim_core::flow_control` decides. Requests that need not wait
//! take one lock for each of their two ends, that of their priority level.
//!
//! The FlowSchemas and PriorityLevelConfigurations are read from the watch caches when they change ([`FlowControl::run`]); the
//! same task lends seats that are not used, every ten seconds.

mod dump;
mod level;
mod metrics;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use http::{HeaderValue, Method, Uri};
use serde_json::Value;
use shim_core::authorization::{AccessRequest, Subject};
use shim_core::controllers::served;
use shim_core::flow_control::limits::{borrow, limits};
use shim_core::flow_control::{
    Arrival, DemandStats, FlowSchema, GROUP, LevelLimits, Rejection, Work, flow_hash, flow_schemas,
    priority_levels,
};

use crate::auth::authentication::User;
use crate::metrics::Registry as Metrics;
use crate::storage::registry::Registry;
use crate::storage::selection::Selection;
use crate::storage::watch_cache::{WatchFrom, Watcher};
pub use dump::Dump;
use level::Level;
pub use level::Seats;
use metrics::{FlowMetrics, SchemaMetrics};

/// Seats of all levels together: upstream's `--max-requests-inflight` and `--max-mutating-requests-inflight`.
pub const SEATS: u64 = 400 + 200;
/// How often unused seats are lent anew (upstream's).
const BORROWING_PERIOD: Duration = Duration::from_secs(10);
/// Seats of the longest list (upstream's limit without estimates of sizes).
const LIST_SEATS_MAX: u64 = 10;
/// Objects that a list reads for each seat (upstream's).
const OBJECTS_PER_SEAT: u64 = 100;

/// The levels and schemas of this server. Clones share.
#[derive(Clone)]
pub struct FlowControl {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    configuration: ArcSwap<Configuration>,
    metrics: FlowMetrics,
    start: Instant,
    /// The same in nanoseconds since 1970.
    start_time: i128,
}

/// What requests are classified by, as it is at one time.
#[derive(Default)]
struct Configuration {
    /// In the order in which they are tried.
    schemas: Vec<Arc<Schema>>,
    levels: Vec<ConfiguredLevel>,
    /// Levels without an object, which still have requests, by name.
    quiescing: Vec<(String, Arc<Level>)>,
}

/// A FlowSchema with its priority level.
struct Schema {
    schema: FlowSchema,
    level: Arc<Level>,
    uid: HeaderValue,
    level_uid: HeaderValue,
    metrics: SchemaMetrics,
}

#[derive(Clone)]
struct ConfiguredLevel {
    name: String,
    level: Arc<Level>,
    limits: LevelLimits,
    exempt: bool,
    demand: DemandStats,
}

/// A request, as it can be described while it waits or is served. Shared, not copied.
#[derive(Clone)]
struct Details {
    schema: Arc<Schema>,
    user: Arc<User>,
    method: Method,
    uri: Uri,
}

/// Who asks for what.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// The user.
    pub user: &'a Arc<User>,
    /// What authorization decides about.
    pub access: &'a AccessRequest<'a>,
    /// The method of the request.
    pub method: &'a Method,
    /// The URI of the request.
    pub uri: &'a Uri,
}

impl Asking<'_> {
    fn subject(&self) -> Subject<'_> {
        Subject { name: &self.user.name, groups: &self.user.groups }
    }
}

/// The schema that a request has matched.
#[derive(Clone)]
pub struct Classification(Arc<Schema>);

impl Classification {
    /// The UID of the FlowSchema; empty for a mandatory one without an object.
    pub fn flow_schema_uid(&self) -> &HeaderValue {
        &self.0.uid
    }

    /// The UID of the PriorityLevelConfiguration.
    pub fn priority_level_uid(&self) -> &HeaderValue {
        &self.0.level_uid
    }
}

/// A request that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// When the client shall return, in seconds.
    pub retry_after: i64,
}

/// How much of the server a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// One seat.
    Single,
    /// A list, or a watch that begins with one, of a resource with so many objects.
    List(usize),
}

impl FlowControl {
    /// With the objects that the caches contain.
    pub fn new(registry: Registry) -> FlowControl {
        let inner = Inner {
            registry,
            configuration: ArcSwap::default(),
            metrics: FlowMetrics::new(),
            start: Instant::now(),
            start_time: nanoseconds_since_1970(),
        };
        let flow = FlowControl { inner: Arc::new(inner) };
        flow.reload();
        flow
    }

    /// Registers the metrics.
    pub fn register_metrics(&self, metrics: &Metrics) {
        self.inner.metrics.register(metrics);
    }

    /// The schema and level of a request.
    pub fn classify(&self, asking: Asking<'_>) -> Option<Classification> {
        let configuration = self.inner.configuration.load();
        let subject = asking.subject();
        let found =
            configuration.schemas.iter().find(|schema| schema.schema.matches(&subject, asking.access));
        // What matches nothing, such as a user without groups, belongs to the last one, which catches all.
        found.or(configuration.schemas.last()).cloned().map(Classification)
    }

    /// Waits for the seats of a classified request, at most until a time.
    pub async fn enter(
        &self,
        Classification(schema): &Classification,
        asking: Asking<'_>,
        cost: Cost,
        until: Instant,
    ) -> Result<Seats, Refused> {
        let work = Work { seats: seats(cost, schema.level.seats_per_request()) };
        schema.metrics.estimated(work.seats);
        let hash = match schema.level.has_queues() {
            true => flow_hash(&schema.schema, &asking.subject(), asking.access),
            false => 0,
        };
        let details = Details {
            schema: schema.clone(),
            user: asking.user.clone(),
            method: asking.method.clone(),
            uri: asking.uri.clone(),
        };
        let (arrival, ticket) = schema.level.arrive(hash, work, details);
        let refused = |why: Rejection| {
            schema.metrics.rejected(&self.inner.metrics, why);
            Refused { retry_after: schema.level.refuse() }
        };
        match arrival {
            Arrival::Execute(key) => Ok(Seats::new(schema.clone(), key)),
            Arrival::Reject(why) => Err(refused(why)),
            Arrival::Wait { number, length } => {
                let waiting = schema.metrics.wait(work.seats, length);
                let started = Box::pin(schema.level.wait(number, ticket, until)).await;
                waiting.end(started.is_some());
                let key = started.ok_or_else(|| refused(Rejection::TimeOut))?;
                Ok(Seats::new(schema.clone(), key))
            }
        }
    }

    /// Follows the objects and lends unused seats, until the task is aborted.
    pub async fn run(self) {
        let mut watchers = self.watch();
        self.reload();
        let mut period = tokio::time::interval(BORROWING_PERIOD);
        period.tick().await;
        loop {
            let [schemas, levels] = &mut watchers;
            tokio::select! {
                () = schemas.changed() => {}
                () = levels.changed() => {}
                _ = period.tick() => {
                    self.lend();
                    continue;
                }
            }
            // The objects are few: all are read again.
            watchers = self.watch();
            self.reload();
        }
    }

    fn watch(&self) -> [Watcher; 2] {
        ["flowschemas", "prioritylevelconfigurations"].map(|plural| {
            let watcher =
                self.inner.registry.watch(served(GROUP, plural), WatchFrom::Now, Selection::everything());
            watcher.expect("invariant: a built-in resource is always served and can be watched from now on")
        })
    }

    fn objects(&self, plural: &'static str) -> Vec<Value> {
        let objects = self.inner.registry.cache(served(GROUP, plural)).list(None);
        objects.iter().map(|object| object.value()).collect()
    }

    /// Reads the objects. Levels that remain keep their requests.
    fn reload(&self) {
        let Inner { configuration, metrics, start, .. } = &*self.inner;
        let before = configuration.load();
        let objects = self.objects("prioritylevelconfigurations");
        let wanted = priority_levels(&objects);
        let by_limits = wanted.iter().zip(limits(&wanted, SEATS));
        let mut uids = HashMap::new();
        let levels: Vec<ConfiguredLevel> = by_limits
            .map(|(wanted, limits)| {
                uids.insert(wanted.name.clone(), header(&wanted.uid));
                metrics.configured(&wanted.name, &limits);
                let known = before.levels.iter().find(|known| known.name == wanted.name);
                let (level, demand) = match known {
                    Some(known) => {
                        let seats =
                            if known.limits == limits { known.level.limit() } else { limits.at_start() };
                        known.level.configure(wanted.queues, seats, limits.per_request);
                        (known.level.clone(), known.demand)
                    }
                    None => {
                        let seats = limits.at_start();
                        let level = match before.quiescing.iter().find(|(name, _)| *name == wanted.name) {
                            Some((_, level)) => {
                                level.configure(wanted.queues, seats, limits.per_request);
                                level.clone()
                            }
                            None => Arc::new(Level::new(*start, wanted.queues, seats, limits.per_request)),
                        };
                        (level, DemandStats::default())
                    }
                };
                let (name, exempt) = (wanted.name.clone(), wanted.is_exempt());
                metrics.limit(&name, level.limit());
                ConfiguredLevel { name, level, limits, exempt, demand }
            })
            .collect();
        let names = levels.iter().map(|level| level.name.clone()).collect();
        let quiescing = before.quiescing(&names);
        let schema = |schema: FlowSchema| {
            let level = levels.iter().find(|level| level.name == schema.level)?.level.clone();
            let (uid, level_uid) = (header(&schema.uid), uids.get(&schema.level)?.clone());
            let metrics = metrics.of(&schema.level, &schema.name);
            Some(Arc::new(Schema { schema, level, uid, level_uid, metrics }))
        };
        let schemas = flow_schemas(&self.objects("flowschemas"), &names);
        let schemas = schemas.into_iter().filter_map(schema).collect();
        configuration.store(Arc::new(Configuration { schemas, levels, quiescing }));
    }

    /// Divides the seats anew by what the levels have wanted in the last period.
    fn lend(&self) {
        let before = self.inner.configuration.load();
        let mut levels = before.levels.clone();
        for level in &mut levels {
            level.demand.update(level.level.take_demand());
        }
        let asked: Vec<_> = levels.iter().map(|level| (level.exempt, level.limits, level.demand)).collect();
        let (seats, fraction) = borrow(&asked);
        for (level, seats) in levels.iter().zip(seats) {
            level.level.set_limit(seats);
            self.inner.metrics.lent(&level.name, &level.demand, seats);
        }
        self.inner.metrics.fraction(fraction);
        let (schemas, mut quiescing) = (before.schemas.clone(), before.quiescing.clone());
        quiescing.retain(|(_, level)| !level.is_idle());
        self.inner.configuration.store(Arc::new(Configuration { schemas, levels, quiescing }));
    }
}

impl Configuration {
    /// The levels that are not among those with these names, and still have requests.
    fn quiescing(&self, names: &BTreeSet<String>) -> Vec<(String, Arc<Level>)> {
        let levels = self.levels.iter().map(|level| (&level.name, &level.level));
        let all = levels.chain(self.quiescing.iter().map(|(name, level)| (name, level)));
        let left = all.filter(|(name, level)| !names.contains(*name) && !level.is_idle());
        left.map(|(name, level)| (name.clone(), level.clone())).collect()
    }
}

fn nanoseconds_since_1970() -> i128 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

fn header(uid: &str) -> HeaderValue {
    HeaderValue::from_str(uid).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn seats(cost: Cost, most: u64) -> u64 {
    match cost {
        Cost::Single => 1,
        Cost::List(objects) => {
            (objects as u64).div_ceil(OBJECTS_PER_SEAT).clamp(1, most.clamp(1, LIST_SEATS_MAX))
        }
    }
}

#[cfg(test)]
mod tests;
