//! The metrics that Mesos monitoring expects, under Mesos' names. Metrics of Mesos whose value is not known here are absent
//! (`docs/mesos-fields.md` lists them).

mod allocator;
mod frameworks;
mod operations;
mod registrar;
mod timings;

use std::{collections::BTreeMap, sync::atomic::Ordering};

use kernel_core::master::{Counts, FrameworkState, Master};
use kernel_model::{
    agent::AgentState,
    resources::{Resources, Value},
    task::TaskState,
};
use kernel_wire::task::{reason_name, source_name, state_name};

pub(crate) use registrar::RegistrarMetrics;

use super::Handlers;
use crate::master_driver::Stopped;

/// States whose current tasks are counted.
const LIVE: [TaskState; 5] =
    [TaskState::Staging, TaskState::Starting, TaskState::Running, TaskState::Killing, TaskState::Unreachable];

/// States whose tasks are counted since the start.
const ENDED: [TaskState; 8] = [
    TaskState::Finished,
    TaskState::Failed,
    TaskState::Killed,
    TaskState::Lost,
    TaskState::Error,
    TaskState::Dropped,
    TaskState::Gone,
    TaskState::GoneByOperator,
];

/// Mesos' counters of messages, and the calls over HTTP that they count.
const MESSAGES: [(&str, &str); 11] = [
    ("unregister_framework", "TEARDOWN"),
    ("kill_task", "KILL"),
    ("status_update_acknowledgement", "ACKNOWLEDGE"),
    ("resource_request", "REQUEST"),
    ("launch_tasks", "ACCEPT"),
    ("decline_offers", "DECLINE"),
    ("revive_offers", "REVIVE"),
    ("suppress_offers", "SUPPRESS"),
    ("reconcile_operations", "RECONCILE_OPERATIONS"),
    ("reconcile_tasks", "RECONCILE"),
    ("framework_to_executor", "MESSAGE"),
];

/// Counters of Mesos for what this master does not have: frameworks of the driver API, a response cache, shutdowns of agents that come back, agents whose loss is called off, queues of libprocess.
const NEVER: [&str; 9] = [
    "messages_authenticate",
    "messages_deactivate_framework",
    "http_cache_hits",
    "slave_shutdowns_scheduled",
    "slave_shutdowns_completed",
    "slave_shutdowns_canceled",
    "slave_unreachable_canceled",
    "event_queue_messages",
    "event_queue_http_requests",
];

/// The resources with totals.
const RESOURCES: [&str; 4] = ["cpus", "gpus", "mem", "disk"];

/// All metrics but those of single frameworks, ordered by name.
pub(super) async fn snapshot(handlers: &Handlers) -> Result<Vec<(String, f64)>, Stopped> {
    collect(handlers, false).await
}

/// All metrics, ordered by name.
pub(super) async fn full_snapshot(handlers: &Handlers) -> Result<Vec<(String, f64)>, Stopped> {
    collect(handlers, true).await
}

async fn collect(handlers: &Handlers, of_frameworks: bool) -> Result<Vec<(String, f64)>, Stopped> {
    let read = |master: &Master| (master.snapshot(), master.offer_filters());
    let (snapshot, filters) = handlers.queue.read(read).await?;
    let tables = move || {
        let mut all = gauges(&snapshot);
        all.extend(counts(snapshot.counts()));
        all.extend(operations::metrics(&snapshot));
        all.extend(allocator::metrics(&snapshot, &filters));
        if of_frameworks {
            all.extend(snapshot.frameworks().flat_map(frameworks::metrics));
        }
        all
    };
    let tables = tokio::task::spawn_blocking(tables).await.map_err(|_| Stopped)?;
    let mut all: BTreeMap<String, f64> = tables.into_iter().collect();
    all.extend(handlers.counters.registrar.metrics());
    let counters = &handlers.counters;
    let mut put = |name: &str, value: f64| all.insert(format!("master/{name}"), value);
    put("uptime_secs", handlers.clock.now().since(handlers.started_at()).as_secs_f64());
    put("elected", 1.0);
    put("slave_registrations", counters.registrations.load(Ordering::Relaxed) as f64);
    put("slave_reregistrations", counters.reregistrations.load(Ordering::Relaxed) as f64);
    put("operator_event_stream_subscribers", counters.operator_streams.load(Ordering::Relaxed) as f64);
    put("dropped_messages", counters.refused.load(Ordering::Relaxed) as f64);
    let calls = counters.calls.lock().expect("invariant: no panic while counting");
    for (name, call) in MESSAGES {
        put(&format!("messages_{name}"), calls.get(call).copied().unwrap_or(0) as f64);
    }
    for name in NEVER {
        put(name, 0.0);
    }
    put("event_queue_dispatches", handlers.queue.queued() as f64);
    put("messages_register_slave", counters.registrations.load(Ordering::Relaxed) as f64);
    put("messages_reregister_slave", counters.reregistrations.load(Ordering::Relaxed) as f64);
    for (name, count) in calls.iter() {
        put(&format!("calls/{}", name.to_lowercase()), *count as f64);
    }
    drop(calls);
    all.extend(system());
    Ok(all.into_iter().collect())
}

