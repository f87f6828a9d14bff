//! Revocable resources on the agent: tells the master how much there is of them, and ends what runs on them when the machine is under
//! pressure ([`crate::oversubscription`] decides both).
//!
//! An executor that runs on revocable resources, or whose tasks do, is killed as by Mesos' agent. The exception are executors that
//! respawn: they run the tasks of many owners, so they are told which of them to evict.

use std::time::Duration;

use bytes::Bytes;
use kernel_model::{
    agent::ToMaster,
    executor::Event as ExecutorEvent,
    ids::{ExecutorId, FrameworkId, TaskId},
    oversubscription::{Oversubscription, Sample},
    resources::{Resources, Scalar},
    task::{PRIORITY_LABEL, Reason, TaskInfo, TaskState},
    time::Time,
};

use super::{Agent, AgentTask, Effects, Executor, ExecutorPhase, Framework, executors::TerminalState};
use crate::oversubscription::{Correction, Estimation, RevocableWork};

/// How long an executor may take to evict a task before it is told again.
const EVICTION_MAX: Duration = Duration::from_secs(30);

/// The message of Mesos' agent.
const PREEMPTED: &str = "Container preempted by QoS correction";

/// What the agent knows of its revocable resources.
#[derive(Debug)]
pub(super) struct Oversubscribed {
    estimation: Option<Estimation>,
    correction: Option<Correction>,
    estimated_at: Option<Time>,
    corrected_at: Option<Time>,
    is_overloaded: bool,
    /// What the master was told last: all revocable resources, allocated or not.
    total: Resources,
}

impl Oversubscribed {
    pub(super) fn new(options: &Oversubscription) -> Self {
        Self {
            estimation: options.estimator.clone().map(Estimation::new),
            correction: options.controller.clone().map(Correction::new),
            estimated_at: None,
            corrected_at: None,
            is_overloaded: false,
            total: Resources::new(),
        }
    }
}

/// Something that a correction can end.
enum Victim {
    Executor(FrameworkId, ExecutorId),
    Task(FrameworkId, TaskId),
}

impl Agent {
    /// The machine was measured.
    pub(super) fn sampled(&mut self, now: Time, sample: &Sample, out: &mut Effects) {
        if self.stopping.is_some() {
            return;
        }
        let used = self.revocable_use(sample);
        if let Some(estimation) = &mut self.oversubscribed.estimation {
            estimation.observe(now, sample.busy_cpus, used);
        }
        self.correct(now, sample, out);
        let every = self.config.oversubscription.estimate_every;
        let due = self.oversubscribed.estimated_at.is_none_or(|at| now >= at + every);
        // What ends under pressure is not offered again at once.
        if due || self.oversubscribed.is_overloaded {
            self.oversubscribed.estimated_at = Some(now);
            self.estimate(now, out);
        }
    }

    /// The CPUs that containers used all of whose tasks are revocable. Those of executors that respawn are not in their containers;
    /// of them Pods are measured.
    fn revocable_use(&self, sample: &Sample) -> Scalar {
        let executors = self.frameworks.values().flat_map(|framework| {
            framework.executors.values().filter(|executor| executor.is_revocable(framework))
        });
        let used = executors.filter_map(|executor| sample.container_cpus.get(&executor.container_id));
        let of_pods = sample.revocable_pods_cpus.unwrap_or(Scalar::ZERO);
        used.fold(of_pods, |sum, used| sum + *used)
    }

    fn estimate(&mut self, now: Time, out: &mut Effects) {
        let Some(estimation) = &self.oversubscribed.estimation else { return };
        let allocated = self.allocated();
        let revocable = allocated.revocable().unallocated();
        let mut total = revocable.clone();
        if !self.oversubscribed.is_overloaded {
            let guaranteed = allocated.filter(|r| !r.revocable).scalar("cpus");
            total += &estimation.oversubscribable(now, guaranteed, &revocable);
        }
        if total != self.oversubscribed.total {
            self.oversubscribed.total = total;
            self.send_oversubscribed(out);
        }
    }

    /// A master that the agent registers with anew knows nothing of revocable resources.
    pub(super) fn repeat_oversubscribed(&self, out: &mut Effects) {
        if !self.oversubscribed.total.is_empty() {
            self.send_oversubscribed(out);
        }
    }

    fn send_oversubscribed(&self, out: &mut Effects) {
        if self.is_registered() {
            out.send_to_master(ToMaster::Oversubscribed { resources: self.oversubscribed.total.clone() });
        }
    }

    /// The resources of all executors and unfinished tasks.
    fn allocated(&self) -> Resources {
        let mut all = Resources::new();
        for framework in self.frameworks.values() {
            framework.executors.values().for_each(|executor| all += &executor.info.resources);
            let tasks = framework.tasks.values().filter(|entry| !entry.task.state.is_terminal());
            tasks.for_each(|entry| all += &entry.task.info.resources);
        }
        all
    }

