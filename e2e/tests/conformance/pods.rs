//! What the API server does with Pods and what is about them: limits, classes, templates; and Nodes.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::{
    Test,
    client::{Api, Namespace, Patch, name, path, version},
    kinds::pod_spec,
};

pub const TESTS: &[Test] = &[
    ("limit_range_defaults", limit_range_defaults),
    ("limit_ranges_are_changed_and_deleted_together", limit_ranges_are_changed_and_deleted_together),
    ("priority_classes_are_changed", priority_classes_are_changed),
    ("deleted_runtime_class_is_refused", deleted_runtime_class_is_refused),
    ("unknown_runtime_class_is_refused", unknown_runtime_class_is_refused),
    ("runtime_class_with_overhead", runtime_class_with_overhead),
    ("runtime_class_without_overhead", runtime_class_without_overhead),
    ("templates_are_deleted_together", templates_are_deleted_together),
    ("template_is_replaced", template_is_replaced),
    ("inline_volumes", inline_volumes),
    ("node_lifecycle", node_lifecycle),
];

/// Quantities of CPU, memory and ephemeral storage; empty ones are left out.
fn amounts(cpu: &str, memory: &str, storage: &str) -> Value {
    let all = [("cpu", cpu), ("memory", memory), ("ephemeral-storage", storage)];
    let given = all.into_iter().filter(|(_, amount)| !amount.is_empty());
    Value::Object(given.map(|(resource, amount)| (resource.to_owned(), json!(amount))).collect())
}

fn create(
    api: &Api,
    namespace: &Namespace<'_>,
    name: &str,
    resources: Value,
) -> anyhow::Result<crate::client::Answer> {
    let mut spec = pod_spec();
    spec["containers"][0]["resources"] = resources;
    api.create(&namespace.path("v1", "pods"), &json!({"metadata": {"name": name}, "spec": spec}))
}

fn has_resources(pod: &Value, requests: Value, limits: Value) -> anyhow::Result<()> {
    let resources = &pod["spec"]["containers"][0]["resources"];
    ensure!(*resources == json!({"requests": requests, "limits": limits}), "{resources}");
    Ok(())
}

fn limit_range_defaults(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("limits")?;
    let ranges = namespace.path("v1", "limitranges");
    let watch = api.watch(&ranges)?;
    let most = amounts("500m", "500Mi", "500Gi");
    let limit = json!({
        "type": "Container", "min": amounts("50m", "100Mi", "100Gi"), "max": most,
        "default": most, "defaultRequest": amounts("100m", "200Mi", "200Gi"),
    });
    let range = json!({"metadata": {"name": "range"}, "spec": {"limits": [limit]}});
    api.create(&ranges, &range)?.with(201)?;
    watch.expect("ADDED")?;
    let read = api.get(&format!("{ranges}/range"))?.ok()?;
    ensure!(read["spec"]["limits"] == json!([limit]), "{read}");
    let pod = create(api, &namespace, "none", json!({}))?.with(201)?;
    has_resources(&pod, amounts("100m", "200Mi", "200Gi"), most.clone())?;
    let partial = json!({"requests": amounts("", "150Mi", "150Gi"), "limits": amounts("300m", "", "")});
    let pod = create(api, &namespace, "partial", partial)?.with(201)?;
    has_resources(&pod, amounts("300m", "150Mi", "150Gi"), amounts("300m", "500Mi", "500Gi"))?;
    let (little, much) = (amounts("10m", "50Mi", "50Gi"), amounts("600m", "600Mi", "600Gi"));
    let asks = |name: &str, requests: &Value| create(api, &namespace, name, json!({"requests": requests}));
    asks("little", &little)?.refused(403, &["minimum cpu usage per Container is 50m, but request is 10m"])?;
    let much_limits = json!({"requests": much, "limits": much});
    create(api, &namespace, "much", much_limits.clone())?
        .refused(403, &["maximum cpu usage per Container is 500m, but limit is 600m"])?;
    let least = amounts("9m", "49Mi", "49Gi");
    api.change(&format!("{ranges}/range"), |range| range["spec"]["limits"][0]["min"] = least.clone())?;
    watch.until("MODIFIED", |range| range["spec"]["limits"][0]["min"] == least)?;
    e2e::program::wait_for("the new minimum", crate::client::DEADLINE, || {
        Ok((asks("little", &little)?.code == 201).then_some(()))
    })?;
    create(api, &namespace, "much", much_limits.clone())?.refused(403, &["maximum cpu usage"])?;
    api.delete(&format!("{ranges}/range"))?.ok()?;
    watch.until("DELETED", |range| name(range) == "range")?;
    e2e::program::wait_for("no maximum", crate::client::DEADLINE, || {
        Ok((create(api, &namespace, "much", much_limits.clone())?.code == 201).then_some(()))
    })
}

