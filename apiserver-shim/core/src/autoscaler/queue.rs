//! Which HorizontalPodAutoscaler is looked at next. A slow one must not delay the others: those that are not known to be quick share
//! a part of the workers, the namespace with the fewest looks comes first, and one whose look timed out waits longer each time.

use std::collections::{BTreeMap, BTreeSet};

use shim_model::object::Header;

use super::{Autoscaler, Known, history::History};
use crate::rows::{Key, Seconds, seconds};

/// Looks at the same time.
pub const LOOKS_MAX: usize = 16;
/// Looks at the same time at objects whose last look was slow, or that were never looked at.
const UNPROVEN_LOOKS_MAX: usize = LOOKS_MAX / 2;
/// A look that takes longer is slow, in seconds: a third of the period.
const QUICK_SECONDS: i64 = 5;
/// The longest delay after looks that timed out, in seconds: a cured metrics API is noticed within it.
const DELAY_SECONDS_MAX: i64 = 120;

/// When one is looked at.
#[derive(Debug)]
pub(super) struct Turn {
    due: Seconds,
    /// Since when it is being looked at.
    since: Option<Seconds>,
    /// Whether the last look was quick.
    quick: bool,
    /// Looks that timed out one after another.
    timeouts: u32,
}

impl Turn {
    fn waits(&self, now: Seconds) -> bool {
        self.since.is_none() && self.due <= now
    }
}

impl Autoscaler {
    /// Takes note of all that there are. Returns the UIDs of those that are gone: looks at them are to be given up. A new one is due
    /// after the first period, so that a client finds what it has just created.
    pub fn observe<'a>(
        &mut self,
        headers: impl Iterator<Item = &'a Header>,
        now: Seconds,
    ) -> BTreeSet<String> {
        let mut gone: BTreeSet<String> = self.known.keys().cloned().collect();
        for header in headers.filter(|header| header.deletion_timestamp.is_none()) {
            gone.remove(&header.uid);
            self.known.entry(header.uid.clone()).or_insert_with(|| {
                let due = seconds(&header.creation_timestamp).unwrap_or(now) + self.period;
                Known {
                    key: Key::of(header),
                    turn: Turn { due, since: None, quick: false, timeouts: 0 },
                    selector: None,
                    history: History::default(),
                }
            });
        }
        gone.iter().for_each(|uid| drop(self.known.remove(uid)));
        gone
    }

    /// The UID and key of the next one to look at, if one is due and may be looked at now. [`Autoscaler::ended`] tells its end.
    pub fn next_look(&mut self, now: Seconds) -> Option<(String, Key)> {
        let mut running = BTreeMap::<&str, usize>::new();
        let (mut all, mut unproven) = (0, 0);
        for known in self.known.values().filter(|known| known.turn.since.is_some()) {
            *running.entry(&known.key.namespace).or_default() += 1;
            all += 1;
            unproven += usize::from(!known.turn.quick);
        }
        if all >= LOOKS_MAX {
            return None;
        }
        let may =
            |known: &Known| known.turn.waits(now) && (known.turn.quick || unproven < UNPROVEN_LOOKS_MAX);
        let waiting = self.known.iter().filter(|(_, known)| may(known));
        let (uid, _) = waiting.min_by_key(|(uid, known)| {
            (running.get(&*known.key.namespace).copied().unwrap_or(0), known.turn.due, *uid)
        })?;
        let uid = uid.clone();
        let known = self.known.get_mut(&uid)?;
        known.turn.since = Some(now);
        known.turn.due = now + self.period;
        Some((uid, known.key.clone()))
    }

    /// A look has ended, or was given up because its time was over.
    pub fn ended(&mut self, uid: &str, timed_out: bool, now: Seconds) {
        let Some(turn) = self.known.get_mut(uid).map(|known| &mut known.turn) else { return };
        let took = now - turn.since.take().unwrap_or(now);
        turn.quick = !timed_out && took <= QUICK_SECONDS;
        turn.timeouts = if timed_out { turn.timeouts.saturating_add(1) } else { 0 };
        if !turn.quick {
            let factor = 1 << turn.timeouts.min(8);
            turn.due = now + (self.period * factor).min(DELAY_SECONDS_MAX.max(self.period));
        }
    }
}
