//! Whether the cluster is at rest, and what must hold then: all work is done, every confirmed end is known to its framework,
//! and no machine has leftovers.

use std::collections::BTreeSet;

use kernel_model::{
    executor::ExecutorKind,
    ids::{ExecutorId, FrameworkId},
    task::TaskState,
};

use crate::{framework::ItemState, world::World};

type Executors = BTreeSet<(Option<FrameworkId>, ExecutorId)>;

impl World {
    /// All processes are connected, all work is done, and every end is acknowledged.
    pub(crate) fn is_at_rest(&self) -> bool {
        let Some(master) = &self.control.master else { return false };
        self.frameworks.iter().all(|framework| {
            framework.is_done() && framework.stream.is_some() && framework.scheduler.api.journal.is_empty()
        }) && self.is_settled()
            && master.frameworks().all(|framework| framework.tasks.is_empty())
            && self.nodes.iter().all(|node| {
                let whole = |id| self.links.get(&id).is_some_and(|link| link.at_master && !link.cut);
                node.link.is_some_and(whole)
                    && node.agent.as_ref().is_some_and(|agent| {
                        agent.is_registered()
                            && agent.undelivered().next().is_none()
                            && agent.orphans().is_empty()
                            && agent.view().iter().all(|f| f.executors.iter().all(|e| e.tasks.is_empty()))
                    })
                    && node.containers.values().all(|process| process.tasks.values().all(|ended| *ended))
                    && self.executors(node.index).is_none_or(|(here, there)| here == there)
            })
    }

    /// What only some runs have: operators and frameworks have nothing open, and nothing is kept for anybody.
    fn is_settled(&self) -> bool {
        !self.variety.on
            || (self.operators_are_done()
                && self.frameworks.iter().all(|framework| framework.storage.is_settled())
                && self.resources_are_free())
    }

    /// The executors of a node as its agent and as the master has them. They differ while the end of one is reported.
    fn executors(&self, index: usize) -> Option<(Executors, Executors)> {
        let agent = self.nodes[index].agent.as_ref()?;
        let known = self.control.master.as_ref()?.agent(agent.id()?)?;
        let here = agent.view().into_iter().flat_map(|f| {
            let id = f.info.id.clone();
            let listed = f.executors.into_iter().filter(|e| e.info.kind != ExecutorKind::Command);
            listed.map(move |e| (id.clone(), e.info.executor_id.clone()))
        });
        let there = known.executors.keys().map(|(f, e)| (Some(f.clone()), e.clone()));
        Some((here.collect(), there.collect()))
    }

    /// Why the cluster is not at rest, for the failure's text.
    pub(crate) fn unfinished(&self) -> String {
        let mut text = Vec::new();
        for (index, framework) in self.frameworks.iter().enumerate() {
            for (id, item) in &framework.items {
                if !matches!(item.state, ItemState::Done(_)) {
                    text.push(format!("framework {index} waits for {id}, {:?}", item.state));
                }
            }
            if !framework.scheduler.api.journal.is_empty() {
                text.push(format!("framework {index} keeps {:?}", framework.scheduler.api.journal));
            }
            if framework.stream.is_none() {
                text.push(format!("framework {index} has no stream"));
            }
        }
        if !self.is_settled() {
            text.push(self.unsettled());
        }
        match &self.control.master {
            None => text.push("there is no master".to_owned()),
            Some(master) => {
                for framework in master.frameworks() {
                    for (id, task) in &framework.tasks {
                        text.push(format!("the master has {id} {:?} on {}", task.state, task.info.agent_id));
                    }
                }
            }
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(agent) = &node.agent else {
                text.push(format!("agent {index} is down"));
                continue;
            };
            if let Some((here, there)) = self.executors(index).filter(|(here, there)| here != there) {
                text.push(format!("agent {index} has the executors {here:?}, the master {there:?}"));
            }
            if !agent.is_registered() {
                text.push(format!("agent {index} is not registered"));
            }
            for status in agent.undelivered() {
                text.push(format!("agent {index} keeps {} {:?}", status.task_id, status.state));
            }
            for framework in agent.view() {
                for executor in &framework.executors {
                    for (task, _) in &executor.tasks {
                        text.push(format!("agent {index} has {} {:?}", task.info.task_id, task.state));
                    }
                }
            }
        }
        text.join("; ")
    }

    pub(crate) fn check_rest(&mut self) {
        let mut failures = Vec::new();
        self.check_reported_ends(&mut failures);
        self.check_leftovers(&mut failures);
        self.check_told_ends(&mut failures);
        self.check_resources(&mut failures);
        self.note(format_args!("at rest"));
        failures.into_iter().for_each(|failure| self.fail(failure));
    }

    /// The framework knows each end that the agent has confirmed to an executor, unless the task was reported lost before.
    fn check_reported_ends(&self, failures: &mut Vec<String>) {
        for framework in &self.frameworks {
            for (id, item) in &framework.items {
                let (Some(confirmed_ends), ItemState::Done(known)) =
                    (self.confirmed_ends.get(id), item.state)
                else {
                    continue;
                };
                let given_up = matches!(known, TaskState::Lost | TaskState::Gone | TaskState::Unknown);
                // A Pod that a client deletes before it is bound is removed at once: its end may come later.
                let removed = framework.has_pods() && known == TaskState::Killed && item.kill_after.is_some();
                if known != *confirmed_ends && !given_up && !removed {
                    failures.push(format!("{id} ended as {confirmed_ends:?}, its framework knows {known:?}"));
                }
                if given_up && framework.has_pods() {
                    failures
                        .push(format!("pod {id} ended as {confirmed_ends:?}, and was given up as {known:?}"));
                }
            }
        }
    }

    fn check_leftovers(&self, failures: &mut Vec<String>) {
        let Some(master) = &self.control.master else { return };
        for (index, node) in self.nodes.iter().enumerate() {
            // An ended Pod may still be recorded if its executor died before the agent confirmed the end.
            for (id, _) in node.pods.iter().filter(|(_, pod)| pod.outcome.is_none()) {
                failures.push(format!("pod {id} is left on node {index}"));
            }
            let Some(agent) = &node.agent else { continue };
            if agent.id().and_then(|id| master.agent(id)).is_none() {
                failures.push(format!("the master does not know agent {index}"));
                continue;
            }
            let Some((here, _)) = self.executors(index) else { continue };
            // Built-in executors end with their tasks, and may be ending now.
            let lasting = node.containers.values().filter(|process| !process.is_command).count();
            if lasting > here.len() {
                failures.push(format!("{lasting} containers on node {index}"));
            }
        }
        if master.agents().count() != self.nodes.len() {
            failures.push(format!("{} agents of {}", master.agents().count(), self.nodes.len()));
        }
    }
}
