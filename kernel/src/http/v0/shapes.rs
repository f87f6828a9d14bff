//! The JSON of the unversioned endpoints, with the keys that dashboards expect.

use std::collections::{BTreeMap, BTreeSet};

use kernel_core::master::{AbsentAgent, Agent, Framework, FrameworkState, Master};
use kernel_model::{
    executor::{CommandInfo, ExecutorInfo},
    framework::FrameworkCapability,
    labels::Labels,
    offer::Offer,
    resources::{AttributeValue, Ranges, Resource, Resources, Value as Amount},
    task::{Task, TaskState},
    time::Time,
};
use kernel_wire::{
    codec::{ContentType, encode},
    framework as framework_wire, offer_preferences,
    prost::{Message, Name},
    resources::{Format, resource_to_wire},
    task as task_wire,
    task::state_name,
};
use serde_json::{Map, Value, json};

use super::Query;

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
        "recovered_slaves": recovered(master),
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
        let (reserved, free): (Vec<&Resource>, Vec<&Resource>) =
            agent.info.resources.iter().partition(|r| !r.reservations.is_empty());
        let mut by_role: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for resource in reserved {
            let role = resource.reservations.last().map(|r| r.role.to_string()).unwrap_or_default();
            by_role.entry(role).or_default().push(full_resource(resource));
        }
        shape.insert("reserved_resources_full".into(), json!(by_role));
        shape.insert("unreserved_resources_full".into(), free.into_iter().map(full_resource).collect());
        shape.insert(
            "used_resources_full".into(),
            agent.allocated.values().flat_map(|r| r.iter()).map(full_resource).collect(),
        );
        shape.insert("offered_resources_full".into(), agent.offered.iter().map(full_resource).collect());
        Value::Object(shape)
    });
    json!({ "slaves": shapes.collect::<Vec<_>>(), "recovered_slaves": recovered(master) })
}

fn recovered(master: &Master) -> Vec<Value> {
    let shape = |absent: &AbsentAgent| {
        let info = &absent.info;
        json!({
            "id": info.id.as_ref().map(|id| id.as_str()),
            "hostname": info.hostname,
            "port": info.port,
            "resources": sums(info.resources.iter()),
        })
    };
    master.recovered_agents().map(shape).collect()
}

fn full_resource(resource: &Resource) -> Value {
    as_json(&resource_to_wire(resource, Format::ENDPOINT))
}

fn slave(agent: &Agent) -> Map<String, Value> {
    let info = &agent.info;
    let attributes: Map<String, Value> =
        info.attributes.iter().map(|a| (a.name.clone(), attribute(&a.value))).collect();
    let mut reserved: BTreeMap<String, Vec<&Resource>> = BTreeMap::new();
    for resource in info.resources.iter() {
        if let Some(top) = resource.reservations.last() {
            reserved.entry(top.role.to_string()).or_default().push(resource);
        }
    }
    let reserved: Map<String, Value> =
        reserved.into_iter().map(|(role, all)| (role, sums(all.into_iter()))).collect();
    let mut shape = object(json!({
        "id": agent.id.as_str(),
        "hostname": info.hostname,
        "port": info.port,
        "pid": format!("slave(1)@{}:{}", info.ip, info.port),
        "attributes": attributes,
        "registered_time": agent.registered_at.as_secs_f64(),
        "resources": sums(info.resources.iter()),
        "used_resources": sums(agent.allocated.values().flat_map(|r| r.iter())),
        "offered_resources": sums(agent.offered.iter()),
        "reserved_resources": reserved,
        "unreserved_resources": sums(info.resources.iter().filter(|r| r.reservations.is_empty())),
        "active": agent.is_active(),
        "deactivated": agent.deactivated,
        "version": env!("CARGO_PKG_VERSION"),
        "capabilities": ["MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT"],
    }));
    if let Some(time) = agent.reregistered_at {
        shape.insert("reregistered_time".into(), json!(time.as_secs_f64()));
    }
    shape
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
        "command": info.command.as_ref().map(command),
        "resources": sums(info.resources.iter()),
        "role": role(&info.resources),
        "type": "CUSTOM",
        "source": info.source,
    }));
    put_labels(&mut shape, &info.labels);
    Value::Object(shape)
}

fn command(from: &CommandInfo) -> Value {
    let variables =
        from.environment.iter().map(|(name, value)| json!({ "name": name, "value": value, "type": "VALUE" }));
    json!({
        "shell": from.shell,
        "value": from.value,
        "argv": from.arguments,
        "environment": { "variables": variables.collect::<Vec<_>>() },
        "uris": from.uris.iter().map(|u| json!({ "value": u.value, "executable": u.executable })).collect::<Vec<_>>(),
    })
}

fn role(resources: &Resources) -> String {
    resources
        .iter()
        .find_map(|r| r.allocation_role.as_ref())
        .map_or_else(|| "*".to_owned(), ToString::to_string)
}

