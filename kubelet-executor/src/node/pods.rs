//! The Pods of this node: a handle and a view of each, shared by the executor's loops and its server.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use executor_core::Event as PodEvent;
use tokio::sync::mpsc;

use crate::pod::worker::{PodHandle, PodView};

/// How long a started executor may take to find its Pods in the runtime.
const ADOPTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Polling interval of [`Pods::adopted`].
const ADOPTION_POLL: Duration = Duration::from_millis(50);

pub(crate) struct Pods {
    state: Mutex<PodsState>,
    created_at: Instant,
}

impl Default for Pods {
    fn default() -> Self {
        Self { state: Mutex::default(), created_at: Instant::now() }
    }
}

#[derive(Default)]
pub(super) struct PodsState {
    pub(super) by_uid: BTreeMap<String, (u64, PodHandle)>,
    serial: u64,
    pub(super) subscribed_since: Option<Instant>,
}

/// A worker that receives listings.
pub(crate) struct Listener {
    pub uid: String,
    pub serial: u64,
    pub events: mpsc::Sender<PodEvent>,
    pub expects_change: Arc<AtomicBool>,
}

impl Listener {
    /// Distinguishes the worker from an earlier one of the same Pod.
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
        let listener = |(uid, (serial, handle)): (&String, &(u64, PodHandle))| Listener {
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

    /// Waits until a Pod is adopted. A restarted executor answers requests before it has seen its containers.
    pub async fn adopted(&self, namespace: &str, name: &str) {
        while self.created_at.elapsed() < ADOPTION_TIMEOUT
            && self.with_view(namespace, name, |view| view.adopted) != Some(true)
        {
            tokio::time::sleep(ADOPTION_POLL).await;
        }
    }

    /// The view of a Pod, by namespace and name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<PodView> {
        self.with_view(namespace, name, PodView::clone)
    }

    /// Reads a Pod's view without copying it. If two Pods share a name (the older was force-deleted and still
    /// terminates), the younger wins.
    pub fn with_view<T>(&self, namespace: &str, name: &str, read: impl Fn(&PodView) -> T) -> Option<T> {
        let state = self.state();
        let matching = |view: &PodView| {
            let created = view.pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            view.is_of(namespace, name).then(|| (created, read(view)))
        };
        let found =
            state.by_uid.values().filter_map(|(serial, handle)| Some((*serial, handle.with_view(matching)?)));
        found.max_by_key(|(serial, (created, _))| (*created, *serial)).map(|(_, (_, answer))| answer)
    }

    pub fn views(&self) -> Vec<PodView> {
        self.state().by_uid.values().map(|(_, handle)| handle.view()).collect()
    }

    pub fn uids(&self) -> BTreeSet<String> {
        self.state().by_uid.keys().cloned().collect()
    }

    pub(super) fn sender(&self, uid: &str) -> Option<mpsc::Sender<PodEvent>> {
        self.state().by_uid.get(uid).map(|(_, handle)| handle.events.clone())
    }

    pub(super) fn insert(&self, uid: String, handle: PodHandle) {
        let mut state = self.state();
        state.serial += 1;
        let serial = state.serial;
        state.by_uid.insert(uid, (serial, handle));
    }

    pub(super) fn remove(&self, uid: &str) {
        self.state().by_uid.remove(uid);
    }

    pub(super) fn take_all(&self) -> Vec<PodHandle> {
        std::mem::take(&mut self.state().by_uid).into_values().map(|(_, handle)| handle).collect()
    }
}
