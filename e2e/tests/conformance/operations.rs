//! What every kind of [`crate::kinds`] answers to: discovery, and each verb on objects, collections and the status.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::{
    client::{Api, Watch, name, path, version},
    kinds::{Kind, Status},
};

/// The verbs of a resource of these kinds.
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// How many objects the test makes.
const OBJECTS: usize = 3;

/// One run: the kind with the label by which its objects are selected.
struct Run<'a> {
    api: &'a Api,
    kind: &'static Kind,
    /// The collection; of the test's namespace, if there are namespaces.
    collection: String,
    /// `labelSelector=…`, which no other test uses.
    selector: String,
    tag: String,
}

/// Runs all operations on objects of a kind.
pub fn run(api: &Api, kind: &'static Kind) -> anyhow::Result<()> {
    let namespace = api.namespace("operations")?;
    let inside = if kind.namespaced { namespace.name.as_str() } else { "" };
    let run = Run {
        api,
        kind,
        collection: path(kind.group_version, inside, kind.plural),
        selector: format!("labelSelector=operations%3D{}", namespace.name),
        tag: namespace.name.clone(),
    };
    run.is_discovered()?;
    let (objects, watch) = run.creates().context("create and watch")?;
    run.reads(&objects).context("get and list")?;
    let first = format!("{}/{}", run.collection, name(&objects[0]));
    run.changes(&first, version(&objects[0]), &watch).context("patch and update")?;
    if let Some(status) = kind.status {
        run.changes_status(&first, status).context("status")?;
    }
    run.deletes(&objects, &watch).context("delete")
}

