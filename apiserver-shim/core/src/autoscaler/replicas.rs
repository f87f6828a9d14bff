//! How many replicas a metric asks for. The rules are those of upstream's `replica_calculator.go`: Pods without a sample count
//! against the change that is proposed, and so do Pods that are not ready when it is an increase.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shim_model::{access, quantity::Quantity};

use super::{
    AutoscaledPod, Look,
    metric::{Identifier, Metric, Sample, Source, Target, Usage},
    spec::Reference,
};
use crate::{
    pod_resources::{self, Side},
    resource_list::ResourceList,
    rows::Phase,
};

/// Upstream's `--horizontal-pod-autoscaler-cpu-initialization-period` in seconds.
const CPU_INITIALIZATION: i64 = 300;
/// Upstream's `--horizontal-pod-autoscaler-initial-readiness-delay` in seconds.
const INITIAL_READINESS: i64 = 30;
/// More replicas than this no object can have.
const REPLICAS_MAX: f64 = i32::MAX as f64;

const NO_PODS: &str = "no pods returned by selector while calculating replica count";

/// What a metric asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Proposal {
    pub replicas: i64,
    /// The metric, in the words of Events.
    pub metric: String,
    /// Its entry of `status.currentMetrics`.
    pub status: Value,
}

/// Samples by Pod.
type Samples = BTreeMap<String, Sample>;

/// The Pods of a target, by what is known of their usage.
#[derive(Debug, Default)]
struct Groups<'a> {
    measured: Vec<(&'a AutoscaledPod, i64)>,
    unready: Vec<&'a AutoscaledPod>,
    missing: Vec<&'a AutoscaledPod>,
}

/// What the usage of Pods is compared with.
enum Goal<'a> {
    /// Thousandths for each Pod.
    Average(i64),
    /// Percent of the requests, which are given by Pod.
    Utilization(i64, BTreeMap<&'a str, i64>),
}

/// The usage of Pods as a part of their goal.
struct Ratio {
    ratio: f64,
    /// Thousandths for each Pod.
    average: i64,
    /// Percent of the requests.
    utilization: i64,
}

/// What a metric asks for, or why that cannot be said.
pub(super) fn propose(
    look: &Look<'_>,
    metric: &Metric,
    usage: &Result<Usage, String>,
) -> Result<Proposal, String> {
    let usage = usage.as_ref();
    match &metric.source {
        Source::Resource { name, container } => {
            by_resource(look, (name, container.as_deref()), metric.target, usage)
        }
        Source::Pods(identifier) => by_metric_of_pods(look, identifier, metric.target, usage),
        Source::Object(identifier, object) => by_object(look, (identifier, object), metric.target, usage),
        Source::External(identifier) => by_external(look, identifier, metric.target, usage),
    }
}

fn by_resource(
    look: &Look<'_>,
    (name, container): (&str, Option<&str>),
    target: Option<Target>,
    usage: Result<&Usage, &String>,
) -> Result<Proposal, String> {
    let samples =
        usage.map(samples_of).map_err(|why| format!("unable to get metrics for resource {name}: {why}"));
    let amount = |milli: i64| match name {
        "memory" => Quantity::from_milli_bytes(milli).to_string(),
        _ => decimal(milli),
    };
    let (replicas, metric, current) = match target {
        Some(Target::Average(average)) => {
            let (replicas, ratio) = samples
                .and_then(|samples| by_pods(look, samples, name, |_| Ok(Goal::Average(average))))
                .map_err(|why| format!("failed to get {name} usage: {why}"))?;
            (replicas, format!("{name} resource"), json!({"averageValue": amount(ratio.average)}))
        }
        Some(Target::Utilization(percent)) => {
            let goal = |pods| Ok(Goal::Utilization(percent, requests(pods, name, container)?));
            let (replicas, ratio) = samples
                .and_then(|samples| by_pods(look, samples, name, goal))
                .map_err(|why| format!("failed to get {name} utilization: {why}"))?;
            let kind = if container.is_some() { "container resource" } else { "resource" };
            let current =
                json!({"averageUtilization": ratio.utilization, "averageValue": amount(ratio.average)});
            (replicas, format!("{name} {kind} utilization (percentage of request)"), current)
        }
        Some(Target::Value(_)) | None => {
            return Err(
                "invalid resource metric source: neither an average utilization target nor an average value \
                        (usage) target was set"
                    .to_owned(),
            );
        }
    };
    let status = match container {
        None => json!({"type": "Resource", "resource": {"name": name, "current": current}}),
        Some(container) => json!({"type": "ContainerResource", "containerResource": {
            "name": name, "container": container, "current": current}}),
    };
    Ok(Proposal { replicas, metric, status })
}

