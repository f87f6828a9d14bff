//! The JSON of the unversioned endpoints, with the keys that dashboards expect.

use std::collections::{BTreeMap, BTreeSet};

use kernel_core::master::{AbsentAgent, Agent, Framework, FrameworkState, Master};
use kernel_model::{
    agent::Drain,
    executor::ExecutorInfo,
    framework::FrameworkCapability,
    offer::Offer,
    quota::Quantities,
    resources::Resource,
    task::{Task, TaskState},
    time::Time,
};
use kernel_wire::{
    framework as framework_wire, offer_preferences, operator::AGENT_CAPABILITIES, task::state_name,
};
use serde_json::{Map, Value, json};

use super::Query;
use crate::http::query;
use crate::http::shapes::{
    as_json, attributes, by_role, command, executor_type, full_resource, object, put_labels, quantities,
    role_name, sums, task, unreserved,
};
use crate::server::MESOS_VERSION;

/// The default `limit` of `/tasks`.
const TASKS_LIMIT: usize = 100;

const STATES: [TaskState; 14] = [
    TaskState::Staging,
    TaskState::Starting,
    TaskState::Running,
    TaskState::Killing,
    TaskState::Finished,
    TaskState::Killed,
    TaskState::Failed,
    TaskState::Lost,
    TaskState::Error,
    TaskState::Dropped,
    TaskState::Unreachable,
    TaskState::Gone,
    TaskState::GoneByOperator,
    TaskState::Unknown,
];

pub(super) fn flags(flags: &[(String, String)]) -> Value {
    Value::Object(flags.iter().map(|(name, value)| (name.clone(), json!(value))).collect())
}

pub(super) fn state(master: &Master, flags: Value, started: Time) -> Value {
    let info = &master.config().info;
    let pid = format!("master@{}:{}", info.ip, info.port);
    let active = master.agents().filter(|a| a.is_active()).count();
    json!({
        "version": info.version,
        "build_date": "", "build_time": 0.0, "build_user": "",
        "start_time": started.as_secs_f64(),
        "elected_time": started.as_secs_f64(),
        "id": info.id.as_str(),
        "pid": pid,
        "hostname": info.hostname,
        "capabilities": ["AGENT_UPDATE"],
        "activated_slaves": active as f64,
        "deactivated_slaves": (master.agents().count() - active) as f64,
        "unreachable_slaves": (master.absent_agents().count() - master.recovered_agents().count()) as f64,
        "leader": pid,
        "leader_info": { "id": info.id.as_str(), "pid": pid, "port": info.port, "hostname": info.hostname },
        "flags": flags,
        "slaves": master.agents().map(slave).map(Value::Object).collect::<Vec<_>>(),
        "recovered_slaves": recovered(master, None),
        "frameworks": master.frameworks().map(|f| framework(master, f)).collect::<Vec<_>>(),
        "completed_frameworks": master.completed_frameworks().map(|f| framework(master, f)).collect::<Vec<_>>(),
        "orphan_tasks": [],
        "unregistered_frameworks": [],
    })
}

pub(super) fn state_summary(master: &Master) -> Value {
    let slaves = master.agents().map(|agent| {
        let mut shape = slave(agent);
        let ids: Vec<&str> = agent.tasks.keys().map(|id| id.as_str()).collect();
        let tasks = agent.tasks.iter().flat_map(|(framework, tasks)| {
            let framework = master.framework(framework);
            tasks.iter().filter_map(move |id| framework?.tasks.get(id))
        });
        shape.extend(state_counts(tasks));
        shape.insert("framework_ids".into(), json!(ids));
        Value::Object(shape)
    });
    let frameworks = master.frameworks().map(|from| {
        let mut shape = framework_head(master, from);
        let agents: BTreeSet<&str> = from.tasks.values().map(|t| t.info.agent_id.as_str()).collect();
        shape.extend(state_counts(tasks_of(from)));
        shape.insert("slave_ids".into(), json!(agents));
        Value::Object(shape)
    });
    json!({
        "hostname": master.config().info.hostname,
        "slaves": slaves.collect::<Vec<_>>(),
        "frameworks": frameworks.collect::<Vec<_>>(),
    })
}

/// All tasks of a framework, including completed and unreachable ones.
fn tasks_of(framework: &Framework) -> impl Iterator<Item = &Task> {
    let gone = framework.unreachable_tasks.iter().chain(&framework.completed_tasks);
    framework.tasks.values().chain(gone.map(|task| &**task))
}

fn state_counts<'a>(tasks: impl Iterator<Item = &'a Task>) -> Map<String, Value> {
    let mut counts: BTreeMap<TaskState, u64> = STATES.into_iter().map(|state| (state, 0)).collect();
    for task in tasks {
        *counts.entry(task.state).or_default() += 1;
    }
    counts.into_iter().map(|(state, count)| (state_name(state).to_owned(), json!(count))).collect()
}

