//! What operations make of the machine's resources: checkpointed before anything that relies on it, and reported with a status
//! until that is acknowledged. The directories of persistent volumes follow the checkpoint.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kernel_model::{
    agent::ToMaster,
    executor::ExecutorInfo,
    ids::{ExecutorId, FrameworkId, UpdateId},
    operation::{AppliedOperations, OfferOperation, OperationUuid},
    resources::{ConversionKind, Resource, Resources, VolumeId},
    scheduler::OperationState,
    task::TaskInfo,
    time::Time,
};

use super::{
    Agent, Effect, Effects, LinkedVolume, Record, Timer,
    status_updates::{RETRY_MAX, RETRY_MIN},
};

/// An operation whose status is not acknowledged.
pub(super) struct ReportedOperation {
    operation: OfferOperation,
    retry: Duration,
}

/// What waits for directories.
#[derive(Default)]
pub(super) struct Making {
    /// New volumes.
    volumes: BTreeSet<VolumeId>,
    /// Operations with an id that created volumes.
    operations: Vec<OfferOperation>,
}

impl Agent {
    /// The master has carried out operations: they are recorded here, and those with an id are reported.
    pub(super) fn checkpoint_resources(
        &mut self,
        now: Time,
        resources: Resources,
        applied: AppliedOperations,
        operations: Vec<OfferOperation>,
        out: &mut Effects,
    ) {
        let is_new = self.config.info.operations != applied;
        if is_new {
            // The master does not know what the machine does not have now.
            let unmet = self.unmet_beside(&resources);
            let mut all = resources.clone();
            all += &unmet;
            out.persist(Record::Resources { resources: all, applied: applied.clone() });
            let before = &self.config.info.operations.volumes;
            let new = applied.volumes.iter().filter(|(id, created)| before.get(id) != Some(created));
            self.making.volumes.extend(new.map(|(id, _)| id.clone()));
            self.set_checkpointed(&resources, applied);
            let (machine, missing) = self.config.info.resources.with_checkpointed(&unmet);
            self.config.info.resources = machine;
            self.unmet += &missing;
        }
        let is_made = |operation: &OfferOperation| operation.kind != ConversionKind::Create;
        let mut waits = false;
        for operation in operations {
            let uuid = operation.uuid;
            if self.operations.contains_key(&uuid) || is_made(&operation) {
                self.report_operation(now, operation, Ok(()), out);
            } else if self.making.operations.iter().all(|known| known.uuid != uuid) {
                waits = true;
                self.making.operations.push(operation);
            }
        }
        if is_new || waits {
            self.sync_volumes(out);
        }
    }

    /// Sends the status of an operation, which is recorded first if it is new.
    fn report_operation(
        &mut self,
        now: Time,
        mut operation: OfferOperation,
        outcome: Result<(), String>,
        out: &mut Effects,
    ) {
        let uuid = operation.uuid;
        if !self.operations.contains_key(&uuid) {
            (operation.state, operation.message) = match outcome {
                Ok(()) => (OperationState::Finished, String::new()),
                Err(why) => (OperationState::Failed, why),
            };
            operation.status = Some(self.id_generator.update_id());
            out.persist(Record::Operation { operation: operation.clone().into() });
            self.add_operation(operation);
        }
        self.send_operation(now, uuid, false, out);
    }

    /// The directories of volumes are made, except these. A new volume without one does not exist; an older one may have data, so it
    /// stays, and tasks that need it fail.
    pub(super) fn volumes_synced(
        &mut self,
        now: Time,
        failed: &BTreeMap<VolumeId, String>,
        out: &mut Effects,
    ) {
        let Making { volumes, operations } = std::mem::take(&mut self.making);
        for operation in operations {
            let why =
                operation.resources.iter().filter_map(Resource::volume_id).find_map(|id| failed.get(&id));
            self.report_operation(now, operation, why.map_or(Ok(()), |why| Err(why.clone())), out);
        }
        let volumes: Vec<VolumeId> = volumes.into_iter().filter(|id| failed.contains_key(id)).collect();
        if !volumes.is_empty() && self.is_registered() {
            out.send_to_master(ToMaster::VolumesFailed { volumes });
        }
    }

    /// What the machine does not have now of what operations have made, except volumes that `resources` has.
    fn unmet_beside(&self, resources: &Resources) -> Resources {
        let known: Vec<VolumeId> = resources.iter().filter_map(Resource::volume_id).collect();
        let beside = |unmet: &&Resource| unmet.volume_id().is_none_or(|id| !known.contains(&id));
        self.unmet.iter().filter(beside).cloned().collect()
    }