fn by_metric_of_pods(
    look: &Look<'_>,
    identifier: &Identifier,
    target: Option<Target>,
    usage: Result<&Usage, &String>,
) -> Result<Proposal, String> {
    let Some(Target::Average(average)) = target else {
        return Err("invalid pods metric source: no average value target was set".to_owned());
    };
    let name = &identifier.name;
    let samples = usage.map(samples_of).map_err(|why| format!("unable to get metric {name}: {why}"))?;
    let (replicas, ratio) = by_pods(look, samples, "", |_| Ok(Goal::Average(average)))?;
    let current = json!({"averageValue": decimal(ratio.average)});
    let status = json!({"type": "Pods", "pods": {"metric": identifier.shown(), "current": current}});
    Ok(Proposal { replicas, metric: format!("pods metric {name}"), status })
}

fn by_object(
    look: &Look<'_>,
    (identifier, object): (&Identifier, &Reference),
    target: Option<Target>,
    usage: Result<&Usage, &String>,
) -> Result<Proposal, String> {
    let (name, Reference { api_version, kind, name: of }) = (&identifier.name, object);
    let Some(target) = target else {
        return Err(
            "invalid object metric source: neither a value target nor an average value target was set"
                .to_owned(),
        );
    };
    let total = usage.map(total_of).map_err(|why| {
        let text = format!("unable to get metric {name}: {why} on {kind} {}/{of}", look.namespace);
        match target {
            Target::Value(_) => text,
            Target::Average(_) | Target::Utilization(_) => {
                format!("failed to get {name} object metric: {text}")
            }
        }
    })?;
    let (replicas, current) = by_total(look, total, target)?;
    let metric = match target {
        Target::Value(_) => format!("{kind} metric {name}"),
        Target::Average(_) | Target::Utilization(_) => identifier.described(),
    };
    let mut described = json!({"kind": kind, "name": of});
    if !api_version.is_empty() {
        described["apiVersion"] = api_version.as_str().into();
    }
    let status = json!({"type": "Object", "object": {
        "metric": identifier.shown(), "current": current, "describedObject": described}});
    Ok(Proposal { replicas, metric, status })
}

fn by_external(
    look: &Look<'_>,
    identifier: &Identifier,
    target: Option<Target>,
    usage: Result<&Usage, &String>,
) -> Result<Proposal, String> {
    let name = &identifier.name;
    let Some(target) = target else {
        return Err(
            "invalid external metric source: neither a value target nor an average value target was set"
                .to_owned(),
        );
    };
    let total = usage.map(total_of).map_err(|why| {
        let selector = identifier.printed_selector();
        let text = format!("unable to get external metric {}/{name}/{selector}: {why}", look.namespace);
        match target {
            Target::Average(_) => format!("failed to get {name} external metric: {text}"),
            Target::Value(_) | Target::Utilization(_) => {
                format!("failed to get external metric {name}: {text}")
            }
        }
    })?;
    let (replicas, current) = by_total(look, total, target)?;
    let status = json!({"type": "External", "external": {"metric": identifier.shown(), "current": current}});
    Ok(Proposal { replicas, metric: identifier.described(), status })
}

