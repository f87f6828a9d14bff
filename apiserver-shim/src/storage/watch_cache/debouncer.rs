//! Debounces the wake-ups of clients' watchers: the first change after a quiet period wakes them at once, further changes
//! are coalesced, and all watchers wake together. Waking a watcher costs more than delivering an event, so under load
//! frames grow instead of wake-ups; and watchers that wake together read the same, which is then encoded once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The interval per watcher. With about 15 µs per wake-up, those of one resource cost at most a sixth of a core, up to the
/// 1,000 watchers at which [`INTERVAL_MAX`] is reached.
const INTERVAL_PER_WATCHER: Duration = Duration::from_micros(100);
/// Least time between two ticks: the resolution of timers.
pub const INTERVAL_MIN: Duration = Duration::from_millis(2);
/// Most time between two ticks: a delay that a person does not notice.
pub const INTERVAL_MAX: Duration = Duration::from_millis(100);

/// Passes on sequence numbers, at most one per interval.
pub(super) struct Debouncer {
    passed_on: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The newest number.
    number: u64,
    /// The time of the last tick.
    last: Option<Instant>,
    /// A task waits for the next tick and will pass on the number that is the newest then.
    armed: bool,
}

impl Debouncer {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Debouncer { passed_on: watch::Sender::new(0), state: Mutex::default() })
    }

    /// The numbers as they are passed on; the first one may be an old one.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.passed_on.subscribe()
    }

    /// Takes the newest number, and passes it on now or at the next tick.
    pub(super) fn notify(self: &Arc<Self>, number: u64) {
        let mut state = self.state.lock().expect("invariant: no holder of a debouncer's lock panics");
        state.number = number;
        // A later subscriber reads the cache after this number was set.
        let watchers = self.passed_on.receiver_count();
        if state.armed || watchers == 0 {
            return;
        }
        let now = Instant::now();
        let later = state.last.map(|last| last + interval(watchers)).filter(|next| now < *next);
        // Without a runtime no task can sleep, here or at the receivers.
        let Some((next, runtime)) = later.zip(Handle::try_current().ok()) else {
            state.last = Some(now);
            self.passed_on.send_replace(number);
            return;
        };
        state.armed = true;
        let debouncer = Arc::downgrade(self);
        runtime.spawn(async move {
            sleep_until(next).await;
            if let Some(debouncer) = debouncer.upgrade() {
                debouncer.tick();
            }
        });
    }

    fn tick(&self) {
        let mut state = self.state.lock().expect("invariant: no holder of a debouncer's lock panics");
        state.armed = false;
        state.last = Some(Instant::now());
        self.passed_on.send_replace(state.number);
    }
}

fn interval(watchers: usize) -> Duration {
    let interval = INTERVAL_PER_WATCHER.saturating_mul(u32::try_from(watchers).unwrap_or(u32::MAX));
    interval.clamp(INTERVAL_MIN, INTERVAL_MAX)
}

#[cfg(test)]
mod tests;
