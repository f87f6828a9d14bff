//! Events, in the core group and in events.k8s.io.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::{
    Test,
    client::{Api, Namespace, Patch, path},
};

pub const TESTS: &[Test] = &[
    ("collection_is_deleted", collection_is_deleted),
    ("one_is_changed", one_is_changed),
    ("core_collection_is_deleted", core_collection_is_deleted),
    ("core_one_is_changed", core_one_is_changed),
];

const GROUP: &str = "events.k8s.io/v1";

/// An Event of the group about something in the namespace.
fn grouped(namespace: &Namespace<'_>, name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"events": namespace.name}},
        "regarding": {"namespace": namespace.name, "kind": "Pod", "name": "some"},
        "eventTime": "2026-01-02T03:04:05.678901Z", "note": "it was tested",
        "action": "Test", "reason": "Tested", "type": "Normal",
        "reportingController": "conformance", "reportingInstance": "first",
    })
}

/// An Event of the core group.
fn core(namespace: &Namespace<'_>, name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"events": namespace.name}},
        "involvedObject": {"namespace": namespace.name, "kind": "Pod", "name": "some"},
        "message": "it was tested", "reason": "Tested", "type": "Normal", "source": {"component": "conformance"},
        "firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": "2026-01-02T03:04:05Z", "count": 1,
    })
}

fn deletes_together(
    api: &Api,
    group_version: &str,
    event: fn(&Namespace<'_>, &str) -> Value,
) -> anyhow::Result<()> {
    let namespace = api.namespace("events")?;
    let events = namespace.path(group_version, "events");
    for name in ["one", "two", "three"] {
        api.create(&events, &event(&namespace, name))?.with(201)?;
    }
    let selected = format!("{events}?labelSelector=events%3D{}", namespace.name);
    ensure!(api.list(&selected)?.len() == 3, "not all are listed");
    api.delete(&selected)?.ok()?;
    ensure!(api.list(&selected)?.is_empty(), "some are left");
    Ok(())
}

fn collection_is_deleted(api: &Api) -> anyhow::Result<()> {
    deletes_together(api, GROUP, grouped)
}

fn core_collection_is_deleted(api: &Api) -> anyhow::Result<()> {
    deletes_together(api, "v1", core)
}

fn one_is_changed(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("events")?;
    let events = namespace.path(GROUP, "events");
    let one = format!("{events}/one");
    let created = api.create(&events, &grouped(&namespace, "one"))?.with(201)?;
    let selector = format!("labelSelector=events%3D{}", namespace.name);
    let everywhere = format!("{}?{selector}", path(GROUP, "", "events"));
    for listed in [everywhere.clone(), format!("{events}?{selector}")] {
        ensure!(api.list(&listed)?.len() == 1, "{listed}");
    }
    let chosen = format!("{events}?fieldSelector=reportingController%3Dconformance");
    ensure!(api.list(&chosen)?.len() == 1, "by the controller");
    ensure!(
        api.list(&format!("{events}?fieldSelector=reportingController%3Dother"))?.is_empty(),
        "by another"
    );
    let read = api.get(&one)?.ok()?;
    ensure!(read == created, "{read} instead of {created}");
    let series = json!({"count": 2, "lastObservedTime": "2026-01-02T04:05:06.789012Z"});
    api.patch(&one, Patch::Strategic, &json!({"series": series}))?.ok()?;
    let read = api.get(&one)?.ok()?;
    ensure!(read["series"] == series && read["eventTime"] == created["eventTime"], "{read}");
    let later = json!({"count": 100, "lastObservedTime": "2026-01-02T05:06:07.890123Z"});
    api.change(&one, |event| event["series"] = later.clone())?;
    let read = api.get(&one)?.ok()?;
    ensure!(read["series"] == later, "{read}");
    api.delete(&one)?.ok()?;
    for listed in [everywhere, events] {
        ensure!(
            api.list(&listed)?.iter().all(|event| event["metadata"]["uid"] != read["metadata"]["uid"]),
            "{listed}"
        );
    }
    Ok(())
}

fn core_one_is_changed(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("events")?;
    let events = namespace.path("v1", "events");
    let one = format!("{events}/one");
    api.create(&events, &core(&namespace, "one"))?.with(201)?;
    let everywhere = format!("{}?labelSelector=events%3D{}", path("v1", "", "events"), namespace.name);
    ensure!(api.list(&everywhere)?.len() == 1, "not in the list of all namespaces");
    api.patch(&one, Patch::Strategic, &json!({"message": "it was tested again"}))?.ok()?;
    let read = api.get(&one)?.ok()?;
    ensure!(read["message"] == "it was tested again", "{read}");
    let series = json!({"count": 100, "lastObservedTime": "2026-01-02T05:06:07.000000Z"});
    api.change(&one, |event| event["series"] = series.clone())?;
    let read = api.get(&one)?.ok()?;
    ensure!(read["series"] == series, "{read}");
    api.delete(&one)?.ok()?;
    ensure!(api.list(&everywhere)?.is_empty(), "still in the list of all namespaces");
    Ok(())
}
