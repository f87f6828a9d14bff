//! Example of a stateful plugin: Pods of the app "licensed" run on licensed nodes, take one of a limited number of
//! seats, and start in pairs.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    rows::Pod,
    scheduler::{
        NodeInfo, PendingPod, Reason,
        framework::{
            EventSet, Filter, MAX_SCORE, NodeView, Permit, PermitVerdict, Plugin, PodContext, PreScore,
            Refusal, Reserve, Score,
        },
    },
};

/// How long a Pod waits for the second one.
pub const QUORUM_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct LicenseSeats {
    seats: usize,
    taken: BTreeSet<Box<str>>,
}

impl LicenseSeats {
    pub fn new(seats: usize) -> LicenseSeats {
        LicenseSeats { seats, taken: BTreeSet::new() }
    }
}

fn needs_seat(pod: &Pod) -> bool {
    pod.header().labels.get("app").is_some_and(|app| app == "licensed")
}

fn refusal(text: &'static str) -> Refusal {
    Refusal::unresolvable(Reason::Plugin { plugin: "LicenseSeats", text })
}

impl Plugin for LicenseSeats {
    fn name(&self) -> &'static str {
        "LicenseSeats"
    }

    fn events(&self) -> EventSet {
        EventSet::NODE_ADD | EventSet::NODE_LABELS | EventSet::POD_DELETE
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn pre_score(&self) -> Option<&dyn PreScore> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }

    fn reserve(&mut self) -> Option<&mut dyn Reserve> {
        Some(self)
    }

    fn permit(&mut self) -> Option<&mut dyn Permit> {
        Some(self)
    }
}

impl Filter for LicenseSeats {
    fn filter(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> Result<(), Refusal> {
        let licensed = node.info.node.header().labels.get("licensed").is_some_and(|value| value == "yes");
        if licensed || !needs_seat(&pod.pod.pod) { Ok(()) } else { Err(refusal("node(s) were not licensed")) }
    }
}

impl PreScore for LicenseSeats {
    fn applies(&self, pod: &PendingPod) -> bool {
        needs_seat(&pod.pod)
    }
}

impl Score for LicenseSeats {
    fn score(&self, _pod: &PodContext<'_>, node: &NodeView<'_>) -> i64 {
        MAX_SCORE - i64::try_from(node.info.pods().len()).unwrap_or(MAX_SCORE).min(MAX_SCORE)
    }
}

impl Reserve for LicenseSeats {
    fn reserve(&mut self, pod: &PendingPod, _node: &NodeInfo) -> Result<(), Refusal> {
        if !needs_seat(&pod.pod) {
            return Ok(());
        }
        if self.taken.len() >= self.seats {
            return Err(refusal("all license seats are taken"));
        }
        self.taken.insert(pod.uid().into());
        Ok(())
    }

    fn unreserve(&mut self, pod: &Pod, _node: &str) {
        self.taken.remove(pod.uid());
    }
}

impl Permit for LicenseSeats {
    fn permit(&mut self, pod: &PendingPod, _node: &NodeInfo) -> PermitVerdict {
        match needs_seat(&pod.pod) && self.taken.len() < 2 {
            true => PermitVerdict::Wait(QUORUM_WAIT),
            false => PermitVerdict::Allow,
        }
    }
}
