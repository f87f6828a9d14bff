//! Runs the HorizontalPodAutoscaler controller: reads scales and metrics through the API server, as a client of it would, and
//! carries out what [`shim_core::autoscaler`] decides. Each look at an object is a task of its own, with a deadline: one that waits
//! for a metrics API delays no other.

mod api_client;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use serde_json::Value;
use shim_core::autoscaler::{self, AutoscaledPod, Autoscaler, Look, Metric, Report, Scale, Spec, Usage};
use shim_core::controllers::served;
use shim_model::selector::LabelSelector;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use crate::controllers::{EventRecorder, execute};
use crate::http::service::ApiService;
use crate::pipeline::{Identity, Pipeline};
use crate::storage::object::Object;
use crate::storage::registry::now;
use api_client::{ApiClient, LookLimits, ScaleObject};

/// How often it is looked which are due, and which are gone.
const TICK: Duration = Duration::from_secs(1);
/// Time limit of all reads of a look together.
const READS_MAX: Duration = Duration::from_secs(30);
/// Time limit of the writes of a look together: the change of the scale, and the status.
const WRITES_MAX: Duration = Duration::from_secs(15);

/// The controller.
pub struct AutoscalerController {
    client: ApiClient,
    pipeline: Pipeline,
    events: EventRecorder,
    /// Locked for decisions only, never while something is awaited.
    autoscaler: Mutex<Autoscaler>,
    reads_max: Duration,
}

/// What was read about one HorizontalPodAutoscaler.
struct Read {
    object: Arc<Object>,
    value: Value,
    spec: Spec,
    target: Result<(ScaleObject, Scale), String>,
    pods: Vec<AutoscaledPod>,
    answers: Vec<Result<Usage, String>>,
}

/// The looks that are under way. The core bounds their number.
struct Looks {
    controller: Arc<AutoscalerController>,
    /// Each returns the UID of its object, and whether its time was over.
    tasks: JoinSet<(String, bool)>,
    by_uid: BTreeMap<String, AbortHandle>,
}

impl AutoscalerController {
    /// A controller that reads through this service.
    pub fn new(service: &ApiService, pipeline: Pipeline, events: EventRecorder) -> AutoscalerController {
        let (client, autoscaler) = (ApiClient::new(service), Mutex::new(Autoscaler::default()));
        AutoscalerController { client, pipeline, events, autoscaler, reads_max: READS_MAX }
    }

    /// Looks at each target after so many seconds.
    pub fn every(self, seconds: i64) -> AutoscalerController {
        AutoscalerController { autoscaler: Mutex::new(Autoscaler::every(seconds)), ..self }
    }

    /// Limits the time of all reads of a look together.
    pub fn reads_within(self, reads_max: Duration) -> AutoscalerController {
        AutoscalerController { reads_max, ..self }
    }

