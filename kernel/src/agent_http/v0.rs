//! The unversioned endpoints that exporters, dashboards and command lines still read, with the keys that they expect.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt, sync::Arc};

use hyper::{Request, StatusCode, body::Incoming};
use kernel_core::agent::{Agent, ExecutorView, FrameworkView};
use kernel_model::{
    resources::{Resources, Value},
    task::TaskState,
};
use kernel_wire::task::state_name;
use serde_json::{Map, Value as Json, json};

use super::{Handlers, agent_stopped, files, operator_api::everything};
use crate::{
    access::Realm,
    agent_driver::AgentStopped,
    http::{
        Answer,
        metrics::system_statistics,
        negotiate::{ok, require_method, text, with_header},
        prometheus,
    },
};

pub(super) use crate::server::MESOS_VERSION as VERSION;

/// The endpoint of a path without prefix.
pub(super) fn page(path: &str) -> Option<&'static str> {
    const PAGES: [&str; 13] = [
        "/health",
        "/version",
        "/flags",
        "/state",
        "/metrics/snapshot",
        "/metrics",
        "/system/stats",
        "/containers",
        "/monitor/statistics",
        "/files/browse",
        "/files/read",
        "/files/download",
        "/files/debug",
    ];
    PAGES.into_iter().find(|page| *page == path)
}

pub(super) async fn serve(handlers: &Arc<Handlers>, path: &str, request: Request<Incoming>) -> Answer {
    // Mesos leaves these two open.
    if !matches!(path, "/health" | "/version")
        && let Err(refusal) = handlers.access.admit(Realm::AgentReadOnly, request.headers())
    {
        return refusal;
    }
    let methods: &[&str] =
        if matches!(path, "/flags" | "/containers" | "/monitor/statistics") { &["GET"] } else { &[] };
    if let Err(refusal) = require_method(&request, methods) {
        return refusal;
    }
    let query = query(request.uri().query().unwrap_or_default());
    let result = match path {
        "/health" => return text(StatusCode::OK, handlers.access.health()),
        "/metrics" => {
            return match metrics(handlers).await {
                Ok(all) => prometheus::response(all, request.headers()),
                Err(AgentStopped) => agent_stopped(),
            };
        }
        "/files/download" => {
            return download(handlers, &query).await.unwrap_or_else(|refusal| refusal);
        }
        "/files/debug" => attached(handlers).await.map_err(|AgentStopped| agent_stopped()),
        "/files/browse" => browse(handlers, &query).await,
        "/files/read" => read(handlers, &query).await,
        "/version" => Ok(json!({"version": VERSION})),
        "/flags" => Ok(json!({"flags": flags(handlers)})),
        "/system/stats" => Ok(system_statistics()),
        "/metrics/snapshot" => {
            let numbers = metrics(handlers).await.map_err(|AgentStopped| agent_stopped());
            numbers.map(|numbers| Json::Object(numbers.into_iter().map(|(k, v)| (k, json!(v))).collect()))
        }
        "/state" => state(handlers).await.map_err(|AgentStopped| agent_stopped()),
        _ => containers(handlers, query.get("container_id")).await.map_err(|AgentStopped| agent_stopped()),
    };
    match result {
        Ok(value) => ok("application/json", value.to_string().into(), request.headers()),
        Err(refusal) => refusal,
    }
}

fn flags(handlers: &Handlers) -> Map<String, Json> {
    handlers.flags.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
}