pub(super) fn slaves(master: &Master, only: Option<&str>) -> Value {
    let wanted = master.agents().filter(|agent| only.is_none_or(|id| agent.id.as_str() == id));
    let shapes = wanted.map(|agent| {
        let mut shape = slave(agent);
        let total = &agent.total();
        let full = |all: &[&Resource]| all.iter().copied().map(full_resource).collect();
        shape.insert("reserved_resources_full".into(), by_role(total, full));
        shape.insert("unreserved_resources_full".into(), unreserved(total).map(full_resource).collect());
        shape.insert(
            "used_resources_full".into(),
            agent.allocated.values().flat_map(|r| r.iter()).map(full_resource).collect(),
        );
        shape.insert("offered_resources_full".into(), agent.offered.iter().map(full_resource).collect());
        Value::Object(shape)
    });
    json!({ "slaves": shapes.collect::<Vec<_>>(), "recovered_slaves": recovered(master, only) })
}

fn recovered(master: &Master, only: Option<&str>) -> Vec<Value> {
    let shape = |absent: &AbsentAgent| {
        let info = &absent.info;
        json!({
            "id": info.id.as_ref().map(|id| id.as_str()),
            "hostname": info.hostname,
            "port": info.port,
            "attributes": attributes(&info.attributes),
        })
    };
    let wanted = |absent: &&AbsentAgent| {
        only.is_none_or(|only| absent.info.id.as_ref().is_some_and(|id| id.as_str() == only))
    };
    master.recovered_agents().filter(wanted).map(shape).collect()
}

fn slave(agent: &Agent) -> Map<String, Value> {
    let (info, total) = (&agent.info, agent.total());
    let mut shape = object(json!({
        "id": agent.id.as_str(),
        "hostname": info.hostname,
        "port": info.port,
        "pid": format!("slave(1)@{}:{}", info.ip, info.port),
        "attributes": attributes(&info.attributes),
        "registered_time": agent.registered_at.as_secs_f64(),
        "resources": sums(total.iter()),
        "used_resources": sums(agent.allocated.values().flat_map(|r| r.iter())),
        "offered_resources": sums(agent.offered.iter()),
        "reserved_resources": by_role(&total, |all| sums(all.iter().copied())),
        "unreserved_resources": sums(unreserved(&total)),
        "active": agent.is_active(),
        "deactivated": !agent.activation.is_active(),
        "version": MESOS_VERSION,
        "capabilities": AGENT_CAPABILITIES.map(|kind| kind.as_str_name()),
    }));
    if let Some(drain) = agent.activation.drain() {
        shape.insert("drain_info".into(), drain_info(drain));
        shape.insert("estimated_drain_start_time_seconds".into(), json!(drain.since.as_secs_f64()));
    }
    if let Some(time) = agent.reregistered_at {
        shape.insert("reregistered_time".into(), json!(time.as_secs_f64()));
    }
    shape
}

fn drain_info(drain: &Drain) -> Value {
    let mut config = json!({ "mark_gone": drain.config.mark_gone });
    if let Some(grace) = drain.config.max_grace {
        config["max_grace_period"] =
            json!({ "nanoseconds": u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX) });
    }
    json!({ "state": if drain.is_drained { "DRAINED" } else { "DRAINING" }, "config": config })
}

pub(super) fn frameworks(master: &Master, only: Option<&str>) -> Value {
    let wanted = |f: &&Framework| only.is_none_or(|id| f.id.as_str() == id);
    json!({
        "frameworks": master.frameworks().filter(wanted).map(|f| framework(master, f)).collect::<Vec<_>>(),
        "completed_frameworks":
            master.completed_frameworks().filter(wanted).map(|f| framework(master, f)).collect::<Vec<_>>(),
        "unregistered_frameworks": [],
    })
}

