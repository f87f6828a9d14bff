//! The unversioned endpoints that exporters, dashboards and command lines still read, with the keys that they expect.

use std::sync::Arc;

use hyper::{Request, StatusCode, body::Incoming};
use kernel_core::agent::{Agent, ExecutorView, ExecutorViewPhase, FrameworkView};
use kernel_model::{
    framework::FrameworkCapability,
    ids::AgentId,
    resources::{Resource, Resources, Value},
    task::{Task, TaskState},
};
use kernel_wire::operator::AGENT_CAPABILITIES;
use serde_json::{Map, Value as Json, json};

use super::{
    Handlers, agent_stopped, file_pages,
    statistics::{allocated, statistics},
};
use crate::{
    access::Realm,
    agent_driver::AgentStopped,
    http::{
        Answer,
        metrics::{system, system_statistics},
        negotiate::{json as json_answer, logging_toggle, require_method, text},
        prometheus,
        query::{self, Query},
        shapes::{
            as_json, attributes, by_role, executor_type, full_resource, object, put_labels, queued_task,
            role_name, sums, task, unreserved,
        },
    },
    runtime::sandbox::SANDBOX_AGE_MAX,
};

pub(super) use crate::server::MESOS_VERSION as VERSION;

/// The endpoint of a path without prefix.
pub(super) fn page(path: &str) -> Option<&'static str> {
    const PAGES: [&str; 14] = [
        "/health",
        "/version",
        "/flags",
        "/state",
        "/metrics/snapshot",
        "/metrics",
        "/system/stats",
        "/logging/toggle",
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
    let realm = match path {
        "/logging/toggle" => Realm::AgentReadWrite,
        _ => Realm::AgentReadOnly,
    };
    // Mesos leaves these two open.
    if !matches!(path, "/health" | "/version")
        && let Err(refusal) = handlers.access.admit(realm, request.headers())
    {
        return refusal;
    }
    let methods: &[&str] =
        if matches!(path, "/flags" | "/containers" | "/monitor/statistics") { &["GET"] } else { &[] };
    if let Err(refusal) = require_method(&request, methods) {
        return refusal;
    }
    let query = match Query::parse(request.uri().query().unwrap_or_default()) {
        Ok(query) => query,
        Err(why) => return bad_request(format!("Unable to decode query string: {why}")),
    };
    let result = match path {
        "/health" => return text(StatusCode::OK, handlers.access.health()),
        "/metrics" => {
            return match metrics(handlers).await {
                Ok(all) => prometheus::response(all),
                Err(AgentStopped) => agent_stopped(),
            };
        }
        "/files/download" => {
            return file_pages::download(handlers, &query).await.unwrap_or_else(|refusal| refusal);
        }
        "/logging/toggle" => return logging_toggle(&query),
        "/files/debug" => attached(handlers).await.map_err(|AgentStopped| agent_stopped()),
        "/files/browse" => file_pages::browse(handlers, &query).await,
        "/files/read" => file_pages::read(handlers, &query).await,
        "/version" => Ok(Json::Object(version())),
        "/flags" => Ok(json!({"flags": flags(handlers)})),
        "/system/stats" => Ok(system_statistics()),
        "/metrics/snapshot" => {
            if let Err(why) = query::metrics_timeout(&query) {
                return bad_request(why);
            }
            let numbers = metrics(handlers).await.map_err(|AgentStopped| agent_stopped());
            numbers.map(|numbers| Json::Object(numbers.into_iter().map(|(k, v)| (k, json!(v))).collect()))
        }
        "/state" => state(handlers).await.map_err(|AgentStopped| agent_stopped()),
        "/containers" => match Selection::of(&query) {
            Ok(selection) => {
                containers(handlers, selection, true).await.map_err(|AgentStopped| agent_stopped())
            }
            Err(why) => Err(bad_request(why)),
        },
        _ => {
            let all = Selection::default();
            containers(handlers, all, false).await.map_err(|AgentStopped| agent_stopped())
        }
    };
    match result {
        Ok(value) => json_answer(value.to_string(), query.get("jsonp")),
        Err(refusal) => refusal,
    }
}