async fn state(handlers: &Handlers) -> Result<Json, AgentStopped> {
    let read = |agent: &Agent| (agent.info().clone(), everything(agent));
    let (info, (view, orphans)) = handlers.queue.read(read).await?;
    let mut attributes = Map::new();
    for attribute in &info.attributes {
        use kernel_model::resources::AttributeValue as A;
        let value = match &attribute.value {
            A::Text(text) => json!(text),
            A::Scalar(amount) => json!(amount.as_f64()),
            A::Ranges(ranges) => json!(range_text(ranges)),
            A::Set(items) => json!(format!("{{{}}}", items.join(", "))),
        };
        attributes.entry(attribute.name.clone()).or_insert(value);
    }
    let resources = resources_json(&info.resources);
    let paths = handlers.runtime.paths();
    let frameworks = view.iter().map(|framework| {
        let completed = orphans.iter().filter(|task| framework.info.id.as_ref() == Some(&task.framework_id));
        let executors = framework.executors.iter().map(|executor| {
            let runs = info.id.as_ref().zip(framework.info.id.as_ref());
            let runs = runs.and_then(|(agent, fw)| paths.runs(agent, fw, &executor.info.executor_id));
            let directory = runs.map(|runs| runs.join(executor.container_id.as_str()).display().to_string());
            executor_json(executor, directory.unwrap_or_default())
        });
        json!({
            "id": framework.info.id.as_ref().map(|id| id.as_str()),
            "name": framework.info.name,
            "user": framework.info.user,
            "failover_timeout": framework.info.failover_timeout.as_secs_f64(),
            "checkpoint": framework.info.checkpoint,
            "roles": framework.info.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
            "hostname": framework.info.hostname,
            "executors": executors.collect::<Vec<_>>(),
            "completed_executors": [],
            "unacknowledged_tasks": completed.map(task_json).collect::<Vec<_>>(),
        })
    });
    Ok(json!({
        "version": VERSION,
        "id": info.id.as_ref().map(|id| id.as_str()),
        "pid": format!("slave(1)@{}:{}", info.ip, info.port),
        "hostname": info.hostname,
        "capabilities": ["MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT"],
        "start_time": handlers.clock.started_at().as_secs_f64(),
        "resources": resources,
        "unreserved_resources": resources,
        "reserved_resources": {},
        "attributes": attributes,
        "flags": flags(handlers),
        "frameworks": frameworks.collect::<Vec<_>>(),
        "completed_frameworks": [],
    }))
}

fn executor_json(executor: &ExecutorView, directory: String) -> Json {
    let part = |requested: fn(TaskState, bool) -> bool| {
        let tasks = executor.tasks.iter().filter(|(task, delivered)| requested(task.state, *delivered));
        tasks.map(|(task, _)| task_json(task)).collect::<Vec<_>>()
    };
    json!({
        "id": executor.info.executor_id.as_str(),
        "name": executor.info.name,
        "source": executor.info.source,
        "container": executor.container_id.as_str(),
        "directory": directory,
        "resources": resources_json(&executor.info.resources),
        "tasks": part(|state, delivered| delivered && !state.is_terminal()),
        "queued_tasks": part(|state, delivered| !delivered && !state.is_terminal()),
        "completed_tasks": part(|state, _| state.is_terminal()),
    })
}

fn task_json(task: &kernel_model::task::Task) -> Json {
    let statuses = task.statuses.iter().map(
        |status| json!({"state": state_name(status.state), "timestamp": status.timestamp.as_secs_f64()}),
    );
    json!({
        "id": task.info.task_id.as_str(),
        "name": task.info.name,
        "framework_id": task.framework_id.as_str(),
        "executor_id": task.executor_id.as_ref().map(|id| id.as_str()).unwrap_or_default(),
        "slave_id": task.info.agent_id.as_str(),
        "state": state_name(task.state),
        "resources": resources_json(&task.info.resources),
        "statuses": statuses.collect::<Vec<_>>(),
    })
}

fn resources_json(resources: &Resources) -> Json {
    let mut scalars: BTreeMap<&str, f64> =
        ["cpus", "disk", "gpus", "mem"].into_iter().map(|name| (name, 0.0)).collect();
    let mut all = Map::new();
    for resource in resources.iter() {
        match &resource.value {
            Value::Scalar(amount) => *scalars.entry(&resource.name).or_default() += amount.as_f64(),
            Value::Ranges(ranges) => {
                all.insert(resource.name.to_string(), json!(range_text(ranges)));
            }
            Value::Set(items) => {
                let items: Vec<_> = items.iter().map(String::as_str).collect();
                all.insert(resource.name.to_string(), json!(format!("{{{}}}", items.join(", "))));
            }
        }
    }
    all.extend(scalars.into_iter().map(|(name, amount)| (name.to_owned(), json!(amount))));
    Json::Object(all)
}

