//! ACCEPT: launches tasks on offers.

use std::{
    collections::{BTreeSet, btree_map::Entry},
    sync::Arc,
};

use bytes::Bytes;
use kernel_model::{
    agent::{Launch, ToAgent},
    executor::{ExecutorInfo, ExecutorKind},
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{AgentId, FrameworkId, OfferId, OperationId},
    offer::Filters,
    operator,
    resources::Resources,
    roles::Role,
    scheduler::{self, MalformedTask, Operation, OperationState},
    task::{Reason, Source, Task, TaskInfo, TaskState, TaskStatus},
    text,
};

use super::{Master, effect::Effect, offers::OutstandingOffer, validation};

/// The joined offers of one ACCEPT.
pub(super) struct Accepted {
    pub(super) framework_id: FrameworkId,
    pub(super) agent_id: AgentId,
    pub(super) role: Role,
    /// What its operations have not taken.
    pub(super) remaining: Resources,
    /// What its operations have made of it, and may have taken since.
    pub(super) converted: Resources,
}

/// The state of a lost task: the given one for PARTITION_AWARE frameworks, TASK_LOST for others.
pub(super) fn lost_state(framework: &FrameworkInfo, state: TaskState) -> TaskState {
    if framework.can(FrameworkCapability::PartitionAware) { state } else { TaskState::Lost }
}

fn operation_error(operation_id: OperationId, message: String) -> scheduler::Event {
    let state = OperationState::Error;
    scheduler::Event::UpdateOperationStatus { uuid: None, operation_id, state, message, agent_id: None }
}

impl Master {
    pub(super) fn accept(
        &mut self,
        framework_id: &FrameworkId,
        offer_ids: &[OfferId],
        operations: Vec<Operation>,
        filters: Filters,
    ) {
        let numbers = match self.offer_set(framework_id, offer_ids) {
            Ok(numbers) => numbers,
            Err(why) => return self.accept_failed(framework_id, offer_ids, operations, &text::cut(why)),
        };
        let offers: Vec<OutstandingOffer> = numbers.iter().filter_map(|n| self.remove_offer(*n)).collect();
        let first = offers.first().expect("invariant: an offer set is not empty");
        let mut accepted = Accepted {
            framework_id: framework_id.clone(),
            agent_id: first.offer.agent_id.clone(),
            role: first.offer.role.clone(),
            remaining: Resources::new(),
            converted: Resources::new(),
        };
        for outstanding in &offers {
            accepted.remaining += &outstanding.offer.resources;
        }
        let offered = accepted.remaining.clone();
        if let Some(counts) = self.framework_counts(framework_id) {
            counts.offers_accepted += offers.len() as u64;
            operations.iter().for_each(|operation| counts.operation(operation));
        }
        for operation in operations {
            self.apply_operation(&mut accepted, operation);
        }
        let progress = accepted.remaining != offered;
        if progress {
            self.allocator.launched(first.client);
        }
        // What was converted may be offered again at once: the framework has not seen it yet, and so cannot have refused it.
        let taken = accepted.converted.saturating_sub(&accepted.remaining);
        let unseen = accepted.converted.saturating_sub(&taken);
        self.allocator.recover(first.slot, first.client, &unseen);
        let seen = accepted.remaining.saturating_sub(&unseen);
        self.return_resources(first, &seen, filters.refuse, progress);
    }

