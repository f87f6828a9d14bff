//! ResourceQuotas: what is counted, what is refused, scopes, and their own lifecycle.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::{
    Test,
    client::{Api, Namespace, Patch, path},
    kinds::pod_spec,
};

pub const TESTS: &[Test] = &[
    ("status_is_written", status_is_written),
    ("is_updated_and_deleted", is_updated_and_deleted),
    ("counts_config_maps", counts_config_maps),
    ("counts_pods", counts_pods),
    ("counts_replica_sets", counts_replica_sets),
    ("counts_replication_controllers", counts_replication_controllers),
    ("counts_secrets", counts_secrets),
    ("counts_services", counts_services),
    ("counts_itself", counts_itself),
    ("lifecycle", lifecycle),
    ("best_effort_scopes", best_effort_scopes),
    ("terminating_scopes", terminating_scopes),
];

/// Creates a quota and waits until nothing but `used` is counted.
fn quota(api: &Api, namespace: &Namespace<'_>, name: &str, spec: Value, used: &Value) -> anyhow::Result<()> {
    let quotas = namespace.path("v1", "resourcequotas");
    api.create(&quotas, &json!({"metadata": {"name": name}, "spec": spec}))?.with(201)?;
    counted(api, namespace, name, used)
}

/// Waits until the quota's status counts these amounts (and maybe others).
fn counted(api: &Api, namespace: &Namespace<'_>, name: &str, used: &Value) -> anyhow::Result<()> {
    let one = format!("{}/{name}", namespace.path("v1", "resourcequotas"));
    api.wait(&one, &format!("the quota to count {used}"), |quota| {
        let status = &quota["status"];
        let mut amounts = used.as_object().into_iter().flatten();
        status["hard"] == quota["spec"]["hard"] && amounts.all(|(key, amount)| &status["used"][key] == amount)
    })
    .map(drop)
}

/// A Pod that no node can run.
fn pod(name: &str, resources: &Value) -> Value {
    let mut spec = pod_spec();
    spec["nodeSelector"] = json!({"example.com/nowhere": "true"});
    spec["containers"][0]["resources"] = resources.clone();
    json!({"metadata": {"name": name}, "spec": spec})
}

fn delete_pod(api: &Api, pods: &str, name: &str) -> anyhow::Result<()> {
    let one = format!("{pods}/{name}");
    api.delete_with(&one, &json!({"gracePeriodSeconds": 0}))?.ok()?;
    api.wait_gone(&one)
}

fn counts_itself(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("quota")?;
    let spec = json!({"hard": {"resourcequotas": "1", "pods": "5", "count/replicasets.apps": "5"}});
    quota(api, &namespace, "all", spec, &json!({"resourcequotas": "1"}))
}

/// One object of a kind is counted, another is refused because of the quota, and its deletion is counted.
fn counts(
    api: &Api,
    group_version: &str,
    plural: &str,
    resource: &str,
    object: &Value,
) -> anyhow::Result<()> {
    let namespace = api.namespace("quota")?;
    let collection = namespace.path(group_version, plural);
    // Every namespace gets a ConfigMap of its own.
    if plural == "configmaps" {
        api.wait(&collection, "the root certificates", |list| list["items"][0].is_object())?;
    }
    let before = api.list(&collection)?.len();
    let amount = |count: usize| json!({resource: count.to_string()});
    quota(api, &namespace, "count", json!({"hard": amount(before + 1)}), &amount(before))?;
    let named = |name: &str| {
        let mut object = object.clone();
        object["metadata"] = json!({"name": name});
        object
    };
    api.create(&collection, &named("first"))?.with(201)?;
    counted(api, &namespace, "count", &amount(before + 1))?;
    let second = api.create(&collection, &named("second"))?;
    second.refused(403, &["exceeded quota: count", resource])?;
    api.delete(&format!("{collection}/first"))?.ok()?;
    counted(api, &namespace, "count", &amount(before))
}

fn counts_config_maps(api: &Api) -> anyhow::Result<()> {
    counts(api, "v1", "configmaps", "configmaps", &json!({"data": {"key": "value"}}))
}

fn counts_secrets(api: &Api) -> anyhow::Result<()> {
    counts(api, "v1", "secrets", "secrets", &json!({"data": {"key": "dmFsdWU="}}))
}

fn counts_replica_sets(api: &Api) -> anyhow::Result<()> {
    let template = json!({"metadata": {"labels": {"app": "some"}}, "spec": always()});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "some"}}, "template": template});
    counts(api, "apps/v1", "replicasets", "count/replicasets.apps", &json!({"spec": spec}))
}

fn counts_replication_controllers(api: &Api) -> anyhow::Result<()> {
    let template = json!({"metadata": {"labels": {"app": "some"}}, "spec": always()});
    let spec = json!({"replicas": 0, "selector": {"app": "some"}, "template": template});
    counts(api, "v1", "replicationcontrollers", "replicationcontrollers", &json!({"spec": spec}))
}

