//! An index over the objects of some resources, which follows their watch caches. Reading it first applies the changes that
//! the caches have received, so that it is as new as a read of the objects.

use std::ops::Deref;
use std::sync::{RwLock, RwLockReadGuard};

use shim_model::resource::GroupResource;

use super::registry::Registry;
use super::selection::Selection;
use super::watch_cache::{Delivery, WatchFrom, Watcher};

/// Changes applied between two looks at a cache.
const BATCH_MAX: usize = 1024;
const SOUND: &str = "invariant: no holder of the lock panics";

/// What is made of the objects.
pub trait Index: Default {
    /// Applies a change of an object of the resource at this position.
    fn apply(&mut self, resource: usize, delivery: &Delivery);

    /// Called after changes, before anybody reads the index.
    fn finish(&mut self) {}
}

/// An index that follows its resources.
pub struct FollowedIndex<I> {
    registry: Registry,
    resources: Vec<GroupResource>,
    state: RwLock<State<I>>,
}

struct State<I> {
    index: I,
    /// One for each resource; empty before the first look.
    watchers: Vec<Watcher>,
}

/// The index under the read lock. Hold it briefly.
pub struct IndexRef<'a, I>(RwLockReadGuard<'a, State<I>>);

impl<I> Deref for IndexRef<'_, I> {
    type Target = I;
    fn deref(&self) -> &I {
        &self.0.index
    }
}

impl<I: Index> FollowedIndex<I> {
    /// An index over built-in resources. It reads them when it is first used.
    pub fn new(registry: Registry, resources: impl IntoIterator<Item = GroupResource>) -> Self {
        let state = RwLock::new(State { index: I::default(), watchers: Vec::new() });
        FollowedIndex { registry, resources: resources.into_iter().collect(), state }
    }

    /// The index with all changes that the caches have received.
    pub fn read(&self) -> IndexRef<'_, I> {
        let state = self.state.read().expect(SOUND);
        if state.watchers.len() == self.resources.len() && !state.watchers.iter().any(Watcher::has_unread) {
            return IndexRef(state);
        }
        drop(state);
        self.state.write().expect(SOUND).follow(&self.registry, &self.resources);
        IndexRef(self.state.read().expect(SOUND))
    }
}

impl<I: Index> State<I> {
    /// Applies all pending changes. If changes were missed, everything is read again.
    fn follow(&mut self, registry: &Registry, resources: &[GroupResource]) {
        if self.watchers.len() != resources.len() || !self.apply_pending() {
            let watch = |resource: &GroupResource| {
                registry.watch(resource.clone(), WatchFrom::Start, Selection::everything()).ok()
            };
            *self = State { index: I::default(), watchers: resources.iter().filter_map(watch).collect() };
            self.apply_pending();
        }
        self.index.finish();
    }

    /// Returns whether no change was missed.
    fn apply_pending(&mut self) -> bool {
        for (resource, watcher) in self.watchers.iter_mut().enumerate() {
            loop {
                let Ok(batch) = watcher.poll(BATCH_MAX) else { return false };
                if batch.deliveries.is_empty() && !batch.cut {
                    break;
                }
                batch.deliveries.iter().for_each(|delivery| self.index.apply(resource, delivery));
            }
        }
        true
    }
}