fn limit_ranges_are_changed_and_deleted_together(api: &Api) -> anyhow::Result<()> {
    let (first, second) = (api.namespace("limits")?, api.namespace("limits")?);
    let label = json!({"limits": first.name});
    let limits = json!({"limits": [{"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "500m"}}]});
    for namespace in [&first, &second] {
        let range = json!({"metadata": {"name": "range", "labels": label}, "spec": limits});
        api.create(&namespace.path("v1", "limitranges"), &range)?.with(201)?;
    }
    let selector = format!("labelSelector=limits%3D{}", first.name);
    let everywhere = format!("{}?{selector}", path("v1", "", "limitranges"));
    ensure!(api.list(&everywhere)?.len() == 2, "all namespaces");
    let one = format!("{}/range", first.path("v1", "limitranges"));
    let patch = json!({"metadata": {"labels": {"patched": "yes"}}, "spec": {"limits": [{"type": "Container", "min": {"cpu": "10m"}}]}});
    let patched = api.patch(&one, Patch::Strategic, &patch)?.ok()?;
    ensure!(patched["metadata"]["labels"]["patched"] == "yes", "{patched}");
    ensure!(patched["spec"]["limits"][0]["min"]["cpu"] == "10m", "{patched}");
    api.delete(&format!("{}?labelSelector=patched%3Dyes", first.path("v1", "limitranges")))?.ok()?;
    api.wait_gone(&one)?;
    let left = api.list(&everywhere)?;
    ensure!(left.len() == 1 && left[0]["metadata"]["namespace"] == second.name, "{left:?}");
    Ok(())
}

fn priority_classes_are_changed(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("priority")?;
    let classes = path("scheduling.k8s.io/v1", "", "priorityclasses");
    let mut made = Vec::new();
    for (number, value) in [(1, 1), (2, 2)] {
        let object = json!({"metadata": {"name": format!("{}-{number}", namespace.name)}, "value": value});
        made.push(api.create(&classes, &object)?.with(201)?);
    }
    let paths = [&made[0], &made[1]].map(|class| format!("{classes}/{}", name(class)));
    let immutable = "may not be changed in an update";
    api.patch(&paths[0], Patch::Strategic, &json!({"value": 10}))?.refused(422, &["value", immutable])?;
    let mut changed = made[1].clone();
    changed["value"] = json!(20);
    api.update(&paths[1], &changed)?.refused(422, &["value", immutable])?;
    api.patch(&paths[0], Patch::Strategic, &json!({"description": "new"}))?.ok()?;
    api.change(&paths[1], |class| class["description"] = json!("new"))?;
    let listed = api.list(&classes)?;
    for (class, path) in made.iter().zip(&paths) {
        ensure!(listed.iter().any(|found| name(found) == name(class)), "{listed:?}");
        let read = api.get(path)?.ok()?;
        ensure!(read["value"] == class["value"] && read["description"] == "new", "{read}");
        ensure!(version(&read) != version(class), "{read}");
        api.delete(path)?.ok()?;
    }
    Ok(())
}

/// Makes a RuntimeClass with the name of the namespace: its path.
fn runtime_class(api: &Api, namespace: &Namespace<'_>, overhead: Option<&Value>) -> anyhow::Result<String> {
    let mut object = json!({"metadata": {"name": namespace.name}, "handler": "some-handler"});
    if let Some(overhead) = overhead {
        object["overhead"] = json!({"podFixed": overhead});
    }
    let classes = path("node.k8s.io/v1", "", "runtimeclasses");
    api.create(&classes, &object)?.with(201)?;
    Ok(format!("{classes}/{}", namespace.name))
}

fn pod_of_class(api: &Api, namespace: &Namespace<'_>, class: &str) -> anyhow::Result<crate::client::Answer> {
    let mut spec = pod_spec();
    spec["runtimeClassName"] = json!(class);
    api.create(&namespace.path("v1", "pods"), &json!({"metadata": {"name": "one"}, "spec": spec}))
}

fn unknown_runtime_class_is_refused(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("class")?;
    let class = format!("{}-unknown", namespace.name);
    pod_of_class(api, &namespace, &class)?.refused(403, &["RuntimeClass", &class, "not found"]).map(drop)
}

fn deleted_runtime_class_is_refused(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("class")?;
    let class = runtime_class(api, &namespace, None)?;
    api.delete(&class)?.ok()?;
    api.wait_gone(&class)?;
    pod_of_class(api, &namespace, &namespace.name)?.refused(403, &["RuntimeClass", "not found"]).map(drop)
}

/// The Pod of a class, when it is scheduled.
fn scheduled_of_class(api: &Api, overhead: Option<&Value>) -> anyhow::Result<Value> {
    let namespace = api.namespace("class")?;
    let class = runtime_class(api, &namespace, overhead)?;
    pod_of_class(api, &namespace, &namespace.name)?.with(201)?;
    let one = format!("{}/one", namespace.path("v1", "pods"));
    let pod = api.wait(&one, "the Pod to be scheduled", |pod| pod["spec"]["nodeName"].is_string())?;
    api.delete_with(&one, &json!({"gracePeriodSeconds": 0}))?.ok()?;
    api.delete(&class)?.ok()?;
    Ok(pod)
}

fn runtime_class_with_overhead(api: &Api) -> anyhow::Result<()> {
    let overhead = json!({"cpu": "10m", "memory": "1Mi"});
    let pod = scheduled_of_class(api, Some(&overhead))?;
    ensure!(pod["spec"]["overhead"] == overhead, "{pod}");
    Ok(())
}

fn runtime_class_without_overhead(api: &Api) -> anyhow::Result<()> {
    let pod = scheduled_of_class(api, None)?;
    ensure!(pod["spec"]["overhead"].is_null(), "{pod}");
    Ok(())
}

fn template(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"templates": label}}, "template": {"spec": pod_spec()}})
}