fn always() -> Value {
    let mut spec = pod_spec();
    spec["restartPolicy"] = json!("Always");
    spec
}

fn counts_services(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("quota")?;
    let services = namespace.path("v1", "services");
    let hard = json!({"services": "10", "services.nodeports": "1", "services.loadbalancers": "1"});
    let none = json!({"services": "0", "services.nodeports": "0", "services.loadbalancers": "0"});
    quota(api, &namespace, "services", json!({"hard": hard}), &none)?;
    let service = |name: &str, kind: &str| json!({"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}});
    api.create(&services, &service("inside", "ClusterIP"))?.with(201)?;
    api.create(&services, &service("outside", "NodePort"))?.with(201)?;
    let balanced = api.create(&services, &service("balanced", "LoadBalancer"))?;
    balanced.refused(403, &["exceeded quota: services", "services.nodeports"])?;
    counted(api, &namespace, "services", &json!({"services": "2", "services.nodeports": "1"}))?;
    for name in ["inside", "outside"] {
        api.delete(&format!("{services}/{name}"))?.ok()?;
    }
    counted(api, &namespace, "services", &none)
}

fn counts_pods(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("quota")?;
    let pods = namespace.path("v1", "pods");
    let device = "example.com/device";
    let hard = json!({
        "pods": "5", "cpu": "1", "memory": "500Mi", "ephemeral-storage": "50Gi", format!("requests.{device}"): "3",
    });
    let none = json!({"pods": "0", "cpu": "0", "memory": "0"});
    quota(api, &namespace, "pods", json!({"hard": hard}), &none)?;
    let asks = |cpu: &str, memory: &str, storage: &str, devices: Option<&str>| {
        let mut requests = json!({"cpu": cpu, "memory": memory, "ephemeral-storage": storage});
        let mut limits = json!({});
        if let Some(devices) = devices {
            requests[device] = json!(devices);
            limits[device] = json!(devices);
        }
        json!({"requests": requests, "limits": limits})
    };
    api.create(&pods, &pod("fits", &asks("500m", "252Mi", "30Gi", Some("2"))))?.with(201)?;
    let used = json!({
        "pods": "1", "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", format!("requests.{device}"): "2",
    });
    counted(api, &namespace, "pods", &used)?;
    let cpu = api.create(&pods, &pod("cpu", &asks("600m", "100Mi", "1Gi", None)))?;
    cpu.refused(403, &["exceeded quota: pods", "cpu"])?;
    let devices = api.create(&pods, &pod("devices", &asks("500m", "100Mi", "10Gi", Some("2"))))?;
    devices.refused(403, &["exceeded quota: pods", device])?;
    let shrunk = api.try_change(&format!("{pods}/fits"), |pod| {
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("100m");
    })?;
    shrunk.refused(422, &["fits"])?;
    counted(api, &namespace, "pods", &used)?;
    delete_pod(api, &pods, "fits")?;
    counted(api, &namespace, "pods", &none)
}

fn is_updated_and_deleted(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("quota")?;
    let hard = |cpu: &str, memory: &str| json!({"hard": {"cpu": cpu, "memory": memory}});
    quota(api, &namespace, "one", hard("1", "500Mi"), &json!({}))?;
    let one = format!("{}/one", namespace.path("v1", "resourcequotas"));
    let read = api.get(&one)?.ok()?;
    ensure!(read["spec"] == hard("1", "500Mi"), "{read}");
    let updated = api.change(&one, |quota| quota["spec"] = hard("2", "1Gi"))?;
    ensure!(updated["spec"] == hard("2", "1Gi"), "{updated}");
    let read = api.get(&one)?.ok()?;
    ensure!(read["spec"] == hard("2", "1Gi"), "{read}");
    api.delete(&one)?.ok()?;
    api.get(&one)?.refused(404, &["resourcequotas \"one\" not found"]).map(drop)
}

fn lifecycle(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("quota")?;
    let quotas = namespace.path("v1", "resourcequotas");
    let label = json!({"quota-of": namespace.name});
    let object = json!({"metadata": {"name": "one", "labels": label}, "spec": {"hard": {"cpu": "1", "memory": "500Mi"}}});
    api.create(&quotas, &object)?.with(201)?;
    api.get(&format!("{quotas}/one"))?.ok()?;
    let selector = format!("labelSelector=quota-of%3D{}", namespace.name);
    let everywhere = format!("{}?{selector}", path("v1", "", "resourcequotas"));
    ensure!(api.list(&everywhere)?.len() == 1, "not in the list of all namespaces");
    let patch = json!({"metadata": {"labels": {"patched": "yes"}}, "spec": {"hard": {"memory": "750Mi"}}});
    let patched = api.patch(&format!("{quotas}/one"), Patch::Strategic, &patch)?.ok()?;
    ensure!(patched["metadata"]["labels"]["patched"] == "yes", "{patched}");
    ensure!(patched["spec"]["hard"] == json!({"cpu": "1", "memory": "750Mi"}), "{patched}");
    api.delete(&format!("{quotas}?{selector}"))?.ok()?;
    ensure!(api.list(&everywhere)?.is_empty(), "still in the list of all namespaces");
    Ok(())
}

fn status_is_written(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("quota")?;
    let quotas = namespace.path("v1", "resourcequotas");
    let watch = api.watch(&quotas)?;
    let first = json!({"cpu": "500m", "memory": "500Mi"});
    api.create(&quotas, &json!({"metadata": {"name": "one"}, "spec": {"hard": first}}))?.with(201)?;
    let one = format!("{quotas}/one");
    let status = format!("{one}/status");
    let updated = api.change(&status, |quota| quota["status"] = json!({"hard": first}))?;
    ensure!(updated["status"]["hard"] == first, "{updated}");
    watch.until("MODIFIED", |quota| quota["status"]["hard"] == first)?;
    let second = json!({"cpu": "1", "memory": "1Gi"});
    api.patch(&one, Patch::Strategic, &json!({"spec": {"hard": second}}))?.ok()?;
    api.patch(&status, Patch::Strategic, &json!({"status": {"hard": second}}))?.ok()?;
    watch.until("MODIFIED", |quota| quota["status"]["hard"] == second)?;
    let read = api.get(&status)?.ok()?;
    ensure!(read["status"]["hard"] == second, "{read}");
    // A write of the status does not change the spec, whatever it says.
    let third = json!({"cpu": "2", "memory": "2Gi"});
    let patched = api.patch(&status, Patch::Strategic, &json!({"status": {"hard": third}}))?.ok()?;
    ensure!(patched["status"]["hard"] == third && patched["spec"]["hard"] == second, "{patched}");
    watch.until("MODIFIED", |quota| quota["status"]["hard"] == third).map(drop)
}

/// A Pod within the scopes of one quota of two is counted there and not by the other.
fn counted_by_one(
    api: &Api,
    namespace: &Namespace<'_>,
    pod: &Value,
    [by, not_by]: [&str; 2],
    amounts: [&Value; 2],
) -> anyhow::Result<()> {
    let pods = namespace.path("v1", "pods");
    api.create(&pods, pod)?.with(201)?;
    counted(api, namespace, by, amounts[1])?;
    // The other has had the same time; what is counted wrongly would be so by now.
    std::thread::sleep(Duration::from_millis(300));
    counted(api, namespace, not_by, amounts[0])?;
    delete_pod(api, &pods, pod["metadata"]["name"].as_str().unwrap_or_default())?;
    counted(api, namespace, by, amounts[0])
}

fn best_effort_scopes(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("quota")?;
    let (none, one) = (json!({"pods": "0"}), json!({"pods": "1"}));
    let scoped = |scope: &str| json!({"hard": {"pods": "5"}, "scopes": [scope]});
    quota(api, &namespace, "best", scoped("BestEffort"), &none)?;
    quota(api, &namespace, "other", scoped("NotBestEffort"), &none)?;
    let best = pod("best", &json!({}));
    counted_by_one(api, &namespace, &best, ["best", "other"], [&none, &one])?;
    let resources =
        json!({"requests": {"cpu": "500m", "memory": "200Mi"}, "limits": {"cpu": "1", "memory": "400Mi"}});
    counted_by_one(api, &namespace, &pod("other", &resources), ["other", "best"], [&none, &one])
}

fn terminating_scopes(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("quota")?;
    let amounts = |pods: &str, requests: [&str; 2], limits: [&str; 2]| {
        json!({
            "pods": pods, "requests.cpu": requests[0], "requests.memory": requests[1],
            "limits.cpu": limits[0], "limits.memory": limits[1],
        })
    };
    let none = amounts("0", ["0", "0"], ["0", "0"]);
    let one = amounts("1", ["500m", "200Mi"], ["1", "400Mi"]);
    let hard = amounts("5", ["1", "500Mi"], ["2", "1Gi"]);
    quota(api, &namespace, "ends", json!({"hard": hard, "scopes": ["Terminating"]}), &none)?;
    quota(api, &namespace, "stays", json!({"hard": hard, "scopes": ["NotTerminating"]}), &none)?;
    let resources =
        json!({"requests": {"cpu": "500m", "memory": "200Mi"}, "limits": {"cpu": "1", "memory": "400Mi"}});
    counted_by_one(api, &namespace, &pod("stays", &resources), ["stays", "ends"], [&none, &one])?;
    let mut ends = pod("ends", &resources);
    ends["spec"]["activeDeadlineSeconds"] = json!(3600);
    counted_by_one(api, &namespace, &ends, ["ends", "stays"], [&none, &one])
}
