//! The garbage collector: deletes objects whose owners are all gone, keeps owners that are deleted in the foreground until
//! the dependents that block them are gone, and removes owner references before an owner is deleted with `orphan`.

use super::{
    Action, Change, Controller, Input, Keys, ObjectChange, ObjectName, OwnerLookup, Plan, Propagation,
    Target, View,
};
use shim_model::object::Header;

/// The finalizer of foreground deletion.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of orphaning.
pub const ORPHAN: &str = "orphan";

/// Collects objects of every resource.
pub struct GarbageCollector;

impl Controller for GarbageCollector {
    const NAME: &'static str = "garbage-collector-controller";
    const SERVICE_ACCOUNT: &'static str = "generic-garbage-collector";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::every_resource()]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        let header = change.header();
        if change.is_deletion() || waits_for_dependents(header) {
            keys.extend(view.dependents(&header.uid).map(|(name, _)| name.clone()));
        }
        if !change.is_deletion() {
            let owners_changed = change.previous.as_ref().is_none_or(|p| p.header().owners != header.owners);
            let orphans = is_deleting(header) && has(header, ORPHAN);
            if (owners_changed && !header.owners.is_empty()) || waits_for_dependents(header) || orphans {
                keys.insert(change.name());
            }
        }
        // Owners that wait for this object to be deleted or released; it may have lost the reference just now.
        for header in change.headers() {
            for owner in header.owners.iter().filter(|owner| owner.block_owner_deletion) {
                if let OwnerLookup::Found(resource, owner) = view.owner(header, owner)
                    && waits_for_dependents(owner.header())
                {
                    keys.insert(ObjectName::of(resource.clone(), owner.header()));
                }
            }
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let Some(object) = view.named(key) else { return Plan::default() };
        let header = object.header();
        let state = |owner| match view.owner(header, owner) {
            OwnerLookup::Found(_, owner) if waits_for_dependents(owner.header()) => OwnerState::Waiting,
            OwnerLookup::Found(..) | OwnerLookup::Unknown => OwnerState::Solid,
            OwnerLookup::Absent => OwnerState::Absent,
        };
        let owners = header.owners.iter().map(|owner| Owner { uid: &owner.uid, state: state(owner) });
        let dependents = view.dependents(&header.uid).filter_map(|(name, reference)| {
            let found = view.named(name).filter(|found| found.header().uid == reference.uid)?;
            Some(Dependent {
                target: Target::of(name.resource.clone(), found.header()),
                blocks: reference.blocks,
                deleting_dependents: waits_for_dependents(found.header()),
            })
        });
        plan(&Snapshot {
            target: Target::of(key.resource.clone(), header),
            deleting: is_deleting(header),
            finalizers: &header.finalizers,
            owners: owners.collect(),
            dependents: dependents.collect(),
        })
    }
}

fn is_deleting(header: &Header) -> bool {
    header.deletion_timestamp.is_some()
}

fn has(header: &Header, finalizer: &str) -> bool {
    header.finalizers.iter().any(|f| f == finalizer)
}

fn waits_for_dependents(header: &Header) -> bool {
    is_deleting(header) && has(header, FOREGROUND)
}

/// An object with its owners and dependents.
struct Snapshot<'a> {
    target: Target,
    /// Whether it has a deletion timestamp.
    deleting: bool,
    finalizers: &'a [String],
    owners: Vec<Owner<'a>>,
    dependents: Vec<Dependent>,
}

struct Owner<'a> {
    uid: &'a str,
    state: OwnerState,
}

/// The state of an owner. Upstream's collector distinguishes the same three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnerState {
    /// It exists, or its kind is unknown: the object stays.
    Solid,
    /// No object of this name has the UID.
    Absent,
    /// It is being deleted in the foreground and waits for its dependents.
    Waiting,
}

/// An object that names this one as its owner.
#[derive(Clone)]
struct Dependent {
    target: Target,
    /// Its reference has `blockOwnerDeletion`.
    blocks: bool,
    /// It is being deleted in the foreground.
    deleting_dependents: bool,
}

fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let has = |finalizer: &str| snapshot.finalizers.iter().any(|f| f == finalizer);
    if snapshot.deleting && has(ORPHAN) {
        return orphan(snapshot);
    }
    if snapshot.deleting && has(FOREGROUND) {
        return wait_for_dependents(snapshot);
    }
    if snapshot.deleting || snapshot.owners.is_empty() {
        return Plan::default();
    }
    collect(snapshot, has(ORPHAN), has(FOREGROUND))
}

fn orphan(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = Plan::default();
    for dependent in &snapshot.dependents {
        let changes = vec![Change::RemoveOwners(vec![snapshot.target.uid.clone()])];
        plan.actions.push(Action::Change { target: dependent.target.clone(), subresource: None, changes });
    }
    plan.actions.push(remove_finalizer(snapshot, ORPHAN));
    plan
}

fn remove_finalizer(snapshot: &Snapshot<'_>, finalizer: &'static str) -> Action {
    let changes = vec![Change::RemoveFinalizer(finalizer)];
    Action::Change { target: snapshot.target.clone(), subresource: None, changes }
}

fn wait_for_dependents(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = Plan::default();
    // Each dependent is a key of its own: its reconcile finds this owner waiting and deletes it.
    if !snapshot.dependents.iter().any(|d| d.blocks) {
        plan.actions.push(remove_finalizer(snapshot, FOREGROUND));
    }
    plan
}

fn collect(snapshot: &Snapshot<'_>, orphans: bool, foreground: bool) -> Plan {
    let mut plan = Plan::default();
    let of = |state| snapshot.owners.iter().filter(move |o| o.state == state);
    if of(OwnerState::Solid).next().is_some() {
        let gone: Vec<String> = snapshot
            .owners
            .iter()
            .filter(|o| o.state != OwnerState::Solid)
            .map(|o| o.uid.to_owned())
            .collect();
        if !gone.is_empty() {
            let changes = vec![Change::RemoveOwners(gone)];
            plan.actions.push(Action::Change { target: snapshot.target.clone(), subresource: None, changes });
        }
        return plan;
    }
    let waiting = of(OwnerState::Waiting).next().is_some();
    let propagation = if waiting && !snapshot.dependents.is_empty() {
        if snapshot.dependents.iter().any(|d| d.deleting_dependents) {
            // A cycle of blocking owners would never be deleted.
            let changes = vec![Change::UnblockOwners];
            plan.actions.push(Action::Change { target: snapshot.target.clone(), subresource: None, changes });
        }
        Propagation::Foreground
    } else if orphans {
        Propagation::Orphan
    } else if foreground {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    plan.actions.push(Action::Delete { target: snapshot.target.clone(), propagation, grace_seconds: None });
    plan
}

#[cfg(test)]
#[path = "garbage_collector/tests.rs"]
mod tests;