fn bad_request(why: impl Into<String>) -> Answer {
    text(StatusCode::BAD_REQUEST, why)
}

fn flags(handlers: &Handlers) -> Map<String, Json> {
    handlers.flags.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
}

async fn state(handlers: &Handlers) -> Result<Json, AgentStopped> {
    let read = |agent: &Agent| {
        let completed: Vec<FrameworkView> = agent.completed_frameworks().cloned().collect();
        (agent.info().clone(), agent.view(), completed)
    };
    let (info, view, completed) = handlers.queue.read(read).await?;
    let total = &info.resources;
    let mut used = Resources::default();
    for executor in view.iter().flat_map(|framework| &framework.executors) {
        used += &allocated(executor);
    }
    let scalars = |all: &[&Resource]| sums(all.iter().copied());
    let full = |all: &[&Resource]| all.iter().copied().map(full_resource).collect();
    let frameworks = |all: &[FrameworkView]| -> Json {
        all.iter().map(|framework| framework_json(handlers, info.id.as_ref(), framework)).collect()
    };
    let mut shape = version();
    shape.extend(object(json!({
        "id": info.id.as_ref().map(|id| id.as_str()),
        "pid": format!("slave(1)@{}:{}", info.ip, info.port),
        "hostname": info.hostname,
        "capabilities": AGENT_CAPABILITIES.map(|kind| kind.as_str_name()),
        "start_time": handlers.clock.started_at().as_secs_f64(),
        "resources": sums(total),
        "reserved_resources": by_role(total, scalars),
        "unreserved_resources": sums(unreserved(total)),
        "reserved_resources_full": by_role(total, full),
        "unreserved_resources_full": unreserved(total).map(full_resource).collect::<Vec<_>>(),
        "reserved_resources_allocated": by_role(&used, scalars),
        "unreserved_resources_allocated": sums(unreserved(&used)),
        "resource_providers": [],
        "attributes": attributes(&info.attributes),
        "flags": flags(handlers),
        "frameworks": frameworks(&view),
        "completed_frameworks": frameworks(&completed),
    })));
    Ok(Json::Object(shape))
}

fn version() -> Map<String, Json> {
    object(json!({"version": VERSION, "build_date": "", "build_time": 0.0, "build_user": ""}))
}

fn framework_json(handlers: &Handlers, agent: Option<&AgentId>, framework: &FrameworkView) -> Json {
    let info = &framework.info;
    let executors = |all: &[ExecutorView]| -> Json {
        let shown = all.iter().map(|executor| {
            let runs = agent.zip(info.id.as_ref());
            let runs = runs.and_then(|(agent, framework)| {
                handlers.runtime.paths().runs(agent, framework, &executor.info.executor_id)
            });
            let directory = runs.map(|runs| runs.join(executor.container_id.as_str()).display().to_string());
            executor_json(executor, directory.unwrap_or_default())
        });
        shown.collect()
    };
    let mut shape = object(json!({
        "id": info.id.as_ref().map(|id| id.as_str()),
        "name": info.name,
        "user": info.user,
        "failover_timeout": info.failover_timeout.as_secs_f64(),
        "checkpoint": info.checkpoint,
        "hostname": info.hostname,
        "executors": executors(&framework.executors),
        "completed_executors": executors(&framework.completed_executors),
    }));
    if let Some(principal) = &info.principal {
        shape.insert("principal".into(), json!(principal));
    }
    let roles: Vec<&str> = info.roles.iter().map(|role| role.as_str()).collect();
    match info.can(FrameworkCapability::MultiRole) {
        true => shape.insert("roles".into(), json!(roles)),
        false => shape.insert("role".into(), json!(roles.first())),
    };
    Json::Object(shape)
}

