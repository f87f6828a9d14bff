//! When clients' watchers are woken: at once when nothing has happened lately, and all of them together, at most so
//! many a second, when much does. A wake-up of a watcher costs more than the delivery of an event, so that under load
//! it is frames that grow and not wake-ups; and who is woken together reads the same, which is then written once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What one wake-up takes of the time: with some 15 µs for each, those of one resource cost a sixth of a core at most
/// (up to the 1,000 watchers at which [`PACE_MAX`] is reached).
const SHARE_OF_ONE: Duration = Duration::from_micros(100);
/// Least time between two turns: what timers can tell apart.
pub const PACE_MIN: Duration = Duration::from_millis(2);
/// Most time between two turns: what a person would not notice.
pub const PACE_MAX: Duration = Duration::from_millis(100);

/// Sequence numbers, passed on at a pace.
pub(super) struct Pace {
    due: watch::Sender<u64>,
    turn: Mutex<Turn>,
}

#[derive(Default)]
struct Turn {
    /// The newest number.
    number: u64,
    /// When one was passed on.
    last: Option<Instant>,
    /// Somebody waits for the next turn and will pass on what is the newest number then.
    armed: bool,
}

impl Pace {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Pace { due: watch::Sender::new(0), turn: Mutex::default() })
    }

    /// Numbers as they are passed on; the first one may be an old one.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.due.subscribe()
    }

    /// Takes the newest number. It is passed on now or at the next turn.
    pub(super) fn announce(self: &Arc<Self>, number: u64) {
        let mut turn = self.turn.lock().expect("invariant: nobody panics who holds a pace");
        turn.number = number;
        // Who subscribes later has looked after this number was there.
        let watchers = self.due.receiver_count();
        if turn.armed || watchers == 0 {
            return;
        }
        let now = Instant::now();
        let later = turn.last.map(|last| last + interval(watchers)).filter(|next| now < *next);
        // Without a runtime nobody can sleep, here or on the other side.
        let Some((next, runtime)) = later.zip(Handle::try_current().ok()) else {
            turn.last = Some(now);
            self.due.send_replace(number);
            return;
        };
        turn.armed = true;
        let pace = Arc::downgrade(self);
        runtime.spawn(async move {
            sleep_until(next).await;
            if let Some(pace) = pace.upgrade() {
                pace.strike();
            }
        });
    }

    fn strike(&self) {
        let mut turn = self.turn.lock().expect("invariant: nobody panics who holds a pace");
        turn.armed = false;
        turn.last = Some(Instant::now());
        self.due.send_replace(turn.number);
    }
}

fn interval(watchers: usize) -> Duration {
    let share = SHARE_OF_ONE.saturating_mul(u32::try_from(watchers).unwrap_or(u32::MAX));
    share.clamp(PACE_MIN, PACE_MAX)
}

#[cfg(test)]
mod tests;
