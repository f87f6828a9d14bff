//! Finds Pod CIDRs whose agents have never registered: a range is assigned before the agent registers, and released with its
//! Node, so that one without a Node would be lost.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel_model::time::Time;

/// How long a range may have no Node. An agent registers within seconds of its request; it repeats a registration after one
/// minute at most, and a master that was restarted waits ten minutes for its agents. After fifteen none is on its way.
pub const UNUSED_AFTER: Duration = Duration::from_secs(15 * 60);

/// Assigned ranges without a Node, by the node's name: the revision at which each was written, and since when it has been
/// seen so. A request of the agent writes its range again, which begins the time anew.
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
