//! Creates, replaces and deletes the Pods, in the order of their ordinals.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{
    Snapshot,
    claims::{self, MemberClaims},
    event,
    history::{History, Template},
    identity, owned_pods,
};
use crate::{
    controllers::{Action, Change, EventRecord},
    rows::{Phase, Pod},
};

/// Maximum number of missing Pods that one plan looks at, as upstream's largest batch. The next reconcile continues.
const BURST_MAX: usize = 500;

/// What has to be done.
#[derive(Default)]
pub struct Steps {
    pub actions: Vec<Action>,
    pub events: Vec<EventRecord>,
    /// The Pod of the current revision that is deleted for the update, if any: the status counts it no more.
    pub replaced: bool,
}

/// One ordinal of the set.
struct Member<'a> {
    ordinal: i64,
    pod: Option<&'a Pod>,
}

/// Whether the steps after this one have to wait.
#[derive(PartialEq)]
enum Next {
    Continue,
    Wait,
}

struct Builder<'s, 'a> {
    snapshot: &'s Snapshot<'a>,
    history: &'s History,
    steps: Steps,
    missing: usize,
}

/// The Pods of the set by ordinal. A set may ask for more than anybody can make, so nothing is made for each ordinal.
struct Members<'a> {
    pods: BTreeMap<i64, &'a Pod>,
    ordinals: Range<i64>,
}

impl<'a> Members<'a> {
    fn at(&self, ordinal: i64) -> Member<'a> {
        Member { ordinal, pod: self.pods.get(&ordinal).copied() }
    }
}

/// The next steps for these Pods.
pub fn steps<'a>(snapshot: &Snapshot<'a>, history: &History, pods: &[&'a Pod]) -> Steps {
    let set = snapshot.set;
    let ordinal = |pod: &Pod| identity::ordinal_of(set, pod);
    let by_ordinal = pods.iter().rev().filter_map(|pod| Some((ordinal(pod)?, *pod)));
    let members = Members { pods: by_ordinal.collect(), ordinals: set.start..set.start + set.replicas };
    let condemned = pods.iter().filter_map(|pod| Some((ordinal(pod)?, *pod)));
    let mut condemned: Vec<(i64, &Pod)> = condemned.filter(|(ordinal, _)| !set.contains(*ordinal)).collect();
    condemned.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
    let mut builder = Builder { snapshot, history, steps: Steps::default(), missing: 0 };
    if builder.run(&members, &condemned) == Next::Continue {
        builder.update(&members);
    }
    builder.steps
}

