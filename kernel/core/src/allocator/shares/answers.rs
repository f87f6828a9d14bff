//! How clients answer their offers.
//!
//! What a client does with its offers says what it should be offered ([`Appetite`]): pieces of agents make sense only for one
//! that launches tasks on them.
//!
//! Clients that do not answer their offers. While others want resources, such a client must not collect freed resources piece
//! by piece: pieces too small for any task would be idle until its offers expire. It keeps its offers, and after a few
//! seconds it is offered only whole agents ([`Attention::Whole`]). Once its offers have expired, it gets one offer at a time,
//! with growing pauses ([`Attention::None`]). Any answer ends this.

use std::{sync::Arc, time::Duration};

use kernel_model::time::Time;

use super::Shares;

/// How long a client with offers may answer nothing before it counts as slow: frameworks that decide in batches answer within
/// a second or so.
pub(super) const LAG_AFTER: Duration = Duration::from_secs(2);

/// The pause after the first expired offers: the default filter of a refusal. It doubles.
const PAUSE_MIN: Duration = Duration::from_secs(5);

/// The longest pause: how long a client that answers again may wait for an offer.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Offers that a client declines in succession before it counts as one that only declines: more than the agents that a framework
/// with a task of an unusual size looks through at once.
const DECLINES_MAX: u32 = 16;

/// What a client has done with its offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::allocator) enum Appetite {
    /// It has answered none.
    Unknown,
    /// It only declines: whatever it looks for, it was not in its offers.
    Declines,
    /// It launches tasks.
    Uses,
}

/// The offers that a client may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::allocator) enum Attention {
    /// Any offer.
    Full,
    /// Agents whole, within its fair share.
    Whole,
    None,
}

/// How a client answers its offers.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    /// Offers that it has not answered.
    pending: i64,
    /// Since when it has had offers and answered none.
    silent_since: Option<Time>,
    /// It has answered nothing for [`LAG_AFTER`].
    lagging: bool,
    /// Times that its offers expired since it answered one.
    expired: u32,
    /// When it is offered something again, if offers have expired.
    resumes_at: Time,
    /// Whether an offer was withheld from it.
    passed_over: bool,
    /// Whether it has launched something, since the last [`DECLINES_MAX`] offers.
    launches: bool,
    /// Offers declined since it launched something.
    declined: u32,
    /// It has unanswered offers, all of them of this round.
    is_first_round: bool,
    /// See [`Shares::is_looking`].
    pub(super) looking: bool,
}

impl Answers {
    fn is_looking(&self) -> bool {
        let declines = self.declined > 0 && !self.launches;
        declines && !self.lagging && self.pending > 0 && !self.is_first_round
    }
}

impl Shares {
    /// A round begins: the offers of the last one are of an earlier round.
    pub(in crate::allocator) fn begin_round(&mut self) {
        let mut offered = std::mem::take(&mut self.offered_in_round);
        for slot in offered.drain(..) {
            if let Some(client) = self.clients.get_mut(slot as usize) {
                client.answers.is_first_round = false;
                self.refresh_looking(slot);
            }
        }
        self.offered_in_round = offered;
    }

    /// Brings up to date whether the client is looking, and the number of such clients in each of its roles.
    fn refresh_looking(&mut self, slot: u32) {
        let Some(client) = self.clients.get_mut(slot as usize) else { return };
        let looking = client.answers.is_looking();
        if std::mem::replace(&mut client.answers.looking, looking) == looking || !client.active {
            return;
        }
        let path = Arc::clone(&client.path);
        for node in path.iter() {
            let clients = &mut self.node_mut(*node).looking_clients;
            *clients = if looking { *clients + 1 } else { *clients - 1 };
        }
    }

    /// The client got an offer, in this round.
    pub(in crate::allocator) fn offered(&mut self, slot: u32, now: Time) {
        let Some(client) = self.clients.get_mut(slot as usize) else { return };
        let answers = &mut client.answers;
        answers.pending += 1;
        if answers.pending == 1 {
            answers.is_first_round = true;
            self.offered_in_round.push(slot);
        }
        if answers.silent_since.is_none() {
            answers.silent_since = Some(now);
            self.lag_deadlines.insert((now + LAG_AFTER, slot));
        }
        if !answers.lagging {
            self.awaited += 1;
            self.awaited_from.insert(slot);
        }
    }

    /// The client launched something on an offer.
    pub(in crate::allocator) fn launched(&mut self, slot: u32) {
        if let Some(client) = self.clients.get_mut(slot as usize) {
            (client.answers.launches, client.answers.declined) = (true, 0);
            self.refresh_looking(slot);
        }
    }

    /// The client declined an offer.
    pub(in crate::allocator) fn declined(&mut self, slot: u32) {
        let Some(client) = self.clients.get_mut(slot as usize) else { return };
        let answers = &mut client.answers;
        answers.declined = answers.declined.saturating_add(1);
        answers.launches &= answers.declined < DECLINES_MAX;
        self.refresh_looking(slot);
    }

    /// What the client has done with its offers.
    pub(in crate::allocator) fn appetite(&self, slot: u32) -> Appetite {
        match self.clients.get(slot as usize).map(|client| &client.answers) {
            Some(answers) if answers.launches => Appetite::Uses,
            Some(answers) if answers.declined > 0 => Appetite::Declines,
            _ => Appetite::Unknown,
        }
    }

    /// Whether the client only declines, and has unanswered offers of an earlier round: it gets more when it has answered, so
    /// that it sees many agents at a time.
    pub(in crate::allocator) fn is_looking(&self, slot: u32) -> bool {
        self.clients.get(slot as usize).is_some_and(|client| client.answers.looking)
    }

