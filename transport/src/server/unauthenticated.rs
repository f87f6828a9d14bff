//! Connections whose clients have not shown who they are: without a bound of their own they could use up a server's connections. They
//! get a share, and a part of it for each address; beyond it, a new one displaces the oldest of the address that has the most.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Bounds on clients without credentials. A client is known when it has shown a certificate, or when a request of it was answered
/// with anything but 401.
#[derive(Clone, Copy, Debug)]
pub struct UnauthenticatedLimits {
    /// Connections of all of them.
    pub all: usize,
    /// Those of one address.
    pub of_address: usize,
    /// How long a client may be unknown.
    pub deadline: Duration,
}

/// The connections of a server whose clients are unknown.
#[derive(Debug)]
pub(super) struct UnauthenticatedConnections {
    limits: UnauthenticatedLimits,
    present: Mutex<Present>,
}

/// In the order of their arrival.
#[derive(Debug, Default)]
struct Present {
    next: u64,
    list: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    address: IpAddr,
    displaced: CancellationToken,
}

/// A connection until its client is known or it ends.
#[derive(Debug)]
pub(super) struct UnauthenticatedConnection {
    among: Arc<UnauthenticatedConnections>,
    number: u64,
    known: AtomicBool,
    /// Cancelled when a newer one takes its place.
    pub displaced: CancellationToken,
}

impl UnauthenticatedConnections {
    pub fn new(limits: UnauthenticatedLimits) -> Arc<UnauthenticatedConnections> {
        Arc::new(UnauthenticatedConnections { limits, present: Mutex::default() })
    }

    pub fn deadline(&self) -> Duration {
        self.limits.deadline
    }

    /// Admits a connection from an address.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> UnauthenticatedConnection {
        let address = address.to_canonical();
        let mut present = self.present();
        if let Some(at) = present.surplus(address, self.limits) {
            present.list.remove(at).displaced.cancel();
        }
        let number = present.next;
        present.next += 1;
        let displaced = CancellationToken::new();
        present.list.push(Entry { number, address, displaced: displaced.clone() });
        UnauthenticatedConnection { among: self.clone(), number, known: AtomicBool::new(false), displaced }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().expect("invariant: no holder of the lock panics")
    }
}

impl Present {
    /// Which one must leave before another of this address comes.
    fn surplus(&self, address: IpAddr, limits: UnauthenticatedLimits) -> Option<usize> {
        let oldest_of = |address: IpAddr| self.list.iter().position(|entry| entry.address == address);
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for entry in &self.list {
            *counts.entry(entry.address).or_default() += 1;
        }
        if counts.get(&address).is_some_and(|own| *own >= limits.of_address.max(1)) {
            return oldest_of(address);
        }
        if self.list.len() < limits.all.max(1) {
            return None;
        }
        let most = counts.values().max()?;
        self.list.iter().position(|entry| counts.get(&entry.address) == Some(most))
    }
}

impl UnauthenticatedConnection {
    /// The client is known: the connection counts no longer, and nobody displaces it.
    pub fn mark_known(&self) {
        if !self.known.swap(true, Ordering::Relaxed) {
            self.among.present().list.retain(|entry| entry.number != self.number);
        }
    }

    /// Waits for the end of the time that a client may be unknown, or until it is displaced. Pending if it is known.
    pub async fn end(&self) -> &'static str {
        tokio::select! {
            () = self.displaced.cancelled() => "displaced by newer connections without credentials",
            () = tokio::time::sleep(self.among.deadline()) => {
                if self.known.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                "no credentials came in time"
            }
        }
    }
}

impl Drop for UnauthenticatedConnection {
    fn drop(&mut self) {
        self.mark_known();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: UnauthenticatedLimits =
        UnauthenticatedLimits { all: 4, of_address: 3, deadline: Duration::from_secs(1) };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn displaced(unauthenticated: &[UnauthenticatedConnection]) -> Vec<usize> {
        let all = unauthenticated.iter().enumerate();
        all.filter(|(_, connection)| connection.displaced.is_cancelled()).map(|(at, _)| at).collect()
    }

    #[test]
    fn an_address_displaces_its_own_connections() {
        let among = UnauthenticatedConnections::new(LIMITS);
        let mut all: Vec<UnauthenticatedConnection> = (0..3).map(|_| among.admit(address(1))).collect();
        all.push(among.admit(address(2)));
        assert_eq!(displaced(&all), []);
        all.push(among.admit(address(1)));
        assert_eq!(displaced(&all), [0]);
        all.push(among.admit(IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x201])));
        assert_eq!(displaced(&all), [0, 1], "the same address, mapped to IPv6");
    }

    #[test]
    fn the_address_with_the_most_makes_room_for_others() {
        let among = UnauthenticatedConnections::new(LIMITS);
        let mut all = vec![among.admit(address(2))];
        all.extend((0..3).map(|_| among.admit(address(1))));
        all.push(among.admit(address(3)));
        assert_eq!(displaced(&all), [1]);
        // Those that are known or gone count no longer.
        all[2].mark_known();
        all.push(among.admit(address(4)));
        assert_eq!(displaced(&all), [1]);
        drop(all.remove(0));
        all.push(among.admit(address(5)));
        assert_eq!(displaced(&all), [0]);
        assert_eq!(among.present().list.len(), 4);
    }
}