fn templates_are_deleted_together(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("templates")?;
    let templates = namespace.path("v1", "podtemplates");
    for name in ["one", "two", "three"] {
        api.create(&templates, &template(name, "goes"))?.with(201)?;
    }
    let selected = format!("{templates}?labelSelector=templates%3Dgoes");
    ensure!(api.list(&selected)?.len() == 3, "not all are listed");
    api.delete(&selected)?.ok()?;
    ensure!(api.list(&selected)?.is_empty(), "some are left");
    Ok(())
}

fn template_is_replaced(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("templates")?;
    let templates = namespace.path("v1", "podtemplates");
    api.create(&templates, &template("one", "stays"))?.with(201)?;
    let replaced = api.change(&format!("{templates}/one"), |template| {
        template["metadata"]["annotations"]["updated"] = json!("yes");
        template["template"]["metadata"]["labels"]["app"] = json!("other");
    })?;
    ensure!(replaced["metadata"]["annotations"]["updated"] == "yes", "{replaced}");
    ensure!(replaced["template"]["metadata"]["labels"]["app"] == "other", "{replaced}");
    Ok(())
}

fn inline_volumes(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("inline")?;
    let drivers = path("storage.k8s.io/v1", "", "csidrivers");
    let driver = json!({
        "metadata": {"name": namespace.name, "labels": {"security.kubernetes.io/csi-ephemeral-volume-profile": "restricted"}},
        "spec": {"attachRequired": false, "volumeLifecycleModes": ["Ephemeral"]},
    });
    api.create(&drivers, &driver)?.with(201)?;
    let mut spec = pod_spec();
    spec["nodeSelector"] = json!({"example.com/nowhere": "true"});
    let inline = |name: &str, read_only: bool| json!({"name": name, "csi": {"driver": namespace.name, "readOnly": read_only}});
    spec["volumes"] = json!([inline("first", true), inline("second", false)]);
    let pods = namespace.path("v1", "pods");
    let one = format!("{pods}/one");
    let created = api.create(&pods, &json!({"metadata": {"name": "one"}, "spec": spec}))?.with(201)?;
    let read = api.get(&one)?.ok()?;
    ensure!(read["metadata"]["uid"] == created["metadata"]["uid"], "{read}");
    let of_csi = |pod: &Value| json!([pod["spec"]["volumes"][0]["csi"], pod["spec"]["volumes"][1]["csi"]]);
    let expected = json!([inline("", true)["csi"], inline("", false)["csi"]]);
    ensure!(of_csi(&read) == expected, "{read}");
    ensure!(api.list(&pods)?.len() == 1, "not listed");
    let patched = api.merge(&one, &json!({"metadata": {"annotations": {"patched": "yes"}}}))?;
    ensure!(patched["metadata"]["annotations"]["patched"] == "yes", "{patched}");
    api.delete_with(&one, &json!({"gracePeriodSeconds": 0}))?.ok()?;
    api.wait_gone(&one)?;
    api.delete(&format!("{drivers}/{}", namespace.name))?.ok().map(drop)
}

fn node_lifecycle(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("node")?;
    let node = namespace.name.as_str();
    let one = format!("/api/v1/nodes/{node}");
    // A ready Node without a machine, so that nothing is placed on it.
    let condition = json!({"type": "Ready", "status": "True", "reason": "Test", "message": "set by a test"});
    let object = json!({
        "metadata": {"name": node},
        "spec": {"unschedulable": true},
        "status": {"conditions": [condition], "capacity": {"cpu": "1"}, "allocatable": {"cpu": "1"}},
    });
    let created = api.create("/api/v1/nodes", &object)?.with(201)?;
    let read = api.get(&one)?.ok()?;
    ensure!(name(&read) == node, "{read}");
    let label = |value: &str| json!({"metadata": {"labels": {"lifecycle": value}}});
    let patched = api.patch(&one, Patch::Strategic, &label("patched"))?.ok()?;
    ensure!(version(&patched) != version(&created), "{patched}");
    let found = api.list("/api/v1/nodes?labelSelector=lifecycle%3Dpatched")?;
    ensure!(found.len() == 1 && name(&found[0]) == node, "{found:?}");
    let updated = api.change(&one, |node| node["metadata"]["labels"]["lifecycle"] = json!("updated"))?;
    ensure!(updated["metadata"]["labels"]["lifecycle"] == "updated", "{updated}");
    api.delete(&one)?.ok()?;
    api.wait_gone(&one)?;
    ensure!(api.list("/api/v1/nodes?labelSelector=lifecycle%3Dupdated")?.is_empty(), "still listed");
    Ok(())
}
