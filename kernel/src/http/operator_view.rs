//! The master's state as messages of the operator API.

use kernel_core::master::{Framework, FrameworkState, Master};
use kernel_model::{resources::Resources, scheduler::MasterInfo, task::Task, time::Time};
use kernel_wire::{
    executor,
    executor::agent_id_to_wire,
    framework,
    framework::id_to_wire,
    offer, offer_preferences, operation, operator as wire, quota,
    resources::{self, Format},
    task,
    v1::{
        Flag, Metric, Role, WeightInfo,
        master::{
            Response,
            response::{
                GetAgents, GetExecutors, GetFrameworks, GetMaster, GetOperations, GetQuota, GetRoles,
                GetState, GetTasks, GetWeights, Type, get_executors, get_frameworks,
            },
        },
    },
};

fn answer(kind: Type) -> Response {
    Response { r#type: Some(kind as i32), ..Default::default() }
}

fn show(resources: &Resources) -> Vec<kernel_wire::v1::Resource> {
    resources::to_wire(resources, Format::ENDPOINT)
}

pub(super) fn flags(flags: &[(String, String)]) -> Vec<Flag> {
    flags.iter().map(|(name, value)| Flag { name: name.clone(), value: Some(value.clone()) }).collect()
}

pub(super) fn metrics(metrics: Vec<(String, f64)>) -> Vec<Metric> {
    metrics.into_iter().map(|(name, value)| Metric { name, value: Some(value) }).collect()
}

/// GET_MASTER.
pub(super) fn master(info: &MasterInfo, started: Time) -> GetMaster {
    GetMaster {
        master_info: Some(offer::master_to_wire(info)),
        start_time: Some(started.as_secs_f64()),
        elected_time: Some(started.as_secs_f64()),
    }
}

/// GET_STATE.
pub(super) fn get_state(master: &Master) -> Response {
    Response { get_state: Some(state(master)), ..answer(Type::GetState) }
}

/// GET_AGENTS.
pub(super) fn get_agents(master: &Master) -> Response {
    Response { get_agents: Some(agents(master)), ..answer(Type::GetAgents) }
}

/// GET_FRAMEWORKS.
pub(super) fn get_frameworks(master: &Master) -> Response {
    Response { get_frameworks: Some(frameworks(master)), ..answer(Type::GetFrameworks) }
}

/// GET_TASKS.
pub(super) fn get_tasks(master: &Master) -> Response {
    Response { get_tasks: Some(tasks(master)), ..answer(Type::GetTasks) }
}

/// GET_EXECUTORS.
pub(super) fn get_executors(master: &Master) -> Response {
    Response { get_executors: Some(executors(master)), ..answer(Type::GetExecutors) }
}

/// GET_OPERATIONS: those with an id whose end is not acknowledged.
pub(super) fn get_operations(master: &Master) -> Response {
    let operations = master.agents().flat_map(|agent| {
        let show = |one| operation::to_wire(one, Some(&agent.id), Format::ENDPOINT);
        agent.operations.values().map(show)
    });
    let get_operations = Some(GetOperations { operations: operations.collect() });
    Response { get_operations, ..answer(Type::GetOperations) }
}

/// GET_ROLES.
pub(super) fn get_roles(master: &Master) -> Response {
    let roles = master.roles().into_iter().map(|view| Role {
        name: view.role.to_string(),
        weight: view.weight,
        frameworks: view.frameworks.iter().map(id_to_wire).collect(),
        resources: show(&view.allocated).into_iter().chain(show(&view.offered)).collect(),
    });
    Response { get_roles: Some(GetRoles { roles: roles.collect() }), ..answer(Type::GetRoles) }
}

/// GET_WEIGHTS.
pub(super) fn get_weights(master: &Master) -> Response {
    let infos = master.weights().map(|(role, weight)| WeightInfo { weight, role: Some(role.to_string()) });
    Response { get_weights: Some(GetWeights { weight_infos: infos.collect() }), ..answer(Type::GetWeights) }
}

/// GET_QUOTA.
pub(super) fn get_quota(master: &Master) -> Response {
    let status = quota::status_to_wire(master.quotas());
    Response { get_quota: Some(GetQuota { status }), ..answer(Type::GetQuota) }
}

/// The complete state.
pub(super) fn state(master: &Master) -> GetState {
    GetState {
        get_tasks: Some(tasks(master)),
        get_executors: Some(executors(master)),
        get_frameworks: Some(frameworks(master)),
        get_agents: Some(agents(master)),
    }
}

fn agents(master: &Master) -> GetAgents {
    let version = &master.config().info.version;
    let agents = master.agents().map(|agent| wire::agent_to_wire(&agent.snapshot(), version));
    let recovered =
        master.recovered_agents().map(|absent| offer::agent_to_wire(&absent.info, Format::ENDPOINT));
    GetAgents { agents: agents.collect(), recovered_agents: recovered.collect() }
}

fn frameworks(master: &Master) -> GetFrameworks {
    GetFrameworks {
        frameworks: master.frameworks().map(|f| framework_entry(master, f)).collect(),
        completed_frameworks: master.completed_frameworks().map(|f| framework_entry(master, f)).collect(),
        ..Default::default()
    }
}

fn framework_entry(master: &Master, from: &Framework) -> get_frameworks::Framework {
    let connected = matches!(from.state, FrameworkState::Connected(_));
    get_frameworks::Framework {
        framework_info: framework::to_wire(&from.info),
        active: connected,
        connected,
        recovered: from.state == FrameworkState::Recovered,
        registered_time: Some(task::time_to_wire(from.registered_at)),
        reregistered_time: from.reregistered_at.map(task::time_to_wire),
        unregistered_time: from.unregistered_at.map(task::time_to_wire),
        offers: master.offers(Some(&from.id)).map(|o| offer::to_wire(o, Format::ENDPOINT)).collect(),
        allocated_resources: show(&master.allocated_to(&from.id)),
        offered_resources: show(&master.offered_to(&from.id)),
        offer_constraints: offer_preferences::constraints_to_wire(&from.preferences),
        ..Default::default()
    }
}

fn executors(master: &Master) -> GetExecutors {
    let executors = master.agents().flat_map(|agent| {
        agent.executors.values().map(|info| get_executors::Executor {
            executor_info: executor::to_wire(info, Format::ENDPOINT),
            agent_id: agent_id_to_wire(&agent.id),
        })
    });
    GetExecutors { executors: executors.collect(), ..Default::default() }
}

fn tasks(master: &Master) -> GetTasks {
    let show = |task: &Task| task::to_wire(task, Format::ENDPOINT);
    let mut all = GetTasks::default();
    for framework in master.frameworks().chain(master.completed_frameworks()) {
        all.tasks.extend(framework.tasks.values().map(show));
        all.unreachable_tasks.extend(framework.unreachable_tasks.iter().map(|task| show(task)));
        all.completed_tasks.extend(framework.completed_tasks.iter().map(|task| show(task)));
    }
    all
}
