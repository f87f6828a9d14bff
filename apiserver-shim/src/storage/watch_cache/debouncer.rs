//! Debounces notifications to clients' watchers. The first change after a quiet period is passed on at once; later
//! ones are coalesced, and all watchers wake up together. A wake-up costs more than delivering an event, so under
//! load batches grow instead of wake-ups. Watchers that wake up together read the same batch, which is encoded once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The interval per watcher. A wake-up costs about 15 µs, so the watchers of one resource use at most a sixth of a
/// core, up to the 1,000 watchers at which [`INTERVAL_MAX`] is reached.
const INTERVAL_PER_WATCHER: Duration = Duration::from_micros(100);
/// Minimum interval: the resolution of tokio's timers allows no less.
pub const INTERVAL_MIN: Duration = Duration::from_millis(2);
/// Maximum interval: a delay that people do not notice.
pub const INTERVAL_MAX: Duration = Duration::from_millis(100);

/// Passes on sequence numbers, at most one per interval.
pub(super) struct Debouncer {
    passed_on: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The newest sequence number.
    number: u64,
    /// The time of the last tick.
    last: Option<Instant>,
    /// Whether a task is scheduled to pass on the newest number at the next tick.
    armed: bool,
}

impl Debouncer {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Debouncer { passed_on: watch::Sender::new(0), state: Mutex::default() })
    }

    /// Subscribes to the debounced numbers. The initial value may be stale.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.passed_on.subscribe()
    }

    /// Takes a newer number and passes it on, now or at the next tick.
    pub(super) fn notify(self: &Arc<Self>, number: u64) {
        let mut state = self.state.lock().expect("invariant: no holder of a debouncer's lock panics");
        state.number = number;
        // Subscribers that join later read the cache after this number was set.
        let watchers = self.passed_on.receiver_count();
        if state.armed || watchers == 0 {
            return;
        }
        let now = Instant::now();
        let later = state.last.map(|last| last + interval(watchers)).filter(|next| now < *next);
        // Without a runtime no task can sleep, neither this one nor a receiver.
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
