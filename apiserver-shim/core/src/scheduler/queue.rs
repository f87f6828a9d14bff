//! The scheduling queue: the Pods that need a launch, and when each is tried next.
//!
//! ```text
//!            ┌────────────── event that can help, back-off over ──────────────┐
//!  gated ─▶ active ─▶ (cycle) ─▶ unschedulable ─ event, back-off not over ─▶ backoff ─▶ active
//!              │         └─▶ backoff (an offer, or a failed launch, needs time only)
//!              └─▶ in flight (being launched) ─▶ removed, or backoff
//! ```
//!
//! An unschedulable Pod waits for an event that one of the plugins which refused it registered for. As upstream, it is tried
//! after [`FLUSH_AFTER`] without an event. As upstream since 1.33, Pods in back-off that an event may have helped are tried
//! early when no other Pod is active.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use indexmap::{IndexMap, IndexSet};
use kernel_model::time::Time;

use super::{ClusterEvent, ExtensionPoint, PluginSet, PodVolumes, Profiles, QueueingHint};
use crate::rows::{Key, Pod};

/// The back-off after the first failed attempt; doubles with each further one (upstream's default).
pub const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest back-off (upstream's default).
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// How long a Pod stays unschedulable without any event (upstream's default).
pub const FLUSH_AFTER: Duration = Duration::from_secs(300);

/// A Pod that needs a launch.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct PendingPod {
    pub pod: Arc<Pod>,
    /// The node that the Pod is bound to without having a task. Set before `pod` shows a binding that was just
    /// written.
    pub bound_to: Option<Box<str>>,
    /// The role of its namespace.
    pub role: Arc<str>,
    /// The UID of its controller, whose Pods are spread over nodes.
    pub owner: Option<Arc<str>>,
    /// The index of its profile.
    pub profile: usize,
    /// What its PersistentVolumeClaims mean; `None` if it has none.
    pub volumes: Option<Arc<PodVolumes>>,
}

impl PendingPod {
    /// Creates an unbound pending Pod.
    pub fn new(pod: Arc<Pod>, role: Arc<str>, profile: usize) -> PendingPod {
        let owner = pod.controller_uid().map(Arc::from);
        PendingPod { bound_to: pod.node.clone(), pod, role, owner, profile, volumes: None }
    }

    /// The Pod's UID.
    pub fn uid(&self) -> &str {
        self.pod.uid()
    }

    /// The Pod's namespace and name.
    pub fn key(&self) -> Key {
        Key::of(self.pod.header())
    }

    /// The node that it is bound to.
    pub fn bound_to(&self) -> Option<&str> {
        self.bound_to.as_deref()
    }
}

/// Back-off durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure; doubles with each further one.
    pub first: Duration,
    /// The maximum.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { first: BACKOFF_FIRST, max: BACKOFF_MAX }
    }
}

impl Backoff {
    /// The back-off after this many failures.
    pub fn after(self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }
}

/// The number of Pods in each part of the queue, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueLengths {
    /// To be tried in the next cycle.
    pub active: usize,
    /// In back-off after a failure.
    pub backoff: usize,
    /// Waiting for an event.
    pub unschedulable: usize,
    /// Kept out by a PreEnqueue plugin.
    pub gated: usize,
}

/// The scheduling queue.
#[derive(Debug, Default)]
pub struct SchedulingQueue {
    backoff_times: Backoff,
    /// Hashed look-up; iteration follows insertion and removal.
    entries: IndexMap<Box<str>, Entry>,
    active: IndexSet<Box<str>>,
    /// By the end of the back-off.
    backoff: BTreeSet<(Time, Box<str>)>,
    /// By the time of the failure.
    unschedulable: BTreeSet<(Time, Box<str>)>,
    /// Pods in `backoff` and `unschedulable`, grouped by what events mean to them.
    refused: BTreeMap<RefusedClass, BTreeSet<Box<str>>>,
    /// Pods in `backoff` that an event may have made schedulable.
    helped: BTreeSet<Box<str>>,
    gated: usize,
}

#[derive(Debug)]
struct Entry {
    pending: PendingPod,
    attempts: u32,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Gated,
    Active,
    InFlight,
    Backoff { until: Time, class: RefusedClass },
    Unschedulable { since: Time, class: RefusedClass },
}

/// Pods of one shape that were refused by the same plugins, so that queueing hints are the same for all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RefusedClass {
    profile: usize,
    by: PluginSet,
    shape: usize,
    role: Arc<str>,
    bound_to: Option<Box<str>>,
}

impl SchedulingQueue {
    /// Creates a queue with these back-off durations.
    pub fn new(backoff_times: Backoff) -> SchedulingQueue {
        SchedulingQueue { backoff_times, ..SchedulingQueue::default() }
    }

