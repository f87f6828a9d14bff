//! The metrics of single frameworks.

use kernel_core::master::{Framework, FrameworkState};
use kernel_model::task::TaskState;
use kernel_wire::task::state_name;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Offer operations other than launches.
pub(super) const OPERATIONS: [&str; 8] = [
    "reserve",
    "unreserve",
    "create",
    "destroy",
    "grow_volume",
    "shrink_volume",
    "create_disk",
    "destroy_disk",
];

const CALLS: [&str; 17] = [
    "subscribe",
    "teardown",
    "accept",
    "decline",
    "accept_inverse_offers",
    "decline_inverse_offers",
    "revive",
    "kill",
    "shutdown",
    "acknowledge",
    "acknowledge_operation_status",
    "reconcile",
    "reconcile_operations",
    "message",
    "request",
    "suppress",
    "update_framework",
];

/// Without heartbeats, which the server of the stream sends.
const EVENTS: [&str; 10] = [
    "subscribed",
    "offers",
    "inverse_offers",
    "rescind",
    "rescind_inverse_offer",
    "update",
    "update_operation_status",
    "message",
    "failure",
    "error",
];

const ACTIVE: [TaskState; 6] = [
    TaskState::Staging,
    TaskState::Starting,
    TaskState::Running,
    TaskState::Killing,
    TaskState::Unreachable,
    TaskState::Unknown,
];

pub(super) fn metrics(framework: &Framework) -> Vec<(String, f64)> {
    let prefix = format!("master/frameworks/{}/{}", encode(&framework.info.name), framework.id);
    let counts = &framework.counts;
    let mut all = Vec::new();
    let mut put = |name: &str, value: u64| all.push((format!("{prefix}/{name}"), value as f64));
    put("subscribed", u64::from(matches!(framework.state, FrameworkState::Connected(_))));
    put("calls", counts.calls.values().sum());
    for name in CALLS {
        put(&format!("calls/{name}"), counts.calls.get(name).copied().unwrap_or(0));
    }
    for name in EVENTS {
        put(&format!("events/{name}"), counts.events.get(name).copied().unwrap_or(0));
    }
    put("offers/sent", counts.offers_sent);
    put("offers/accepted", counts.offers_accepted);
    put("offers/declined", counts.offers_declined);
    put("offers/rescinded", counts.offers_rescinded);
    for state in ACTIVE {
        let unreachable = if state == TaskState::Unreachable { framework.unreachable_tasks.len() } else { 0 };
        let in_state = framework.tasks.values().filter(|task| task.state == state).count();
        put(&format!("tasks/active/{}", state_name(state).to_lowercase()), (in_state + unreachable) as u64);
    }
    for state in super::ENDED {
        let count = counts.ended_tasks.get(&state).copied().unwrap_or(0);
        put(&format!("tasks/terminal/{}", state_name(state).to_lowercase()), count);
    }
    put("operations", counts.operations.values().sum());
    for name in ["launch", "launch_group"].iter().chain(&OPERATIONS) {
        put(&format!("operations/{name}"), counts.operations.get(name).copied().unwrap_or(0));
    }
    for role in &framework.info.roles {
        put(&format!("roles/{role}/suppressed"), u64::from(framework.suppressed_roles.contains(role)));
    }
    all
}

/// What Mesos escapes in names of metrics.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'$')
    .add(b'&')
    .add(b'+')
    .add(b',')
    .add(b'/')
    .add(b':')
    .add(b';')
    .add(b'=')
    .add(b'?')
    .add(b'@')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'#')
    .add(b'%')
    .add(b'{')
    .add(b'}')
    .add(b'|')
    .add(b'\\')
    .add(b'^')
    .add(b'~')
    .add(b'[')
    .add(b']')
    .add(b'`');

/// A framework's name as a part of a metric's name.
fn encode(name: &str) -> String {
    utf8_percent_encode(name, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn names_are_one_part() {
        assert_eq!(encode("a b/c"), "a%20b%2Fc");
        assert_eq!(encode("é%(1)-_.!*'"), "%C3%A9%25(1)-_.!*'");
    }
}