    fn offer_set(&self, framework_id: &FrameworkId, ids: &[OfferId]) -> Result<Vec<u64>, String> {
        if ids.is_empty() {
            return Err("No offers specified".to_owned());
        }
        let mut seen = BTreeSet::new();
        if let Some(id) = ids.iter().find(|id| !seen.insert(*id)) {
            return Err(format!("Duplicate offer {id} in offer list"));
        }
        let mut offers = Vec::with_capacity(ids.len());
        for id in ids {
            let known = self.offer_number(id).and_then(|n| Some((n, &self.offers.get(&n)?.offer)));
            let (number, offer) = known.ok_or_else(|| format!("Offer {id} is no longer valid"))?;
            if offer.framework_id != *framework_id {
                return Err(format!(
                    "Offer {id} has invalid framework {} while framework {framework_id} is expected",
                    offer.framework_id
                ));
            }
            offers.push((id, number, offer));
        }
        let (_, _, first) = offers[0];
        if let Some((id, _, other)) = offers.iter().find(|(_, _, offer)| offer.role != first.role) {
            // Mesos does not close the quotes.
            return Err(format!(
                "Aggregated offers must be allocated to the same role. Offer {id} uses role '{} but another is using \
                 role '{}",
                other.role, first.role
            ));
        }
        if let Some((id, _, other)) = offers.iter().find(|(_, _, offer)| offer.agent_id != first.agent_id) {
            return Err(format!(
                "Aggregated offers must belong to one single agent. Offer {id} uses agent {} and agent {}",
                other.agent_id, first.agent_id
            ));
        }
        Ok(offers.into_iter().map(|(_, number, _)| number).collect())
    }

    /// The offers are invalid: the framework's own return to the pool, and every task is answered with a status update.
    fn accept_failed(
        &mut self,
        framework_id: &FrameworkId,
        offer_ids: &[OfferId],
        operations: Vec<Operation>,
        why: &str,
    ) {
        for id in offer_ids {
            let own = self
                .offer_number(id)
                .filter(|n| self.offers.get(n).is_some_and(|o| o.offer.framework_id == *framework_id));
            if let Some(number) = own {
                self.withdraw_offer(number, false);
            }
        }
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        let state = lost_state(&framework.info, TaskState::Dropped);
        for operation in operations {
            match operation {
                Operation::Launch { tasks } | Operation::LaunchGroup { tasks, .. } => {
                    let message = format!("Task launched with invalid offers: {why}");
                    for task in &tasks {
                        self.refuse_task(framework_id, task, state, Reason::InvalidOffers, message.clone());
                    }
                }
                Operation::Malformed { tasks, .. } => {
                    let message = format!("Task launched with invalid offers: {why}");
                    for task in tasks {
                        let task = MalformedTask { why: message.clone(), ..task };
                        self.refuse_malformed(framework_id, task, state, Reason::InvalidOffers);
                    }
                }
                Operation::Convert { id, kind, .. } => {
                    let message = format!("Operation attempted with invalid offers: {why}");
                    self.operation_refused(framework_id, id, kind.name(), message);
                }
                Operation::Invalid { id, .. } => {
                    let message = format!("Operation attempted with invalid offers: {why}");
                    self.operation_refused(framework_id, id, "", message);
                }
                Operation::Unsupported { id, kind } => {
                    let message = format!("Operation attempted with invalid offers: {why}");
                    self.operation_refused(framework_id, id, kind, message);
                }
            }
        }
    }

    fn refuse_task(
        &mut self,
        framework_id: &FrameworkId,
        task: &TaskInfo,
        state: TaskState,
        reason: Reason,
        message: String,
    ) {
        let status = TaskStatus {
            reason: Some(reason),
            message: Some(text::cut(message)),
            agent_id: Some(task.agent_id.clone()),
            ..TaskStatus::new(task.task_id.clone(), state, Source::Master, self.now)
        };
        self.counts.task(state, Source::Master, Some(reason));
        self.send_to_framework(framework_id, scheduler::Event::Update { status: status.into() });
    }

    fn refuse_malformed(
        &mut self,
        framework_id: &FrameworkId,
        task: MalformedTask,
        state: TaskState,
        reason: Reason,
    ) {
        let status = TaskStatus {
            reason: Some(reason),
            message: Some(text::cut(task.why)),
            agent_id: Some(task.agent_id),
            ..TaskStatus::new(task.task_id, state, Source::Master, self.now)
        };
        self.counts.task(state, Source::Master, Some(reason));
        self.send_to_framework(framework_id, scheduler::Event::Update { status: status.into() });
    }