fn framework_head(master: &Master, from: &Framework) -> Map<String, Value> {
    let connected = matches!(from.state, FrameworkState::Connected(_));
    let capabilities = framework_wire::to_wire(&from.info).capabilities;
    let names = capabilities.iter().map(|c| c.r#type().as_str_name());
    object(json!({
        "id": from.id.as_str(),
        "name": from.info.name,
        "hostname": from.info.hostname,
        "webui_url": from.info.webui_url,
        "active": connected,
        "connected": connected,
        "recovered": from.state == FrameworkState::Recovered,
        "capabilities": names.collect::<Vec<_>>(),
        "used_resources": sums(master.allocated_to(&from.id).iter()),
        "offered_resources": sums(master.offered_to(&from.id).iter()),
    }))
}

fn framework(master: &Master, from: &Framework) -> Value {
    let mut shape = framework_head(master, from);
    let (held, offered) = (master.allocated_to(&from.id), master.offered_to(&from.id));
    let executors = master.agents().flat_map(|agent| {
        let own = agent.executors.iter().filter(|((framework, _), _)| *framework == from.id);
        own.map(|(_, info)| executor(from, info, agent.id.as_str()))
    });
    let ended = from.state == FrameworkState::Completed;
    shape.extend(object(json!({
        "user": from.info.user,
        "failover_timeout": from.info.failover_timeout.as_secs_f64(),
        "checkpoint": from.info.checkpoint,
        "registered_time": from.registered_at.as_secs_f64(),
        "unregistered_time": from.unregistered_at.filter(|_| ended).map_or(0.0, Time::as_secs_f64),
        "resources": sums(held.iter().chain(offered.iter())),
        "tasks": from.tasks.values().map(task).collect::<Vec<_>>(),
        "unreachable_tasks": from.unreachable_tasks.iter().map(|t| task(t)).collect::<Vec<_>>(),
        "completed_tasks": from.completed_tasks.iter().map(|t| task(t)).collect::<Vec<_>>(),
        "offers": master.offers(Some(&from.id)).map(offer).collect::<Vec<_>>(),
        "executors": executors.collect::<Vec<_>>(),
    })));
    let roles: Vec<&str> = from.info.roles.iter().map(|r| r.as_str()).collect();
    match from.info.can(FrameworkCapability::MultiRole) {
        true => shape.insert("roles".into(), json!(roles)),
        false => shape.insert("role".into(), json!(roles.first())),
    };
    if let Some(constraints) = offer_preferences::constraints_to_wire(&from.preferences) {
        shape.insert("offer_constraints".into(), as_json(&constraints));
    }
    if let Some(time) = from.reregistered_at {
        shape.insert("reregistered_time".into(), json!(time.as_secs_f64()));
    }
    if let Some(principal) = &from.info.principal {
        shape.insert("principal".into(), json!(principal));
    }
    put_labels(&mut shape, &from.info.labels);
    Value::Object(shape)
}

fn executor(framework: &Framework, info: &ExecutorInfo, agent: &str) -> Value {
    let mut shape = object(json!({
        "executor_id": info.executor_id.as_str(),
        "name": info.name,
        "framework_id": framework.id.as_str(),
        "slave_id": agent,
        "command": command(info.command.as_ref()),
        "resources": sums(&info.resources),
    }));
    if let Some(role) = info.resources.allocation_roles().first() {
        shape.insert("role".into(), json!(role_name(Some(role))));
    }
    if let Some(name) = executor_type(info) {
        shape.insert("type".into(), json!(name));
    }
    if !info.source.is_empty() {
        shape.insert("source".into(), json!(info.source));
    }
    put_labels(&mut shape, &info.labels);
    Value::Object(shape)
}

pub(super) fn tasks(master: &Master, query: &Query) -> Value {
    let wanted = |task: &&Task| {
        query.get("framework_id").is_none_or(|id| task.framework_id.as_str() == id)
            && query.get("task_id").is_none_or(|id| task.info.task_id.as_str() == id)
    };
    let all = master.frameworks().chain(master.completed_frameworks());
    let all = all.flat_map(tasks_of);
    let mut all: Vec<&Task> = all.filter(wanted).collect();
    all.sort_by_key(|task| task.statuses.first().map_or(task.launched_at, |s| s.timestamp));
    if query.get("order") != Some("asc") {
        all.reverse();
    }
    let (limit, offset) = page(query);
    // Mesos adds without a check, so that a negative limit behind an offset selects nothing.
    let end = offset.wrapping_add(limit).min(all.len());
    let page = all.get(offset..end).unwrap_or_default();
    json!({ "tasks": page.iter().copied().map(task).collect::<Vec<_>>() })
}

/// The parameters `limit` and `offset`. As in Mesos they have their defaults if they are no numbers, and a negative number is
/// a very large one.
fn page(query: &Query) -> (usize, usize) {
    let number = |name: &str| query.get(name).and_then(|text| query::integer::<i32>(text).ok());
    let size = |name: &str| number(name).map(|number| number as usize);
    (size("limit").unwrap_or(TASKS_LIMIT), size("offset").unwrap_or(0))
}

fn offer(from: &Offer) -> Value {
    json!({
        "id": from.id.as_str(),
        "framework_id": from.framework_id.as_str(),
        "slave_id": from.agent_id.as_str(),
        "allocation_info": { "role": from.role.as_str() },
        "resources": sums(from.resources.iter()),
    })
}

pub(super) fn roles(master: &Master) -> Value {
    let roles = master.roles().into_iter().map(|view| {
        json!({
            "name": view.role.as_str(),
            "weight": view.weight,
            "quota": {
                "role": view.role.as_str(),
                "guarantee": amounts(&view.quota.guarantees),
                "limit": amounts(&view.quota.limits),
                "consumed": amounts(&view.consumed()),
            },
            "resources": quantities(view.allocated.iter().chain(&view.offered)),
            "allocated": quantities(&view.allocated),
            "offered": quantities(&view.offered),
            "reserved": quantities(&view.reserved),
            "frameworks": view.frameworks.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
        })
    });
    json!({ "roles": roles.collect::<Vec<_>>() })
}

fn amounts(of: &Quantities) -> Value {
    let amounts = of.iter().map(|(name, amount)| (name.to_string(), json!(amount.as_f64())));
    Value::Object(amounts.collect())
}

/// `/quota`, in the form of GET_QUOTA.
pub(super) fn quota(master: &Master) -> Value {
    kernel_wire::codec::to_json(&kernel_wire::quota::status_to_wire(master.quotas()))
}

pub(super) fn weights(master: &Master) -> Value {
    master.weights().map(|(role, weight)| json!({ "role": role.as_str(), "weight": weight })).collect()
}
