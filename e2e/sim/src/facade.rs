//! A framework that treats Pods as the facade's scheduler does: the kernel first, then the binding. It runs the facade's
//! own table of promises (`shim_core::scheduler::settle`); what is around it follows `apiserver-shim`'s runner, whose state
//! is lost with its process while bindings, phases and records of promises (`shim_core::scheduler::PromiseBook`) stay in
//! the store.

use std::{collections::BTreeMap, time::Duration};

use kernel_model::{
    ids::{AgentId, TaskId},
    offer::{Filters, Offer},
    scheduler::{Call, Operation},
    task::{Reason, Source, TaskState, TaskStatus},
};
use shim_core::scheduler::{Known, PodView, PromiseBook, PromiseRecord, Step, TaskView, settle};

use crate::{
    framework::{Framework, Item, ItemState, needs},
    world::World,
};

/// A Pod: what the store has of it, and what the runner knows of its task.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodRecord {
    /// The binding, in the store.
    node: Option<String>,
    /// The phase says that it was started, in the store.
    started: bool,
    task: Task,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Task {
    #[default]
    None,
    Asked,
    Promised,
    Known,
}

impl PodRecord {
    /// The node that it is bound to.
    pub(crate) fn bound_to(&self) -> Option<&str> {
        self.node.as_deref()
    }
}

/// What the facade promised: the runner's own book, and the records of it in the store.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    book: PromiseBook,
    records: BTreeMap<u64, PromiseRecord>,
}

impl Promises {
    /// Writes a record, before anything of it is sent; what is spent goes with it.
    fn write<'a>(&mut self, launches: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let record = self.book.make(launches);
        self.records.insert(record.number, record);
        for number in self.book.take_spent(usize::MAX) {
            self.records.remove(&number);
        }
    }
}

impl Framework {
    /// The runner's process dies.
    pub(crate) fn facade_forgets(&mut self) {
        self.promises.book = PromiseBook::default();
        for item in self.items.values_mut() {
            item.pod.task = if item.pod.node.is_some() { Task::Asked } else { Task::None };
        }
    }

    /// Who has just subscribed reads what was promised: nobody else can add to it any more.
    fn read_promises(&mut self) {
        let Promises { book, records } = &mut self.promises;
        book.begin_anew();
        records.values().for_each(|record| book.load(record));
        book.retain(|uid| {
            let item = self.items.get(&TaskId::from(uid));
            item.is_some_and(|item| item.pod.node.is_none() && !item.ended())
        });
        for (id, item) in &mut self.items {
            if let Some(agent) = self.promises.book.agent_of(id.as_str()) {
                item.pod.task = Task::Asked;
                item.agent = Some(agent.into());
            }
        }
    }
}

impl Item {
    fn ended(&self) -> bool {
        matches!(self.state, ItemState::Done(_))
    }
}

/// Machines are named after their number, which agents keep over all their ids.
fn node_of(world: &World, agent: &AgentId) -> Option<String> {
    let node = world.nodes.iter().find(|node| node.ids.contains(agent))?;
    Some(format!("node{}", node.index))
}

impl World {
    pub(crate) fn facade_subscribed(&mut self, index: usize) {
        self.send_call(index, Call::Reconcile { tasks: Vec::new() });
        self.frameworks[index].read_promises();
        let mut questions = Vec::new();
        for (id, item) in &mut self.frameworks[index].items {
            if (item.pod.node.is_some() || item.pod.task != Task::None) && !item.ended() {
                item.pod.task = Task::Asked;
                item.asked = self.now;
                questions.push((id.clone(), item.agent.clone()));
            }
        }
        if !questions.is_empty() {
            self.send_call(index, Call::Reconcile { tasks: questions });
        }
    }

