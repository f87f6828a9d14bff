//! The queues of one priority level: fair queuing with shuffle sharding. A request takes seats while it is served. Each flow has
//! a hand of queues, and a request goes to the least busy one of its flow's; the next request is the one that would finish first
//! if all queues were served at the same time, at equal rates.
//!
//! Progress is measured in seat-nanoseconds for each queue (`virtual`): `now` is what each busy queue could have got so far.

mod demand;
pub mod dump;
mod executing;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use super::Demand;
use demand::DemandIntegrator;
use executing::{Executing, ExecutingRequests};

/// How long a request is expected to take until it has ended (upstream's).
const SERVICE_ESTIMATE: Duration = Duration::from_millis(3);
/// The largest hand (validation's limit).
const HAND_MAX: usize = 15;

/// How the requests of a level wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum QueueSetConfig {
    /// They do not: there is no limit.
    Exempt,
    /// They do not: what finds no seat is refused.
    Reject,
    Queue {
        queues: usize,
        hand_size: usize,
        length_max: usize,
    },
}

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Seats while it is served; at least 1.
    pub seats: u64,
}

/// A request that is being served. Returned with [`QueueSet::finish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestKey {
    /// Its queue, if it came from one.
    queue: Option<usize>,
    seats: u64,
    started: Duration,
    /// Where it is among those that are being served.
    place: usize,
}

impl RequestKey {
    /// When it was started.
    pub fn started(&self) -> Duration {
        self.started
    }

    /// The seats that it takes.
    pub fn seats(&self) -> u64 {
        self.seats
    }
}

/// What becomes of an arrived request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Arrival {
    Execute(RequestKey),
    /// It waits under this number; `length` is that of its queue with it.
    Wait {
        number: u64,
        length: usize,
    },
    Reject(Rejection),
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Rejection {
    QueueFull,
    ConcurrencyLimit,
    TimeOut,
    Cancelled,
}

impl Rejection {
    /// The label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Rejection::QueueFull => "queue-full",
            Rejection::ConcurrencyLimit => "concurrency-limit",
            Rejection::TimeOut => "time-out",
            Rejection::Cancelled => "cancelled",
        }
    }
}

/// The state of a level. `W` is what waits: the shell's handle of a request. `D` describes a request, for dumps.
#[derive(Debug)]
pub struct QueueSet<W, D = ()> {
    config: QueueSetConfig,
    limit: u64,
    queues: Vec<Queue<W, D>>,
    /// When the progress was updated.
    updated: Duration,
    progress: i128,
    /// The queue that was served last.
    last_served: usize,
    next_number: u64,
    /// How often a queue was chosen.
    choices: usize,
    executing: ExecutingRequests<D>,
    seats_in_use: u64,
    waiting: usize,
    seats_waiting: u64,
    counts: Counts,
    /// Queues with requests, waiting or served.
    busy_queues: usize,
    demand: DemandIntegrator,
}

/// What has become of the requests so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Counts {
    pub dispatched: u64,
    /// With those that are cancelled.
    pub rejected: u64,
    /// Those that have left their queues, at the end of their time or with their clients.
    pub cancelled: u64,
}

#[derive(Debug)]
struct Queue<W, D> {
    waiting: VecDeque<Waiting<W, D>>,
    seats_waiting: u64,
    executing: u64,
    seats_in_use: u64,
    /// The progress at which its next request starts.
    next_start: i128,
}

#[derive(Debug)]
struct Waiting<W, D> {
    number: u64,
    seats: u64,
    arrived: i128,
    arrived_at: Duration,
    handle: W,
    details: D,
}

impl<W, D> Default for Queue<W, D> {
    fn default() -> Self {
        Queue { waiting: VecDeque::new(), seats_waiting: 0, executing: 0, seats_in_use: 0, next_start: 0 }
    }
}

impl<W, D> Queue<W, D> {
    fn is_busy(&self) -> bool {
        self.executing > 0 || !self.waiting.is_empty()
    }

    /// A request never starts before it has arrived, however little its queue has used until then.
    fn bound_start(&mut self) {
        if let Some(oldest) = self.waiting.front() {
            self.next_start = self.next_start.max(oldest.arrived);
        }
    }
}

fn work(seats: u64, time: Duration) -> i128 {
    i128::from(seats) * i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}

/// Requests that have left their queues to be served.
pub type Started<W> = Vec<(W, RequestKey)>;