fn executor_json(executor: &ExecutorView, directory: String) -> Json {
    let part = |wanted: fn(TaskState, bool) -> bool, show: fn(&Task) -> Json| {
        let tasks = executor.tasks.iter().filter(|(task, delivered)| wanted(task.state, *delivered));
        tasks.map(|(task, _)| show(task)).collect::<Vec<_>>()
    };
    let mut ended: Vec<Json> = executor.completed_tasks.iter().map(task).collect();
    ended.extend(part(|state, _| state.is_terminal(), task));
    let mut shape = object(json!({
        "id": executor.info.executor_id.as_str(),
        "name": executor.info.name,
        "source": executor.info.source,
        "container": executor.container_id.as_str(),
        "directory": directory,
        "resources": sums(&allocated(executor)),
        "tasks": part(|state, delivered| delivered && !state.is_terminal(), task),
        "queued_tasks": part(|state, delivered| !delivered && !state.is_terminal(), queued_task),
        "completed_tasks": ended,
    }));
    if let Some(role) = executor.info.resources.allocation_roles().first() {
        shape.insert("role".into(), json!(role_name(Some(role))));
    }
    if let Some(name) = executor_type(&executor.info) {
        shape.insert("type".into(), json!(name));
    }
    put_labels(&mut shape, &executor.info.labels);
    Json::Object(shape)
}

/// Metrics under Mesos' names.
pub(super) async fn metrics(handlers: &Handlers) -> Result<Vec<(String, f64)>, AgentStopped> {
    let read = |agent: &Agent| {
        let mut total = agent.info().resources.clone();
        total += agent.revocable_resources();
        (agent.view(), total, agent.is_registered(), agent.counts().clone())
    };
    let (view, total, registered, counts) = handlers.queue.read(read).await?;
    let executors = || view.iter().flat_map(|framework| &framework.executors);
    let tasks = || executors().flat_map(|executor| &executor.tasks).map(|(task, _)| task);
    let count = |number: usize| number as f64;
    let in_state = |state: TaskState| count(tasks().filter(|task| task.state == state).count());
    let ended = |state: TaskState| counts.ended_tasks.get(&state).copied().unwrap_or(0) as f64;
    let in_phase =
        |phase: ExecutorViewPhase| count(executors().filter(|executor| executor.phase == phase).count());
    let uptime = handlers.clock.now().since(handlers.clock.started_at()).as_secs_f64();
    let named = [
        ("uptime_secs", uptime),
        ("registered", f64::from(u8::from(registered))),
        // What cannot be read back at a start ends the agent.
        ("recovery_errors", 0.0),
        ("frameworks_active", count(view.len())),
        ("executors_registering", in_phase(ExecutorViewPhase::Registering)),
        ("executors_running", in_phase(ExecutorViewPhase::Running)),
        ("executors_terminating", in_phase(ExecutorViewPhase::Terminating)),
        ("executors_terminated", counts.terminated_executors as f64),
        ("executors_preempted", counts.preempted_executors as f64),
        // Not of Mesos: tasks of executors that respawn.
        ("tasks_preempted", counts.preempted_tasks as f64),
        ("executor_directory_max_allowed_age_secs", SANDBOX_AGE_MAX.as_secs_f64()),
        ("container_launch_errors", counts.launch_errors as f64),
        ("valid_status_updates", counts.status_updates as f64),
        ("invalid_status_updates", counts.refused_updates as f64),
        ("valid_framework_messages", counts.framework_messages as f64),
        ("invalid_framework_messages", counts.dropped_framework_messages as f64),
        ("tasks_staging", in_state(TaskState::Staging)),
        ("tasks_starting", in_state(TaskState::Starting)),
        ("tasks_running", in_state(TaskState::Running)),
        ("tasks_killing", in_state(TaskState::Killing)),
        ("tasks_finished", ended(TaskState::Finished)),
        ("tasks_failed", ended(TaskState::Failed)),
        ("tasks_killed", ended(TaskState::Killed)),
        ("tasks_lost", ended(TaskState::Lost)),
        ("tasks_gone", ended(TaskState::Gone)),
    ];
    let mut all: Vec<(String, f64)> =
        named.into_iter().map(|(name, value)| (format!("slave/{name}"), value)).collect();
    let mut used = Resources::default();
    executors().for_each(|executor| used += &allocated(executor));
    for name in ["cpus", "mem", "disk", "gpus"] {
        for (suffix, revocable) in [("", false), ("_revocable", true)] {
            let (total, used) = (amount(&total, name, revocable), amount(&used, name, revocable));
            all.push((format!("slave/{name}{suffix}_total"), total));
            all.push((format!("slave/{name}{suffix}_used"), used));
            all.push((format!("slave/{name}{suffix}_percent"), if total > 0.0 { used / total } else { 0.0 }));
        }
    }
    let fetches = handlers.runtime.fetches();
    all.push(("containerizer/fetcher/task_fetches_succeeded".to_owned(), fetches.succeeded() as f64));
    all.push(("containerizer/fetcher/task_fetches_failed".to_owned(), fetches.failed() as f64));
    all.extend(system());
    Ok(all)
}

