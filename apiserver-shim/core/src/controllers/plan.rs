//! Plans: the writes that a controller wants, as values. A plan leaves no choice to the shell that executes it.

use serde_json::Value;
use shim_model::{access, object::Header, patch, resource::GroupResource};

use super::Disruption;
use crate::rows::{Key, Seconds};

/// The result of one reconcile.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Writes in order. A failure ends the plan, and the key is retried with back-off.
    pub actions: Vec<Action>,
    /// Events to record after the writes have succeeded.
    pub events: Vec<EventRecord>,
    /// Reconcile the key again after this many seconds, even if nothing changes.
    pub requeue_after: Option<i64>,
    /// Reconcile the key again as soon as the cache is complete up to this revision.
    pub needs_revision: Option<u64>,
    /// Record an Event for each creation, whose name is not known in advance.
    pub creation_events: Option<CreationEvents>,
}

/// The object that the `SuccessfulCreate` and `FailedCreate` Events of a plan refer to.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct CreationEvents {
    pub about: Target,
    pub component: &'static str,
    pub text: CreationText,
}

/// How the Events about creations are worded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreationText {
    /// Of Pods with generated names: `Created pod: web-x2x9z`.
    Pods,
    /// Of the Pods and claims of a StatefulSet: `Create Pod web-0 in StatefulSet web successful`.
    Members,
}

impl CreationEvents {
    /// The Event about a creation, if one is due. `refused` has the code and message of a refusal.
    pub fn event(
        &self,
        resource: &GroupResource,
        name: &str,
        refused: Option<(u16, &str)>,
    ) -> Option<EventRecord> {
        let set = &self.about.key.name;
        let message = match (self.text, resource.resource(), refused) {
            (CreationText::Pods, "pods", None) => format!("Created pod: {name}"),
            (CreationText::Pods, "pods", Some((_, why))) => format!("Error creating: {why}"),
            // Somebody else has made it: the next reconcile sees it.
            (CreationText::Members, _, Some((409, _))) => return None,
            (CreationText::Members, "pods", None) => {
                format!("Create Pod {name} in StatefulSet {set} successful")
            }
            (CreationText::Members, "pods", Some((_, why))) => {
                format!("Create Pod {name} in StatefulSet {set} failed error: {why}")
            }
            (CreationText::Members, "persistentvolumeclaims", _) => {
                let ordinal = name.rsplit('-').next().unwrap_or("");
                match refused {
                    None => format!("Create Claim {name} Pod {set}-{ordinal} in StatefulSet {set} success"),
                    Some((_, why)) => format!(
                        "Create Claim {name} for Pod {set}-{ordinal} in StatefulSet {set} failed error: {why}"
                    ),
                }
            }
            _ => return None,
        };
        Some(EventRecord {
            about: self.about.clone(),
            warning: refused.is_some(),
            reason: if refused.is_some() { "FailedCreate" } else { "SuccessfulCreate" },
            message,
            source: EventSource::Component(self.component),
        })
    }
}

impl Plan {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Requeues the key after `seconds`, or earlier if an earlier time is set already.
    pub fn requeue_after(&mut self, seconds: i64) {
        let seconds = seconds.max(1);
        self.requeue_after = Some(self.requeue_after.map_or(seconds, |s| s.min(seconds)));
    }
}

/// One write.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Action {
    Create {
        resource: GroupResource,
        namespace: String,
        object: Value,
    },
    /// Changes an object if it still has this UID. Changes are idempotent edits that apply to the newest version of the
    /// object, so that a write conflict only costs a retry.
    Change {
        target: Target,
        subresource: Option<&'static str>,
        changes: Vec<Change>,
    },
    /// Applies a configuration (server-side apply, by force) to an object if it still has this UID. `configuration` has no
    /// metadata: it is the target's.
    Apply {
        target: Target,
        subresource: Option<&'static str>,
        manager: &'static str,
        configuration: Value,
    },
    /// Deletes an object if it still has this UID.
    Delete {
        target: Target,
        propagation: Propagation,
        grace_seconds: Option<i64>,
    },
}

/// The object that an action applies to.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Target {
    pub resource: GroupResource,
    pub key: Key,
    pub uid: String,
}

impl Target {
    /// The object with this header.
    pub fn of(resource: GroupResource, header: &Header) -> Self {
        Target { resource, key: Key::of(header), uid: header.uid.clone() }
    }
}

/// What happens to the dependents of a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// Something to report about an object. The recorder turns it into an Event.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct EventRecord {
    pub about: Target,
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
    pub source: EventSource,
}

/// The component that an Event names as its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventSource {
    /// A controller, or `kubelet`.
    Component(&'static str),
    /// The scheduler, under the name of a profile; `None` is the default scheduler's.
    Scheduler(Option<Box<str>>),
}

impl EventSource {
    /// `reportingController` of the Event.
    pub fn name(&self) -> &str {
        match self {
            EventSource::Component(name) => name,
            EventSource::Scheduler(profile) => profile.as_deref().unwrap_or(crate::scheduler::NAME),
        }
    }
}

