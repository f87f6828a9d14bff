//! The metrics of offer operations: how many of each kind are in each state. Those that stay in their state are counted since the start.

use std::collections::BTreeMap;

use kernel_core::master::Master;
use kernel_model::scheduler::OperationState;

use super::frameworks::OPERATIONS;

const STATES: [(OperationState, &str); 8] = [
    (OperationState::Pending, "pending"),
    (OperationState::Recovering, "recovering"),
    (OperationState::Unreachable, "unreachable"),
    (OperationState::Finished, "finished"),
    (OperationState::Failed, "failed"),
    (OperationState::Error, "error"),
    (OperationState::Dropped, "dropped"),
    (OperationState::GoneByOperator, "gone_by_operator"),
];

pub(super) fn metrics(master: &Master) -> Vec<(String, f64)> {
    let mut counts: BTreeMap<(String, OperationState), u64> = BTreeMap::new();
    for ((kind, state), count) in &master.counts().operations {
        *counts.entry((kind.to_lowercase(), *state)).or_default() += count;
    }
    let tracked = master.agents().flat_map(|agent| agent.operations.values());
    for operation in tracked.filter(|operation| !operation.state.is_terminal()) {
        *counts.entry((operation.kind.name().to_lowercase(), operation.state)).or_default() += 1;
    }
    let mut all = Vec::new();
    let mut put = |name: String, value: u64| all.push((format!("master/operations/{name}"), value as f64));
    let known = |state: OperationState| STATES.iter().any(|(of, _)| *of == state);
    let of = |kind: Option<&str>, state: Option<OperationState>| {
        let fits = |(of, at): &(String, OperationState)| {
            kind.is_none_or(|kind| kind == of) && state.map_or(known(*at), |state| state == *at)
        };
        counts.iter().filter(|(key, _)| fits(key)).map(|(_, count)| count).sum::<u64>()
    };
    put("total".to_owned(), of(None, None));
    for (state, name) in STATES {
        put(name.to_owned(), of(None, Some(state)));
    }
    for kind in OPERATIONS {
        put(format!("{kind}/total"), of(Some(kind), None));
        for (state, name) in STATES {
            put(format!("{kind}/{name}"), of(Some(kind), Some(state)));
        }
    }
    all
}