/// By a usage that all replicas share. Returns what to show of it, too.
fn by_total(look: &Look<'_>, usage: i64, target: Target) -> Result<(i64, Value), String> {
    match target {
        Target::Average(target) => {
            let running = look.scale.running;
            let ratio = usage as f64 / (target as f64 * running as f64);
            let replicas = match look.spec.tolerates(ratio) {
                true => running,
                false => rounded_up(usage as f64 / target as f64),
            };
            let average = (usage as f64 / running as f64).ceil() as i64;
            Ok((replicas, json!({"averageValue": decimal(average)})))
        }
        Target::Value(target) | Target::Utilization(target) => {
            let (ratio, shown) = (usage as f64 / target as f64, json!({"value": decimal(usage)}));
            if look.spec.tolerates(ratio) {
                return Ok((look.scale.replicas, shown));
            }
            if look.pods.is_empty() {
                return Err(format!("unable to calculate ready pods: {NO_PODS}"));
            }
            let ready = look.pods.iter().filter(|pod| pod.phase == Phase::Running && pod.is_ready()).count();
            Ok((rounded_up(ratio * ready as f64), shown))
        }
    }
}

/// By the usage of each Pod.
fn by_pods<'a>(
    look: &Look<'a>,
    samples: &Samples,
    resource: &str,
    goal: impl FnOnce(&'a [AutoscaledPod]) -> Result<Goal<'a>, String>,
) -> Result<(i64, Ratio), String> {
    if look.pods.is_empty() {
        return Err(NO_PODS.to_owned());
    }
    let groups = Groups::of(look, samples, resource);
    if groups.measured.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let goal = goal(look.pods)?;
    let current = look.scale.replicas;
    let measured = goal.ratio(&groups.measured)?;
    let grows = measured.ratio > 1.0;
    let fills = !groups.missing.is_empty() || (grows && !groups.unready.is_empty());
    if !fills {
        let replicas = match look.spec.tolerates(measured.ratio) {
            true => current,
            false => rounded_up(measured.ratio * groups.measured.len() as f64),
        };
        return Ok((replicas, measured));
    }
    let mut all = groups.measured.clone();
    if measured.ratio != 1.0 {
        all.extend(groups.missing.iter().map(|pod| (*pod, if grows { 0 } else { goal.of_missing(pod) })));
    }
    if grows {
        all.extend(groups.unready.iter().map(|pod| (*pod, 0)));
    }
    let ratio = goal.ratio(&all)?.ratio;
    let turns = (measured.ratio < 1.0 && ratio > 1.0) || (grows && ratio < 1.0);
    if turns || look.spec.tolerates(ratio) {
        return Ok((current, measured));
    }
    let replicas = rounded_up(ratio * all.len() as f64);
    let turns = (ratio < 1.0 && replicas > current) || (ratio > 1.0 && replicas < current);
    Ok((if turns { current } else { replicas }, measured))
}

impl<'a> Groups<'a> {
    fn of(look: &Look<'a>, samples: &Samples, resource: &str) -> Groups<'a> {
        let mut groups = Groups::default();
        for pod in look.pods {
            if pod.deleted || pod.phase == Phase::Failed {
                continue;
            }
            match samples.get(&pod.name) {
                _ if pod.phase == Phase::Pending => groups.unready.push(pod),
                None => groups.missing.push(pod),
                Some(sample) if resource == "cpu" && pod.is_starting(sample, look.now) => {
                    groups.unready.push(pod);
                }
                Some(sample) => groups.measured.push((pod, sample.value)),
            }
        }
        groups
    }
}

impl AutoscaledPod {
    fn is_ready(&self) -> bool {
        self.ready.is_some_and(|(ready, _)| ready)
    }

