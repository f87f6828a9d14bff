//! The HorizontalPodAutoscaler controller over the API, with a metrics API of another server.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apiserver_shim::autoscaler::AutoscalerController;
use apiserver_shim::controllers::EventRecorder;
use apiserver_shim::http::body::{Response, full};
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::aggregation::{register_group, start_extension, until};
use crate::harness::{Server, request};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const AUTOSCALERS: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// A metrics API: each of two Pods uses half a core.
async fn metrics(request: http::Request<Incoming>) -> Result<Response, Infallible> {
    let asked = request.uri().path_and_query().map_or("", |path| path.as_str());
    let value = match asked {
        "/apis/metrics.k8s.io/v1beta1" => json!({"kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": "metrics.k8s.io/v1beta1", "resources": [
                {"name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"]}]}),
        "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods?labelSelector=app%3Dweb" => {
            let item = |name: &str| {
                json!({"metadata": {"name": name, "namespace": "default"}, "timestamp": "2026-01-01T02:00:00Z",
                    "window": "15s", "containers": [{"name": "c", "usage": {"cpu": "500m", "memory": "1Mi"}}]})
            };
            json!({"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "items": [item("p0"), item("p1")]})
        }
        _ => json!({}),
    };
    let mut response = http::Response::new(full(value.to_string()));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn create(server: &Server, path: &str, object: Value) {
    let created = server.ask(&format!("POST {path}"), &object.to_string()).await;
    assert!(created.starts_with("201"), "{created}");
}

/// A Deployment of two Pods that run, and an autoscaler that wants half of their requested CPUs used.
async fn deploy(server: &Server) {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "500m"}}});
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    let spec = json!({"replicas": 2, "selector": {"matchLabels": labels}, "template": template});
    create(server, DEPLOYMENTS, json!({"metadata": {"name": "web"}, "spec": spec})).await;
    for name in ["p0", "p1"] {
        let pod = json!({"metadata": {"name": name, "labels": labels}, "spec": {"containers": [container]}});
        create(server, PODS, pod).await;
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"});
        let status = json!({"status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "conditions": [ready]}});
        let line = format!("PATCH {PODS}/{name}/status | Content-Type: application/merge-patch+json");
        let patched = server.ask(&line, &status.to_string()).await;
        assert!(patched.starts_with("200"), "{patched}");
    }
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let half = json!({"type": "Utilization", "averageUtilization": 50});
    let spec = json!({"scaleTargetRef": target, "maxReplicas": 10,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": half}}]});
    create(server, AUTOSCALERS, json!({"metadata": {"name": "web"}, "spec": spec})).await;
}

/// Follows the autoscaler until its status has this reason.
async fn autoscaler_until(server: &Server, reason: &str) -> Value {
    status_until(server, "web", reason).await
}

/// Follows an autoscaler until its status has this reason.
async fn status_until(server: &Server, name: &str, reason: &str) -> Value {
    let line = format!("GET {AUTOSCALERS}?watch=1&fieldSelector=metadata.name%3D{name}");
    let watch = server.service().respond(request(&line, "")).await;
    let mut parts = watch.into_body().into_data_stream();
    let mut text = Vec::new();
    loop {
        let part = parts.next().await.expect("an event").unwrap();
        text.extend_from_slice(&part);
        for line in text.split(|byte| *byte == b'\n') {
            let Ok(event) = serde_json::from_slice::<Value>(line) else { continue };
            if event["object"]["status"].to_string().contains(reason) {
                return event["object"]["status"].clone();
            }
        }
    }
}

#[tokio::test]
async fn a_deployment_follows_its_metrics() {
    let server = Server::start().await;
    deploy(&server).await;
    let pipeline = server.handle.pipeline().clone();
    let events = EventRecorder::start(pipeline.clone());
    let controller = AutoscalerController::new(&server.service(), pipeline, events).every(1);
    let running = tokio::spawn(controller.run());
    // Without a metrics API, the reason is told.
    let status = autoscaler_until(&server, "FailedGetResourceMetric").await;
    let why = "the server could not find the requested resource (get pods.metrics.k8s.io)";
    assert!(status.to_string().contains(why), "{status}");

    let stop = CancellationToken::new();
    let port = start_extension(&server, &stop, metrics).await;
    register_group(&server, port, "metrics.k8s.io").await;
    until(&server, "v1beta1.metrics.k8s.io", "Passed").await;
    let status = autoscaler_until(&server, "SucceededRescale").await;
    assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(2), &json!(4)));
    let current = json!({"averageUtilization": 100, "averageValue": "500m"});
    assert_eq!(status["currentMetrics"][0]["resource"], json!({"name": "cpu", "current": current}));
    let deployment = server.json(&format!("GET {DEPLOYMENTS}/web"), "").await;
    assert_eq!(deployment["spec"]["replicas"], 4);
    let managers = deployment["metadata"]["managedFields"].as_array().unwrap();
    let own =
        managers.iter().find(|manager| manager["subresource"] == "scale").expect("the scale was written");
    assert_eq!(own["manager"], "kube-controller-manager");
    running.abort();
    stop.cancel();
}

/// What is asked of an API of external metrics while it hangs.
#[derive(Clone, Default)]
struct External {
    /// Questions that hang now.
    hanging: Arc<watch::Sender<usize>>,
    /// Bytes that were taken of an answer without an end.
    sent: Arc<AtomicUsize>,
}

/// Counts a question that hangs, until it is given up.
struct Hanging(Arc<watch::Sender<usize>>);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.send_modify(|hanging| *hanging -= 1);
    }
}