    /// Runs until the task is aborted.
    pub async fn run(self) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let controller = Arc::new(self);
        let mut looks = Looks { controller, tasks: JoinSet::new(), by_uid: BTreeMap::new() };
        loop {
            tokio::select! {
                _ = interval.tick() => looks.give_up_gone(),
                Some(ended) = looks.tasks.join_next() => {
                    // One that was given up has nothing to tell.
                    let Ok((uid, timed_out)) = ended else { continue };
                    looks.by_uid.remove(&uid);
                    looks.controller.autoscaler().ended(&uid, timed_out, now().seconds());
                }
            }
            looks.begin_due();
        }
    }

    fn autoscaler(&self) -> MutexGuard<'_, Autoscaler> {
        self.autoscaler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at one, and acts. Returns whether its time was over.
    async fn look(&self, object: Arc<Object>) -> bool {
        let limits = LookLimits::until(Instant::now() + self.reads_max);
        let read = self.read(object, &limits).await;
        let is_late = limits.is_over();
        let acted = tokio::time::timeout(WRITES_MAX, self.act(read)).await;
        is_late || acted.is_err()
    }

    async fn read(&self, object: Arc<Object>, limits: &LookLimits) -> Read {
        let value = object.value();
        let spec = Spec::read(&value);
        let namespace = object.namespace().to_owned();
        let target = self.client.scale(&self.pipeline, &namespace, &spec.target, limits).await;
        let (mut pods, mut answers) = (Vec::new(), Vec::new());
        if let Ok((_, scale)) = &target
            && spec.needs_metrics(scale.replicas)
        {
            let asked =
                spec.metrics.iter().map(|metric| self.ask(metric, &namespace, &scale.selector, limits));
            answers = join_all(asked).await;
            pods = self.pods(&namespace, &scale.selector);
        }
        Read { object, value, spec, target, pods, answers }
    }

    /// The Pods that a scale selects.
    fn pods(&self, namespace: &str, selector: &str) -> Vec<AutoscaledPod> {
        let Ok(selector) = LabelSelector::parse(selector) else { return Vec::new() };
        let pods = self.pipeline.registry().cache(served("", "pods"));
        let view = pods.view();
        let selected = view.iter(Some(namespace)).filter(|pod| selector.matches(&pod.header().labels));
        selected.map(|pod| AutoscaledPod::read(&pod.value())).collect()
    }

    async fn ask(
        &self,
        metric: &Metric,
        namespace: &str,
        selector: &str,
        limits: &LookLimits,
    ) -> Result<Usage, String> {
        let plural = |group: &str, kind: &str| {
            let row = api_client::row(&self.pipeline, group, None, kind)?;
            Some(if group.is_empty() { row.plural.clone() } else { format!("{}.{group}", row.plural) })
        };
        match metric.query(namespace, selector, plural) {
            Ok(query) => {
                let answer = self.client.ask(&query, limits).await;
                metric.usage(answer.as_ref().map(|answer| answer.bytes()).map_err(Clone::clone))
            }
            Err(why) => metric.usage(Err(why)),
        }
    }

    async fn act(&self, read: Read) {
        let Read { object, value, spec, target, pods, answers } = read;
        let now = now().seconds();
        let header = object.header();
        let mut report = Report::begin(header, &value, now);
        match target {
            Err(why) => report.no_scale(&why),
            Ok((read, scale)) => {
                let look = Look {
                    uid: &header.uid,
                    namespace: &header.namespace,
                    spec: &spec,
                    scale,
                    pods: &pods,
                    answers: &answers,
                    now,
                };
                let rescale = self.autoscaler().decide(&look, &mut report);
                if let Some(rescale) = rescale {
                    let limits = LookLimits::until(Instant::now() + WRITES_MAX);
                    let outcome = self.client.set_replicas(read, rescale.replicas, &limits).await;
                    self.autoscaler().rescaled(&look, &rescale, outcome, &mut report);
                }
            }
        }
        let identity = Identity::controller(autoscaler::NAME);
        // A refused status is told again at the next look.
        execute(&self.pipeline, &self.events, &identity, report.plan()).await;
    }
}

impl Looks {
    /// Gives up the looks at objects that are gone, or being deleted.
    fn give_up_gone(&mut self) {
        let cache =
            self.controller.pipeline.registry().cache(served("autoscaling", "horizontalpodautoscalers"));
        let all = cache.list(None);
        let headers = all.iter().map(|object| object.header());
        for uid in self.controller.autoscaler().observe(headers, now().seconds()) {
            if let Some(task) = self.by_uid.remove(&uid) {
                task.abort();
            }
        }
    }

    /// Begins the looks that are due, as many as may run.
    fn begin_due(&mut self) {
        let cache =
            self.controller.pipeline.registry().cache(served("autoscaling", "horizontalpodautoscalers"));
        let now = now().seconds();
        loop {
            let mut autoscaler = self.controller.autoscaler();
            let Some((uid, key)) = autoscaler.next_look(now) else { return };
            let object = cache.get(&key.namespace, &key.name).filter(|object| object.header().uid == uid);
            let Some(object) = object else {
                // The next tick forgets it.
                autoscaler.ended(&uid, false, now);
                continue;
            };
            drop(autoscaler);
            let (controller, of) = (self.controller.clone(), uid.clone());
            let task = self.tasks.spawn(async move {
                let look = AssertUnwindSafe(controller.look(object)).catch_unwind().await;
                // The panic hook has logged it. Looked at again as rarely as one that times out.
                (of, look.unwrap_or(true))
            });
            self.by_uid.insert(uid, task);
        }
    }
}