impl<W, D> QueueSet<W, D> {
    /// A level without requests.
    pub fn new(now: Duration, config: QueueSetConfig, limit: u64) -> QueueSet<W, D> {
        let mut set = QueueSet {
            config,
            limit,
            queues: Vec::new(),
            updated: now,
            progress: 0,
            last_served: 0,
            next_number: 0,
            choices: 0,
            executing: ExecutingRequests::default(),
            seats_in_use: 0,
            waiting: 0,
            seats_waiting: 0,
            counts: Counts::default(),
            busy_queues: 0,
            demand: DemandIntegrator::new(now),
        };
        set.grow();
        set
    }

    /// Changes queues and limit. Requests stay where they are: queues that are no longer wanted get no new ones.
    pub fn configure(&mut self, now: Duration, config: QueueSetConfig, limit: u64, started: &mut Started<W>) {
        self.advance(now);
        (self.config, self.limit) = (config, limit);
        self.grow();
        self.dispatch(now, started);
    }

    fn grow(&mut self) {
        if let QueueSetConfig::Queue { queues, .. } = self.config
            && queues > self.queues.len()
        {
            self.queues.resize_with(queues, Queue::default);
        }
    }

    /// A request arrives. `flow` is its flow's hash. `handle` is called if it has to wait.
    pub fn arrive(
        &mut self,
        now: Duration,
        flow: u64,
        (Work { seats }, details): (Work, D),
        handle: impl FnOnce() -> W,
        started: &mut Started<W>,
    ) -> Arrival {
        self.advance(now);
        let QueueSetConfig::Queue { queues, hand_size, length_max } = self.config else {
            if self.config == QueueSetConfig::Reject && !self.has_room(seats) {
                self.counts.rejected += 1;
                return Arrival::Reject(Rejection::ConcurrencyLimit);
            }
            let key = self.start(Executing { queue: None, seats, arrived: now, started: now, details });
            self.note_demand();
            return Arrival::Execute(key);
        };
        let at = self.choose(flow, queues, hand_size);
        if self.waiting == 0 && self.has_room(seats) {
            self.enter(at);
            let queue = &mut self.queues[at];
            queue.next_start = queue.next_start.max(self.progress);
            self.last_served = at;
            let key = self.start(Executing { queue: Some(at), seats, arrived: now, started: now, details });
            self.note_demand();
            return Arrival::Execute(key);
        }
        if self.seats_in_use >= self.limit && self.queues[at].waiting.len() >= length_max {
            self.counts.rejected += 1;
            return Arrival::Reject(Rejection::QueueFull);
        }
        self.enter(at);
        let number = self.next_number;
        self.next_number += 1;
        let queue = &mut self.queues[at];
        let (arrived, handle) = (self.progress, handle());
        queue.waiting.push_back(Waiting { number, seats, arrived, arrived_at: now, handle, details });
        queue.seats_waiting += seats;
        queue.bound_start();
        let length = queue.waiting.len();
        self.waiting += 1;
        self.seats_waiting += seats;
        self.note_demand();
        self.dispatch(now, started);
        Arrival::Wait { number, length }
    }

    /// A request has been served.
    pub fn finish(&mut self, now: Duration, key: RequestKey, started: &mut Started<W>) {
        self.advance(now);
        self.executing.remove(key.place);
        self.seats_in_use -= key.seats;
        if let Some(at) = key.queue {
            let queue = &mut self.queues[at];
            queue.executing -= 1;
            queue.seats_in_use -= key.seats;
            // The estimate is replaced by the time that it has taken.
            let taken = now.saturating_sub(key.started);
            queue.next_start += work(key.seats, taken) - work(key.seats, SERVICE_ESTIMATE);
            queue.bound_start();
            self.leave(at);
        }
        self.note_demand();
        self.dispatch(now, started);
    }

    /// A waiting request gives up. Returns false if it does not wait any more.
    pub fn give_up(&mut self, now: Duration, number: u64, started: &mut Started<W>) -> bool {
        self.advance(now);
        let found = self.queues.iter().enumerate().find_map(|(at, queue)| {
            Some((at, queue.waiting.iter().position(|waiting| waiting.number == number)?))
        });
        let Some((at, place)) = found else { return false };
        let queue = &mut self.queues[at];
        let seats = queue.waiting.remove(place).map_or(0, |waiting| waiting.seats);
        queue.seats_waiting -= seats;
        queue.bound_start();
        self.waiting -= 1;
        self.seats_waiting -= seats;
        self.counts.rejected += 1;
        self.counts.cancelled += 1;
        self.leave(at);
        self.note_demand();
        self.dispatch(now, started);
        true
    }

