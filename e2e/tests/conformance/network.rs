//! Services, Endpoints, EndpointSlices and ServiceCIDRs as objects.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::{
    Test,
    client::{Api, Namespace, Patch, name, path},
    operations::resource,
};

pub const TESTS: &[Test] = &[
    ("service_of_the_server", service_of_the_server),
    ("endpoints_of_the_server", endpoints_of_the_server),
    ("service_of_the_server_among_all", service_of_the_server_among_all),
    ("service_status_lifecycle", service_status_lifecycle),
    ("services_are_deleted_together", services_are_deleted_together),
    ("endpoints_lifecycle", endpoints_lifecycle),
    ("endpoints_of_a_service_without_pods", endpoints_of_a_service_without_pods),
    ("endpoint_slice_of_a_service_without_pods", endpoint_slice_of_a_service_without_pods),
    ("endpoints_are_mirrored", endpoints_are_mirrored),
    ("default_service_cidr", default_service_cidr),
];

const SLICES: &str = "discovery.k8s.io/v1";

fn service_of_the_server(api: &Api) -> anyhow::Result<()> {
    let service = api.get("/api/v1/namespaces/default/services/kubernetes")?.ok()?;
    ensure!(service["spec"]["ports"][0]["port"] == 443, "{service}");
    Ok(())
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn endpoints_of_the_server(api: &Api) -> anyhow::Result<()> {
    let endpoints = api.get("/api/v1/namespaces/default/endpoints/kubernetes")?.ok()?;
    let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for subset in elements(&endpoints["subsets"]) {
        addresses.extend(elements(&subset["addresses"]).map(|address| address["ip"].to_string()));
        ports.extend(elements(&subset["ports"]).map(|port| port["port"].to_string()));
    }
    ensure!(!addresses.is_empty() && !ports.is_empty(), "{endpoints}");
    let selector = "labelSelector=kubernetes.io/service-name%3Dkubernetes";
    let slices = api.list(&format!("{}?{selector}", path(SLICES, "default", "endpointslices")))?;
    let (mut in_slices, mut slice_ports) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices.iter().filter(|slice| slice["addressType"] == "IPv4") {
        let all = elements(&slice["endpoints"]).flat_map(|endpoint| elements(&endpoint["addresses"]));
        in_slices.extend(all.map(ToString::to_string));
        slice_ports.extend(elements(&slice["ports"]).map(|port| port["port"].to_string()));
    }
    ensure!(in_slices == addresses && slice_ports == ports, "{endpoints} and {slices:?}");
    Ok(())
}

fn service_of_the_server_among_all(api: &Api) -> anyhow::Result<()> {
    let all = api.list("/api/v1/services")?;
    let ours =
        |service: &Value| name(service) == "kubernetes" && service["metadata"]["namespace"] == "default";
    ensure!(all.iter().any(ours), "{all:?}");
    Ok(())
}

fn service_status_lifecycle(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("service")?;
    let services = namespace.path("v1", "services");
    let (one, status) = (format!("{services}/one"), format!("{services}/one/status"));
    let watch = api.watch(&services)?;
    let spec = json!({
        "type": "LoadBalancer", "loadBalancerClass": "example.com/of-nobody",
        "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
    });
    api.create(&services, &json!({"metadata": {"name": "one"}, "spec": spec}))?.with(201)?;
    watch.expect("ADDED")?;
    let read = api.get(&status)?.ok()?;
    ensure!(read["status"] == json!({"loadBalancer": {}}), "{read}");
    let balancer = json!({"ingress": [{"ip": "203.0.113.1", "ipMode": "VIP"}]});
    let patch =
        json!({"metadata": {"annotations": {"patched": "yes"}}, "status": {"loadBalancer": balancer}});
    api.merge(&status, &patch)?;
    watch.until("MODIFIED", |service| {
        service["metadata"]["annotations"]["patched"] == "yes"
            && service["status"]["loadBalancer"] == balancer
    })?;
    let condition = json!({
        "type": "StatusUpdate", "status": "True", "reason": "Test", "message": "set by a test",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    });
    api.change(&status, |service| service["status"]["conditions"] = json!([condition]))?;
    watch.until("MODIFIED", |service| service["status"]["conditions"][0]["type"] == "StatusUpdate")?;
    let patch = json!({"metadata": {"labels": {"patched": "yes"}}});
    api.patch(&one, Patch::Strategic, &patch)?.ok()?;
    watch.until("MODIFIED", |service| service["metadata"]["labels"]["patched"] == "yes")?;
    api.delete(&one)?.ok()?;
    watch.until("DELETED", |service| name(service) == "one").map(drop)
}

fn services_are_deleted_together(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("service")?;
    let services = namespace.path("v1", "services");
    for (name, label) in [("one", "goes"), ("two", "goes"), ("three", "stays")] {
        let object =
            json!({"metadata": {"name": name, "labels": {"this": label}}, "spec": {"ports": [{"port": 80}]}});
        api.create(&services, &object)?.with(201)?;
    }
    ensure!(api.list(&services)?.len() == 3, "not all are listed");
    api.delete(&format!("{services}?labelSelector=this%3Dgoes"))?.ok()?;
    let left = api.list(&services)?;
    ensure!(left.len() == 1 && name(&left[0]) == "three", "{left:?}");
    Ok(())
}

/// Endpoints with one address.
fn endpoints(address: &str, port: u32) -> Value {
    json!([{"addresses": [{"ip": address}], "ports": [{"name": "http", "port": port, "protocol": "TCP"}]}])
}

fn endpoints_lifecycle(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("endpoints")?;
    let collection = namespace.path("v1", "endpoints");
    let one = format!("{collection}/one");
    let watch = api.watch(&format!("{collection}?labelSelector=lifecycle%3Dtested"))?;
    let object = json!({"metadata": {"name": "one", "labels": {"lifecycle": "tested"}}, "subsets": endpoints("192.0.2.24", 80)});
    api.create(&collection, &object)?.with(201)?;
    watch.expect("ADDED")?;
    let everywhere =
        api.list(&format!("{}?labelSelector=lifecycle%3Dtested", path("v1", "", "endpoints")))?;
    ensure!(
        everywhere.iter().any(|found| found["metadata"]["namespace"] == namespace.name),
        "{everywhere:?}"
    );
    api.change(&one, |object| object["metadata"]["labels"]["updated"] = json!("yes"))?;
    watch.until("MODIFIED", |object| object["metadata"]["labels"]["updated"] == "yes")?;
    let patch = json!({"metadata": {"labels": {"patched": "yes"}}, "subsets": endpoints("192.0.2.25", 8080)});
    api.patch(&one, Patch::Strategic, &patch)?.ok()?;
    watch.until("MODIFIED", |object| object["metadata"]["labels"]["patched"] == "yes")?;
    let read = api.get(&one)?.ok()?;
    ensure!(read["subsets"][0]["addresses"][0]["ip"] == "192.0.2.25", "{read}");
    ensure!(read["subsets"][0]["ports"][0]["port"] == 8080, "{read}");
    api.delete(&format!("{collection}?labelSelector=lifecycle%3Dtested"))?.ok()?;
    watch.until("DELETED", |object| name(object) == "one")?;
    api.get(&one)?.refused(404, &["not found"]).map(drop)
}

/// A Service that selects no Pod, and its path.
fn service_without_pods(api: &Api, namespace: &Namespace<'_>) -> anyhow::Result<String> {
    let services = namespace.path("v1", "services");
    let spec = json!({"selector": {"app": "nothing"}, "ports": [{"name": "http", "port": 80}]});
    api.create(&services, &json!({"metadata": {"name": "empty"}, "spec": spec}))?.with(201)?;
    Ok(format!("{services}/empty"))
}

fn endpoints_of_a_service_without_pods(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("endpoints")?;
    let service = service_without_pods(api, &namespace)?;
    let collection = namespace.path("v1", "endpoints");
    let found = api.wait(&collection, "Endpoints", |list| list["items"][0].is_object())?;
    let found = &found["items"][0];
    ensure!(name(found) == "empty" && elements(&found["subsets"]).next().is_none(), "{found}");
    api.delete(&service)?.ok()?;
    api.wait_gone(&format!("{collection}/empty"))
}

fn slices_of(namespace: &Namespace<'_>, service: &str) -> String {
    format!(
        "{}?labelSelector=kubernetes.io/service-name%3D{service}",
        namespace.path(SLICES, "endpointslices")
    )
}

fn endpoint_slice_of_a_service_without_pods(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("slices")?;
    let service = service_without_pods(api, &namespace)?;
    let slices = slices_of(&namespace, "empty");
    let found = api.wait(&slices, "an EndpointSlice", |list| list["items"][0].is_object())?;
    let slice = &found["items"][0];
    let manager = &slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
    ensure!(manager == "endpointslice-controller.k8s.io", "{slice}");
    ensure!(elements(&slice["endpoints"]).next().is_none(), "{slice}");
    api.delete(&service)?.ok()?;
    api.wait(&slices, "no EndpointSlice", |list| list["items"].as_array().is_some_and(Vec::is_empty))
        .map(drop)
}

fn endpoints_are_mirrored(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("mirror")?;
    let service = json!({"metadata": {"name": "custom"}, "spec": {"ports": [{"name": "http", "port": 80}]}});
    api.create(&namespace.path("v1", "services"), &service)?.with(201)?;
    let collection = namespace.path("v1", "endpoints");
    let slices = slices_of(&namespace, "custom");
    let mirrored = |address: &str| {
        api.wait(&slices, "the mirrored address", |list| {
            let items = list["items"].as_array().map(Vec::as_slice);
            let Some([slice]) = items else { return false };
            let ports: Vec<&Value> = elements(&slice["ports"]).map(|port| &port["port"]).collect();
            let addresses: Vec<&Value> =
                elements(&slice["endpoints"]).flat_map(|endpoint| elements(&endpoint["addresses"])).collect();
            ports == [&json!(80)] && addresses == [&json!(address)]
        })
    };
    let object = json!({"metadata": {"name": "custom"}, "subsets": endpoints("192.0.2.3", 80)});
    api.create(&collection, &object)?.with(201)?;
    mirrored("192.0.2.3")?;
    let one = format!("{collection}/custom");
    api.change(&one, |object| object["subsets"] = endpoints("192.0.2.4", 80))?;
    mirrored("192.0.2.4")?;
    api.delete(&one)?.ok()?;
    api.wait(&slices, "no EndpointSlice", |list| list["items"].as_array().is_some_and(Vec::is_empty))
        .map(drop)
}

fn default_service_cidr(api: &Api) -> anyhow::Result<()> {
    let group_version = "networking.k8s.io/v1";
    resource(api, group_version, "servicecidrs")?;
    resource(api, group_version, "servicecidrs/status")?;
    let collection = path(group_version, "", "servicecidrs");
    let one = api.get(&format!("{collection}/kubernetes"))?.ok()?;
    let status = api.get(&format!("{collection}/kubernetes/status"))?.ok()?;
    ensure!(status["kind"] == "ServiceCIDR", "{status}");
    ensure!(status["metadata"]["uid"] == one["metadata"]["uid"], "{status} and {one}");
    ensure!(one["spec"]["cidrs"][0].is_string(), "{one}");
    let all = api.list(&collection)?;
    all.iter().find(|found| name(found) == "kubernetes").context("not in the list")?;
    api.watch(&collection)?.until("ADDED", |found| name(found) == "kubernetes").map(drop)
}