    pub(super) fn set_checkpointed(&mut self, resources: &Resources, applied: AppliedOperations) {
        (self.config.info.resources, self.unmet) = self.detected.with_checkpointed(resources);
        self.config.info.operations = applied;
    }

    pub(super) fn add_operation(&mut self, operation: OfferOperation) {
        self.operations.insert(operation.uuid, ReportedOperation { operation, retry: RETRY_MIN });
    }

    /// Makes the directories of the volumes that there are, and removes those of the volumes that there are no more.
    pub(super) fn sync_volumes(&self, out: &mut Effects) {
        let Some(agent_id) = self.config.info.id.clone() else { return };
        out.push(Effect::SyncVolumes { agent_id, volumes: self.config.info.operations.volumes.clone() });
    }

    /// Sends the status of an operation if the agent is registered, and sets the timer of the next attempt.
    pub(super) fn send_operation(&mut self, now: Time, uuid: OperationUuid, again: bool, out: &mut Effects) {
        if !self.is_registered() {
            return;
        }
        let Some(entry) = self.operations.get_mut(&uuid) else { return };
        entry.retry = if again { (entry.retry * 2).min(RETRY_MAX) } else { RETRY_MIN };
        self.timers.arm(Timer::Operation(uuid), now + entry.retry);
        out.send_to_master(ToMaster::OperationStatus { operation: entry.operation.clone().into() });
    }

    /// Sends the statuses of all operations, of one framework or of all.
    pub(super) fn flush_operations(&mut self, now: Time, of: Option<&FrameworkId>, out: &mut Effects) {
        let concerns = |entry: &ReportedOperation| of.is_none_or(|id| entry.operation.framework_id == *id);
        let uuids = self.operations.iter().filter(|(_, entry)| concerns(entry)).map(|(uuid, _)| *uuid);
        for uuid in uuids.collect::<Vec<_>>() {
            self.send_operation(now, uuid, false, out);
        }
    }

    /// Stops the timers until the agent is registered again.
    pub(super) fn pause_operations(&mut self) {
        self.operations.keys().for_each(|uuid| self.timers.disarm(&Timer::Operation(*uuid)));
    }

    pub(super) fn acknowledge_operation(&mut self, uuid: OperationUuid, status: UpdateId, out: &mut Effects) {
        let known = self.operations.get(&uuid).is_some_and(|entry| entry.operation.status == Some(status));
        if known {
            self.forget_operation(uuid);
            out.persist(Record::OperationDone { uuid });
        }
    }

    pub(super) fn forget_operation(&mut self, uuid: OperationUuid) {
        self.operations.remove(&uuid);
        self.timers.disarm(&Timer::Operation(uuid));
    }

    /// The operations whose status is not acknowledged, ordered by their UUIDs.
    pub fn operations(&self) -> impl Iterator<Item = &OfferOperation> {
        self.operations.values().map(|entry| &entry.operation)
    }

    /// The volumes of an executor and its unfinished tasks.
    pub(super) fn volumes(&self, framework_id: &FrameworkId, executor_id: &ExecutorId) -> Vec<LinkedVolume> {
        let Some(framework) = self.frameworks.get(framework_id) else { return Vec::new() };
        let own = framework.executors.get(executor_id).map(|executor| &executor.info.resources);
        let tasks = framework.tasks_of(executor_id).filter(|entry| !entry.task.state.is_terminal());
        let all = own.into_iter().chain(tasks.map(|entry| &entry.task.info.resources));
        all.flat_map(linked).collect()
    }

    /// A path at which a launch has one volume and its executor, or the launch itself, another one.
    pub(super) fn clashing_path(
        &self,
        framework_id: &FrameworkId,
        executor: &ExecutorInfo,
        tasks: &[TaskInfo],
    ) -> Option<String> {
        let mut used: BTreeMap<String, VolumeId> = BTreeMap::new();
        let running = self.volumes(framework_id, &executor.executor_id);
        let new = [&executor.resources].into_iter().chain(tasks.iter().map(|task| &task.resources));
        for LinkedVolume { id, container_path, .. } in running.into_iter().chain(new.flat_map(linked)) {
            match used.get(&container_path) {
                Some(other) if *other != id => return Some(container_path),
                _ => drop(used.insert(container_path, id)),
            }
        }
        None
    }
}

/// The persistent volumes among resources, with the paths that they are linked at.
fn linked(resources: &Resources) -> impl Iterator<Item = LinkedVolume> {
    resources.iter().filter_map(|resource| {
        let mount = resource.disk.as_ref()?.volume.as_ref()?;
        let (container_path, read_only) = (mount.container_path.clone(), mount.read_only);
        Some(LinkedVolume { id: resource.volume_id()?, container_path, read_only })
    })
}