    /// An offer of the client is gone: answered, rescinded or expired.
    pub(in crate::allocator) fn offer_gone(&mut self, slot: u32) {
        let Some(client) = self.clients.get_mut(slot as usize) else { return };
        let answers = &mut client.answers;
        answers.pending -= 1;
        if !answers.lagging {
            self.awaited -= 1;
        }
        if answers.pending == 0 {
            (answers.silent_since, answers.lagging) = (None, false);
            self.lagging.remove(&slot);
            self.awaited_from.remove(&slot);
            self.refresh_looking(slot);
        }
    }

    /// The client answered something. Returns whether it may be offered more now than before.
    pub(in crate::allocator) fn answered(&mut self, slot: u32, now: Time) -> bool {
        let Some(client) = self.clients.get_mut(slot as usize) else { return false };
        let answers = &mut client.answers;
        if std::mem::take(&mut answers.lagging) {
            self.awaited += answers.pending;
            self.awaited_from.insert(slot);
            self.lagging.remove(&slot);
        }
        answers.silent_since = (answers.pending > 0).then_some(now);
        if answers.pending > 0 {
            self.lag_deadlines.insert((now + LAG_AFTER, slot));
        }
        (answers.expired, answers.resumes_at) = (0, Time::default());
        let was_passed_over = std::mem::take(&mut answers.passed_over);
        self.refresh_looking(slot);
        was_passed_over
    }

    /// An offer of the client expired. Returns until when it is offered nothing. Offers that expire before that time were made
    /// before, and change nothing.
    pub(in crate::allocator) fn expired(&mut self, slot: u32, now: Time) -> Time {
        let Some(client) = self.clients.get_mut(slot as usize) else { return now };
        let answers = &mut client.answers;
        if answers.resumes_at <= now {
            let pause = PAUSE_MIN.saturating_mul(1 << answers.expired.min(10)).min(PAUSE_MAX);
            answers.expired += 1;
            answers.resumes_at = now + pause;
        }
        answers.resumes_at
    }

    /// Finds the clients that have answered nothing for too long.
    pub(in crate::allocator) fn notice_lag(&mut self, now: Time) {
        while let Some(&(due, slot)) = self.lag_deadlines.first()
            && due <= now
        {
            self.lag_deadlines.pop_first();
            // The slot may belong to another client by now, or it has answered since.
            let Some(client) = self.clients.get_mut(slot as usize) else { continue };
            let answers = &mut client.answers;
            let since = answers.silent_since;
            if !answers.lagging && since.is_some_and(|since| since + LAG_AFTER <= now) {
                answers.lagging = true;
                self.awaited -= answers.pending;
                self.awaited_from.remove(&slot);
                self.lagging.insert(slot);
                self.check_lagging = true;
                self.refresh_looking(slot);
            }
        }
    }

    /// What the client may be offered now, if others want resources too.
    pub(in crate::allocator) fn attention(&self, slot: u32, now: Time) -> Attention {
        let Some(client) = self.clients.get(slot as usize) else { return Attention::None };
        let answers = &client.answers;
        match answers.expired {
            _ if self.active_clients() <= 1 => Attention::Full,
            0 if answers.lagging => Attention::Whole,
            0 => Attention::Full,
            _ if answers.pending == 0 && answers.resumes_at <= now => Attention::Full,
            _ => Attention::None,
        }
    }

    /// Records that an offer was withheld from the client because of its [`Attention`].
    pub(in crate::allocator) fn passed_over(&mut self, slot: u32) {
        if let Some(client) = self.clients.get_mut(slot as usize) {
            client.answers.passed_over = true;
        }
    }

    /// Offers of other clients whose answers are worth waiting for.
    pub(in crate::allocator) fn others_awaited(&self, slot: u32) -> i64 {
        let own = self.clients.get(slot as usize).map(|client| &client.answers);
        self.awaited - own.filter(|own| !own.lagging).map_or(0, |own| own.pending)
    }

    /// The client is removed with its offers.
    pub(super) fn forget_answers(&mut self, slot: u32) {
        let Some(client) = self.clients.get_mut(slot as usize) else { return };
        let looking = client.answers.looking;
        let answers = std::mem::replace(&mut client.answers, Answers { looking, ..Answers::default() });
        self.refresh_looking(slot);
        if !answers.lagging {
            self.awaited -= answers.pending;
        }
        self.awaited_from.remove(&slot);
        self.lagging.remove(&slot);
    }

    /// The number of clients whose answers are worth waiting for, and one of them.
    pub(in crate::allocator) fn awaited_clients(&self) -> (usize, Option<u32>) {
        (self.awaited_from.len(), self.awaited_from.first().copied())
    }

    /// When the next client lags, if that makes a difference.
    pub(in crate::allocator) fn next_lag(&self) -> Option<Time> {
        let (due, _) = self.lag_deadlines.first()?;
        (self.active_clients() > 1).then_some(*due)
    }

    /// The clients that lag and hold more than their fair share, while another one is far below its own. Looks only after a
    /// client has begun to lag or to want resources.
    pub(in crate::allocator) fn overdue(&mut self) -> Vec<u32> {
        if !std::mem::take(&mut self.check_lagging) || self.lagging.is_empty() {
            return Vec::new();
        }
        let waits = |(slot, client): (usize, &super::Client)| {
            let answers = &client.answers;
            client.active
                && !answers.lagging
                && answers.expired == 0
                && self.headroom(super::slot_of(slot)).below_fair_share
        };
        if !self.clients.iter().any(waits) {
            return Vec::new();
        }
        self.lagging.iter().copied().filter(|slot| self.headroom(*slot).above_fair_share).collect()
    }
}
