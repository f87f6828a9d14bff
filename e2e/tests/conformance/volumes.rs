//! PersistentVolumes and their claims, and the status of VolumeAttachments.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::{
    Test,
    client::{Api, Namespace, Patch, name, path},
};

pub const TESTS: &[Test] = &[
    ("volume_and_claim_lifecycle", volume_and_claim_lifecycle),
    ("volume_and_claim_status", volume_and_claim_status),
    ("attachment_status", attachment_status),
];

/// The paths of a volume and of a claim that may bind to it.
struct Pair {
    volumes: String,
    volume: String,
    claims: String,
    claim: String,
}

/// Makes a volume and a claim for each other, of a class that no provisioner serves.
fn pair(api: &Api, namespace: &Namespace<'_>, label: &str) -> anyhow::Result<Pair> {
    let volumes = path("v1", "", "persistentvolumes");
    let claims = namespace.path("v1", "persistentvolumeclaims");
    let own = format!("{}-{label}", namespace.name);
    let labels = json!({"pair": own});
    let volume = json!({
        "metadata": {"name": own, "labels": labels},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": own,
            "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": "example.com", "volumeHandle": own},
        },
    });
    api.create(&volumes, &volume)?.with(201)?;
    let claim = json!({
        "metadata": {"name": own, "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": own, "resources": {"requests": {"storage": "1Gi"}}},
    });
    api.create(&claims, &claim)?.with(201)?;
    Ok(Pair { volume: format!("{volumes}/{own}"), claim: format!("{claims}/{own}"), volumes, claims })
}

fn volume_and_claim_lifecycle(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("volume")?;
    let first = pair(api, &namespace, "first")?;
    let selector = format!("labelSelector=pair%3D{}-first", namespace.name);
    ensure!(api.list(&format!("{}?{selector}", first.volumes))?.len() == 1, "volumes");
    ensure!(api.list(&first.claims)?.len() == 1, "claims");
    for one in [&first.volume, &first.claim] {
        let before = api.get(one)?.ok()?;
        let patch = json!({"metadata": {"labels": {"patched": "yes"}}});
        let patched = api.patch(one, Patch::Strategic, &patch)?.ok()?;
        ensure!(patched["metadata"]["labels"]["patched"] == "yes", "{patched}");
        ensure!(patched["metadata"]["uid"] == before["metadata"]["uid"], "{patched}");
    }
    for one in [&first.claim, &first.volume] {
        api.delete(one)?.ok()?;
        api.wait_gone(one)?;
    }
    let second = pair(api, &namespace, "second")?;
    for one in [&second.volume, &second.claim] {
        let updated = api.change(one, |object| object["metadata"]["labels"]["updated"] = json!("yes"))?;
        ensure!(updated["metadata"]["labels"]["updated"] == "yes", "{updated}");
    }
    let selector = format!("labelSelector=pair%3D{}-second", namespace.name);
    let everywhere = format!("{}?{selector}", path("v1", "", "persistentvolumeclaims"));
    ensure!(api.list(&everywhere)?.len() == 1, "claims of all namespaces");
    api.delete(&format!("{}?{selector}", second.claims))?.ok()?;
    api.wait_gone(&second.claim)?;
    api.delete(&format!("{}?{selector}", second.volumes))?.ok()?;
    api.wait_gone(&second.volume)
}

fn volume_and_claim_status(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("volume")?;
    let pair = pair(api, &namespace, "only")?;
    let [claim, volume] = [&pair.claim, &pair.volume].map(|one| format!("{one}/status"));
    let read = api.get(&claim)?.ok()?;
    ensure!(["Pending", "Bound"].iter().any(|phase| read["status"]["phase"] == *phase), "{read}");
    let read = api.get(&volume)?.ok()?;
    ensure!(
        ["Pending", "Available", "Bound"].iter().any(|phase| read["status"]["phase"] == *phase),
        "{read}"
    );
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "reason": "Test", "message": "set by a test"});
    let has = |claim: &Value, kind: &str| {
        let mut conditions = claim["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|condition| condition["type"] == kind && condition["message"] == "set by a test")
    };
    let patched = api.merge(&claim, &json!({"status": {"conditions": [condition("StatusPatched")]}}))?;
    ensure!(has(&patched, "StatusPatched"), "{patched}");
    let message = |text: &str| json!({"status": {"message": text, "reason": "Test"}});
    let patched = api.merge(&volume, &message("patched"))?;
    ensure!(patched["status"]["message"] == "patched" && patched["status"]["reason"] == "Test", "{patched}");
    let updated = api.change(&claim, |claim| {
        claim["status"]["conditions"] = json!([condition("StatusPatched"), condition("StatusUpdated")]);
    })?;
    ensure!(has(&updated, "StatusUpdated"), "{updated}");
    let updated = api.change(&volume, |volume| volume["status"]["message"] = json!("updated"))?;
    ensure!(updated["status"]["message"] == "updated", "{updated}");
    for one in [&pair.claim, &pair.volume] {
        api.delete(one)?.ok()?;
        api.wait_gone(one)?;
    }
    Ok(())
}

fn attachment_status(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("attachment")?;
    let attachments = path("storage.k8s.io/v1", "", "volumeattachments");
    let node = api.list("/api/v1/nodes")?;
    let node = node.first().map(name).unwrap_or_default();
    let object = json!({"metadata": {"name": namespace.name}, "spec": {
        "attacher": "example.com", "nodeName": node, "source": {"persistentVolumeName": namespace.name},
    }});
    api.create(&attachments, &object)?.with(201)?;
    let one = format!("{attachments}/{}", namespace.name);
    let status = format!("{one}/status");
    let read = api.get(&status)?.ok()?;
    ensure!(read["status"]["attached"] == false, "{read}");
    let patched = api.merge(&status, &json!({"status": {"attached": true}}))?;
    ensure!(patched["status"]["attached"] == true, "{patched}");
    let updated = api.change(&status, |attachment| attachment["status"]["attached"] = json!(false))?;
    ensure!(updated["status"]["attached"] == false, "{updated}");
    api.delete(&one)?.ok()?;
    api.wait_gone(&one)
}