fn range_text(ranges: &kernel_model::resources::Ranges) -> String {
    let pairs: Vec<_> = ranges.pairs().iter().map(|(begin, end)| format!("{begin}-{end}")).collect();
    format!("[{}]", pairs.join(", "))
}

/// Metrics under Mesos' names.
pub(super) async fn metrics(handlers: &Handlers) -> Result<Vec<(String, f64)>, AgentStopped> {
    let read = |agent: &Agent| (agent.view(), agent.info().resources.clone(), agent.is_registered());
    let (view, total, registered) = handlers.queue.read(read).await?;
    let executors = || view.iter().flat_map(|framework| &framework.executors);
    let tasks = || executors().flat_map(|executor| &executor.tasks).map(|(task, _)| task);
    let count = |number: usize| number as f64;
    let in_state = |state: TaskState| count(tasks().filter(|task| task.state == state).count());
    let uptime = handlers.clock.now().since(handlers.clock.started_at()).as_secs_f64();
    let mut all = vec![
        ("slave/uptime_secs".to_owned(), uptime),
        ("slave/registered".to_owned(), f64::from(u8::from(registered))),
        ("slave/frameworks_active".to_owned(), count(view.len())),
        ("slave/executors_running".to_owned(), count(executors().filter(|e| e.running).count())),
        ("slave/tasks_staging".to_owned(), in_state(TaskState::Staging)),
        ("slave/tasks_starting".to_owned(), in_state(TaskState::Starting)),
        ("slave/tasks_running".to_owned(), in_state(TaskState::Running)),
        ("slave/tasks_killing".to_owned(), in_state(TaskState::Killing)),
    ];
    let live = || tasks().filter(|task| !task.state.is_terminal()).map(|task| &task.info.resources);
    let overhead = || executors().filter(|e| e.running).map(|e| &e.info.resources);
    for name in ["cpus", "mem", "disk", "gpus"] {
        let used: f64 = live().chain(overhead()).map(|resources| amount(resources, name)).sum();
        let total = amount(&total, name);
        all.push((format!("slave/{name}_total"), total));
        all.push((format!("slave/{name}_used"), used));
        all.push((format!("slave/{name}_percent"), if total > 0.0 { used / total } else { 0.0 }));
    }
    Ok(all)
}

fn amount(resources: &Resources, name: &str) -> f64 {
    let scalars = resources.iter().filter(|resource| &*resource.name == name);
    scalars.map(|r| if let Value::Scalar(amount) = r.value { amount.as_f64() } else { 0.0 }).sum()
}

/// `/containers` and `/monitor/statistics`, which differ only in the container's own part.
async fn containers(handlers: &Handlers, only: Option<&String>) -> Result<Json, AgentStopped> {
    let view: Vec<FrameworkView> = handlers.queue.read(Agent::view).await?;
    let mut all = Vec::new();
    for framework in &view {
        for executor in framework.executors.iter().filter(|executor| executor.running) {
            if only.is_some_and(|id| id != executor.container_id.as_str()) {
                continue;
            }
            let mut limits =
                (amount(&executor.info.resources, "cpus"), amount(&executor.info.resources, "mem"));
            for (task, _) in executor.tasks.iter().filter(|(task, _)| !task.state.is_terminal()) {
                limits.0 += amount(&task.info.resources, "cpus");
                limits.1 += amount(&task.info.resources, "mem");
            }
            let usage = handlers.runtime.usage(&executor.container_id).unwrap_or_default();
            all.push(json!({
                "framework_id": framework.info.id.as_ref().map(|id| id.as_str()),
                "executor_id": executor.info.executor_id.as_str(),
                "executor_name": executor.info.name,
                "source": executor.info.source,
                "container_id": executor.container_id.as_str(),
                "status": {
                    "container_id": {"value": executor.container_id.as_str()},
                    "executor_pid": handlers.runtime.pid(&executor.container_id),
                },
                "statistics": {
                    "timestamp": handlers.clock.now().as_secs_f64(),
                    "cpus_limit": limits.0,
                    "mem_limit_bytes": (limits.1 * 1024.0 * 1024.0) as u64,
                    "cpus_user_time_secs": usage.cpu_seconds,
                    "mem_total_bytes": usage.memory_bytes,
                    "mem_rss_bytes": usage.memory_bytes,
                },
            }));
        }
    }
    Ok(Json::Array(all))
}

