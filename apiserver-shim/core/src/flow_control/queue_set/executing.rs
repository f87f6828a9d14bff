//! The requests of a level that are being served, for dumps. Places are used again, so that a request costs no allocation.

use std::time::Duration;

/// A request that is being served.
#[derive(Debug)]
pub(super) struct Executing<D> {
    /// Its queue, if it came from one.
    pub queue: Option<usize>,
    pub seats: u64,
    pub arrived: Duration,
    pub started: Duration,
    pub details: D,
}

#[derive(Debug)]
pub(super) struct ExecutingRequests<D> {
    places: Vec<Option<Executing<D>>>,
    free: Vec<usize>,
}

impl<D> Default for ExecutingRequests<D> {
    fn default() -> Self {
        ExecutingRequests { places: Vec::new(), free: Vec::new() }
    }
}

impl<D> ExecutingRequests<D> {
    /// Adds a request; returns its place.
    pub fn insert(&mut self, request: Executing<D>) -> usize {
        match self.free.pop() {
            Some(place) => {
                self.places[place] = Some(request);
                place
            }
            None => {
                self.places.push(Some(request));
                self.places.len() - 1
            }
        }
    }

    pub fn remove(&mut self, place: usize) {
        let removed = self.places[place].take();
        assert!(removed.is_some(), "invariant: each key is returned once");
        self.free.push(place);
    }

    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = &Executing<D>> {
        self.places.iter().flatten()
    }
}