    pub(crate) fn facade_offer(&mut self, index: usize, offer: &Offer) {
        let Some(node) = node_of(self, &offer.agent_id) else {
            let filters = Filters { refuse: Duration::from_secs(2) };
            self.send_call(index, Call::Decline { offer_ids: vec![offer.id.clone()], filters });
            return;
        };
        let now = self.now;
        let framework = &self.frameworks[index];
        let mut executor = framework.executor().filter(|e| !offer.executor_ids.contains(&e.executor_id));
        let mut left = offer.resources.unallocated();
        let mut tasks = Vec::new();
        for (id, item) in &framework.items {
            let here = item.pod.node.as_ref().is_none_or(|bound| *bound == node);
            let due = item.kill_after.is_some_and(|age| now.since(item.since) >= age && item.pod.started);
            if item.ended() || due || item.pod.task != Task::None || !here || item.role != offer.role {
                continue;
            }
            let mut needed = needs();
            if let Some(executor) = &executor {
                needed += &executor.resources;
            }
            let Some(rest) = left.checked_sub(&needed) else { break };
            left = rest;
            executor = None;
            tasks.push(framework.task(id, &offer.agent_id));
        }
        let offer_ids = vec![offer.id.clone()];
        if tasks.is_empty() {
            let filters = Filters { refuse: Duration::from_secs(60) };
            self.send_call(index, Call::Decline { offer_ids, filters });
            return;
        }
        let ids: Vec<&str> = tasks.iter().map(|t| t.task_id.as_str()).collect();
        self.note(format_args!("facade launches {} on {node}", ids.join(" ")));
        for task in &tasks {
            let item = self.frameworks[index].items.get_mut(&task.task_id).expect("made of its items");
            item.pod.task = Task::Promised;
            item.agent = Some(offer.agent_id.clone());
            (item.since, item.asked) = (now, now);
        }
        let launches = tasks.iter().map(|task| (task.task_id.as_str(), offer.agent_id.as_str()));
        self.frameworks[index].promises.write(launches);
        let promised: Vec<TaskId> = tasks.iter().map(|task| task.task_id.clone()).collect();
        let operations = vec![Operation::Launch { tasks }];
        let accept = Call::Accept { offer_ids, operations, filters: Filters { refuse: Duration::ZERO } };
        if !self.send_call(index, accept) {
            let life = self.frameworks[index].life;
            self.facade_launched(index, life, &promised, false);
        }
    }

    /// The kernel took the launches, and they are bound; or it did not, as far as the runner can tell.
    pub(crate) fn facade_launched(&mut self, index: usize, life: u64, tasks: &[TaskId], taken: bool) {
        if self.frameworks[index].life != life || !self.frameworks[index].alive {
            return;
        }
        for id in tasks {
            let item = &self.frameworks[index].items[id];
            if item.pod.task != Task::Promised || item.ended() {
                continue;
            }
            let node = item.agent.as_ref().and_then(|agent| node_of(self, agent));
            self.note(format_args!("facade hears that {id} on {node:?} was taken: {taken}"));
            let framework = &mut self.frameworks[index];
            let item = framework.items.get_mut(id).expect("looked up above");
            if taken {
                item.pod.task = Task::Known;
                item.pod.node = item.pod.node.take().or(node);
                framework.promises.book.end(id.as_str());
            } else {
                // The call may have arrived and only its answer be lost: the promise stands until the kernel says more.
                item.pod.task = Task::Asked;
            }
        }
        self.audit_facade(index);
    }

    pub(crate) fn facade_update(&mut self, index: usize, status: TaskStatus) {
        let node = status.agent_id.as_ref().and_then(|agent| node_of(self, agent));
        let acknowledge = status
            .uuid
            .zip(status.agent_id.clone())
            .map(|(uuid, agent_id)| Call::Acknowledge { agent_id, task_id: status.task_id.clone(), uuid });
        let now = self.now;
        let Some(item) = self.frameworks[index].items.get_mut(&status.task_id) else { return };
        if status.uuid.is_some() && item.latest == status.uuid {
            if let Some(call) = acknowledge {
                self.send_call(index, call);
            }
            return;
        }
        item.latest = status.uuid.or(item.latest);
        let known = known(&status);
        if known == Known::Invalid && status.message.as_deref().is_some_and(|m| m.contains("duplicate ID")) {
            item.pod.task = Task::Asked;
            return;
        }
        if known == Known::Unknown && item.pod.task == Task::Promised {
            // The answer to a question from before the promise.
            return;
        }
        let task = TaskView { known, node: node.as_deref(), has_status: !status.data.is_empty() };
        let bound = item.pod.node.clone();
        let deleting = item.kill_after.is_some_and(|age| item.pod.started && now.since(item.since) >= age);
        let (ended, started) = (item.ended(), item.pod.started);
        let steps = settle(task, Some(PodView { node: bound.as_deref(), ended, started, deleting }));
        if let Some(agent) = &status.agent_id {
            item.agent = Some(agent.clone());
        }
        let promised_and_pending = item.pod.task == Task::Promised && item.pod.node.is_none();
        if known.is_terminal() || !promised_and_pending {
            // Of one on an unreachable machine, which may come back without it, the question stays open.
            item.pod.task = if known == Known::Unreachable { Task::Asked } else { Task::Known };
        }
        if !steps.is_empty() && known != Known::Alive {
            self.note(format_args!("facade settles {} as {known:?}: {steps:?}", status.task_id));
        }
        for step in steps {
            self.facade_step(index, &status, node.clone(), step);
        }
        self.audit_facade(index);
        if let Some(call) = acknowledge {
            self.send_call(index, call);
        }
    }

