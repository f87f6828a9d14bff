//! The API server's store as the scheduler sees it: Pods, Nodes and the launch journal, with revisions and a watch. It
//! outlives the scheduler. What a write makes of an object is decided by `shim_core`, as in the real API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use shim_core::rows::{Node, Phase, Pod, PodParts, rfc3339};
use shim_core::scheduler::machine::{
    BindOutcome, BindWrite, Event, NodeOutcome, NodeWrite, PodEdit, StatusWrite, Write, WriteFailure,
    node_projection,
};
use shim_core::scheduler::{IntentRecord, PodShape, Shapes, set_unschedulable};
use shim_model::access;
use shim_model::object::StoredObject;
use shim_model::pod_status::PodStatus;

/// An object and the revision at which it was written.
#[derive(Debug, Clone)]
struct Stored {
    object: Arc<StoredObject>,
    revision: u64,
}

/// The store.
#[derive(Debug, Default)]
pub(crate) struct ApiServer {
    revision: u64,
    pods: BTreeMap<Box<str>, Stored>,
    nodes: BTreeMap<Box<str>, Stored>,
    pub(crate) journal: BTreeMap<u64, IntentRecord>,
    shapes: Shapes,
    /// Changes that no watch has been told of yet.
    changes: Vec<Event>,
    /// Ends of Pods, in the order in which they were written.
    ended: Vec<(Box<str>, Value)>,
}

fn encode(value: &Value) -> StoredObject {
    let bytes = serde_json::to_vec(value).expect("a value encodes");
    StoredObject::parse(bytes.into()).expect("what was encoded just now")
}

fn decode(object: &StoredObject) -> Value {
    serde_json::from_slice(&object.bytes).expect("what was encoded here")
}