impl<'a> Builder<'_, 'a> {
    fn is_ordered(&self) -> bool {
        !self.snapshot.set.parallel
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pod.is_available(self.snapshot.set.min_ready_seconds, self.snapshot.now)
    }

    /// Available and not being deleted.
    fn is_healthy(&self, pod: &Pod) -> bool {
        self.is_available(pod) && pod.deletion.is_none()
    }

    fn delete(&mut self, pod: &Pod) {
        let set = self.snapshot.set;
        let message = format!("Delete Pod {} in StatefulSet {} successful", pod.header().name, set.name());
        self.steps.events.push(event(set, false, "SuccessfulDelete", message));
        self.steps.actions.push(owned_pods::delete(pod));
    }

    /// Brings the number of Pods to the size of the set.
    fn run(&mut self, members: &Members<'a>, condemned: &[(i64, &'a Pod)]) -> Next {
        for ordinal in members.ordinals.clone() {
            let waits = self.complete(&members.at(ordinal)) == Next::Wait && self.is_ordered();
            if waits || self.missing >= BURST_MAX {
                return Next::Wait;
            }
        }
        for (ordinal, pod) in condemned {
            self.correct_claims(*ordinal, Some(pod));
        }
        // With OrderedReady all members are available by now.
        let sick = condemned.iter().rev().find(|(_, pod)| !self.is_healthy(pod)).map(|(ordinal, _)| *ordinal);
        for (ordinal, pod) in condemned {
            if pod.deletion.is_none() {
                let healthy = pod.phase == Phase::Running && self.is_available(pod);
                if self.is_ordered() && !healthy && sick != Some(*ordinal) {
                    return Next::Wait;
                }
                self.delete(pod);
            }
            if self.is_ordered() {
                return Next::Wait;
            }
        }
        Next::Continue
    }

    /// Creates what a member lacks, and replaces a Pod that has ended.
    fn complete(&mut self, member: &Member<'a>) -> Next {
        let Some(pod) = member.pod else { return self.create(member.ordinal) };
        if pod.phase.is_terminal() {
            // Whatever the exit codes were: Pods of a StatefulSet run forever.
            if pod.deletion.is_none() {
                self.delete(pod);
            }
            return Next::Wait;
        }
        if pod.phase == Phase::Pending
            && let MemberClaims::Missing(actions) =
                claims::of(self.snapshot, member.ordinal, Some(pod.header()))
        {
            self.steps.actions.extend(actions);
        }
        let running = pod.phase == Phase::Running && self.is_healthy(pod);
        if !running && self.is_ordered() {
            return Next::Wait;
        }
        let set = self.snapshot.set;
        if let Some(labels) = identity::missing_labels(set, pod, member.ordinal) {
            self.steps.actions.push(Action::Change {
                target: owned_pods::target(pod),
                subresource: None,
                changes: vec![Change::Merge(labels)],
            });
            let name = &pod.header().name;
            let message = format!("Update Pod {name} in StatefulSet {} successful", set.name());
            self.steps.events.push(event(set, false, "SuccessfulUpdate", message));
        }
        self.correct_claims(member.ordinal, Some(pod));
        Next::Continue
    }

    /// Creates the claims of an ordinal, or its Pod when they exist.
    fn create(&mut self, ordinal: i64) -> Next {
        self.missing += 1;
        match claims::of(self.snapshot, ordinal, None) {
            MemberClaims::Ending => {}
            MemberClaims::Missing(actions) => self.steps.actions.extend(actions),
            MemberClaims::Complete => {
                self.correct_claims(ordinal, None);
                let set = self.snapshot.set;
                let pod = identity::new_pod(set, ordinal, self.template_of_new(ordinal));
                self.steps.actions.push(owned_pods::create(set.header(), pod));
            }
        }
        Next::Wait
    }

    /// A new Pod below the partition has the current revision.
    fn template_of_new(&self, ordinal: i64) -> &Template {
        let set = self.snapshot.set;
        match set.partition {
            Some(partition) if ordinal < set.start + partition => &self.history.current,
            _ => &self.history.update,
        }
    }

    fn correct_claims(&mut self, ordinal: i64, pod: Option<&Pod>) {
        let (actions, events) = claims::correct_owners(self.snapshot, ordinal, pod.map(Pod::header));
        self.steps.actions.extend(actions);
        self.steps.events.extend(events);
    }

    /// The strategy RollingUpdate: replaces the Pod with the highest ordinal that has another revision, when all above it are
    /// available again. With OnDelete, Pods are replaced when somebody deletes them.
    fn update(&mut self, members: &Members<'a>) {
        let Some(partition) = self.snapshot.set.partition else { return };
        let Range { start, end } = members.ordinals;
        for member in (start + partition..end).rev().map(|ordinal| members.at(ordinal)) {
            // A Pod that has ended is being replaced already.
            let Some(pod) = member.pod.filter(|pod| !pod.phase.is_terminal()) else { return };
            let revision = identity::revision_of(pod);
            if revision != self.history.update.revision && pod.deletion.is_none() {
                self.steps.replaced = revision == self.history.current.revision;
                self.delete(pod);
                return;
            }
            if !self.is_healthy(pod) {
                return;
            }
        }
    }
}
