//! The Pods of this node: a handle and a view of each, shared by the executor's loops and its server.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Instant,
};

use executor_core::Event as PodEvent;
use tokio::sync::mpsc;

use crate::pod::worker::{Handle, View};

/// The Pods of this node.
#[derive(Default)]
pub(crate) struct Pods {
    state: Mutex<PodsState>,
}

#[derive(Default)]
pub(super) struct PodsState {
    pub(super) by_uid: BTreeMap<String, (u64, Handle)>,
    serial: u64,
    pub(super) subscribed_since: Option<Instant>,
}

/// Somebody to tell what the runtime shows.
pub(crate) struct Listener {
    pub uid: String,
    pub serial: u64,
    pub events: mpsc::Sender<PodEvent>,
    pub expects_change: Arc<AtomicBool>,
}

impl Listener {
    /// Distinguishes a Pod's task from an earlier one of the same Pod.
    pub fn serial_key(&self) -> String {
        format!("{}#{}", self.uid, self.serial)
    }
}

impl Pods {
    pub(super) fn state(&self) -> MutexGuard<'_, PodsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn listeners(&self) -> Vec<Listener> {
        let state = self.state();
        let listener = |(uid, (serial, handle)): (&String, &(u64, Handle))| Listener {
            uid: uid.clone(),
            serial: *serial,
            events: handle.events.clone(),
            expects_change: handle.expects_change.clone(),
        };
        state.by_uid.iter().map(listener).collect()
    }

    pub fn subscribed_since(&self) -> Option<Instant> {
        self.state().subscribed_since
    }

    /// What is known of a Pod, by namespace and name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<View> {
        self.ask(namespace, name, View::clone)
    }

    /// Asks something of a Pod's view without copying it. Of two with one name (the elder was deleted by force and is not
    /// over yet) the younger is meant.
    pub fn ask<T>(&self, namespace: &str, name: &str, ask: impl Fn(&View) -> T) -> Option<T> {
        let state = self.state();
        let asked = |view: &View| {
            let born = view.pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            view.is_of(namespace, name).then(|| (born, ask(view)))
        };
        let found = state.by_uid.values().filter_map(|(serial, handle)| Some((*serial, handle.look(asked)?)));
        found.max_by_key(|(serial, (born, _))| (*born, *serial)).map(|(_, (_, answer))| answer)
    }

    pub fn views(&self) -> Vec<View> {
        self.state().by_uid.values().map(|(_, handle)| handle.view()).collect()
    }

    pub fn uids(&self) -> BTreeSet<String> {
        self.state().by_uid.keys().cloned().collect()
    }

    pub(super) fn sender(&self, uid: &str) -> Option<mpsc::Sender<PodEvent>> {
        self.state().by_uid.get(uid).map(|(_, handle)| handle.events.clone())
    }

    pub(super) fn insert(&self, uid: String, handle: Handle) {
        let mut state = self.state();
        state.serial += 1;
        let serial = state.serial;
        state.by_uid.insert(uid, (serial, handle));
    }

    pub(super) fn remove(&self, uid: &str) {
        self.state().by_uid.remove(uid);
    }

    pub(super) fn take_all(&self) -> Vec<Handle> {
        std::mem::take(&mut self.state().by_uid).into_values().map(|(_, handle)| handle).collect()
    }
}