fn task(from: &Task) -> Value {
    let statuses = from.statuses.iter().map(|status| {
        let mut shape = object(json!({
            "state": state_name(status.state),
            "timestamp": status.timestamp.as_secs_f64(),
        }));
        if let Some(healthy) = status.healthy {
            shape.insert("healthy".into(), json!(healthy));
        }
        put_labels(&mut shape, &status.labels);
        if let Some(container) = task_wire::status_to_wire(status).container_status {
            shape.insert("container_status".into(), as_json(&container));
        }
        Value::Object(shape)
    });
    let mut shape = object(json!({
        "id": from.info.task_id.as_str(),
        "name": from.info.name,
        "framework_id": from.framework_id.as_str(),
        "executor_id": from.executor_id.as_ref().map_or("", |id| id.as_str()),
        "slave_id": from.info.agent_id.as_str(),
        "state": state_name(from.state),
        "resources": sums(from.info.resources.iter()),
        "role": role(&from.info.resources),
        "statuses": statuses.collect::<Vec<_>>(),
    }));
    put_labels(&mut shape, &from.info.labels);
    let wire = task_wire::to_wire(from, Format::ENDPOINT);
    let parts = [
        ("discovery", wire.discovery.as_ref().map(as_json)),
        ("container", wire.container.as_ref().map(as_json)),
        ("health_check", wire.health_check.as_ref().map(as_json)),
        ("user", wire.user.map(Value::String)),
    ];
    for (name, part) in parts {
        if let Some(part) = part {
            shape.insert(name.into(), part);
        }
    }
    Value::Object(shape)
}

/// A message in the JSON of the v1 API, which the unversioned endpoints embed unchanged.
fn as_json<M: Message + Name>(message: &M) -> Value {
    serde_json::from_slice(&encode(ContentType::Json, message)).unwrap_or(Value::Null)
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
    let number = |name: &str| query.get(name).and_then(|text| text.parse().ok());
    let page =
        all.into_iter().skip(number("offset").unwrap_or(0)).take(number("limit").unwrap_or(TASKS_LIMIT));
    json!({ "tasks": page.map(task).collect::<Vec<_>>() })
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
            "frameworks": view.frameworks.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
            "resources": sums(view.resources.iter()),
        })
    });
    json!({ "roles": roles.collect::<Vec<_>>() })
}

pub(super) fn weights(master: &Master) -> Value {
    master.weights().map(|(role, weight)| json!({ "role": role.as_str(), "weight": weight })).collect()
}

/// The summary of resources: the four usual scalars always, ranges and sets as text.
fn sums<'a>(resources: impl Iterator<Item = &'a Resource>) -> Value {
    let mut scalars: BTreeMap<String, f64> =
        ["cpus", "gpus", "mem", "disk"].into_iter().map(|name| (name.to_owned(), 0.0)).collect();
    let mut ranges: BTreeMap<String, Ranges> = BTreeMap::new();
    let mut sets: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for resource in resources {
        let name = match resource.revocable {
            true => format!("{}_revocable", resource.name),
            false => resource.name.to_string(),
        };
        match &resource.value {
            Amount::Scalar(amount) => *scalars.entry(name).or_default() += amount.as_f64(),
            Amount::Ranges(more) => {
                let sum = ranges.entry(name).or_default();
                *sum = sum.union(more);
            }
            Amount::Set(items) => sets.entry(name).or_default().extend(items.iter().cloned()),
        }
    }
    let mut shape: Map<String, Value> =
        scalars.into_iter().map(|(name, sum)| (name, json!((sum * 1000.0).round() / 1000.0))).collect();
    shape.extend(ranges.into_iter().map(|(name, sum)| (name, json!(ranges_text(&sum)))));
    shape.extend(sets.into_iter().map(|(name, items)| (name, json!(set_text(items.iter())))));
    Value::Object(shape)
}

fn attribute(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::Text(text) => json!(text),
        AttributeValue::Scalar(amount) => json!(amount.as_f64()),
        AttributeValue::Ranges(ranges) => json!(ranges_text(ranges)),
        AttributeValue::Set(items) => json!(set_text(items.iter())),
    }
}

fn ranges_text(ranges: &Ranges) -> String {
    let pairs: Vec<String> = ranges.pairs().iter().map(|(begin, end)| format!("{begin}-{end}")).collect();
    format!("[{}]", pairs.join(", "))
}

fn set_text<'a>(items: impl Iterator<Item = &'a String>) -> String {
    format!("{{{}}}", items.map(String::as_str).collect::<Vec<_>>().join(", "))
}

fn put_labels(shape: &mut Map<String, Value>, labels: &Labels) {
    if !labels.as_slice().is_empty() {
        let all = labels.as_slice().iter().map(|l| json!({ "key": l.key, "value": l.value }));
        shape.insert("labels".into(), all.collect());
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