fn amount(resources: &Resources, name: &str, revocable: bool) -> f64 {
    let scalars = resources.iter().filter(|r| &*r.name == name && r.revocable == revocable);
    // Not `sum`: its neutral element is -0.0, which would be printed.
    scalars.fold(0.0, |sum, r| if let Value::Scalar(amount) = r.value { sum + amount.as_f64() } else { sum })
}

/// The parameters of `/containers`.
#[derive(Default)]
struct Selection<'a> {
    container_id: Option<&'a str>,
    framework_id: Option<&'a str>,
    executor_id: Option<&'a str>,
}

impl<'a> Selection<'a> {
    fn of(query: &'a Query) -> Result<Self, &'static str> {
        let name = |name| query.get(name);
        let (container_id, framework_id, executor_id) =
            (name("container_id"), name("framework_id"), name("executor_id"));
        match (container_id, framework_id, executor_id) {
            (None, None, None) | (Some(_), None, None) | (None, Some(_), _) => {
                Ok(Self { container_id, framework_id, executor_id })
            }
            _ => Err(
                "Supported query parameters are container_id only, framework_id only, or executor_id and \
                      framework_id only",
            ),
        }
    }

    fn has(&self, framework: &FrameworkView, executor: &ExecutorView) -> bool {
        let framework_id = framework.info.id.as_ref().map_or("", |id| id.as_str());
        let same = |wanted: Option<&str>, id: &str| wanted.is_none_or(|wanted| wanted == id);
        same(self.container_id, executor.container_id.as_str())
            && same(self.framework_id, framework_id)
            && same(self.executor_id, executor.info.executor_id.as_str())
    }
}

/// `/containers`, and `/monitor/statistics`, which has less of each.
async fn containers(
    handlers: &Handlers,
    selection: Selection<'_>,
    with_status: bool,
) -> Result<Json, AgentStopped> {
    let view: Vec<FrameworkView> = handlers.queue.read(Agent::view).await?;
    let mut all = Vec::new();
    for framework in &view {
        for executor in framework.executors.iter().filter(|executor| executor.has_container()) {
            if !selection.has(framework, executor) {
                continue;
            }
            let mut shape = object(json!({
                "framework_id": framework.info.id.as_ref().map(|id| id.as_str()),
                "executor_id": executor.info.executor_id.as_str(),
                "executor_name": executor.info.name,
                "source": executor.info.source,
                "statistics": as_json(&statistics(handlers, executor)),
            }));
            if with_status {
                let id = executor.container_id.as_str();
                let pid = handlers.runtime.pid(&executor.container_id);
                shape.insert("container_id".into(), json!(id));
                let status = json!({"container_id": {"value": id}, "executor_pid": pid});
                shape.insert("status".into(), status);
            }
            all.push(Json::Object(shape));
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
