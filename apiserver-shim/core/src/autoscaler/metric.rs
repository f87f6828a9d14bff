//! The metrics of a HorizontalPodAutoscaler: what is asked of which metrics API, and how its answers are read. Values are in
//! thousandths, as upstream computes with them.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use shim_model::{
    access,
    quantity::{Quantity, QuantityError},
    selector::LabelSelector,
};

use super::{
    answer::{ExternalMetricValue, MetricValue, PodMetrics, items},
    spec::Reference,
};
use crate::rows::Seconds;

/// The window of a sample that names none, in seconds.
const WINDOW: i64 = 60;

/// A metric of `spec.metrics`.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    pub(super) source: Source,
    /// `None` if there is none that fits the source.
    pub(super) target: Option<Target>,
}

/// Where a metric comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    /// A resource of the Pods, or of one of their containers.
    Resource { name: String, container: Option<String> },
    /// A metric of each Pod.
    Pods(Identifier),
    /// A metric of another object.
    Object(Identifier, Reference),
    /// A metric from outside of the cluster.
    External(Identifier),
}

/// The name of a metric, and which of its series are meant.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Identifier {
    pub name: String,
    /// As in the object.
    pub selector: Value,
}

/// What the usage is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Percent of the requests.
    Utilization(i64),
    /// Thousandths for each Pod.
    Average(i64),
    /// Thousandths altogether.
    Value(i64),
}

/// The API that serves a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsApi {
    /// `metrics.k8s.io`.
    Resource,
    /// `custom.metrics.k8s.io`.
    Custom,
    /// `external.metrics.k8s.io`.
    External,
}

/// A read of a metrics API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The API.
    pub api: MetricsApi,
    /// The path below `/apis/GROUP/VERSION`, with its query.
    pub path: String,
    /// The resource and group of the path, as clients name them in errors.
    pub asked: String,
}

/// What a metrics API has answered, in thousandths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Usage {
    /// By Pod.
    Pods(BTreeMap<String, Sample>),
    /// The sum of all series.
    Total(i64),
}

/// The usage of one Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Thousandths.
    pub value: i64,
    /// The end of the window in which it was measured.
    pub at: Seconds,
    /// The length of that window in seconds.
    pub window: i64,
}

impl MetricsApi {
    /// The group.
    pub fn group(self) -> &'static str {
        match self {
            MetricsApi::Resource => "metrics.k8s.io",
            MetricsApi::Custom => "custom.metrics.k8s.io",
            MetricsApi::External => "external.metrics.k8s.io",
        }
    }

    /// The versions, the preferred one first.
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            MetricsApi::Custom => &["v1beta2", "v1beta1"],
            MetricsApi::Resource | MetricsApi::External => &["v1beta1"],
        }
    }

    /// The kind of its answers.
    pub(super) fn list_kind(self) -> &'static str {
        match self {
            MetricsApi::Resource => "PodMetricsList",
            MetricsApi::Custom => "MetricValueList",
            MetricsApi::External => "ExternalMetricValueList",
        }
    }

    /// How errors name it.
    fn name(self) -> &'static str {
        match self {
            MetricsApi::Resource => "resource",
            MetricsApi::Custom => "custom",
            MetricsApi::External => "external",
        }
    }
}

impl Metric {
    pub(super) fn read(metric: &Value) -> Metric {
        let (source, target) = match access::text(metric, &["type"]) {
            "ContainerResource" => resource(&metric["containerResource"]),
            "Pods" => {
                let pods = &metric["pods"];
                (Source::Pods(Identifier::read(pods)), Target::average(pods))
            }
            "Object" => {
                let object = &metric["object"];
                let described = Reference::read(&object["describedObject"]);
                let target = match access::text(object, &["target", "type"]) {
                    "Value" => Target::value(object),
                    _ => Target::average(object),
                };
                (Source::Object(Identifier::read(object), described), target)
            }
            "External" => {
                let external = &metric["external"];
                let target = Target::average(external).or_else(|| Target::value(external));
                (Source::External(Identifier::read(external)), target)
            }
            _ => resource(&metric["resource"]),
        };
        Metric { source, target }
    }

