//! The HorizontalPodAutoscaler controller: sets the number of replicas of a target so that its metrics meet their targets, within
//! `minReplicas` and `maxReplicas` and as fast as `behavior` allows. Upstream: `pkg/controller/podautoscaler`.
//!
//! The shell reads scales, Pods and metrics every fifteen seconds, as a [`Look`]; an [`Autoscaler`] decides. What it remembers of
//! earlier looks is in memory only, as upstream: after a restart, stabilization begins anew.

mod answer;
mod history;
mod metric;
mod queue;
mod replicas;
mod report;
mod spec;

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::Value;
use shim_model::{access, object::Header, selector::LabelSelector};

use crate::{
    controllers::{Target, served},
    rows::{Key, Phase, Seconds, seconds},
};
use history::History;
pub use metric::{Metric, MetricsApi, Query, Sample, Usage, no_match};
pub use queue::LOOKS_MAX;
use queue::Turn;
pub use report::Report;
pub use spec::{Reference, Spec};

/// The service account that upstream's controller manager uses for it, and the source of its Events.
pub const NAME: &str = "horizontal-pod-autoscaler";

/// Seconds between two looks at a target, as upstream's `--horizontal-pod-autoscaler-sync-period`.
const SYNC_SECONDS: i64 = 15;

/// The longest text of another server in conditions and Events, in bytes, as in upstream's client.
const TEXT_BYTES_MAX: usize = 2048;

/// The scale of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// `spec.replicas`.
    pub replicas: i64,
    /// `status.replicas`.
    pub running: i64,
    /// `status.selector`.
    pub selector: String,
}

/// A Pod that a scale selects.
#[derive(Debug, Clone)]
pub struct AutoscaledPod {
    name: String,
    labels: BTreeMap<String, String>,
    spec: Value,
    phase: Phase,
    deleted: bool,
    /// `status.startTime`.
    started: Option<Seconds>,
    /// The condition `Ready`, and since when it is so.
    ready: Option<(bool, Seconds)>,
}

/// What is known when a HorizontalPodAutoscaler is looked at.
#[derive(Debug)]
pub struct Look<'a> {
    /// The object's UID.
    pub uid: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// What it wants.
    pub spec: &'a Spec,
    /// The scale of its target.
    pub scale: Scale,
    /// The Pods that the scale selects; empty if no metrics are [needed](Spec::needs_metrics).
    pub pods: &'a [AutoscaledPod],
    /// What is used by each of its metrics, or why that is not known; empty if none are needed.
    pub answers: &'a [Result<Usage, String>],
    /// The time.
    pub now: Seconds,
}

/// A change of the number of replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescale {
    /// The new number.
    pub replicas: i64,
    /// Why, for the Event.
    pub reason: String,
}

/// The HorizontalPodAutoscalers of a cluster, by UID.
#[derive(Debug)]
pub struct Autoscaler {
    /// Seconds between two looks at one.
    period: i64,
    known: BTreeMap<String, Known>,
}

impl Default for Autoscaler {
    fn default() -> Autoscaler {
        Autoscaler::every(SYNC_SECONDS)
    }
}

/// What is remembered of one.
#[derive(Debug)]
struct Known {
    key: Key,
    turn: Turn,
    selector: Option<LabelSelector>,
    history: History,
}

impl Autoscaler {
    /// Looks at each of them after so many seconds.
    pub fn every(period: i64) -> Autoscaler {
        Autoscaler { period, known: BTreeMap::new() }
    }

    /// Decides. The change, if there is one, is to be made and its outcome told to [`Autoscaler::rescaled`].
    pub fn decide(&mut self, look: &Look<'_>, report: &mut Report) -> Option<Rescale> {
        let message = "the HPA controller was able to get the target's current scale";
        report.set("AbleToScale", true, "SucceededGetScale", message);
        let current = look.scale.replicas;
        report.current = current;
        let history = &mut self.known.get_mut(look.uid)?.history;
        history.begin(current, look.now);
        let (replicas, reason) = match look.spec.bound(current) {
            Bound::Disabled => {
                let message = "scaling is disabled since the replica count of the target is zero";
                report.set("ScalingActive", false, "ScalingDisabled", message);
                report.desired = 0;
                return None;
            }
            Bound::Above => (look.spec.max, "Current number of replicas above Spec.MaxReplicas".to_owned()),
            Bound::Below => (look.spec.min, "Current number of replicas below Spec.MinReplicas".to_owned()),
            Bound::Within => self.by_metrics(look, report)?,
        };
        report.desired = current;
        (replicas != current).then_some(Rescale { replicas, reason })
    }