    /// The revocable resources as the master was told: all, and those of executors and tasks.
    pub fn revocable_resources(&self) -> &Resources {
        &self.oversubscribed.total
    }

    fn correct(&mut self, now: Time, sample: &Sample, out: &mut Effects) {
        let every = self.config.oversubscription.correct_every;
        let due = self.oversubscribed.corrected_at.is_none_or(|at| now >= at + every);
        let Some(correction) = self.oversubscribed.correction.as_ref().filter(|_| due) else { return };
        let overloaded = correction.is_overloaded(sample);
        self.oversubscribed.corrected_at = Some(now);
        self.oversubscribed.is_overloaded = overloaded;
        if !overloaded {
            return;
        }
        let (work, mut victims): (Vec<RevocableWork>, Vec<Option<Victim>>) =
            self.revocable_work(now).into_iter().map(|(work, victim)| (work, Some(victim))).unzip();
        let Some(correction) = &mut self.oversubscribed.correction else { return };
        for at in correction.victims(now, sample, &work) {
            match victims[at].take() {
                Some(Victim::Executor(framework_id, executor_id)) => {
                    self.preempt_executor(now, &framework_id, &executor_id, out);
                }
                Some(Victim::Task(framework_id, task_id)) => {
                    self.evict_task(now, &framework_id, &task_id, out);
                }
                None => {}
            }
        }
    }

    /// What a correction can end, as far as it is not ending.
    fn revocable_work(&self, now: Time) -> Vec<(RevocableWork, Victim)> {
        let mut all = Vec::new();
        for (framework_id, framework) in self.frameworks.iter().filter(|(_, f)| !f.shutting_down) {
            for (executor_id, executor) in &framework.executors {
                let tasks =
                    || framework.tasks_of(executor_id).filter(|entry| !entry.task.state.is_terminal());
                if executor.info.respawns() {
                    let revocable = tasks().filter(|entry| entry.may_be_evicted(now));
                    all.extend(revocable.map(|entry| {
                        let task_id = entry.task.info.task_id.clone();
                        (entry.as_work(), Victim::Task(framework_id.clone(), task_id))
                    }));
                } else if executor.is_revocable(framework) && executor.may_be_preempted() {
                    let priority = tasks().map(|entry| priority(&entry.task.info)).max().unwrap_or_default();
                    let work = RevocableWork { priority, launched_at: executor.started_at };
                    all.push((work, Victim::Executor(framework_id.clone(), executor_id.clone())));
                }
            }
        }
        all
    }

    /// Kills an executor; its tasks end as with Mesos' agent.
    fn preempt_executor(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let state = framework.state_for(TaskState::Gone);
        let Some(executor) = framework.executors.get_mut(executor_id) else { return };
        executor.phase = ExecutorPhase::Terminating { respawn: false };
        executor.terminal_state = Some(TerminalState {
            state,
            reason: Reason::ContainerPreempted,
            message: PREEMPTED.to_owned(),
            details: Bytes::new(),
        });
        self.counts.preempted_executors += 1;
        self.destroy(now, framework_id, executor_id, out);
    }

    /// Tells an executor to evict one of its tasks.
    fn evict_task(&mut self, now: Time, framework_id: &FrameworkId, task_id: &TaskId, out: &mut Effects) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let Some(entry) = framework.tasks.get_mut(task_id) else { return };
        let connection = framework.executors.get(&entry.executor_id).and_then(|e| e.connection);
        let Some(connection) = connection else { return };
        if entry.evicted_at.replace(now).is_none() {
            self.counts.preempted_tasks += 1;
        }
        let message = PREEMPTED.to_owned();
        out.send_to_executor(connection, ExecutorEvent::Evict { task_id: task_id.clone(), message });
    }
}

impl Executor {
    /// Whether it or one of its unfinished tasks holds revocable resources.
    fn is_revocable(&self, framework: &Framework) -> bool {
        let tasks = || framework.tasks_of(&self.info.executor_id);
        let unfinished = tasks().filter(|entry| !entry.task.state.is_terminal());
        let held = unfinished.map(|entry| &entry.task.info.resources);
        !self.info.respawns()
            && held.chain([&self.info.resources]).any(|resources| resources.iter().any(|r| r.revocable))
    }

    fn may_be_preempted(&self) -> bool {
        matches!(self.phase, ExecutorPhase::Starting | ExecutorPhase::Returning | ExecutorPhase::Running)
    }
}

impl AgentTask {
    fn may_be_evicted(&self, now: Time) -> bool {
        let revocable = self.task.info.resources.iter().any(|r| r.revocable);
        let told = self.evicted_at.is_some_and(|at| now < at + EVICTION_MAX);
        revocable && self.delivered && self.kill.is_none() && !told
    }

    fn as_work(&self) -> RevocableWork {
        RevocableWork { priority: priority(&self.task.info), launched_at: self.task.launched_at }
    }
}

fn priority(task: &TaskInfo) -> i64 {
    task.labels.get(PRIORITY_LABEL).and_then(|text| text.parse().ok()).unwrap_or(0)
}