impl External {
    /// Answers by the name of the metric.
    async fn answer(self, request: http::Request<Incoming>) -> Result<Response, Infallible> {
        let metric = request.uri().path().rsplit('/').next().unwrap_or("").to_owned();
        let one = |value: Value| {
            json!({"kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1",
                "items": [{"metricName": metric, "value": value, "timestamp": "2026-01-01T00:00:00Z"}]})
        };
        let text = match metric.as_str() {
            "v1beta1" => json!({"kind": "APIResourceList", "apiVersion": "v1",
                "groupVersion": "external.metrics.k8s.io/v1beta1", "resources": []})
            .to_string(),
            "good" => one(json!("40")).to_string(),
            "text" => one(json!("abc")).to_string(),
            _ if metric.starts_with("hang") => {
                self.hanging.send_modify(|hanging| *hanging += 1);
                let _hanging = Hanging(self.hanging.clone());
                std::future::pending::<()>().await;
                String::new()
            }
            "endless" => {
                let parts = futures::stream::repeat_with(move || {
                    self.sent.fetch_add(64 * 1024, Ordering::Relaxed);
                    Ok(Frame::data(Bytes::from(vec![b' '; 64 * 1024])))
                });
                return Ok(http::Response::new(StreamBody::new(parts).boxed_unsync()));
            }
            _ => {
                let mut response = http::Response::new(full("é".repeat(200_000)));
                *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                return Ok(response);
            }
        };
        let mut response = http::Response::new(full(text));
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
        Ok(response)
    }
}

/// Registers the API of external metrics, and runs the controller with this time limit for the reads of a look.
async fn autoscale(
    server: &Server,
    stop: &CancellationToken,
    external: &External,
    reads_max: Duration,
) -> tokio::task::JoinHandle<()> {
    let answers = external.clone();
    let port = start_extension(server, stop, move |request| answers.clone().answer(request)).await;
    register_group(server, port, "external.metrics.k8s.io").await;
    until(server, "v1beta1.external.metrics.k8s.io", "Passed").await;
    let pipeline = server.handle.pipeline().clone();
    let events = EventRecorder::start(pipeline.clone());
    let controller = AutoscalerController::new(&server.service(), pipeline, events).every(1);
    tokio::spawn(controller.reads_within(reads_max).run())
}

