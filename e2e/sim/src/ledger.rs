//! Audits of resources over time, beside the kernel's audit of each moment: offers within limits, one history of what operations
//! make of an agent's resources that the disks of master and agent agree on, volumes with their data, and guarantees.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

use kernel_core::{
    agent,
    master::{Master, Op, Record},
};
use kernel_model::{
    ids::{AgentId, OfferId, TaskId},
    operation::AppliedOperations,
    quota::Quantities,
    resources::{Resource, Resources, VolumeId},
    roles::Role,
    task::TaskInfo,
};

use crate::{
    framework::{Item, ItemState, Kind, needs},
    node::RESOURCES,
    situations::Situation,
    world::World,
};

/// When the guarantee must be met after the last fault: a task that was told to end during the faults is left alone for five
/// minutes if it did not.
pub(crate) const GUARANTEED_AFTER: Duration = Duration::from_secs(420);

/// How long work within the guarantee may wait.
const WAIT_MAX: Duration = Duration::from_secs(320);

/// What operations have made of an agent's resources.
#[derive(Debug, Clone, PartialEq)]
struct Made {
    resources: Resources,
    volumes: BTreeMap<VolumeId, u64>,
}

/// What the audits remember.
#[derive(Default)]
pub(crate) struct Ledger {
    /// By agent and number of operations.
    made: BTreeMap<(AgentId, u64), Made>,
    /// The number of operations that the master has recorded last.
    recorded: BTreeMap<AgentId, u64>,
    /// The volume of each task: its agent, and the number of its creation.
    of_tasks: BTreeMap<TaskId, (VolumeId, u64)>,
}

/// A volume's directory on a machine.
pub(crate) struct Directory {
    /// The operation that created the volume.
    pub(crate) number: u64,
    /// The tasks that have written to it.
    pub(crate) data: Vec<TaskId>,
}

impl World {
    /// The master has written.
    pub(crate) fn master_has_written(&mut self, writes: &[Op]) {
        for write in writes {
            let Op::Put(Record::Agent { info, .. }) = write else { continue };
            let Some(id) = info.id.clone() else { continue };
            let count = info.operations.count;
            let before = self.ledger.recorded.insert(id.clone(), count).unwrap_or_default();
            if count < before {
                self.fail(format!("the registry has {count} operations on {id} after {before}"));
            }
            self.one_history(&id, &info.resources.checkpointed(), &info.operations, "the master");
            let base: Resources = RESOURCES.parse().expect("a valid text");
            if info.resources.without_checkpointed() != base {
                self.fail(format!("{id} has {} of {base}", info.resources));
            }
        }
    }

    /// An agent has written.
    pub(crate) fn agent_has_written(&mut self, id: &AgentId, writes: &[agent::Record]) {
        for write in writes {
            if let agent::Record::Resources { resources, applied } = write {
                self.one_history(id, resources, applied, "the agent");
            }
        }
    }

    /// So many operations have made the same of an agent's resources, whoever says so.
    fn one_history(&mut self, id: &AgentId, resources: &Resources, applied: &AppliedOperations, who: &str) {
        let made = Made { resources: resources.clone(), volumes: applied.volumes.clone() };
        let key = (id.clone(), applied.count);
        let known = self.ledger.made.entry(key).or_insert_with(|| made.clone());
        if *known != made {
            let what =
                format!("{who} has {made:?} after operation {} on {id}, it was {known:?}", applied.count);
            self.fail(what);
        }
    }

    /// The agent makes and removes directories.
    pub(crate) fn sync_volumes(&mut self, node: usize, volumes: &BTreeMap<VolumeId, u64>) {
        let directories = &mut self.nodes[node].directories;
        directories.retain(|id, directory| volumes.get(id) == Some(&directory.number));
        for (id, number) in volumes {
            let new = || Directory { number: *number, data: Vec::new() };
            directories.entry(id.clone()).or_insert_with(new);
        }
    }

    /// A master sends a task to an agent: the volumes are those that the agent has then.
    pub(crate) fn note_volumes(&mut self, tasks: &[TaskInfo]) {
        let Some(master) = &self.control.master else { return };
        for task in tasks {
            let volumes = master.agent(&task.agent_id).map(|agent| &agent.info.operations.volumes);
            let ids = task.resources.iter().filter_map(Resource::volume_id);
            for id in ids {
                if let Some(number) = volumes.and_then(|all| all.get(&id)) {
                    self.ledger.of_tasks.insert(task.task_id.clone(), (id, *number));
                }
            }
        }
    }

