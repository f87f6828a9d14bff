//! The garbage collector: objects go when all their owners are gone; owners deleted in the foreground wait for the
//! dependents that block them; owners deleted with `orphan` let their dependents go first.

use super::{Action, Change, Plan, Propagation, Target};

/// The finalizer of foreground deletion.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of orphaning.
pub const ORPHAN: &str = "orphan";

/// All that one look at an object sees.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// The object.
    pub target: Target,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// Its finalizers.
    pub finalizers: &'a [String],
    /// Its owners, each as it is now.
    pub owners: Vec<Owner<'a>>,
    /// Every object that names it as owner.
    pub dependents: Vec<Dependent>,
}

/// An owner of the object.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Owner<'a> {
    pub uid: &'a str,
    pub state: OwnerState,
}

/// Where an owner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerState {
    /// It exists, or cannot be judged (a kind that is not served): the object stays.
    Solid,
    /// It does not exist, at least not with this UID.
    Absent,
    /// It is being deleted in the foreground, and waits for its dependents.
    Waiting,
}

/// An object that names this one as its owner.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Dependent {
    pub target: Target,
    /// Its reference has `blockOwnerDeletion`.
    pub blocks: bool,
    /// It is being deleted in the foreground itself.
    pub deleting_dependents: bool,
    pub deleting: bool,
}

/// What to do next about an object.
pub fn reconcile(snapshot: &Snapshot<'_>) -> Plan {
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
    judge(snapshot, has(ORPHAN), has(FOREGROUND))
}

fn orphan(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = Plan::default();
    for dependent in &snapshot.dependents {
        let changes = vec![Change::RemoveOwners(vec![snapshot.target.uid.clone()])];
        plan.actions.push(Action::Change { target: dependent.target.clone(), subresource: None, changes });
    }
    plan.actions.push(let_go(snapshot, ORPHAN));
    plan
}

fn let_go(snapshot: &Snapshot<'_>, finalizer: &'static str) -> Action {
    let changes = vec![Change::RemoveFinalizer(finalizer)];
    Action::Change { target: snapshot.target.clone(), subresource: None, changes }
}

fn wait_for_dependents(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = Plan::default();
    if !snapshot.dependents.iter().any(|d| d.blocks) {
        plan.actions.push(let_go(snapshot, FOREGROUND));
        return plan;
    }
    // Each dependent is judged by itself, when the shell looks at it: it finds this owner waiting.
    plan
}

fn judge(snapshot: &Snapshot<'_>, orphans: bool, foreground: bool) -> Plan {
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
            // A circle of blocking owners would wait for itself for ever.
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