    /// Whether its CPU usage is that of its start, which says nothing about later.
    fn is_starting(&self, sample: &Sample, now: i64) -> bool {
        let (Some((ready, changed)), Some(started)) = (self.ready, self.started) else { return true };
        match started + CPU_INITIALIZATION > now {
            true => !ready || sample.at < changed.saturating_add(sample.window),
            // It has never been ready.
            false => !ready && started + INITIAL_READINESS > changed,
        }
    }
}

impl Goal<'_> {
    fn ratio(&self, usages: &[(&AutoscaledPod, i64)]) -> Result<Ratio, String> {
        let total = usages.iter().fold(0i64, |sum, (_, usage)| sum.saturating_add(*usage));
        let average = total / usages.len().max(1) as i64;
        match self {
            Goal::Average(target) => {
                Ok(Ratio { ratio: average as f64 / *target as f64, average, utilization: 0 })
            }
            Goal::Utilization(target, requests) => {
                let requested = usages.iter().filter_map(|(pod, _)| requests.get(pod.name.as_str()));
                let requested = requested.fold(0i64, |sum, request| sum.saturating_add(*request));
                if requested == 0 {
                    return Err("no metrics returned matched known pods".to_owned());
                }
                let utilization = total.saturating_mul(100) / requested;
                Ok(Ratio { ratio: utilization as f64 / *target as f64, average, utilization })
            }
        }
    }

    /// What a Pod without a sample counts as when the number of replicas would shrink.
    fn of_missing(&self, pod: &AutoscaledPod) -> i64 {
        match self {
            Goal::Average(target) => *target,
            Goal::Utilization(target, requests) => {
                let request = requests.get(pod.name.as_str()).copied().unwrap_or(0);
                request.saturating_mul((*target).max(100)) / 100
            }
        }
    }
}

/// What each Pod, or one container of it, requests of a resource, in thousandths.
fn requests<'a>(
    pods: &'a [AutoscaledPod],
    resource: &str,
    container: Option<&str>,
) -> Result<BTreeMap<&'a str, i64>, String> {
    pods.iter().map(|pod| Ok((pod.name.as_str(), request(pod, resource, container)?))).collect()
}

fn request(pod: &AutoscaledPod, resource: &str, container: Option<&str>) -> Result<i64, String> {
    let own = ResourceList::at(&pod.spec, &["resources", "requests"]);
    if container.is_none() && !own.is_empty() {
        let all = pod_resources::of_spec(&pod.spec, Side::Requests);
        let missing = || format!("missing pod-level request for {resource} in Pod {}", pod.name);
        return all.get(resource).map(Quantity::milli).ok_or_else(missing);
    }
    let sidecars = access::list(&pod.spec, &["initContainers"])
        .iter()
        .filter(|c| access::text(c, &["restartPolicy"]) == "Always");
    let mut total = 0i64;
    for one in access::list(&pod.spec, &["containers"]).iter().chain(sidecars) {
        let name = access::text(one, &["name"]);
        if container.is_some_and(|wanted| wanted != name) {
            continue;
        }
        let requests = ResourceList::at(one, &["resources", "requests"]);
        let amount = requests.get(resource).ok_or_else(|| {
            format!("missing request for {resource} in container {name} of Pod {}", pod.name)
        })?;
        total = total.saturating_add(amount.milli());
        if container.is_some() {
            return Ok(total);
        }
    }
    match container {
        Some(container) => Err(format!("container {container} not found in Pod {}", pod.name)),
        None => Ok(total),
    }
}

fn samples_of(usage: &Usage) -> &Samples {
    static NONE: Samples = Samples::new();
    match usage {
        Usage::Pods(samples) => samples,
        Usage::Total(_) => &NONE,
    }
}

fn total_of(usage: &Usage) -> i64 {
    match usage {
        Usage::Total(total) => *total,
        Usage::Pods(_) => 0,
    }
}

fn rounded_up(replicas: f64) -> i64 {
    replicas.ceil().clamp(0.0, REPLICAS_MAX) as i64
}

fn decimal(milli: i64) -> String {
    Quantity::from_milli(milli).to_string()
}
