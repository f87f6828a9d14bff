//! Runs the HorizontalPodAutoscaler controller: reads scales and metrics through the API server, as a client of it would, and
//! carries out what [`shim_core::autoscaler`] decides.

mod api_client;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use shim_core::autoscaler::{self, AutoscaledPod, Autoscaler, Look, Metric, Report, Scale, Spec};
use shim_core::controllers::served;
use shim_model::selector::LabelSelector;

use crate::controllers::{EventRecorder, execute};
use crate::http::service::ApiService;
use crate::pipeline::{Identity, Pipeline};
use crate::storage::object::Object;
use crate::storage::registry::now;
use api_client::{ApiClient, ScaleObject};

/// How often it is looked which are due.
const TICK: Duration = Duration::from_secs(1);
/// Targets that are read at once, as upstream's `--concurrent-horizontal-pod-autoscaler-syncs`.
const READS_MAX: usize = 5;

/// The controller.
pub struct AutoscalerController {
    client: ApiClient,
    pipeline: Pipeline,
    events: EventRecorder,
    autoscaler: Autoscaler,
}

/// What was read about one HorizontalPodAutoscaler.
struct Read {
    object: Arc<Object>,
    value: Value,
    spec: Spec,
    target: Result<(ScaleObject, Scale), String>,
    pods: Vec<AutoscaledPod>,
    answers: Vec<Result<Value, String>>,
}

impl AutoscalerController {
    /// A controller that reads through this service.
    pub fn new(service: &ApiService, pipeline: Pipeline, events: EventRecorder) -> AutoscalerController {
        let (client, autoscaler) = (ApiClient::new(service), Autoscaler::default());
        AutoscalerController { client, pipeline, events, autoscaler }
    }

    /// Looks at each target after so many seconds.
    pub fn every(self, seconds: i64) -> AutoscalerController {
        AutoscalerController { autoscaler: Autoscaler::every(seconds), ..self }
    }

    /// Runs until the task is aborted.
    pub async fn run(mut self) {
        let mut autoscaler = std::mem::take(&mut self.autoscaler);
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let all =
                self.pipeline.registry().cache(served("autoscaling", "horizontalpodautoscalers")).list(None);
            let due = autoscaler.due(all.iter().map(|object| object.header()), now().seconds());
            let due = all.into_iter().filter(|object| due.contains(&object.header().uid));
            let mut reads =
                futures::stream::iter(due.map(|object| self.read(object))).buffer_unordered(READS_MAX);
            while let Some(read) = reads.next().await {
                self.act(&mut autoscaler, read).await;
            }
        }
    }

    async fn read(&self, object: Arc<Object>) -> Read {
        let value = object.value();
        let spec = Spec::read(&value);
        let namespace = object.namespace().to_owned();
        let target = self.client.scale(&self.pipeline, &namespace, &spec.target).await;
        let (mut pods, mut answers) = (Vec::new(), Vec::new());
        if let Ok((_, scale)) = &target
            && spec.needs_metrics(scale.replicas)
        {
            pods = self.pods(&namespace, &scale.selector);
            for metric in &spec.metrics {
                answers.push(self.ask(metric, &namespace, &scale.selector).await);
            }
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

    async fn ask(&self, metric: &Metric, namespace: &str, selector: &str) -> Result<Value, String> {
        let catalog = self.pipeline.registry().catalog();
        let plural = |group: &str, kind: &str| {
            let row = catalog.iter().find(|row| row.group == group && row.kind == kind)?;
            Some(if group.is_empty() { row.plural.clone() } else { format!("{}.{group}", row.plural) })
        };
        let query = metric.query(namespace, selector, plural)?;
        self.client.ask(&query).await
    }

    async fn act(&self, autoscaler: &mut Autoscaler, read: Read) {
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
                if let Some(rescale) = autoscaler.decide(&look, &mut report) {
                    let outcome = self.client.set_replicas(read, rescale.replicas).await;
                    autoscaler.rescaled(&look, &rescale, outcome, &mut report);
                }
            }
        }
        let identity = Identity::controller(autoscaler::NAME);
        // A refused status is told again at the next look.
        execute(&self.pipeline, &self.events, &identity, report.plan()).await;
    }
}