/// A Deployment of five replicas, and an autoscaler with these external metrics, which wants 5 of each for every replica.
async fn deploy_with(server: &Server, name: &str, metrics: &[String]) {
    let labels = json!({"app": name});
    let template =
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"replicas": 5, "selector": {"matchLabels": labels}, "template": template});
    create(server, DEPLOYMENTS, json!({"metadata": {"name": name}, "spec": spec})).await;
    let patch = json!({"status": {"replicas": 5}}).to_string();
    let line = format!("PATCH {DEPLOYMENTS}/{name}/status | Content-Type: application/merge-patch+json");
    assert!(server.ask(&line, &patch).await.starts_with("200"));
    let metric = |metric: &String| {
        json!({"type": "External", "external": {"metric": {"name": metric},
            "target": {"type": "AverageValue", "averageValue": "5"}}})
    };
    let spec = json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}, "maxReplicas": 10,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        "metrics": metrics.iter().map(metric).collect::<Vec<_>>()});
    create(server, AUTOSCALERS, json!({"metadata": {"name": name}, "spec": spec})).await;
}

#[tokio::test]
async fn a_hostile_metrics_api_stops_no_other_autoscaler() {
    let (server, stop, external) = (Server::start().await, CancellationToken::new(), External::default());
    let running = autoscale(&server, &stop, &external, Duration::from_secs(600)).await;

    // Twenty metrics that hang: four are asked for at once, and the look goes on until it is given up.
    let hanging: Vec<String> = (0..20).map(|number| format!("hang{number}")).collect();
    deploy_with(&server, "slow", &hanging).await;
    let mut asked = external.hanging.subscribe();
    asked.wait_for(|hanging| *hanging == 4).await.unwrap();
    deploy_with(&server, "good", &["good".to_owned()]).await;
    let status = status_until(&server, "good", "SucceededRescale").await;
    assert_eq!(status["desiredReplicas"], 8);
    assert_eq!(*asked.borrow(), 4, "the slow one is still waited for");
    let deleted = server.ask(&format!("DELETE {AUTOSCALERS}/slow"), "").await;
    assert!(deleted.starts_with("200"), "{deleted}");
    asked.wait_for(|hanging| *hanging == 0).await.unwrap();

    deploy_with(&server, "text", &["text".to_owned()]).await;
    let status = status_until(&server, "text", "FailedGetExternalMetric").await;
    let why = "unable to fetch metrics from external metrics API: cannot decode the answer: \
               quantities must match the regular expression";
    assert!(status.to_string().contains(why), "{status}");
    let deployment = server.json(&format!("GET {DEPLOYMENTS}/text"), "").await;
    assert_eq!(deployment["spec"]["replicas"], 5);

    deploy_with(&server, "endless", &["endless".to_owned()]).await;
    let status = status_until(&server, "endless", "FailedGetExternalMetric").await;
    assert!(status.to_string().contains("the answer is longer than 16777216 bytes"), "{status}");
    let sent = external.sent.load(Ordering::Relaxed);
    assert!(sent < 64 << 20, "{sent} bytes were taken");

    deploy_with(&server, "long", &["long".to_owned()]).await;
    let status = status_until(&server, "long", "FailedGetExternalMetric").await;
    let conditions = status["conditions"].to_string();
    assert!(
        conditions.contains("an error on the server (\\\"éé") && conditions.len() < 4_096,
        "{}",
        conditions.len()
    );
    running.abort();
    stop.cancel();
}

#[tokio::test]
async fn a_look_that_takes_too_long_is_told() {
    let (server, stop, external) = (Server::start().await, CancellationToken::new(), External::default());
    let running = autoscale(&server, &stop, &external, Duration::from_millis(300)).await;
    let hanging: Vec<String> = (0..20).map(|number| format!("hang{number}")).collect();
    deploy_with(&server, "slow", &hanging).await;
    let status = status_until(&server, "slow", "FailedGetExternalMetric").await;
    let why = "unable to fetch metrics from external metrics API: context deadline exceeded";
    assert!(status.to_string().contains(why), "{status}");
    // With some unknown, the others may still ask for more.
    let both = ["hang".to_owned(), "good".to_owned()];
    deploy_with(&server, "half", &both).await;
    assert_eq!(status_until(&server, "half", "SucceededRescale").await["desiredReplicas"], 8);
    running.abort();
    stop.cancel();
}