    /// Adds a Pod or updates it. A change of its specification or labels makes it active again; a change of its
    /// status does not.
    pub fn put(&mut self, profiles: &Profiles, pending: PendingPod) {
        let gated = is_gated(profiles, &pending);
        let uid: Box<str> = pending.uid().into();
        let Some(entry) = self.entries.get_mut(&uid) else {
            let place = if gated { Place::Gated } else { Place::Active };
            self.gated += usize::from(gated);
            if !gated {
                self.active.insert(uid.clone());
            }
            self.entries.insert(uid, Entry { pending, attempts: 0, place });
            return;
        };
        let before = std::mem::replace(&mut entry.pending, pending);
        match (&entry.place, gated) {
            (Place::Gated, true) | (Place::Active, false) => {}
            (_, true) => self.move_to(&uid, Place::Gated),
            // In flight: the launch failed.
            (Place::Gated | Place::InFlight, false) => self.move_to(&uid, Place::Active),
            (Place::Backoff { .. } | Place::Unschedulable { .. }, false) => {
                if is_other_request(&before, &entry.pending) {
                    self.move_to(&uid, Place::Active);
                }
            }
        }
    }

    /// Removes a Pod that needs no launch any more.
    pub fn remove(&mut self, uid: &str) {
        if self.entries.contains_key(uid) {
            self.move_to(uid, Place::InFlight);
            self.entries.swap_remove(uid);
        }
    }

    /// Marks a Pod as being launched. It keeps its number of attempts in case the launch fails.
    pub fn launched(&mut self, uid: &str) {
        self.move_to(uid, Place::InFlight);
    }

    /// Handles an attempt that may succeed later without an event: a failed launch, or a missing offer. Events that
    /// concern `refused_by` (if empty: all events) end the back-off early.
    pub fn back_off(&mut self, uid: &str, now: Time, refused_by: PluginSet) {
        let times = self.backoff_times;
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.attempts = entry.attempts.saturating_add(1);
        let until = now + times.after(entry.attempts);
        let class = RefusedClass::of(entry, refused_by);
        self.move_to(uid, Place::Backoff { until, class });
    }

    /// Schedules the next attempt of a Pod for `until`; does not count as a failure.
    pub fn retry_at(&mut self, uid: &str, until: Time, refused_by: PluginSet) {
        let Some(entry) = self.entries.get(uid) else { return };
        let class = RefusedClass::of(entry, refused_by);
        self.move_to(uid, Place::Backoff { until, class });
    }

