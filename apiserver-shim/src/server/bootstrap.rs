//! What every cluster has from its first moment: the system's namespaces, its priority classes, and the Service by
//! which Pods reach this API server. Run at every start; writes only what is not there or no longer true.

use std::net::IpAddr;

use serde_json::{Value, json};
use shim_core::controllers::served;
use shim_model::resource::GroupResource;
use shim_model::status::Status;

use crate::pipeline::{Call, Pipeline};
use crate::storage::registry::Registry;

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];
/// The first address of the Service network is the API server's.
const API_SERVER_IP: &str = "10.96.0.1";

/// Writes the first objects.
pub async fn run(pipeline: &Pipeline, advertise: IpAddr, port: u16) -> Result<(), Status> {
    let registry = pipeline.registry();
    for name in NAMESPACES {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        ensure(pipeline, served("", "namespaces"), "", object).await?;
    }
    for (name, value, what) in [
        ("system-cluster-critical", 2_000_000_000, "a cluster"),
        ("system-node-critical", 2_000_001_000, "a node"),
    ] {
        let classes = served("scheduling.k8s.io", "priorityclasses");
        let description = format!("For Pods that {what} cannot do without.");
        let object = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name, "generation": 1}, "value": value, "description": description,
            "preemptionPolicy": "PreemptLowerPriority"});
        if registry.peek(&classes, "", name).is_none() {
            registry.create_raw(&classes, object).await?;
        }
    }
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"clusterIP": API_SERVER_IP, "type": "ClusterIP", "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]}});
    ensure(pipeline, served("", "services"), "default", service).await?;
    endpoints(registry, advertise, port).await
}

async fn ensure(
    pipeline: &Pipeline,
    resource: GroupResource,
    namespace: &str,
    object: Value,
) -> Result<(), Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or("");
    if pipeline.registry().peek(&resource, namespace, name).is_some() {
        return Ok(());
    }
    match pipeline
        .create(&pipeline.registry().builtin(&resource), namespace, object, &Call::internal("kube-apiserver"))
        .await
    {
        Err(status) if status.reason != "AlreadyExists" => Err(status),
        _ => Ok(()),
    }
}

/// Points the `kubernetes` Service at this server.
async fn endpoints(registry: &Registry, advertise: IpAddr, port: u16) -> Result<(), Status> {
    let family = if advertise.is_ipv6() { "IPv6" } else { "IPv4" };
    let (slices, legacy) = (served("discovery.k8s.io", "endpointslices"), served("", "endpoints"));
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
        "metadata": {"name": "kubernetes", "namespace": "default", "generation": 1,
            "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "endpoints": [{"addresses": [advertise.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}]});
    let classic = json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": advertise.to_string()}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]});
    for (resource, object, members) in
        [(slices, slice, &["addressType", "endpoints", "ports"][..]), (legacy, classic, &["subsets"][..])]
    {
        if registry.peek(&resource, "default", "kubernetes").is_none() {
            registry.create_raw(&resource, object).await?;
            continue;
        }
        registry
            .update_with(&resource, "default", "kubernetes", |found| {
                for member in members {
                    found[*member] = object[*member].clone();
                }
                Ok(())
            })
            .await?;
    }
    Ok(())
}