    /// What is read for it. `pods` selects the Pods; `plural` is the resource of the object that it names, with its group, if it
    /// is served.
    pub fn query(
        &self,
        namespace: &str,
        pods: &str,
        plural: impl FnOnce(&str, &str) -> Option<String>,
    ) -> Result<Query, String> {
        let query = |api: MetricsApi, path: String, parameters: &[(&str, String)], asked: String| {
            let given = parameters.iter().filter(|(_, value)| !value.is_empty());
            let text: Vec<String> = given.map(|(name, value)| format!("{name}={}", encode(value))).collect();
            let mark = if text.is_empty() { "" } else { "?" };
            Query { api, path: format!("/namespaces/{namespace}/{path}{mark}{}", text.join("&")), asked }
        };
        Ok(match &self.source {
            Source::Resource { .. } => {
                let parameters = [("labelSelector", pods.to_owned())];
                query(MetricsApi::Resource, "pods".into(), &parameters, "pods.metrics.k8s.io".into())
            }
            Source::Pods(metric) => {
                let parameters =
                    [("labelSelector", pods.to_owned()), ("metricLabelSelector", metric.selector()?)];
                let path = format!("pods/*/{}", encode(&metric.name));
                query(MetricsApi::Custom, path, &parameters, "pods.custom.metrics.k8s.io".into())
            }
            Source::Object(metric, described) => {
                let (group, kind) = (described.group(), described.kind.as_str());
                let parameters = [("metricLabelSelector", metric.selector()?)];
                if group.is_empty() && kind == "Namespace" {
                    // The namespace is the autoscaler's own, whatever the reference says.
                    let path = format!("metrics/{}", encode(&metric.name));
                    let asked = "namespaces.custom.metrics.k8s.io".into();
                    return Ok(query(MetricsApi::Custom, path, &parameters, asked));
                }
                let plural = plural(group, kind).ok_or_else(|| no_match(group, kind))?;
                let path = format!("{plural}/{}/{}", encode(&described.name), encode(&metric.name));
                query(MetricsApi::Custom, path, &parameters, format!("{plural}.custom.metrics.k8s.io"))
            }
            Source::External(metric) => {
                let parameters = [("labelSelector", metric.selector()?)];
                let asked = format!("{}.external.metrics.k8s.io", metric.name);
                query(MetricsApi::External, encode(&metric.name), &parameters, asked)
            }
        })
    }

    /// The reason of its failure.
    pub(super) fn failure(&self) -> &'static str {
        match &self.source {
            Source::Resource { container: None, .. } => "FailedGetResourceMetric",
            Source::Resource { container: Some(_), .. } => "FailedGetContainerResourceMetric",
            Source::Pods(_) => "FailedGetPodsMetric",
            Source::Object(..) => "FailedGetObjectMetric",
            Source::External(_) => "FailedGetExternalMetric",
        }
    }

    /// What was wanted, for the text about a failure.
    pub(super) fn wanted(&self) -> String {
        match &self.source {
            Source::Resource { name, container: None } => format!("{name} resource metric value"),
            Source::Resource { container: Some(container), .. } => {
                format!("{container} container metric value")
            }
            Source::Pods(_) => "pods metric value".to_owned(),
            Source::Object(..) => "object metric value".to_owned(),
            Source::External(metric) => format!("{} external metric value", metric.name),
        }
    }

    fn api(&self) -> MetricsApi {
        match &self.source {
            Source::Resource { .. } => MetricsApi::Resource,
            Source::Pods(_) | Source::Object(..) => MetricsApi::Custom,
            Source::External(_) => MetricsApi::External,
        }
    }

    /// Reads an answer. The error says what is wrong with it, or why there is none.
    pub fn usage(&self, answer: Result<&[u8], String>) -> Result<Usage, String> {
        let (api, name) = (self.api(), self.api().name());
        let unreadable = |why| format!("unable to fetch metrics from {name} metrics API: {why}");
        let answer = answer.map_err(unreadable)?;
        if let Source::Object(..) = self.source {
            return match items::<MetricValue>(api, answer).map_err(unreadable)?.as_slice() {
                [one] => Ok(Usage::Total(one.value.0)),
                items => Err(unreadable(format!(
                    "the custom metrics API server returned {} results when we asked for exactly one",
                    items.len()
                ))),
            };
        }
        let usage = match &self.source {
            Source::Resource { name, container } => {
                let items = items::<PodMetrics>(api, answer).map_err(unreadable)?;
                let sample = |item: &PodMetrics| {
                    let value = item.usage(name, container.as_deref())?;
                    Some((item.name().to_owned(), Sample { value, at: item.timestamp, window: item.window }))
                };
                (!items.is_empty()).then(|| Usage::Pods(items.iter().filter_map(sample).collect()))
            }
            Source::External(_) => {
                let items = items::<ExternalMetricValue>(api, answer).map_err(unreadable)?;
                let values = items.iter().map(|item| item.value.0);
                (!items.is_empty()).then(|| Usage::Total(values.fold(0, i64::saturating_add)))
            }
            Source::Pods(_) | Source::Object(..) => {
                let items = items::<MetricValue>(api, answer).map_err(unreadable)?;
                let sample = |item: &MetricValue| {
                    let window = item.window_seconds.unwrap_or(WINDOW);
                    (item.name().to_owned(), Sample { value: item.value.0, at: item.timestamp, window })
                };
                (!items.is_empty()).then(|| Usage::Pods(items.iter().map(sample).collect()))
            }
        };
        usage.ok_or_else(|| format!("no metrics returned from {name} metrics API"))
    }
}

