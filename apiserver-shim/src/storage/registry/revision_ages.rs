//! How old revisions are: a list that continues at an old one has expired, also where the cache could still answer it, so that
//! clients see what an API server over etcd answers, which compacts its history every five minutes.

use std::collections::VecDeque;
use std::time::Instant;

use crate::storage::watch_cache::WINDOW_AGE_MAX;

/// The revisions of the last minutes, and which are older.
#[derive(Debug, Default)]
pub(super) struct RevisionAges {
    /// When which revision was the latest, oldest first.
    marks: VecDeque<(Instant, u64)>,
    expired_before: u64,
}

impl RevisionAges {
    /// Notes the latest revision.
    pub fn note(&mut self, now: Instant, latest: u64) {
        self.marks.push_back((now, latest));
        while let Some((at, revision)) = self.marks.front()
            && now.saturating_duration_since(*at) >= WINDOW_AGE_MAX
        {
            self.expired_before = *revision;
            self.marks.pop_front();
        }
    }

    /// The revision before which all were superseded at least [`WINDOW_AGE_MAX`] ago.
    pub fn expired_before(&self) -> u64 {
        self.expired_before
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn superseded_revisions_expire_and_the_latest_does_not() {
        let start = Instant::now();
        let mut ages = RevisionAges::default();
        let mut after = |seconds: u64, latest: u64| {
            ages.note(start + Duration::from_secs(seconds), latest);
            ages.expired_before()
        };
        assert_eq!(after(0, 10), 0);
        assert_eq!(after(30, 20), 0);
        assert_eq!(after(299, 30), 0);
        assert_eq!(after(300, 30), 10, "9 was superseded 300 seconds ago");
        assert_eq!(after(330, 30), 20);
        assert_eq!(after(5000, 30), 30, "30 is the latest");
    }
}