/// The virtual paths of sandboxes, with the real ones.
async fn attached(handlers: &Handlers) -> Result<Json, AgentStopped> {
    let read = |agent: &Agent| (agent.id().cloned(), agent.view());
    let (agent_id, view) = handlers.queue.read(read).await?;
    let mut paths = Map::new();
    for framework in &view {
        let Some((agent_id, framework_id)) = agent_id.as_ref().zip(framework.info.id.as_ref()) else {
            continue;
        };
        for executor in &framework.executors {
            let executor_id = &executor.info.executor_id;
            let Some(runs) = handlers.runtime.paths().runs(agent_id, framework_id, executor_id) else {
                continue;
            };
            let directory = json!(runs.join(executor.container_id.as_str()).display().to_string());
            let latest = format!("/frameworks/{framework_id}/executors/{executor_id}/runs/latest");
            paths.insert(directory.as_str().unwrap_or_default().to_owned(), directory.clone());
            paths.insert(latest, directory);
        }
    }
    Ok(Json::Object(paths))
}

async fn browse(handlers: &Handlers, query: &BTreeMap<String, String>) -> Result<Json, Answer> {
    let entries = files::browse(handlers, path(query)?).await?;
    let list = entries.iter().map(|entry| {
        json!({
            "path": entry.path,
            "size": entry.metadata.len(),
            "nlink": entry.metadata.nlink(),
            "mtime": entry.metadata.mtime(),
            "mode": mode_text(&entry.metadata),
            "uid": entry.metadata.uid().to_string(),
            "gid": entry.metadata.gid().to_string(),
        })
    });
    Ok(list.collect())
}

fn mode_text(metadata: &std::fs::Metadata) -> String {
    let mut text = String::from(if metadata.is_dir() { "d" } else { "-" });
    for shift in [6, 3, 0] {
        let bits = metadata.mode() >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(if bits & 1 != 0 { 'x' } else { '-' });
    }
    text
}

async fn read(handlers: &Handlers, query: &BTreeMap<String, String>) -> Result<Json, Answer> {
    let path = path(query)?;
    let number = |name: &str, default: i64| match query.get(name) {
        None => Ok(default),
        Some(text) => text.parse::<i64>().map_err(|_| bad(&format!("Failed to parse {name}: '{text}'"))),
    };
    let (offset, length) = (number("offset", -1)?, number("length", -1)?);
    if offset < -1 || length < -1 {
        return Err(bad("Negative offset or length provided"));
    }
    // Without an offset only the file's size is returned.
    let limit =
        if offset < 0 { 0 } else { u64::try_from(length).unwrap_or(files::READ_MAX).min(files::READ_MAX) };
    let range = files::range(handlers, path, u64::try_from(offset).unwrap_or(0), limit).await?;
    let at = u64::try_from(offset).unwrap_or(range.size);
    Ok(json!({"offset": at, "data": String::from_utf8_lossy(&range.data)}))
}

async fn download(handlers: &Handlers, query: &BTreeMap<String, String>) -> Result<Answer, Answer> {
    let path = path(query)?;
    let answer = files::download(handlers, path).await?;
    let name = path.rsplit('/').next().unwrap_or_default();
    Ok(with_header(
        with_header(answer, hyper::header::CONTENT_TYPE, "application/octet-stream"),
        hyper::header::CONTENT_DISPOSITION,
        &format!("attachment; filename=\"{}\"", name.replace('"', "")),
    ))
}

fn path(query: &BTreeMap<String, String>) -> Result<&str, Answer> {
    let path = query.get("path").filter(|path| !path.is_empty());
    path.map(String::as_str).ok_or_else(|| bad("Expecting 'path=value' in query"))
}

fn bad(sentence: &str) -> Answer {
    text(StatusCode::BAD_REQUEST, sentence)
}

/// The percent-decoded parameters of a query.
fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = &after[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*byte),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