/// An idempotent edit.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// JSON merge patch.
    Merge(Value),
    /// Replaces the member at a path.
    Put(&'static [&'static str], Value),
    /// Sets the member at a path if it is missing or an empty text, so that what somebody else has set stays.
    Fill(&'static [&'static str], Value),
    /// Removes the members with this name from the list at a path.
    RemoveNamed(&'static [&'static str], String),
    /// Adds an owner reference, or replaces the one with the same UID.
    AddOwner(Value),
    /// Removes the owner references with these UIDs.
    RemoveOwners(Vec<String>),
    /// Clears `blockOwnerDeletion` in every owner reference.
    UnblockOwners,
    /// Adds a name to `metadata.finalizers`.
    AddFinalizer(&'static str),
    /// Removes a name from `metadata.finalizers`.
    RemoveFinalizer(&'static str),
    /// Sets the `DisruptionTarget` condition of a Pod at this time.
    Disrupt(Disruption, Seconds),
    /// Binds a PersistentVolume to the claim of this reference, unless it belongs to another one by now.
    ClaimVolume(Value),
    /// Removes the Pods with these UIDs from the consumers of a ResourceClaim, and its devices with the last one.
    EndReservations(Vec<String>),
    /// Removes the finalizer of a ResourceClaim without devices and consumers.
    UnprotectClaim,
}

impl Change {
    /// Applies the edit. Returns whether anything changed.
    pub fn apply(&self, object: &mut Value) -> bool {
        match self {
            Change::Merge(patch) => patch::merge::apply(object, patch),
            Change::Put(path, value) => {
                let (last, parents) = path.split_last().expect("invariant: paths are not empty");
                let parent = access::object_mut(object, parents);
                if parent.get(*last) == Some(value) {
                    return false;
                }
                parent.insert((*last).to_owned(), value.clone());
                true
            }
            Change::Fill(path, value) => {
                let (last, parents) = path.split_last().expect("invariant: paths are not empty");
                let member = access::object_mut(object, parents).entry(*last).or_insert(Value::Null);
                let is_empty = member.is_null() || member == "";
                if is_empty {
                    *member = value.clone();
                }
                is_empty
            }
            Change::RemoveNamed(path, name) => {
                let Some(list) = access::list_mut(object, path) else { return false };
                let before = list.len();
                list.retain(|member| access::text(member, &["name"]) != name);
                list.len() != before
            }
            Change::AddOwner(owner) => add_owner(object, owner),
            Change::RemoveOwners(uids) => edit_list(object, "ownerReferences", |list| {
                list.retain(|o| !uids.iter().any(|u| u == access::text(o, &["uid"])));
            }),
            Change::UnblockOwners => edit_list(object, "ownerReferences", |list| {
                for owner in list.iter_mut().filter_map(Value::as_object_mut) {
                    owner.remove("blockOwnerDeletion");
                }
            }),
            Change::AddFinalizer(name) => add_finalizer(object, name),
            Change::RemoveFinalizer(name) => edit_list(object, "finalizers", |list| {
                list.retain(|f| f.as_str() != Some(name));
            }),
            Change::Disrupt(disruption, now) => disruption.mark(object, *now),
            Change::ClaimVolume(reference) => super::volume_binder::claim_volume(object, reference),
            Change::EndReservations(gone) => super::resource_claims::end_reservations(object, gone),
            Change::UnprotectClaim => super::resource_claims::unprotect(object),
        }
    }
}

fn edit_list(object: &mut Value, name: &str, edit: impl FnOnce(&mut Vec<Value>)) -> bool {
    let Some(list) = access::list_mut(object, &["metadata", name]) else { return false };
    let before = list.clone();
    edit(list);
    let changed = *list != before;
    if list.is_empty() {
        access::object_mut(object, &["metadata"]).remove(name);
    }
    changed
}

fn add_finalizer(object: &mut Value, name: &str) -> bool {
    if access::list(object, &["metadata", "finalizers"]).iter().any(|f| f == name) {
        return false;
    }
    let meta = access::object_mut(object, &["metadata"]);
    let list = meta.entry("finalizers").or_insert_with(|| Value::Array(Vec::new()));
    if let Some(list) = list.as_array_mut() {
        list.push(Value::from(name));
    }
    true
}

fn add_owner(object: &mut Value, owner: &Value) -> bool {
    let uid = access::text(owner, &["uid"]);
    let meta = access::object_mut(object, &["metadata"]);
    let list = meta.entry("ownerReferences").or_insert_with(|| Value::Array(Vec::new()));
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let list = list.as_array_mut().expect("invariant: the line above made it a list");
    match list.iter_mut().find(|o| access::text(o, &["uid"]) == uid) {
        Some(same) if same == owner => false,
        Some(same) => {
            *same = owner.clone();
            true
        }
        None => {
            list.push(owner.clone());
            true
        }
    }
}