impl Identifier {
    fn read(source: &Value) -> Identifier {
        let metric = &source["metric"];
        Identifier { name: access::text(metric, &["name"]).to_owned(), selector: metric["selector"].clone() }
    }

    /// As `status.currentMetrics` has it.
    pub fn shown(&self) -> Value {
        match &self.selector {
            Value::Null => json!({"name": self.name}),
            selector => json!({"name": self.name, "selector": selector}),
        }
    }

    /// The metric in upstream's words for one that all replicas share.
    pub fn described(&self) -> String {
        format!("external metric {}({})", self.name, self.printed_selector())
    }

    /// The selector as Go prints it.
    pub fn printed_selector(&self) -> String {
        if self.selector.is_null() {
            return "nil".to_owned();
        }
        let labels = access::entries(&self.selector, &["matchLabels"]);
        let labels: String =
            labels.map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or(""))).collect();
        let expressions = access::list(&self.selector, &["matchExpressions"]).iter().map(|expression| {
            let text = |member| access::text(expression, &[member]);
            let values = access::list(expression, &["values"]).iter().filter_map(Value::as_str);
            let values = values.collect::<Vec<_>>().join(" ");
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
                text("key"),
                text("operator")
            )
        });
        let expressions: String = expressions.collect();
        format!(
            "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
             MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
        )
    }

    /// The selector as a parameter of a request; empty for all series.
    fn selector(&self) -> Result<String, String> {
        match &self.selector {
            Value::Null => Ok(String::new()),
            selector => LabelSelector::from_value(selector).map(|s| s.to_string()).map_err(|e| e.to_string()),
        }
    }
}

impl Target {
    fn average(source: &Value) -> Option<Target> {
        milli(&source["target"]["averageValue"]).map(Target::Average)
    }

    fn value(source: &Value) -> Option<Target> {
        milli(&source["target"]["value"]).map(Target::Value)
    }
}

fn resource(source: &Value) -> (Source, Option<Target>) {
    let text = |member| access::text(source, &[member]).to_owned();
    let container = Some(text("container")).filter(|container| !container.is_empty());
    let utilization = || access::int(source, &["target", "averageUtilization"]).map(Target::Utilization);
    (Source::Resource { name: text("name"), container }, Target::average(source).or_else(utilization))
}

/// A quantity in thousandths.
pub(super) fn milli(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => milli_of(text).ok(),
        Value::Number(number) => milli_of(&number.to_string()).ok(),
        _ => None,
    }
}

/// A quantity in thousandths.
pub(super) fn milli_of(text: &str) -> Result<i64, QuantityError> {
    text.parse().map(Quantity::milli)
}

/// Upstream's text for a kind that nothing serves.
pub fn no_match(group: &str, kind: &str) -> String {
    format!("no matches for kind \"{kind}\" in group \"{group}\"")
}

/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Escapes a part of a path or a parameter.
fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}