    /// A task starts: its volume is the one that it was launched with, and has the data of tasks that had the same one.
    pub(crate) fn check_volume(&mut self, node: usize, task: &TaskInfo) {
        let Some((id, number)) = self.ledger.of_tasks.get(&task.task_id).cloned() else { return };
        let Some(directory) = self.nodes[node].directories.get_mut(&id) else {
            return self.fail(format!("{} starts on node {node} without its volume {id}", task.task_id));
        };
        let of_tasks = &self.ledger.of_tasks;
        let strange = directory.data.iter().find(|other| of_tasks.get(*other) != Some(&(id.clone(), number)));
        let wrong = (directory.number != number).then_some(directory.number);
        let (strange, data) = (strange.cloned(), directory.data.len());
        directory.data.push(task.task_id.clone());
        self.note(format_args!("{} finds the data of {data} tasks in its volume {id}", task.task_id));
        if data > 0 {
            self.situations.count(Situation::VolumeUsedAgain);
        }
        if let Some(wrong) = wrong {
            self.fail(format!("{} has volume {number} and finds {wrong} in {id}", task.task_id));
        }
        if let Some(other) = strange {
            self.fail(format!("{} finds the data of {other} in volume {id}", task.task_id));
        }
    }

    pub(crate) fn offers_now(&self) -> BTreeSet<OfferId> {
        let watched = self.variety.on.then_some(self.control.master.as_ref()).flatten();
        watched.into_iter().flat_map(|master| master.offers(None)).map(|offer| offer.id.clone()).collect()
    }

    /// No new offer takes a role above its limit.
    pub(crate) fn check_limits(&mut self, before: &BTreeSet<OfferId>) {
        let Some(master) = self.control.master.as_ref().filter(|_| self.variety.on) else { return };
        let mut broken = Vec::new();
        for offer in master.offers(None).filter(|offer| !before.contains(&offer.id)) {
            let counted = Quantities::of(&offer.resources, |r| r.reservations.is_empty() && !r.revocable);
            for (role, quota) in master.quotas().filter(|(role, _)| offer.role.is_within(role)) {
                let consumed = consumed(master, role);
                for (name, _) in counted.iter() {
                    let Some(limit) = quota.limits.get(name) else { continue };
                    if consumed.get(name).is_some_and(|amount| amount > limit) {
                        broken.push(format!("{} takes {role} to {consumed} of {}", offer.id, quota.limits));
                    }
                }
            }
        }
        broken.into_iter().for_each(|what| self.fail(what));
    }

    /// Some time after the last fault: the guaranteed role has no work that would fit its guarantee and waits, while others have
    /// tasks above theirs.
    pub(crate) fn check_guarantee(&mut self) {
        let (Some(master), Some(role)) = (&self.control.master, &self.operators.guaranteed) else { return };
        let Some(quota) = master.quotas().find(|(of, _)| *of == role).map(|(_, quota)| quota) else { return };
        let hogs = self.frameworks.iter().filter(|f| f.kind == Kind::Hog).flat_map(|f| f.items.values());
        if hogs.filter(|item| item.state == ItemState::Running).count() == 0 {
            return;
        }
        let waiting = self.waiting_within(master, role, &quota.guarantees);
        if waiting.is_empty() {
            return;
        }
        let has = consumed(master, role);
        let mut text = format!("{role} has {has} of {}, and {waiting:?} wait", quota.guarantees);
        for agent in master.agents() {
            let mut free = agent.info.resources.clone();
            let held = agent.allocated.values().chain([&agent.offered]);
            held.for_each(|held| free.remove_all(&held.unallocated()));
            let _ = write!(text, "; {} has {free} free", agent.id);
        }
        let _ = write!(text, "; held is {:?}", master.holds().collect::<Vec<_>>());
        self.fail(text);
    }