    fn apply_operation(&mut self, accepted: &mut Accepted, operation: Operation) {
        match operation {
            Operation::Launch { tasks } => {
                for task in tasks {
                    self.launch(accepted, task);
                }
            }
            Operation::LaunchGroup { executor, tasks } => self.launch_group(accepted, executor, tasks),
            Operation::Malformed { tasks, grouped } => {
                let reason = if grouped { Reason::TaskGroupInvalid } else { Reason::TaskInvalid };
                for task in tasks {
                    self.refuse_malformed(&accepted.framework_id, task, TaskState::Error, reason);
                }
            }
            Operation::Convert { id, kind, resources } => {
                if let Err(why) = self.convert_by_framework(accepted, id.clone(), kind, resources) {
                    self.operation_refused(&accepted.framework_id, id, kind.name(), why);
                }
            }
            Operation::Invalid { id, why } => self.operation_refused(&accepted.framework_id, id, "", why),
            Operation::Unsupported { id, kind } => {
                let message = format!("{kind} operations are not supported");
                self.operation_refused(&accepted.framework_id, id, kind, message);
            }
        }
    }

    /// An operation with an id is answered; one without is only logged, as in Mesos.
    fn operation_refused(
        &mut self,
        framework_id: &FrameworkId,
        id: Option<OperationId>,
        kind: &'static str,
        message: String,
    ) {
        self.counts.operation(kind, OperationState::Error);
        let message = text::cut(message);
        match id {
            Some(id) => self.send_to_framework(framework_id, operation_error(id, message)),
            None => self.effect(Effect::Dropped { framework_id: framework_id.clone(), message }),
        }
    }

    fn launch(&mut self, accepted: &mut Accepted, mut task: TaskInfo) {
        task.allocate_by_default_to(&accepted.role);
        if let Some(executor) = &mut task.executor {
            complete_executor(executor, accepted);
        }
        if let Some(why) = self.launch_refusal(&accepted.framework_id, &task) {
            let framework_id = &accepted.framework_id;
            return self.refuse_task(framework_id, &task, TaskState::Error, Reason::TaskUnauthorized, why);
        }
        let checked = match self.launch_context(accepted) {
            Some(context) => validation::task(&context, &task),
            None => Err("Agent removed".to_owned()),
        };
        match checked {
            Ok(needed) => {
                accepted.remaining.remove_all(&needed);
                let executor = task.executor.clone();
                self.add_launch(accepted, executor, Launch::Task(Box::new(task)));
            }
            Err(why) => {
                let framework_id = &accepted.framework_id;
                self.refuse_task(framework_id, &task, TaskState::Error, Reason::TaskInvalid, why);
            }
        }
    }

    fn launch_group(&mut self, accepted: &mut Accepted, executor: ExecutorInfo, mut tasks: Vec<TaskInfo>) {
        let mut executor = Arc::new(executor);
        complete_executor(&mut executor, accepted);
        for task in &mut tasks {
            task.allocate_by_default_to(&accepted.role);
            if let Some(own) = &mut task.executor {
                complete_executor(own, accepted);
            }
        }
        if let Some(why) = self.group_launch_refusal(&accepted.framework_id, &executor, &tasks) {
            for task in &tasks {
                let (id, state) = (&accepted.framework_id, TaskState::Error);
                self.refuse_task(id, task, state, Reason::TaskGroupUnauthorized, why.clone());
            }
            return;
        }
        let checked = match self.launch_context(accepted) {
            Some(context) => validation::group(&context, &executor, &tasks),
            None => Err("Agent removed".to_owned()),
        };
        let needed = match checked {
            Ok(needed) => needed,
            Err(why) => {
                let why = text::cut(why);
                for task in &tasks {
                    let (id, state) = (&accepted.framework_id, TaskState::Error);
                    self.refuse_task(id, task, state, Reason::TaskGroupInvalid, why.clone());
                }
                return;
            }
        };
        accepted.remaining.remove_all(&needed);
        for task in &mut tasks {
            task.executor = Some(executor.clone());
        }
        self.add_launch(accepted, Some(executor), Launch::Group(tasks));
    }