impl ApiServer {
    /// A client makes a Pod; its name is its UID.
    pub(crate) fn create_pod(&mut self, name: &str, namespace: &str, now: i64) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "uid": name, "generation": 1,
                "creationTimestamp": rfc3339(now)},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "700m", "memory": "32Mi"}}}]},
            "status": {"phase": "Pending"},
        });
        self.put_pod(encode(&pod));
    }

    /// A client deletes a Pod: at once where nothing can run, else once its end is reported.
    pub(crate) fn delete_pod(&mut self, uid: &str, now: i64) {
        let Some(stored) = self.pods.get(uid) else { return };
        let mut pod = decode(&stored.object);
        if access::text(&pod, &["spec", "nodeName"]).is_empty() || phase(&pod).is_terminal() {
            return self.remove_pod(uid);
        }
        if !pod["metadata"]["deletionTimestamp"].is_string() {
            pod["metadata"]["deletionTimestamp"] = json!(rfc3339(now));
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(1);
            self.put_pod(encode(&pod));
        }
    }

    /// A client binds a Pod, as `pods/binding` does.
    pub(crate) fn bind_by_hand(&mut self, uid: &str, node: &str, now: i64) -> bool {
        self.edit(uid, &[PodEdit::Bind { node: node.into() }], now).is_ok()
    }

    pub(crate) fn pod(&self, uid: &str) -> Option<Value> {
        self.pods.get(uid).map(|stored| decode(&stored.object))
    }

    /// Every Pod as a row.
    pub(crate) fn rows(&mut self) -> Vec<Arc<Pod>> {
        let all: Vec<Stored> = self.pods.values().cloned().collect();
        all.iter().map(|stored| self.row(stored)).collect()
    }

    /// Every Node as a row.
    pub(crate) fn node_rows(&self) -> Vec<Arc<Node>> {
        self.nodes.values().map(node_row).collect()
    }

    pub(crate) fn node_names(&self) -> Vec<Box<str>> {
        self.nodes.keys().cloned().collect()
    }

    /// Everything there is, as a watch from the start tells it.
    pub(crate) fn list(&mut self) -> Vec<Event> {
        let mut events: Vec<Event> =
            ["a", "b"].into_iter().map(|name| Event::Namespace { name: name.into(), role: None }).collect();
        events.extend(self.nodes.values().map(node_event));
        events.extend(self.rows().into_iter().map(Event::Pod));
        events
    }

    /// What has changed since this was asked last.
    pub(crate) fn take_changes(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.changes)
    }

    /// Pods that have ended since this was asked last, and their last status.
    pub(crate) fn take_ended(&mut self) -> Vec<(Box<str>, Value)> {
        std::mem::take(&mut self.ended)
    }

    fn row(&mut self, stored: &Stored) -> Arc<Pod> {
        let value = decode(&stored.object);
        let status = PodStatus::of(&value["status"]);
        let shape = self.shapes.share(PodShape::decode(&value["spec"]));
        let parts = PodParts {
            annotations: &value["metadata"]["annotations"],
            spec: &value["spec"],
            status: &status,
        };
        Arc::new(Pod::decode(stored.object.clone(), stored.revision, parts, shape))
    }

    fn put_pod(&mut self, object: StoredObject) {
        self.revision += 1;
        let stored = Stored { object: Arc::new(object), revision: self.revision };
        let value = decode(&stored.object);
        let uid: Box<str> = stored.object.header.uid.as_str().into();
        if phase(&value).is_terminal() {
            self.ended.push((uid.clone(), value["status"].clone()));
        }
        let row = self.row(&stored);
        self.pods.insert(uid, stored);
        self.changes.push(Event::Pod(row));
    }

    fn remove_pod(&mut self, uid: &str) {
        if let Some(stored) = self.pods.remove(uid) {
            self.revision += 1;
            self.ended.push((uid.into(), decode(&stored.object)["status"].clone()));
            self.changes.push(Event::PodGone(uid.into()));
        }
    }

    /// Carries out a write of the scheduler at one moment; what is reported to it.
    pub(crate) fn write(&mut self, write: &Write, now: i64) -> Vec<Event> {
        match write {
            Write::Intent(write) => {
                let (number, numbers) = (write.record.number, write.remove.clone());
                let written = !self.journal.contains_key(&number);
                if written {
                    numbers.iter().for_each(|number| drop(self.journal.remove(number)));
                    self.journal.insert(number, write.record.clone());
                }
                vec![
                    Event::IntentsRemoved { numbers, removed: written },
                    Event::IntentWritten { number, written },
                ]
            }
            Write::RemoveIntents(numbers) => {
                numbers.iter().for_each(|number| drop(self.journal.remove(number)));
                vec![Event::IntentsRemoved { numbers: numbers.clone(), removed: true }]
            }
            Write::Bind(write) => {
                let result = self.bind(write, now);
                vec![Event::Bound { uid: write.pod.uid().into(), result }]
            }
            Write::Status(write) => {
                let result = self.status(write, now);
                vec![Event::StatusWritten { uid: write.uid.clone(), result }]
            }
            Write::Condition { key, message } => {
                if let Some(mut pod) = self.pod(&key.name) {
                    set_unschedulable(&mut pod, message, now);
                    self.put_pod(encode(&pod));
                }
                Vec::new()
            }
            Write::Node(write) => {
                self.node(write, now);
                let outcome = match write {
                    NodeWrite::Put { .. } => NodeOutcome::Written,
                    NodeWrite::Remove { .. } => NodeOutcome::Removed,
                };
                vec![Event::NodeWritten { name: write.name().into(), outcome }]
            }
        }
    }

    fn bind(&mut self, write: &BindWrite, now: i64) -> Result<BindOutcome, WriteFailure> {
        let uid = write.pod.uid();
        let stored = self.pods.get(uid).ok_or(WriteFailure::Gone)?;
        if stored.revision == write.pod.revision {
            self.put_pod(write.bound.clone());
            return Ok(BindOutcome { with_status: write.with_status, with_event: true });
        }
        self.edit(uid, &[PodEdit::Bind { node: write.node.clone() }], now)?;
        Ok(BindOutcome { with_status: false, with_event: false })
    }

    fn status(&mut self, write: &StatusWrite, now: i64) -> Result<(), WriteFailure> {
        self.edit(&write.uid, &write.edits, now)?;
        if write.remove {
            self.remove_pod(&write.uid);
        }
        Ok(())
    }

    fn edit(&mut self, uid: &str, edits: &[PodEdit], now: i64) -> Result<(), WriteFailure> {
        let mut pod = self.pod(uid).ok_or(WriteFailure::Gone)?;
        let before = pod.clone();
        edits.iter().try_for_each(|edit| edit.apply(&mut pod, uid, now)).map_err(WriteFailure::Refused)?;
        if pod != before {
            self.put_pod(encode(&pod));
        }
        Ok(())
    }

    fn node(&mut self, write: &NodeWrite, now: i64) {
        self.revision += 1;
        match write {
            NodeWrite::Remove { name, .. } => {
                if self.nodes.remove(name).is_some() {
                    self.changes.push(Event::NodeGone(name.clone()));
                }
            }
            NodeWrite::Put { name, agent, ours, kubelet_port } => {
                let mut node = match self.nodes.get(name) {
                    Some(stored) => decode(&stored.object),
                    None => node_projection::new_node(agent, Some("10.244.0.0/24")),
                };
                node_projection::project(&mut node, agent, ours.as_ref(), *kubelet_port, now);
                let stored = Stored { object: Arc::new(encode(&node)), revision: self.revision };
                self.changes.push(node_event(&stored));
                self.nodes.insert(name.clone(), stored);
            }
        }
    }
}

fn node_row(stored: &Stored) -> Arc<Node> {
    let value = decode(&stored.object);
    Arc::new(Node::decode(stored.object.clone(), stored.revision, &value))
}

fn node_event(stored: &Stored) -> Event {
    Event::Node(node_row(stored))
}

fn phase(pod: &Value) -> Phase {
    Phase::parse(access::text(pod, &["status", "phase"]))
}
