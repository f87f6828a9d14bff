//! Why a metric cannot be had, in upstream's words for a cluster without the API that serves it.

use serde_json::Value;
use shim_model::access;

use super::Work;

/// What an installed metrics API is answered with.
const NOT_READ: &str = "this controller does not read it yet";

/// Sets `ScalingActive` by the first metric, and records the Events.
pub fn report(work: &mut Work, metrics: &[Value], namespace: &str, serves: &dyn Fn(&str) -> bool) {
    let Some(first) = metrics.first() else { return };
    let (reason, what, why) = cause(first, namespace, serves);
    let message = format!("the HPA was unable to compute the replica count: {why}");
    work.set("ScalingActive", false, reason, &message);
    let count = metrics.len();
    work.tell(true, reason, why.clone());
    work.tell(
        true,
        "FailedComputeMetricsReplicas",
        format!(
            "invalid metrics ({count} invalid out of {count}), first error is: failed to get {what}: {why}"
        ),
    );
}

/// The reason, what was wanted, and why it failed.
fn cause(metric: &Value, namespace: &str, serves: &dyn Fn(&str) -> bool) -> (&'static str, String, String) {
    let text = |path: &[&str]| access::text(metric, path).to_owned();
    let resource = |member: &str| {
        let name = text(&[member, "name"]);
        let why = match serves("v1beta1.metrics.k8s.io") {
            true => NOT_READ,
            false => "the server could not find the requested resource (get pods.metrics.k8s.io)",
        };
        let fetch = format!("unable to fetch metrics from resource metrics API: {why}");
        match access::get(metric, &[member, "target", "averageValue"]).is_some_and(|value| !value.is_null()) {
            true => format!("failed to get {name} usage: {fetch}"),
            false => {
                format!(
                    "failed to get {name} utilization: unable to get metrics for resource {name}: {fetch}"
                )
            }
        }
    };
    let custom = || match serves("v1beta1.custom.metrics.k8s.io") || serves("v1beta2.custom.metrics.k8s.io") {
        true => format!("unable to fetch metrics from custom metrics API: {NOT_READ}"),
        false => "unable to fetch metrics from custom metrics API: \
                  no custom metrics API (custom.metrics.k8s.io) registered"
            .to_owned(),
    };
    match access::text(metric, &["type"]) {
        "ContainerResource" => {
            let what = format!("{} container metric value", text(&["containerResource", "container"]));
            ("FailedGetContainerResourceMetric", what, resource("containerResource"))
        }
        "Pods" => {
            let name = text(&["pods", "metric", "name"]);
            let why = format!("unable to get metric {name}: {}", custom());
            ("FailedGetPodsMetric", "pods metric value".to_owned(), why)
        }
        "Object" => {
            let name = text(&["object", "metric", "name"]);
            let (kind, object) =
                (text(&["object", "describedObject", "kind"]), text(&["object", "describedObject", "name"]));
            let why = format!("unable to get metric {name}: {kind} on {namespace} {object}/{}", custom());
            ("FailedGetObjectMetric", "object metric value".to_owned(), why)
        }
        "External" => {
            let name = text(&["external", "metric", "name"]);
            let why = match serves("v1beta1.external.metrics.k8s.io") {
                true => NOT_READ.to_owned(),
                false => format!(
                    "the server could not find the requested resource (get {name}.external.metrics.k8s.io)"
                ),
            };
            let why = format!(
                "unable to get external metric {namespace}/{name}: \
                 unable to fetch metrics from external metrics API: {why}"
            );
            ("FailedGetExternalMetric", format!("{name} external metric value"), why)
        }
        _ => {
            let what = format!("{} resource metric value", text(&["resource", "name"]));
            ("FailedGetResourceMetric", what, resource("resource"))
        }
    }
}