    /// The demand since the last call.
    pub fn take_demand(&mut self, now: Duration) -> Demand {
        self.demand.take(now)
    }

    /// The seats that are taken.
    pub fn seats_in_use(&self) -> u64 {
        self.seats_in_use
    }

    /// The number of waiting requests.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether no request waits or is served.
    pub fn is_idle(&self) -> bool {
        self.waiting == 0 && self.executing.is_empty()
    }

    fn note_demand(&mut self) {
        self.demand.set((self.seats_in_use + self.seats_waiting) as f64);
    }

    /// Moves the progress to `now`: until then, what the queues want or may have was shared among the busy ones.
    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.updated);
        self.updated = self.updated.max(now);
        self.demand.advance(self.updated);
        if self.busy_queues > 0 {
            let seats = (self.seats_in_use + self.seats_waiting).min(self.limit);
            self.progress += work(seats, passed) / self.busy_queues as i128;
        }
    }

    /// Called before a queue gets a request.
    fn enter(&mut self, at: usize) {
        let queue = &mut self.queues[at];
        if !queue.is_busy() {
            queue.next_start = self.progress;
            self.busy_queues += 1;
        }
    }

    /// Called after a queue has lost a request.
    fn leave(&mut self, at: usize) {
        if !self.queues[at].is_busy() {
            self.busy_queues -= 1;
        }
    }

    /// Whether a request with so many seats may be served. One that wants more than there are is served alone.
    fn has_room(&self, seats: u64) -> bool {
        match seats > self.limit {
            true => self.executing.is_empty(),
            false => self.seats_in_use + seats <= self.limit,
        }
    }

    /// The queue of the flow's hand in which the fewest seats are waited for; of equal ones another one each time. The hand is
    /// dealt from the deck of queues by the flow's hash.
    fn choose(&mut self, mut flow: u64, queues: usize, hand_size: usize) -> usize {
        let hand_size = hand_size.clamp(1, HAND_MAX).min(queues);
        let (mut remainders, mut hand) = ([0usize; HAND_MAX], [0usize; HAND_MAX]);
        for (at, deck) in (0..hand_size).map(|at| (at, (queues - at) as u64)) {
            remainders[at] = (flow % deck) as usize;
            flow /= deck;
            let mut card = remainders[at];
            for earlier in remainders[..at].iter().rev() {
                card += usize::from(card >= *earlier);
            }
            hand[at] = card;
        }
        let offset = self.choices % hand_size;
        self.choices = self.choices.wrapping_add(1);
        let order = (0..hand_size).map(|at| hand[(offset + at) % hand_size]);
        order.min_by_key(|card| self.queues[*card].seats_waiting).unwrap_or(0)
    }

    fn start(&mut self, request: Executing<D>) -> RequestKey {
        let Executing { queue, seats, started, .. } = request;
        self.counts.dispatched += 1;
        self.seats_in_use += seats;
        if let Some(at) = queue {
            let queue = &mut self.queues[at];
            queue.executing += 1;
            queue.seats_in_use += seats;
            queue.next_start += work(seats, SERVICE_ESTIMATE);
        }
        RequestKey { queue, seats, started, place: self.executing.insert(request) }
    }

    /// Serves waiting requests as long as there are seats.
    fn dispatch(&mut self, now: Duration, started: &mut Started<W>) {
        while self.waiting > 0 && self.seats_in_use < self.limit.max(1) {
            let Some((at, seats)) = self.next_queue() else { return };
            if !self.has_room(seats) {
                return;
            }
            let Some(next) = self.queues[at].waiting.pop_front() else { return };
            self.queues[at].seats_waiting -= seats;
            self.waiting -= 1;
            self.seats_waiting -= seats;
            self.last_served = at;
            let Waiting { arrived_at: arrived, handle, details, .. } = next;
            let key = self.start(Executing { queue: Some(at), seats, arrived, started: now, details });
            self.queues[at].bound_start();
            started.push((handle, key));
        }
    }

    /// The queue whose oldest request would finish first, beginning after the one that was served last; and its seats.
    fn next_queue(&self) -> Option<(usize, u64)> {
        let count = self.queues.len();
        let order = (1..=count).map(|step| (self.last_served + step) % count);
        let finish = |at: usize| {
            let queue = &self.queues[at];
            let oldest = queue.waiting.front()?;
            Some((queue.next_start + work(oldest.seats, SERVICE_ESTIMATE), at, oldest.seats))
        };
        let first =
            order.filter_map(finish).reduce(|best, other| if other.0 < best.0 { other } else { best });
        first.map(|(_, at, seats)| (at, seats))
    }
}