    /// The change was made, or refused.
    pub fn rescaled(
        &mut self,
        look: &Look<'_>,
        to: &Rescale,
        outcome: Result<(), String>,
        report: &mut Report,
    ) {
        let Rescale { replicas, reason } = to;
        if let Err(why) = outcome {
            let text = format!("New size: {replicas}; reason: {reason}; error: {why}");
            report.tell(true, "FailedRescale", text);
            let message = format!("the HPA controller was unable to update the target scale: {why}");
            report.set("AbleToScale", false, "FailedUpdateScale", &message);
            report.keep_desired();
            return;
        }
        let message = format!("the HPA controller was able to update the target scale to {replicas}");
        report.set("AbleToScale", true, "SucceededRescale", &message);
        report.tell(false, "SuccessfulRescale", format!("New size: {replicas}; reason: {reason}"));
        report.desired = *replicas;
        report.scaled = true;
        if let Some(known) = self.known.get_mut(look.uid) {
            known.history.changed(look.scale.replicas, *replicas, look.now);
        }
    }

    /// The number of replicas that the metrics ask for within the limits, and the reason. `None` if nothing can be said.
    fn by_metrics(&mut self, look: &Look<'_>, report: &mut Report) -> Option<(i64, String)> {
        if let Err(why) = self.select(look, report) {
            report.keep_desired();
            report.tell(true, "FailedComputeMetricsReplicas", why);
            return None;
        }
        let current = look.scale.replicas;
        let (mut best, mut failed) = (None::<(i64, String)>, Vec::new());
        for (metric, answer) in look.spec.metrics.iter().zip(look.answers) {
            match replicas::propose(look, metric, answer) {
                Ok(proposal) => {
                    report.metrics.push(proposal.status);
                    if best.as_ref().is_none_or(|(replicas, _)| proposal.replicas > *replicas) {
                        best = Some((proposal.replicas, proposal.metric));
                    }
                }
                Err(why) => {
                    report.metrics.push(serde_json::json!({"type": ""}));
                    report.tell(true, metric.failure(), why.clone());
                    failed.push((metric, why));
                }
            }
        }
        // With some unknown, the others may only ask for more.
        let usable = best.filter(|(replicas, _)| failed.is_empty() || *replicas >= current);
        let Some((wanted, metric)) = usable else {
            let (first, why) = failed.first()?;
            let message = format!("the HPA was unable to compute the replica count: {why}");
            report.set("ScalingActive", false, first.failure(), &message);
            report.keep_desired();
            let (count, all) = (failed.len(), look.spec.metrics.len());
            let text = format!(
                "invalid metrics ({count} invalid out of {all}), first error is: failed to get {}: {why}",
                first.wanted()
            );
            report.tell(true, "FailedComputeMetricsReplicas", text);
            return None;
        };
        let message = format!("the HPA was able to successfully calculate a replica count from {metric}");
        report.set("ScalingActive", true, "ValidMetricFound", &message);
        let reason = match wanted.cmp(&current) {
            Ordering::Greater => format!("{metric} above target"),
            Ordering::Less => "All metrics below target".to_owned(),
            Ordering::Equal => String::new(),
        };
        let limited = self.known.get_mut(look.uid)?.history.limit(look.spec, current, wanted, look.now);
        let ((able, message), (is_limited, why, text)) = (limited.able, limited.limited);
        report.set("AbleToScale", true, able, message);
        report.set("ScalingLimited", is_limited, why, text);
        Some((limited.replicas, reason))
    }

