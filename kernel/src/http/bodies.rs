//! The memory of requests' bodies: small ones are always read, and all large ones together take a bounded part of it. A client may take
//! half of what the others leave, so that something is left for the next one, however many connections a client has.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};

/// Bodies up to this size are not counted: with every connection sending one, they take as much as all large ones may.
pub(crate) const SMALL_BYTES_MAX: usize = 64 << 10;

/// What all large bodies may take: those of 16 of the longest calls.
const LARGE_BYTES_MAX: usize = 512 << 20;

/// The large bodies that are being read or carried out, by the client's address.
#[derive(Debug, Default)]
pub(crate) struct BodyBudget {
    taken: Mutex<BTreeMap<IpAddr, usize>>,
}

/// A client's part of the budget.
#[derive(Debug, Clone)]
pub(crate) struct BodyShare {
    budget: Arc<BodyBudget>,
    client: IpAddr,
}

/// The bytes that a body takes, until it is dropped.
#[derive(Debug)]
pub(crate) struct BodyLease {
    share: BodyShare,
    bytes: usize,
}

impl BodyBudget {
    /// The part of this client.
    pub(crate) fn share_of(self: &Arc<Self>, client: IpAddr) -> BodyShare {
        BodyShare { budget: self.clone(), client }
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<IpAddr, usize>) -> T) -> T {
        change(&mut self.taken.lock().expect("invariant: no panic while counting"))
    }
}

impl BodyShare {
    /// A lease of nothing yet.
    pub(crate) fn lease(&self) -> BodyLease {
        BodyLease { share: self.clone(), bytes: 0 }
    }
}

impl BodyLease {
    /// Takes as much as a body of this length needs; returns whether it may.
    pub(crate) fn grow_to(&mut self, length: usize) -> bool {
        let needed = if length <= SMALL_BYTES_MAX { 0 } else { length };
        let Some(more) = needed.checked_sub(self.bytes).filter(|more| *more > 0) else { return true };
        let client = self.share.client;
        let may = self.share.budget.change(|taken| {
            let others: usize = taken.iter().filter(|(of, _)| **of != client).map(|(_, bytes)| bytes).sum();
            let own = taken.get(&client).copied().unwrap_or(0) + more;
            let may = own <= LARGE_BYTES_MAX.saturating_sub(others) / 2;
            if may {
                taken.insert(client, own);
            }
            may
        });
        self.bytes += if may { more } else { 0 };
        may
    }
}

impl Drop for BodyLease {
    fn drop(&mut self) {
        let client = self.share.client;
        self.share.budget.change(|taken| {
            let left = taken.get(&client).copied().unwrap_or(0).saturating_sub(self.bytes);
            match left {
                0 => taken.remove(&client),
                left => taken.insert(client, left),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_takes_what_the_next_one_needs() {
        const LONGEST: usize = 32 << 20;
        let budget = Arc::new(BodyBudget::default());
        let mut held = Vec::new();
        for client in 0..3u8 {
            let share = budget.share_of(IpAddr::from([127, 0, 0, client]));
            let mut count = 0;
            loop {
                let mut lease = share.lease();
                if !lease.grow_to(LONGEST) {
                    break;
                }
                held.push(lease);
                count += 1;
            }
            assert_eq!(count, 8 >> client, "client {client}");
            assert!(share.lease().grow_to(SMALL_BYTES_MAX), "small ones are not counted");
        }
        drop(held);
        assert!(budget.taken.lock().unwrap().is_empty());
    }

    #[test]
    fn a_body_grows() {
        let budget = Arc::new(BodyBudget::default());
        let mut lease = budget.share_of(IpAddr::from([127, 0, 0, 1])).lease();
        for length in [10, SMALL_BYTES_MAX + 1, 1 << 20, 2 << 20] {
            assert!(lease.grow_to(length));
        }
        assert!(!lease.grow_to(LARGE_BYTES_MAX));
        assert_eq!(budget.taken.lock().unwrap().values().sum::<usize>(), 2 << 20);
    }
}
