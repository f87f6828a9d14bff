//! The API server's store as the scheduler sees it: Pods, Nodes and the launch journal, with revisions and a watch. It
//! survives crashes of the scheduler. `shim_core` decides how a write changes an object, as in the real API server.

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

/// The store. Objects are rows, decoded once per write.
#[derive(Debug, Default)]
pub(crate) struct ApiServer {
    revision: u64,
    pods: BTreeMap<Box<str>, Arc<Pod>>,
    nodes: BTreeMap<Box<str>, Arc<Node>>,
    pub(crate) journal: BTreeMap<u64, IntentRecord>,
    shapes: Shapes,
    /// Changes that were not delivered to the watch yet.
    changes: Vec<Event>,
    /// Ended Pods and their last status, in the order of the writes.
    ended: Vec<(Box<str>, Value)>,
    /// The number of each Pod's stored status.
    statuses: BTreeMap<Box<str>, u64>,
    /// Writes of a status over a newer one.
    went_back: Vec<String>,
}

fn encode(value: &Value) -> StoredObject {
    let bytes = serde_json::to_vec(value).expect("a value encodes");
    StoredObject::parse(bytes.into()).expect("what was encoded just now")
}

fn decode(object: &StoredObject) -> Value {
    serde_json::from_slice(&object.bytes).expect("what was encoded here")
}

impl ApiServer {
    /// A client creates a Pod; its name is also its UID.
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

    /// A client deletes a Pod: at once if it cannot be running, otherwise when its end is reported.
    pub(crate) fn delete_pod(&mut self, uid: &str, now: i64) {
        let Some(row) = self.pods.get(uid) else { return };
        let mut pod = decode(&row.object);
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

    /// The revision of the latest write.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn pod(&self, uid: &str) -> Option<Value> {
        self.row(uid).map(|row| decode(&row.object))
    }

    pub(crate) fn row(&self, uid: &str) -> Option<&Pod> {
        self.pods.get(uid).map(|row| &**row)
    }

    /// Every Pod.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values().map(|row| &**row)
    }

    /// Every Node.
    pub(crate) fn node_rows(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().map(|row| &**row)
    }

    pub(crate) fn node_names(&self) -> Vec<Box<str>> {
        self.nodes.keys().cloned().collect()
    }

    /// All objects, as a watch from the start delivers them.
    pub(crate) fn list(&self) -> Vec<Event> {
        let mut events: Vec<Event> =
            ["a", "b"].into_iter().map(|name| Event::Namespace { name: name.into(), role: None }).collect();
        events.extend(self.nodes.values().cloned().map(Event::Node));
        events.extend(self.pods.values().cloned().map(Event::Pod));
        events
    }

    /// The changes since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.changes)
    }

    /// Pods that have ended since the last call, and their last status.
    pub(crate) fn take_ended(&mut self) -> Vec<(Box<str>, Value)> {
        std::mem::take(&mut self.ended)
    }

    /// Statuses that replaced newer ones since the last call.
    pub(crate) fn take_went_back(&mut self) -> Vec<String> {
        std::mem::take(&mut self.went_back)
    }

    fn put_pod(&mut self, object: StoredObject) {
        self.revision += 1;
        let value = decode(&object);
        let status = PodStatus::of(&value["status"]);
        let shape = self.shapes.share(PodShape::decode(&value["spec"], &object.header.name));
        let parts = PodParts {
            annotations: &value["metadata"]["annotations"],
            spec: &value["spec"],
            status: &status,
        };
        let row = Arc::new(Pod::decode(Arc::new(object), self.revision, parts, shape));
        let uid: Box<str> = row.uid().into();
        if row.phase.is_terminal() {
            self.ended.push((uid.clone(), value["status"].clone()));
        }
        let number = value["status"]["number"].as_u64().unwrap_or(0);
        let before = self.statuses.insert(uid.clone(), number).unwrap_or(0);
        if before > number {
            self.went_back.push(format!("status {number} of pod {uid} is stored after status {before}"));
        }
        self.pods.insert(uid, row.clone());
        self.changes.push(Event::Pod(row));
    }

    fn remove_pod(&mut self, uid: &str) {
        if let Some(row) = self.pods.remove(uid) {
            self.revision += 1;
            self.ended.push((uid.into(), decode(&row.object)["status"].clone()));
            self.changes.push(Event::PodGone(uid.into()));
        }
    }

    /// Carries out a write of the scheduler atomically; returns its outcome as events.
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
            Write::Condition { key, message, offers, nominated } => {
                if let Some(mut pod) = self.pod(&key.name) {
                    set_unschedulable(&mut pod, message.as_deref(), offers, nominated, now);
                    self.put_pod(encode(&pod));
                }
                Vec::new()
            }
            Write::Evict(write) => {
                self.delete_pod(&write.uid, now);
                let (uid, offer) = (write.uid.clone(), Some((write.offer_id.clone(), write.why)));
                vec![Event::Evicted { uid, offer, evicted: true }]
            }
            Write::Preempt(write) => {
                self.delete_pod(&write.uid, now);
                vec![Event::Evicted { uid: write.uid.clone(), offer: None, evicted: true }]
            }
            // Simulated Pods have no claims.
            Write::SelectNode { namespace, claims, .. } => {
                vec![Event::NodeNotSelected { namespace: namespace.clone(), claims: claims.clone() }]
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
        let row = self.row(uid).ok_or(WriteFailure::Gone)?;
        if row.revision == write.pod.revision {
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
            NodeWrite::Put { name, agent, .. }
                if !self.nodes.contains_key(name) && !node_projection::creates_node(agent) => {}
            NodeWrite::Put { name, agent, ours, reported } => {
                let mut node = match self.nodes.get(name) {
                    Some(row) => decode(&row.object),
                    None => node_projection::new_node(agent, Some("10.244.0.0/24")),
                };
                node_projection::project(&mut node, agent, ours.as_ref(), *reported, now);
                let row = Arc::new(Node::decode(Arc::new(encode(&node)), self.revision, &node));
                self.changes.push(Event::Node(row.clone()));
                self.nodes.insert(name.clone(), row);
            }
        }
    }
}

fn phase(pod: &Value) -> Phase {
    Phase::parse(access::text(pod, &["status", "phase"]))
}
