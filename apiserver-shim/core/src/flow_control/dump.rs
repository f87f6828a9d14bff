//! Levels, queues and requests as text, in the columns of kube-apiserver's `/debug/api_priority_and_fairness/…`
//! (`k8s.io/apiserver/pkg/util/flowcontrol/apf_controller_debug.go`). Levels are in the order of their names.

use std::time::Duration;

use shim_model::time::rfc3339_nano;

use super::queue_set::dump::{QueueSetDump, RequestDump};

/// The width of the narrowest column, with the space after it (upstream's).
const WIDTH_MIN: usize = 8;
/// Go's zero time: when a request was started that waits.
const NEVER: &str = "0001-01-01T00:00:00Z";

const LEVEL_COLUMNS: [&str; 10] = [
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];
const QUEUE_COLUMNS: [&str; 9] = [
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];
const REQUEST_COLUMNS: [&str; 10] = [
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
];
const DETAIL_COLUMNS: [&str; 8] =
    ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];

/// A priority level at one time.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct LevelDump<D> {
    pub name: String,
    /// Its object was deleted, and it still has requests.
    pub is_quiescing: bool,
    pub queues: QueueSetDump<D>,
}

/// A request, in words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Description {
    pub schema: String,
    /// The user or namespace by which flows of the schema differ; may be empty.
    pub flow: String,
    pub user: String,
    pub verb: String,
    pub path: String,
    pub namespace: String,
    pub name: String,
    /// `group/version`.
    pub api_version: String,
    pub resource: String,
    pub subresource: String,
}

/// `dump_priority_levels`: a row for each level.
pub fn levels<D>(mut levels: Vec<LevelDump<D>>) -> String {
    sort(&mut levels);
    let rows = levels.iter().map(|LevelDump { name, is_quiescing, queues }| {
        let active = queues.queues.iter().filter(|queue| !queue.waiting.is_empty()).count();
        let counts = queues.counts;
        // As upstream, what has waited too long is counted as cancelled.
        let timed_out = 0;
        vec![
            name.clone(),
            active.to_string(),
            queues.is_idle.to_string(),
            is_quiescing.to_string(),
            queues.waiting.to_string(),
            queues.executing.to_string(),
            counts.dispatched.to_string(),
            counts.rejected.to_string(),
            timed_out.to_string(),
            counts.cancelled.to_string(),
        ]
    });
    table(LEVEL_COLUMNS.into_iter(), rows)
}

/// `dump_queues`: a row for each queue of each level.
pub fn queues<D>(mut levels: Vec<LevelDump<D>>) -> String {
    sort(&mut levels);
    let rows = levels.iter().flat_map(|level| level.queues.queues.iter().map(move |queue| (level, queue)));
    let rows = rows.map(|(level, queue)| {
        vec![
            level.name.clone(),
            queue.index.to_string(),
            queue.waiting.len().to_string(),
            queue.executing.len().to_string(),
            queue.seats_in_use.to_string(),
            seat_seconds(queue.next_start),
            queue.seats_waiting.to_string(),
            queue.seats_waiting.to_string(),
            seat_seconds(queue.work),
        ]
    });
    table(QUEUE_COLUMNS.into_iter(), rows)
}

/// `dump_requests`: a row for each request, first those of queues. `start` is when the levels' clock began, in nanoseconds since
/// 1970; `describe` tells what a request is.
pub fn requests<D>(
    mut levels: Vec<LevelDump<D>>,
    (start, with_details): (i128, bool),
    describe: impl Fn(&D) -> Description,
) -> String {
    sort(&mut levels);
    let mut rows = Vec::new();
    for level in &levels {
        let mut add = |queue: Option<usize>, place: Option<usize>, request: &RequestDump<D>| {
            let about = describe(&request.details);
            rows.push(request_row(&level.name, (queue, place), (request, start), about, with_details));
        };
        for queue in &level.queues.queues {
            for (place, request) in queue.waiting.iter().enumerate() {
                add(Some(queue.index), Some(place), request);
            }
            queue.executing.iter().for_each(|request| add(Some(queue.index), None, request));
        }
        level.queues.without_queue.iter().for_each(|request| add(None, None, request));
    }
    let details = if with_details { &DETAIL_COLUMNS[..] } else { &[] };
    table(REQUEST_COLUMNS.iter().chain(details).copied(), rows.into_iter())
}

fn request_row<D>(
    level: &str,
    (queue, place): (Option<usize>, Option<usize>),
    (request, start): (&RequestDump<D>, i128),
    about: Description,
    with_details: bool,
) -> Vec<String> {
    let number = |number: Option<usize>| number.map_or("-1".to_owned(), |number| number.to_string());
    let time = |at: Duration| rfc3339_nano(start.saturating_add_unsigned(at.as_nanos()));
    let mut row = vec![
        level.to_owned(),
        about.schema,
        number(queue),
        number(place),
        about.flow,
        time(request.arrived),
        request.seats.to_string(),
        // No request keeps seats after its end.
        "0".to_owned(),
        "0s".to_owned(),
        request.started.map_or(NEVER.to_owned(), time),
    ];
    if with_details {
        row.extend([about.user, about.verb, about.path, about.namespace, about.name]);
        row.extend([about.api_version, about.resource, about.subresource]);
    }
    row
}

fn sort<D>(levels: &mut [LevelDump<D>]) {
    levels.sort_by(|a, b| a.name.cmp(&b.name));
}

/// Seat-nanoseconds as seat-seconds with eight decimals.
fn seat_seconds(work: u128) -> String {
    format!("{}.{:08}ss", work / 1_000_000_000, work % 1_000_000_000 / 10)
}

/// Aligned columns. Each cell but the last has a comma after it.
fn table(columns: impl Iterator<Item = &'static str>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let header = columns.map(str::to_owned).collect();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let last = rows[0].len() - 1;
    // The comma and a space follow.
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count() + 2).fold(WIDTH_MIN, usize::max);
    let widths: Vec<usize> = (0..last).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            let cell = format!("{cell},");
            out.push_str(&format!("{cell:width$}"));
        }
        out.push_str(&row[last]);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests;