    /// Checks that the Pods of the scale are known, and no other autoscaler's.
    fn select(&mut self, look: &Look<'_>, report: &mut Report) -> Result<(), String> {
        let mut refuse = |reason, event, message: &str, why: String| {
            report.tell(true, event, why.clone());
            report.set("ScalingActive", false, reason, message);
            Err(why)
        };
        if look.scale.selector.is_empty() {
            let message = "the HPA target's scale is missing a selector";
            return refuse("InvalidSelector", "SelectorRequired", message, "selector is required".to_owned());
        }
        let selector = match LabelSelector::parse(&look.scale.selector) {
            Ok(selector) => selector,
            Err(error) => {
                let why = format!(
                    "couldn't convert selector into a corresponding internal selector object: {error}"
                );
                return refuse("InvalidSelector", "InvalidSelector", &why.clone(), why);
            }
        };
        if let Some(known) = self.known.get_mut(look.uid) {
            known.selector = Some(selector);
        }
        let selects = |known: &&Known| {
            let selector = known.selector.as_ref().filter(|_| *known.key.namespace == *look.namespace);
            selector.is_some_and(|selector| look.pods.iter().any(|pod| selector.matches(&pod.labels)))
        };
        let all: Vec<String> = self
            .known
            .values()
            .filter(selects)
            .map(|k| format!("{{{} {}}}", k.key.name, k.key.namespace))
            .collect();
        if all.len() > 1 {
            let (selector, all) = (&look.scale.selector, all.join(" "));
            let why = format!("pods by selector {selector} are controlled by multiple HPAs: [{all}]");
            return refuse("AmbiguousSelector", "AmbiguousSelector", &why.clone(), why);
        }
        Ok(())
    }
}

/// Where a number of replicas is.
enum Bound {
    Disabled,
    Above,
    Below,
    Within,
}

impl Spec {
    /// Whether metrics decide about this number of replicas.
    pub fn needs_metrics(&self, replicas: i64) -> bool {
        matches!(self.bound(replicas), Bound::Within)
    }

    fn bound(&self, replicas: i64) -> Bound {
        match replicas {
            0 => Bound::Disabled,
            _ if replicas > self.max => Bound::Above,
            _ if replicas < self.min => Bound::Below,
            _ => Bound::Within,
        }
    }
}

impl Scale {
    /// Reads an object of `autoscaling/v1`. The error says what is wrong with it: a number that cannot be read is not zero, which
    /// would disable the autoscaler.
    pub fn read(scale: &Value) -> Result<Scale, String> {
        let kind = access::text(scale, &["kind"]);
        if !scale.is_object() || !matches!(kind, "Scale" | "") {
            return Err(bounded(format!("the scale is of another kind: {kind:?}")));
        }
        let number = |path: &[&str]| match access::get(scale, path) {
            None | Some(Value::Null) => Ok(0),
            Some(value) => {
                let number = value.as_i64().filter(|number| i32::try_from(*number).is_ok());
                number.ok_or_else(|| format!("{} of the scale is no 32-bit integer", path.join(".")))
            }
        };
        let selector = match access::get(scale, &["status", "selector"]) {
            None | Some(Value::Null) => "",
            Some(value) => value.as_str().ok_or("status.selector of the scale is no string")?,
        };
        Ok(Scale {
            replicas: number(&["spec", "replicas"])?,
            running: number(&["status", "replicas"])?,
            selector: selector.to_owned(),
        })
    }
}

impl AutoscaledPod {
    /// Reads a Pod.
    pub fn read(pod: &Value) -> AutoscaledPod {
        let time = |value: &Value, path: &[&str]| seconds(access::text(value, path));
        let ready = crate::controllers::condition(&pod["status"], "Ready").map(|condition| {
            let since = time(condition, &["lastTransitionTime"]).unwrap_or(0);
            (access::text(condition, &["status"]) != "False", since)
        });
        let labels = access::entries(pod, &["metadata", "labels"]);
        AutoscaledPod {
            name: access::text(pod, &["metadata", "name"]).to_owned(),
            labels: labels.map(|(k, v)| (k.to_owned(), v.as_str().unwrap_or("").to_owned())).collect(),
            spec: pod["spec"].clone(),
            phase: Phase::parse(access::text(pod, &["status", "phase"])),
            deleted: !access::text(pod, &["metadata", "deletionTimestamp"]).is_empty(),
            started: time(pod, &["status", "startTime"]),
            ready,
        }
    }

    /// The labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }
}

/// The HorizontalPodAutoscaler with this header, as the subject of Events and the target of writes.
pub fn target(header: &Header) -> Target {
    Target::of(served("autoscaling", "horizontalpodautoscalers"), header)
}

/// The beginning of a text of another server, as much of it as conditions and Events show.
pub fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests;
