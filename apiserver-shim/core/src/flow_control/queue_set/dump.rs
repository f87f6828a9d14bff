//! What a level contains at one time, for operators.

use std::time::Duration;

use super::{Counts, QueueSet, QueueSetConfig, SERVICE_ESTIMATE, work};

/// A level.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct QueueSetDump<D> {
    pub is_idle: bool,
    pub waiting: usize,
    pub executing: usize,
    pub counts: Counts,
    /// The queues, with their number. Those that are no longer wanted are left out once they are empty.
    pub queues: Vec<QueueDump<D>>,
    /// Requests that have come from no queue.
    pub without_queue: Vec<RequestDump<D>>,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct QueueDump<D> {
    pub index: usize,
    /// In their order.
    pub waiting: Vec<RequestDump<D>>,
    pub executing: Vec<RequestDump<D>>,
    pub seats_in_use: u64,
    pub seats_waiting: u64,
    /// The progress at which its next request starts, in seat-nanoseconds.
    pub next_start: u128,
    /// What its waiting requests are expected to take, in seat-nanoseconds.
    pub work: u128,
}

/// A request. Times are those of the level's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RequestDump<D> {
    pub seats: u64,
    pub arrived: Duration,
    /// `None`: it waits.
    pub started: Option<Duration>,
    pub details: D,
}

impl<W, D: Clone> QueueSet<W, D> {
    /// What the level contains.
    pub fn dump(&self) -> QueueSetDump<D> {
        let wanted = match self.config {
            QueueSetConfig::Queue { queues, .. } => queues,
            QueueSetConfig::Exempt | QueueSetConfig::Reject => 0,
        };
        let shown = self.queues.iter().enumerate().filter(|(at, queue)| *at < wanted || queue.is_busy());
        QueueSetDump {
            is_idle: self.is_idle(),
            waiting: self.waiting,
            executing: self.executing.len(),
            counts: self.counts,
            queues: shown.map(|(at, _)| self.dump_queue(at)).collect(),
            without_queue: self.served_from(None),
        }
    }

    fn dump_queue(&self, at: usize) -> QueueDump<D> {
        let queue = &self.queues[at];
        let waiting = queue.waiting.iter().map(|request| RequestDump {
            seats: request.seats,
            arrived: request.arrived_at,
            started: None,
            details: request.details.clone(),
        });
        let positive = |work: i128| u128::try_from(work).unwrap_or(0);
        QueueDump {
            index: at,
            waiting: waiting.collect(),
            executing: if queue.executing == 0 { Vec::new() } else { self.served_from(Some(at)) },
            seats_in_use: queue.seats_in_use,
            seats_waiting: queue.seats_waiting,
            next_start: positive(queue.next_start),
            work: positive(work(queue.seats_waiting, SERVICE_ESTIMATE)),
        }
    }

    /// The requests that are served and came from a queue, the first to start first.
    fn served_from(&self, queue: Option<usize>) -> Vec<RequestDump<D>> {
        let served = self.executing.iter().filter(|request| request.queue == queue);
        let mut served: Vec<RequestDump<D>> = served
            .map(|request| RequestDump {
                seats: request.seats,
                arrived: request.arrived,
                started: Some(request.started),
                details: request.details.clone(),
            })
            .collect();
        served.sort_by_key(|request| (request.started, request.arrived));
        served
    }
}
