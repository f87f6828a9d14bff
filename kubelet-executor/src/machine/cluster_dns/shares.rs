//! Places that clients share, so that none keeps all of them from the others.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A number of places. A client may have half of what others leave of them.
pub(super) struct Shares {
    total: usize,
    taken: Mutex<BTreeMap<IpAddr, usize>>,
}

/// A client's place, until it is dropped.
pub(super) struct Place {
    shares: Arc<Shares>,
    client: IpAddr,
}

impl Shares {
    /// `total` places, none of which is taken.
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, taken: Mutex::default() })
    }

    /// A place for a client; `None` if its share is used up.
    pub(super) fn take(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let mut taken = self.taken();
        let own = taken.get(&client).copied().unwrap_or_default();
        let others = taken.values().sum::<usize>() - own;
        if own >= self.total.saturating_sub(others).div_ceil(2) {
            return None;
        }
        taken.insert(client, own + 1);
        Some(Place { shares: self.clone(), client })
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        if let Some(own) = taken.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! What a client gets beside others.

    use super::*;

    /// As many places as a client gets.
    fn take_all(shares: &Arc<Shares>, client: u8) -> Vec<Place> {
        std::iter::from_fn(|| shares.take([10, 244, 0, client].into())).collect()
    }

    #[test]
    fn a_client_leaves_half_to_others() {
        let shares = Shares::new(512);
        let first = take_all(&shares, 1);
        assert_eq!(first.len(), 256);
        let second = take_all(&shares, 2);
        assert_eq!(second.len(), 128);
        assert!(shares.take([10, 244, 0, 1].into()).is_none());
        assert!(shares.take([10, 244, 0, 3].into()).is_some());
        drop(first);
        assert_eq!(take_all(&shares, 3).len(), (512 - 128) / 2, "what was given back is there again");
        drop(second);
        assert!(shares.taken().is_empty());
    }

    #[test]
    fn the_last_place_is_given_too() {
        let shares = Shares::new(1);
        let place = shares.take([10, 244, 0, 1].into());
        assert!(place.is_some() && shares.take([10, 244, 0, 2].into()).is_none());
    }
}