    fn facade_step(&mut self, index: usize, status: &TaskStatus, node: Option<String>, step: Step) {
        let framework = &mut self.frameworks[index];
        let item = framework.items.get_mut(&status.task_id).expect("looked up by the caller");
        if matches!(step, Step::Bind | Step::End { .. } | Step::Remove | Step::Relaunch | Step::Forget) {
            framework.promises.book.end(status.task_id.as_str());
        }
        match step {
            Step::Bind => {
                item.pod.node = node;
                if item.pod.task == Task::Promised {
                    item.pod.task = Task::Known;
                }
            }
            Step::WriteStatus => {
                item.pod.started = true;
                if status.state.is_terminal() {
                    item.state = ItemState::Done(status.state);
                }
            }
            Step::End { reason, .. } => {
                item.state = ItemState::Done(status.state);
                // Its controller makes another, as for one that has failed.
                if item.kill_after.is_none() {
                    framework.want(&mut self.random);
                }
                if reason == "TaskInvalid" {
                    self.fail(format!("pod {} failed as invalid: {:?}", status.task_id, status.message));
                }
            }
            Step::Remove => item.state = ItemState::Done(status.state),
            Step::Relaunch | Step::Forget => {
                item.pod.task = Task::None;
                item.agent = None;
            }
            Step::Kill => {
                let call = Call::Kill {
                    task_id: status.task_id.clone(),
                    agent_id: status.agent_id.clone(),
                    grace: Some(Duration::from_secs(1)),
                };
                self.send_call(index, call);
            }
        }
    }

    pub(crate) fn facade_wakes(&mut self, index: usize) {
        let now = self.now;
        let (mut pending, mut ask, mut kill) = (false, Vec::new(), Vec::new());
        for (id, item) in &mut self.frameworks[index].items {
            if item.ended() {
                continue;
            }
            pending |= item.pod.task == Task::None;
            if item.pod.task == Task::Asked && now.since(item.asked).as_secs() >= 5 {
                item.asked = now;
                ask.push((id.clone(), item.agent.clone()));
            }
            let due = item.kill_after.is_some_and(|age| item.pod.started && now.since(item.since) >= age);
            if due && item.pod.task == Task::Known {
                kill.push((id.clone(), item.agent.clone()));
            }
        }
        if !ask.is_empty() {
            self.send_call(index, Call::Reconcile { tasks: ask });
        }
        for (task_id, agent_id) in kill {
            self.send_call(index, Call::Kill { task_id, agent_id, grace: Some(Duration::from_secs(1)) });
        }
        if pending && now.since(self.frameworks[index].revived).as_secs() >= 6 {
            self.frameworks[index].revived = now;
            self.send_call(index, Call::Revive { roles: vec![] });
        }
    }
}

/// The kernel's state of a task in the words of the promises table, as the facade's runner translates it.
fn known(status: &TaskStatus) -> Known {
    let by_master = status.source == Source::Master;
    match status.state {
        TaskState::Staging | TaskState::Starting | TaskState::Running | TaskState::Killing => Known::Alive,
        TaskState::Unreachable => Known::Unreachable,
        TaskState::Finished => Known::Finished,
        TaskState::Failed => Known::Failed,
        TaskState::Killed => Known::Killed,
        TaskState::Error => Known::Invalid,
        TaskState::Unknown => Known::Unknown,
        TaskState::Gone | TaskState::Lost if status.reason == Some(Reason::Reconciliation) => Known::Unknown,
        TaskState::Dropped => Known::NeverStarted,
        TaskState::Lost if by_master && status.reason == Some(Reason::InvalidOffers) => Known::NeverStarted,
        TaskState::Lost | TaskState::Gone | TaskState::GoneByOperator => Known::Gone,
    }
}
