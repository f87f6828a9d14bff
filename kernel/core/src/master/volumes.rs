//! What is a valid CREATE or DESTROY of persistent volumes, with Mesos' messages (upstream: `master/validation.cpp`), and the end of
//! volumes that an agent could not make.

use std::collections::BTreeSet;

use kernel_model::{
    framework::FrameworkCapability,
    ids::{AgentId, is_legal},
    resources::{ConversionKind, Resource, Resources, VolumeId},
};

use super::{
    Master,
    reservations::{Caller, Checked},
    state::Agent,
};

/// Validates that all are persistent volumes.
fn check_kind(volumes: &Resources) -> Checked {
    volumes.iter().try_for_each(|resource| {
        let Some(disk) = &resource.disk else {
            return Err(format!("Not a persistent volume: Resource {resource} does not have DiskInfo"));
        };
        if disk.persistence.is_none() {
            return Err("Not a persistent volume: 'persistence' is not set in DiskInfo".to_owned());
        }
        match &disk.volume {
            None => {
                Err("Not a persistent volume: Expecting 'volume' to be set for persistent volume".to_owned())
            }
            Some(volume) if volume.read_only => {
                Err("Not a persistent volume: Read-only persistent volume not supported".to_owned())
            }
            Some(_) => Ok(()),
        }
    })
}

/// Validates the volumes of a CREATE.
pub(super) fn check_create(volumes: &Resources, by: &Caller<'_>, agent: &Agent) -> Checked {
    check_kind(volumes)?;
    let mut known: BTreeSet<VolumeId> = agent.info.operations.volumes.keys().cloned().collect();
    for id in volumes.iter().filter_map(Resource::volume_id) {
        if let Some(VolumeId { id, .. }) = known.replace(id) {
            return Err(format!("Persistence ID '{id}' is not unique"));
        }
    }
    volumes.iter().try_for_each(|volume| check_created(volume, by))
}

/// The longest name of a directory: one has the name of the volume's role.
const DIRECTORY_BYTES_MAX: usize = 255;

fn check_created(volume: &Resource, by: &Caller<'_>) -> Checked {
    if let Some(id) = volume.volume_id()
        && (id.role.as_str().len() > DIRECTORY_BYTES_MAX || !is_legal(&id.role.as_str().replace('/', " ")))
    {
        return Err(format!(
            "Role '{}' cannot have persistent volumes: no directory can have its name",
            id.role
        ));
    }
    if volume.shared {
        if let Caller::Framework { framework, .. } = by
            && !framework.can(FrameworkCapability::SharedResources)
        {
            let id = framework.id.as_ref().map(ToString::to_string).unwrap_or_default();
            return Err(format!(
                "Create volume operation for '{volume}' has been attempted by framework '{id}' with no \
                 SHARED_RESOURCES capability"
            ));
        }
        return Err(format!("Shared persistent volumes are not supported: {volume}"));
    }
    let disk = volume.disk.as_ref();
    if disk.is_some_and(|disk| disk.source.is_some()) {
        return Err(format!("Persistent volumes on disks with a source are not supported: {volume}"));
    }
    let of = disk.and_then(|disk| disk.persistence.as_ref()).and_then(|p| p.principal.as_deref());
    match (by.principal(), of) {
        (Some(who), None) => Err(format!(
            "Create volume operation attempted by principal '{who}', but there is a volume in the operation with no \
             principal set in 'disk.persistence'"
        )),
        (Some(who), Some(other)) if who != other => Err(format!(
            "Create volume operation attempted by authenticated principal '{who}', which does not match a volume in \
             the operation with principal '{other}' set in 'disk.persistence'"
        )),
        _ => Ok(()),
    }
}

/// Validates the volumes of a DESTROY.
pub(super) fn check_destroy(volumes: &Resources, agent: &Agent) -> Checked {
    check_kind(volumes)?;
    let volumes = volumes.unallocated();
    let checkpointed = agent.info.resources.checkpointed();
    let contains = |all: &Resources, one: &Resource| all.contains(&std::iter::once(one.clone()).collect());
    if volumes.iter().any(|volume| !contains(&checkpointed, volume)) {
        return Err("Persistent volumes not found".to_owned());
    }
    let in_use = |used: &Resources| volumes.iter().any(|volume| contains(&used.unallocated(), volume));
    match agent.allocated.values().any(in_use) {
        true => Err("Persistent volumes in use".to_owned()),
        false => Ok(()),
    }
}

impl Master {
    /// An agent could not make the directories of new volumes: their disk is reserved as before as soon as no task holds it.
    pub(super) fn volumes_failed(&mut self, id: &AgentId, volumes: &[VolumeId]) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let is_failed = |r: &Resource| r.volume_id().is_some_and(|id| volumes.contains(&id));
        for volume in agent.info.resources.filter(is_failed).iter() {
            if !agent.failed_volumes.iter().any(|known| known == volume) {
                agent.failed_volumes.add(volume.clone());
            }
        }
        self.remove_failed_volumes(id);
    }

    /// Looks again at the failed volumes of agents on which something has changed.
    pub(super) fn follow_failed_volumes(&mut self) {
        let has_failed = |id: &&AgentId| self.agents.get(*id).is_some_and(|a| !a.failed_volumes.is_empty());
        let concerned: Vec<AgentId> = self.changed_agents.iter().filter(has_failed).cloned().collect();
        concerned.iter().for_each(|id| self.remove_failed_volumes(id));
    }

    fn remove_failed_volumes(&mut self, id: &AgentId) {
        let failed = self.agents.get(id).map(|agent| agent.failed_volumes.clone()).unwrap_or_default();
        for volume in failed.iter().map(|volume| Resources::from_iter([volume.clone()])) {
            let Some(agent) = self.agents.get(id) else { return };
            let conversion = ConversionKind::Destroy.of(&volume);
            // Without it, somebody has destroyed it meanwhile.
            let after = conversion.apply(&agent.info.resources);
            if after.is_some() && !self.make_room(id, &volume) {
                continue;
            }
            if let Some(agent) = self.agents.get_mut(id) {
                agent.failed_volumes.remove_all(&volume);
            }
            if let Some(after) = after {
                self.set_agent_resources(id, after, &conversion);
                self.send_checkpoint(id, Vec::new());
            }
        }
    }
}
