//! The HorizontalPodAutoscaler controller over the API, with a metrics API of another server.

use std::convert::Infallible;

use apiserver_shim::autoscaler::AutoscalerController;
use apiserver_shim::controllers::EventRecorder;
use apiserver_shim::http::body::{Response, full};
use futures::StreamExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
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
    let line = format!("GET {AUTOSCALERS}?watch=1");
    let watch = server.service().respond(request(&line, "")).await;
    let mut parts = http_body_util::BodyExt::into_data_stream(watch.into_body());
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