    /// Handles a failed attempt after which only an event can help.
    pub fn unschedulable(&mut self, uid: &str, now: Time, refused_by: PluginSet) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.attempts = entry.attempts.saturating_add(1);
        let class = RefusedClass::of(entry, refused_by);
        self.move_to(uid, Place::Unschedulable { since: now, class });
    }

    /// Requeues the Pods that an event may help, once their back-off is over.
    pub fn on_event(&mut self, profiles: &Profiles, now: Time, event: &ClusterEvent<'_>) {
        if event.kinds.is_empty() || self.refused.is_empty() {
            return;
        }
        let helps = |(class, pods): &(&RefusedClass, &BTreeSet<Box<str>>)| {
            let pod = pods.first().and_then(|uid| self.entries.get(uid));
            pod.is_some_and(|entry| class.is_helped_by(profiles, &entry.pending, event))
        };
        let helped: Vec<RefusedClass> =
            self.refused.iter().filter(helps).map(|(class, _)| class.clone()).collect();
        for class in helped {
            for uid in self.refused.get(&class).cloned().unwrap_or_default() {
                self.help(&uid, now);
            }
        }
    }

    fn help(&mut self, uid: &str, now: Time) {
        let Some(entry) = self.entries.get(uid) else { return };
        match entry.place.clone() {
            Place::Unschedulable { since, class } => {
                let until = since + self.backoff_times.after(entry.attempts);
                if until <= now {
                    self.move_to(uid, Place::Active);
                } else {
                    self.move_to(uid, Place::Backoff { until, class });
                    self.helped.insert(uid.into());
                }
            }
            Place::Backoff { .. } => drop(self.helped.insert(uid.into())),
            Place::Gated | Place::Active | Place::InFlight => {}
        }
    }

    /// Activates Pods whose back-off or maximum wait is over. Call before each cycle.
    pub fn advance(&mut self, now: Time) {
        while let Some((until, uid)) = self.backoff.first()
            && *until <= now
        {
            let uid = uid.clone();
            self.move_to(&uid, Place::Active);
        }
        while let Some((since, uid)) = self.unschedulable.first()
            && *since + FLUSH_AFTER <= now
        {
            let uid = uid.clone();
            self.move_to(&uid, Place::Active);
        }
        if self.active.is_empty() {
            for uid in std::mem::take(&mut self.helped) {
                self.move_to(&uid, Place::Active);
            }
        }
    }

    /// When [`SchedulingQueue::advance`] next has work, if no event arrives before.
    pub fn next_deadline(&self) -> Option<Time> {
        let backoff = self.backoff.first().map(|(until, _)| *until);
        let flush = self.unschedulable.first().map(|(since, _)| *since + FLUSH_AFTER);
        backoff.into_iter().chain(flush).min()
    }

    /// The Pods to try, in unspecified order.
    pub fn active(&self) -> impl Iterator<Item = &PendingPod> {
        self.active.iter().filter_map(|uid| self.entries.get(uid)).map(|entry| &entry.pending)
    }

    /// The Pods that were refused, and by which plugins.
    pub fn refused(&self) -> impl Iterator<Item = (&PendingPod, PluginSet)> {
        self.entries.values().filter_map(|entry| match &entry.place {
            Place::Backoff { class, .. } | Place::Unschedulable { class, .. } => {
                Some((&entry.pending, class.by))
            }
            Place::Gated | Place::Active | Place::InFlight => None,
        })
    }

    /// Whether a Pod will be tried in the next cycle.
    pub fn is_active(&self, uid: &str) -> bool {
        self.active.contains(uid)
    }

    /// Whether any Pod waits for an event or for the end of its back-off.
    pub fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Whether there is no Pod to try.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// The number of failed attempts of a Pod.
    pub fn attempts(&self, uid: &str) -> u32 {
        self.entries.get(uid).map_or(0, |entry| entry.attempts)
    }

    /// The number of Pods in each part of the queue.
    pub fn lengths(&self) -> QueueLengths {
        QueueLengths {
            active: self.active.len(),
            backoff: self.backoff.len(),
            unschedulable: self.unschedulable.len(),
            gated: self.gated,
        }
    }

    fn move_to(&mut self, uid: &str, place: Place) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let before = std::mem::replace(&mut entry.place, place.clone());
        match before {
            Place::Gated => self.gated -= 1,
            Place::Active => drop(self.active.swap_remove(uid)),
            Place::InFlight => {}
            Place::Backoff { until, class } => {
                self.backoff.remove(&(until, uid.into()));
                self.helped.remove(uid);
                self.remove_refused(&class, uid);
            }
            Place::Unschedulable { since, class } => {
                self.unschedulable.remove(&(since, uid.into()));
                self.remove_refused(&class, uid);
            }
        }
        match place {
            Place::Gated => self.gated += 1,
            Place::Active => drop(self.active.insert(uid.into())),
            Place::InFlight => {}
            Place::Backoff { until, class } => {
                self.backoff.insert((until, uid.into()));
                self.refused.entry(class).or_default().insert(uid.into());
            }
            Place::Unschedulable { since, class } => {
                self.unschedulable.insert((since, uid.into()));
                self.refused.entry(class).or_default().insert(uid.into());
            }
        }
    }

    fn remove_refused(&mut self, class: &RefusedClass, uid: &str) {
        if let Some(pods) = self.refused.get_mut(class) {
            pods.remove(uid);
            if pods.is_empty() {
                self.refused.remove(class);
            }
        }
    }
}

impl RefusedClass {
    fn of(entry: &Entry, by: PluginSet) -> RefusedClass {
        let pending = &entry.pending;
        RefusedClass {
            profile: pending.profile,
            by,
            shape: Arc::as_ptr(&pending.pod.shape).addr(),
            role: pending.role.clone(),
            bound_to: pending.bound_to.clone(),
        }
    }

    /// Whether one of the plugins that refused the Pods registered for the event and does not rule it out. As
    /// upstream, any event may help if no plugin refused them.
    fn is_helped_by(&self, profiles: &Profiles, pod: &PendingPod, event: &ClusterEvent<'_>) -> bool {
        let profile = profiles.get(self.profile);
        self.by.is_empty()
            || self.by.iter().any(|plugin| {
                let plugin = profile.plugin(plugin);
                plugin.events().intersects(event.kinds)
                    && plugin.queueing_hint(pod, event) == QueueingHint::Queue
            })
    }
}

fn is_gated(profiles: &Profiles, pending: &PendingPod) -> bool {
    if pending.bound_to.is_some() {
        return false;
    }
    let profile = profiles.get(pending.profile);
    let mut plugins = profile.at(ExtensionPoint::PreEnqueue).iter();
    plugins.any(|plugin| {
        let plugin = profile.plugin(*plugin).pre_enqueue();
        plugin.is_some_and(|plugin| plugin.pre_enqueue(&pending.pod).is_err())
    })
}

/// Whether a Pod's requirements have changed, so that another attempt makes sense.
fn is_other_request(before: &PendingPod, now: &PendingPod) -> bool {
    let (before_header, header) = (before.pod.header(), now.pod.header());
    before.bound_to != now.bound_to
        || before.role != now.role
        || before_header.generation != header.generation
        || before_header.labels != header.labels
        || before.pod.shape != now.pod.shape
}

#[cfg(test)]
#[path = "queue/tests.rs"]
mod tests;
