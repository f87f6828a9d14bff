//! Namespaces: status, finalizers, and that nothing of a deleted one is left.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::{Test, client::Api};

pub const TESTS: &[Test] = &[
    ("finalizer_is_applied", finalizer_is_applied),
    ("is_updated", is_updated),
    ("status_is_written", status_is_written),
    ("deletion_removes_services", deletion_removes_services),
    ("is_patched", is_patched),
];

fn one(name: &str) -> String {
    format!("/api/v1/namespaces/{name}")
}

fn is_patched(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("namespace")?;
    api.merge(&one(&namespace.name), &json!({"metadata": {"labels": {"patched": "yes"}}}))?;
    let read = api.get(&one(&namespace.name))?.ok()?;
    ensure!(read["metadata"]["labels"]["patched"] == "yes", "{read}");
    Ok(())
}

fn is_updated(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("namespace")?;
    let updated = api.change(&one(&namespace.name), |namespace| {
        namespace["metadata"]["labels"]["updated"] = json!("yes");
    })?;
    ensure!(updated["metadata"]["labels"]["updated"] == "yes", "{updated}");
    Ok(())
}

fn finalizer_is_applied(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("namespace")?;
    let finalize = format!("{}/finalize", one(&namespace.name));
    let with = |change: &dyn Fn(&mut Vec<Value>)| -> anyhow::Result<Value> {
        let mut object = api.get(&one(&namespace.name))?.ok()?;
        let finalizers = object["spec"]["finalizers"].as_array_mut();
        change(finalizers.unwrap_or(&mut Vec::new()));
        api.update(&finalize, &object)?.ok()
    };
    let has = |namespace: &Value| {
        let finalizers = namespace["spec"]["finalizers"].as_array();
        finalizers.is_some_and(|all| all.iter().any(|finalizer| finalizer == "example.com/test"))
    };
    let added = with(&|finalizers| finalizers.push(json!("example.com/test")))?;
    ensure!(has(&added), "{added}");
    let removed = with(&|finalizers| finalizers.retain(|finalizer| finalizer != "example.com/test"))?;
    ensure!(!has(&removed), "{removed}");
    Ok(())
}

fn status_is_written(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("namespace")?;
    let status = format!("{}/status", one(&namespace.name));
    let read = api.get(&status)?.ok()?;
    ensure!(read["status"]["phase"] == "Active", "{read}");
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "reason": "Test", "message": "set by a test"});
    let patch = json!({
        "metadata": {"annotations": {"patched-status": "yes"}},
        "status": {"conditions": [condition("StatusPatch")]},
    });
    let patched = api.merge(&status, &patch)?;
    ensure!(patched["metadata"]["annotations"]["patched-status"] == "yes", "{patched}");
    ensure!(patched["status"]["conditions"][0]["reason"] == "Test", "{patched}");
    let updated = api.change(&status, |namespace| {
        namespace["status"]["conditions"] = json!([condition("StatusPatch"), condition("StatusUpdate")]);
    })?;
    ensure!(updated["status"]["conditions"][1]["type"] == "StatusUpdate", "{updated}");
    Ok(())
}

fn deletion_removes_services(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("namespace")?;
    let accounts = namespace.path("v1", "serviceaccounts");
    api.wait(&accounts, "the default ServiceAccount", |list| list["items"][0].is_object())?;
    let services = namespace.path("v1", "services");
    let service =
        json!({"metadata": {"name": "some"}, "spec": {"selector": {"app": "some"}, "ports": [{"port": 80}]}});
    api.create(&services, &service)?.with(201)?;
    api.delete(&one(&namespace.name))?.ok()?;
    api.wait_gone(&one(&namespace.name))?;
    api.create("/api/v1/namespaces", &json!({"metadata": {"name": namespace.name}}))?.with(201)?;
    let left = api.list(&services)?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}