    /// The tasks of a role that wait although one more would fit its guarantee.
    fn waiting_within(&self, master: &Master, role: &Role, guarantees: &Quantities) -> Vec<&TaskId> {
        let mut waiting = Vec::new();
        for framework in self.frameworks.iter().filter(|framework| framework.roles.contains(role)) {
            // What is freed for a role may be on any machine: a Pod that a client has bound to one waits for room there, and others
            // are not placed on that machine before it.
            let runs = |id: &TaskId| self.nodes.iter().any(|node| node.pods.contains_key(id));
            let mut pods = framework.scheduler.api.rows();
            if pods.any(|pod| pod.node.is_some() && !runs(&pod.uid().into())) {
                continue;
            }
            let mut one = needs();
            framework.executor().into_iter().for_each(|executor| one += &executor.resources);
            let mut with = consumed(master, role);
            with.add_all(&Quantities::of(&one, |_| true));
            let long = |item: &Item| self.now.since(item.since) >= WAIT_MAX;
            let waits = |item: &Item| item.state == ItemState::Pending && item.role == *role && long(item);
            if guarantees.iter().all(|(name, amount)| with.get(name).unwrap_or_default() <= amount) {
                waiting.extend(framework.items.iter().filter(|(_, item)| waits(item)).map(|(id, _)| id));
            }
        }
        waiting
    }

    /// At rest: master and agents agree on what operations have made, and nothing of it is left or held.
    pub(crate) fn check_resources(&self, failures: &mut Vec<String>) {
        let Some(master) = &self.control.master else { return };
        for node in &self.nodes {
            let Some((agent, known)) =
                node.agent.as_ref().and_then(|agent| Some((agent, master.agent(agent.id()?)?)))
            else {
                continue;
            };
            let (here, there) = (agent.info(), &known.info);
            if here.operations != there.operations || here.resources != there.resources {
                failures.push(format!(
                    "{} has {:?} {}, the master {:?} {}",
                    known.id, here.operations, here.resources, there.operations, there.resources
                ));
            }
            let directories: BTreeMap<VolumeId, u64> =
                node.directories.iter().map(|(id, directory)| (id.clone(), directory.number)).collect();
            if directories != here.operations.volumes {
                failures.push(format!(
                    "{} has the volumes {:?} and the directories {directories:?}",
                    known.id, here.operations.volumes
                ));
            }
        }
    }

    /// Why [`World::resources_are_free`] does not hold.
    pub(crate) fn unsettled(&self) -> String {
        let mut text = format!("operators are done: {}", self.operators_are_done());
        for (index, framework) in self.frameworks.iter().enumerate().filter(|(_, f)| !f.storage.is_settled())
        {
            let _ = write!(text, "; framework {index} waits for operations {:?}", framework.storage.open());
        }
        for agent in self.control.master.iter().flat_map(Master::agents) {
            let made = agent.info.resources.checkpointed();
            let _ = write!(text, "; {} has {made} and the operations {:?}", agent.id, agent.operations);
        }
        let holds: Vec<_> = self.control.master.iter().flat_map(Master::holds).collect();
        let _ = write!(text, "; held is {holds:?}");
        text
    }

    /// Whether nothing is held, reserved or unacknowledged any more.
    pub(crate) fn resources_are_free(&self) -> bool {
        let Some(master) = &self.control.master else { return false };
        master.holds().next().is_none()
            && master
                .agents()
                .all(|agent| agent.operations.is_empty() && agent.info.resources.checkpointed().is_empty())
            && self.nodes.iter().filter_map(|node| node.agent.as_ref()).all(|agent| {
                let known = agent.id().and_then(|id| master.agent(id));
                let agree =
                    known.is_some_and(|known| known.info.operations.count == agent.info().operations.count);
                agree && agent.operations().next().is_none()
            })
    }
}

/// What counts for the quota of a role: what is allocated or offered in it and below, and what is reserved there. Computed anew.
fn consumed(master: &Master, role: &Role) -> Quantities {
    let mut sum = Quantities::default();
    for agent in master.agents() {
        let held = agent.allocated.values().chain([&agent.offered]);
        let within = |of: &Option<Role>| of.as_ref().is_some_and(|of| of.is_within(role));
        for resources in held {
            sum.add_all(&Quantities::of(resources, |r| {
                r.reservations.is_empty() && !r.revocable && within(&r.allocation_role)
            }));
        }
        sum.add_all(&Quantities::of(&agent.info.resources, |r| {
            r.reservation().is_some_and(|level| level.role.is_within(role))
        }));
    }
    sum
}