impl Run<'_> {
    fn is_discovered(&self) -> anyhow::Result<()> {
        let kind = self.kind;
        if let Some((group, version)) = kind.group_version.split_once('/') {
            let groups = self.api.get("/apis")?.ok()?;
            let listed = groups["groups"].as_array().context("groups")?;
            let listed = listed.iter().find(|listed| listed["name"] == group).context("not in /apis")?;
            let alone = self.api.get(&format!("/apis/{group}"))?.ok()?;
            for group in [listed, &alone] {
                let mut versions = group["versions"].as_array().context("versions")?.iter();
                ensure!(versions.any(|found| found["version"] == version), "no {version}: {group}");
            }
        }
        let found = resource(self.api, kind.group_version, kind.plural)?;
        ensure!(found["kind"] == kind.kind && found["namespaced"] == kind.namespaced, "{found}");
        let verbs = found["verbs"].as_array().context("verbs")?;
        ensure!(VERBS.iter().all(|verb| verbs.iter().any(|found| found == verb)), "{found}");
        if kind.status.is_some() {
            resource(self.api, kind.group_version, &format!("{}/status", kind.plural))?;
        }
        Ok(())
    }

    fn creates(&self) -> anyhow::Result<(Vec<Value>, Watch)> {
        let empty = self.api.get(&format!("{}?{}", self.collection, self.selector))?.ok()?;
        ensure!(empty["items"].as_array().is_some_and(Vec::is_empty), "not empty: {empty}");
        let from = format!("{}?{}&resourceVersion={}", self.collection, self.selector, version(&empty));
        let watch = self.api.watch(&from)?;
        let mut objects = Vec::new();
        for number in 1..=OBJECTS {
            let mut object = (self.kind.object)(number);
            let metadata = &mut object["metadata"];
            metadata["labels"]["operations"] = json!(self.tag);
            if metadata["name"].is_null() {
                metadata["name"] = json!(format!("{}-{number}", self.tag));
            }
            let created = self.api.create(&self.collection, &object)?.with(201)?;
            ensure!(created["kind"] == self.kind.kind, "{created}");
            ensure!(created["metadata"]["uid"].is_string() && !version(&created).is_empty(), "{created}");
            watch.until("ADDED", |added| added["metadata"]["uid"] == created["metadata"]["uid"])?;
            objects.push(created);
        }
        Ok((objects, watch))
    }

    fn reads(&self, objects: &[Value]) -> anyhow::Result<()> {
        for object in objects {
            let read = self.api.get(&format!("{}/{}", self.collection, name(object)))?.ok()?;
            ensure!(read["metadata"]["uid"] == object["metadata"]["uid"], "{read}");
        }
        let everywhere = path(self.kind.group_version, "", self.kind.plural);
        for collection in [&self.collection, &everywhere] {
            let list = self.api.get(&format!("{collection}?{}", self.selector))?.ok()?;
            ensure!(list["kind"] == format!("{}List", self.kind.kind), "{list}");
            ensure!(list["items"].as_array().map(Vec::len) == Some(OBJECTS), "{list}");
            let from = format!("{collection}?{}&resourceVersion=0", self.selector);
            let watch = self.api.watch(&from)?;
            for _ in objects {
                watch.until("ADDED", |_| true)?;
            }
        }
        Ok(())
    }

    fn changes(&self, object: &str, before: &str, watch: &Watch) -> anyhow::Result<()> {
        let patched = self.api.merge(object, &json!({"metadata": {"annotations": {"patched": "true"}}}))?;
        ensure!(patched["metadata"]["annotations"]["patched"] == "true", "{patched}");
        ensure!(number(version(&patched))? > number(before)?, "the version has not grown: {patched}");
        let updated = self.api.change(object, |object| {
            object["metadata"]["annotations"]["updated"] = json!("true");
        })?;
        ensure!(updated["metadata"]["annotations"]["updated"] == "true", "{updated}");
        for annotation in ["patched", "updated"] {
            watch.until("MODIFIED", |seen| seen["metadata"]["annotations"][annotation] == "true")?;
        }
        let mut stale = updated;
        stale["metadata"]["resourceVersion"] = json!(before);
        self.api.update(object, &stale)?.refused(409, &["the object has been modified"]).map(drop)
    }

    fn changes_status(&self, object: &str, written: Status) -> anyhow::Result<()> {
        let path = format!("{object}/status");
        let status = (written.value)();
        let read = self.api.get(&path)?.ok()?;
        ensure!(read["kind"] == self.kind.kind, "{read}");
        let has = |object: &Value, annotation: &str| {
            let annotations = &object["metadata"]["annotations"];
            (annotations[annotation] == "true") == written.with_annotations
        };
        let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}}, "status": status});
        let patched = self.api.merge(&path, &patch)?;
        ensure!(has(&patched, "patchedstatus"), "{patched}");
        contains(&patched["status"], &status)?;
        let updated = self.api.change(&path, |object| {
            object["metadata"]["annotations"]["updatedstatus"] = json!("true");
            object["status"] = status.clone();
        })?;
        ensure!(has(&updated, "updatedstatus"), "{updated}");
        contains(&updated["status"], &status)
    }

    fn deletes(&self, objects: &[Value], watch: &Watch) -> anyhow::Result<()> {
        let (first, others) = objects.split_first().context("objects")?;
        let path = format!("{}/{}", self.collection, name(first));
        self.api.delete(&path)?.ok()?;
        self.api.wait_gone(&path)?;
        let rest = self.api.list(&format!("{}?{}", self.collection, self.selector))?;
        ensure!(rest.len() == others.len(), "{rest:?}");
        self.api.delete(&format!("{}?{}", self.collection, self.selector))?.ok()?;
        // In any order: controllers release some kinds one by one.
        let mut left: BTreeSet<&str> = objects.iter().map(name).collect();
        while !left.is_empty() {
            let deleted = watch.until("DELETED", |deleted| left.contains(name(deleted)))?;
            left.remove(name(&deleted));
        }
        let rest = self.api.list(&format!("{}?{}", self.collection, self.selector))?;
        ensure!(rest.is_empty(), "after a deletion of the collection: {rest:?}");
        Ok(())
    }
}

/// The row of a resource or subresource in its group-version's discovery document.
pub fn resource(api: &Api, group_version: &str, plural: &str) -> anyhow::Result<Value> {
    let root = if group_version == "v1" { "/api" } else { "/apis" };
    let mut list = api.get(&format!("{root}/{group_version}"))?.ok()?;
    let rows = list["resources"].as_array_mut().context("resources")?;
    let row = rows.iter_mut().find(|row| row["name"] == plural);
    row.map(Value::take).with_context(|| format!("{group_version} lists no {plural}"))
}

fn number(version: &str) -> anyhow::Result<u64> {
    version.parse().with_context(|| format!("not a number: {version:?}"))
}

/// Fails unless `whole` has everything that `part` has; lists must be of the same length.
pub fn contains(whole: &Value, part: &Value) -> anyhow::Result<()> {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (key, value) in part {
                let found = whole.get(key).with_context(|| format!("no {key} in {whole:?}"))?;
                contains(found, value)?;
            }
        }
        (Value::Array(whole), Value::Array(part)) if whole.len() == part.len() => {
            for (whole, part) in whole.iter().zip(part) {
                contains(whole, part)?;
            }
        }
        _ => ensure!(whole == part, "{whole} instead of {part}"),
    }
    Ok(())
}