/// What the master has counted itself.
fn counts(counts: &Counts) -> Vec<(String, f64)> {
    let mut all: Vec<(String, f64)> = Vec::new();
    let mut put = |name: &str, count: u64| all.push((format!("master/{name}"), count as f64));
    let removed = counts.unreachable_agents + counts.unregistered_agents + counts.replaced_agents;
    put("slave_removals", removed);
    put("slave_removals/reason_unhealthy", counts.unreachable_agents);
    put("slave_removals/reason_unregistered", counts.unregistered_agents);
    put("slave_removals/reason_registered", counts.replaced_agents);
    put("slave_unreachable_scheduled", counts.unreachable_agents);
    put("slave_unreachable_completed", counts.unreachable_agents);
    put("recovery_slave_removals", counts.unreachable_recovered_agents);
    put("messages_unregister_slave", counts.unregistered_agents);
    put("messages_exited_executor", counts.exited_executors);
    put("messages_register_framework", counts.subscriptions);
    put("messages_reregister_framework", counts.resubscriptions);
    put("messages_status_update", counts.status_updates.valid + counts.status_updates.invalid);
    put("messages_executor_to_framework", counts.executor_messages.valid + counts.executor_messages.invalid);
    for (name, judged) in [
        ("status_updates", counts.status_updates),
        ("status_update_acknowledgements", counts.acknowledgements),
        ("framework_to_executor_messages", counts.framework_messages),
        ("executor_to_framework_messages", counts.executor_messages),
    ] {
        put(&format!("valid_{name}"), judged.valid);
        put(&format!("invalid_{name}"), judged.invalid);
    }
    for state in ENDED {
        put(&gauge_name(state), counts.tasks_in(state));
    }
    for ((state, source, reason), count) in &counts.tasks {
        if let Some(reason) = reason {
            let (state, source, reason) = (state_name(*state), source_name(*source), reason_name(*reason));
            put(&format!("{state}/{source}/{reason}").to_lowercase(), *count);
        }
    }
    put(
        "messages_operation_status_update",
        counts.operation_statuses.valid + counts.operation_statuses.invalid,
    );
    let acknowledgements = counts.operation_acknowledgements;
    put(
        "messages_operation_status_update_acknowledgement",
        acknowledgements.valid + acknowledgements.invalid,
    );
    for (name, judged) in [
        ("operation_status_updates", counts.operation_statuses),
        ("operation_status_update_acknowledgements", acknowledgements),
    ] {
        put(&format!("valid_{name}"), judged.valid);
        put(&format!("invalid_{name}"), judged.invalid);
    }
    put("messages_update_slave", counts.estimates);
    // Not of Mesos.
    put("preemptions/tasks_killed", counts.preemption.killed_tasks);
    put("preemptions/inverse_offers_sent", counts.preemption.inverse_offers);
    put("preemptions/inverse_offers_accepted", counts.preemption.accepted_inverse_offers);
    put("preemptions/inverse_offers_declined", counts.preemption.declined_inverse_offers);
    all
}

fn gauge_name(state: TaskState) -> String {
    state_name(state).to_lowercase().replacen("task_", "tasks_", 1)
}

