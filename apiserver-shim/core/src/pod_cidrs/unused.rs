//! Finds Pod CIDRs whose agents never registered. A range is assigned before its agent registers and released with its Node,
//! so a range without a Node would be lost.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel_model::time::Time;

/// How long a range may have no Node. An agent registers within seconds of its request and retries within a minute, and a
/// restarted master waits ten minutes for its agents. After fifteen minutes no registration is in progress.
pub const UNUSED_AFTER: Duration = Duration::from_secs(15 * 60);

/// Assigned ranges without a Node, by node name: the revision at which the range was written, and when it was first found
/// unused. A request of the agent writes its range again, which restarts the time.
#[derive(Debug, Default)]
pub struct UnusedCidrs {
    seen: BTreeMap<Box<str>, (u64, Time)>,
}

impl UnusedCidrs {
    /// Takes all assigned ranges by node and revision, and returns those that have been without a Node for
    /// [`UNUSED_AFTER`].
    pub fn observe<'a>(
        &mut self,
        now: Time,
        assigned: impl IntoIterator<Item = (&'a str, u64)>,
        has_node: impl Fn(&str) -> bool,
    ) -> Vec<(Box<str>, u64)> {
        let mut before = std::mem::take(&mut self.seen);
        let mut due = Vec::new();
        for (node, revision) in assigned.into_iter().filter(|(node, _)| !has_node(node)) {
            let since = match before.remove(node) {
                Some((known, since)) if known == revision => since,
                _ => now,
            };
            if now >= since + UNUSED_AFTER {
                due.push((node.into(), revision));
            }
            self.seen.insert(node.into(), (revision, since));
        }
        due
    }
}