    fn launch_context<'a>(&'a self, accepted: &'a Accepted) -> Option<validation::Context<'a>> {
        Some(validation::Context {
            framework: self.frameworks.get(&accepted.framework_id)?,
            agent: self.agents.get(&accepted.agent_id)?,
            remaining: &accepted.remaining,
        })
    }

    /// Adds a launch to the tables, and sends it to the agent. An executor that is new on the agent is charged. Command
    /// tasks have none here: the agent starts its own.
    fn add_launch(&mut self, accepted: &Accepted, executor: Option<Arc<ExecutorInfo>>, launch: Launch) {
        let Some(agent) = self.agents.get_mut(&accepted.agent_id) else { return };
        let Some(framework) = self.frameworks.get_mut(&accepted.framework_id) else { return };
        let mut held = Resources::new();
        let mut launch_executor = true;
        if let Some(executor) = &executor {
            match agent.executors.entry((accepted.framework_id.clone(), executor.executor_id.clone())) {
                Entry::Occupied(_) => launch_executor = false,
                Entry::Vacant(place) => {
                    place.insert(executor.clone());
                    held += &executor.resources;
                }
            }
        }
        let tasks = agent.tasks.entry(accepted.framework_id.clone()).or_default();
        let mut added = Vec::with_capacity(launch.tasks().len());
        for task in launch.tasks() {
            held += &task.resources;
            tasks.insert(task.task_id.clone());
            let record = Task {
                framework_id: accepted.framework_id.clone(),
                info: Arc::new(without_executor_data(task)),
                executor_id: executor.as_ref().map(|e| e.executor_id.clone()),
                state: TaskState::Staging,
                unacknowledged: None,
                statuses: Vec::new(),
                launched_at: self.now,
            };
            added.push(record.clone());
            framework.tasks.insert(task.task_id.clone(), record);
        }
        // A task may hold nothing.
        if !held.is_empty() {
            *agent.allocated.entry(accepted.framework_id.clone()).or_default() += &held;
        }
        self.changed_agents.insert(accepted.agent_id.clone());
        let (link, framework) = (agent.link, framework.info.clone());
        added.into_iter().for_each(|task| self.operator_event(operator::Event::TaskAdded { task }));
        if let Some(link) = link {
            let message = ToAgent::RunTask { framework, executor, launch, launch_executor };
            self.effect(Effect::ToAgent { link, message });
        }
    }
}

/// The task without the fields that only its executor needs, which are most of its bytes.
pub(super) fn without_executor_data(task: &TaskInfo) -> TaskInfo {
    TaskInfo {
        name: task.name.clone(),
        task_id: task.task_id.clone(),
        agent_id: task.agent_id.clone(),
        resources: task.resources.clone(),
        zero_resources: task.zero_resources.clone(),
        executor: None,
        command: task.command.clone(),
        kill_grace: task.kill_grace,
        max_completion_time: task.max_completion_time,
        image: task.image.clone(),
        data: Bytes::new(),
        labels: task.labels.clone(),
        extra: task.extra.clone(),
    }
}

/// Sets fields that frameworks may omit. An executor that is complete already stays shared with the framework's other
/// tasks.
fn complete_executor(executor: &mut Arc<ExecutorInfo>, accepted: &Accepted) {
    let is_whole = executor.framework_id.is_some()
        && executor.resources.iter().all(|r| r.allocation_role.is_some())
        && (executor.kind != ExecutorKind::Command || executor.command.is_none());
    if is_whole {
        return;
    }
    let executor = Arc::make_mut(executor);
    executor.resources.allocate_by_default_to(&accepted.role);
    if executor.framework_id.is_none() {
        executor.framework_id = Some(accepted.framework_id.clone());
    }
    if executor.kind == ExecutorKind::Command && executor.command.is_some() {
        executor.kind = ExecutorKind::Custom;
    }
}