fn gauges(master: &Master) -> Vec<(String, f64)> {
    let mut all: BTreeMap<String, f64> = BTreeMap::new();
    let mut set = |name: String, value: usize| all.insert(format!("master/{name}"), value as f64);
    let agents: Vec<_> = master.agents().collect();
    let count = |state| agents.iter().filter(|a| a.state == state).count();
    let active = agents.iter().filter(|a| a.is_active()).count();
    set("slaves_active".into(), active);
    set("slaves_inactive".into(), agents.len() - active);
    set("slaves_connected".into(), count(AgentState::Connected));
    set("slaves_disconnected".into(), count(AgentState::Disconnected));
    set("slaves_unreachable".into(), master.absent_agents().count() - master.recovered_agents().count());
    let frameworks: Vec<_> = master.frameworks().collect();
    let connected = frameworks.iter().filter(|f| matches!(f.state, FrameworkState::Connected(_))).count();
    for name in ["frameworks_active", "frameworks_connected"] {
        set(name.into(), connected);
    }
    for name in ["frameworks_inactive", "frameworks_disconnected"] {
        set(name.into(), frameworks.len() - connected);
    }
    set("outstanding_offers".into(), master.offers(None).count());
    let mut live: BTreeMap<TaskState, usize> = BTreeMap::new();
    for framework in &frameworks {
        for task in framework.tasks.values() {
            *live.entry(task.state).or_default() += 1;
        }
        *live.entry(TaskState::Unreachable).or_default() += framework.unreachable_tasks.len();
    }
    for state in LIVE {
        set(gauge_name(state), live.get(&state).copied().unwrap_or(0));
    }
    for name in RESOURCES {
        for (suffix, revocable) in [("", false), ("_revocable", true)] {
            let amount = |resources: &Resources| amount(resources, name, revocable);
            let total = agents.iter().fold(0.0, |sum, a| sum + amount(&a.total()));
            let used = agents.iter().flat_map(|a| a.allocated.values()).fold(0.0, |sum, r| sum + amount(r));
            all.insert(format!("master/{name}{suffix}_total"), total);
            all.insert(format!("master/{name}{suffix}_used"), used);
            all.insert(
                format!("master/{name}{suffix}_percent"),
                if total > 0.0 { used / total } else { 0.0 },
            );
        }
    }
    all.into_iter().collect()
}

/// The sum of a scalar.
fn amount(resources: &Resources, name: &str, revocable: bool) -> f64 {
    let amounts = resources.iter().filter(|r| &*r.name == name && r.revocable == revocable);
    // Not `sum`: its neutral element is -0.0, which would be printed.
    amounts.fold(0.0, |sum, r| if let Value::Scalar(amount) = r.value { sum + amount.as_f64() } else { sum })
}

/// The machine's statistics with the keys of `/system/stats.json`.
pub(crate) fn system_statistics() -> serde_json::Value {
    let named = |(name, value): (String, f64)| {
        let name = name.trim_start_matches("system/").replace("load_", "avg_load_");
        (name, serde_json::json!(value))
    };
    serde_json::Value::Object(system().into_iter().map(named).collect())
}

/// The machine's statistics; values that cannot be read are omitted.
pub(crate) fn system() -> Vec<(String, f64)> {
    let mut all = Vec::new();
    if let Ok(text) = std::fs::read_to_string("/proc/loadavg") {
        let loads = text.split(' ').filter_map(|n| n.parse().ok());
        all.extend(
            ["load_1min", "load_5min", "load_15min"].into_iter().map(|n| format!("system/{n}")).zip(loads),
        );
    }
    if let Ok(cpus) = std::thread::available_parallelism() {
        all.push(("system/cpus_total".to_owned(), cpus.get() as f64));
    }
    if let Ok(text) = std::fs::read_to_string("/proc/meminfo") {
        for (key, name) in [("MemTotal:", "mem_total_bytes"), ("MemFree:", "mem_free_bytes")] {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            if let Some(kib) = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<f64>().ok()) {
                all.push((format!("system/{name}"), kib * 1024.0));
            }
        }
    }
    all
}
