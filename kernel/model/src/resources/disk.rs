//! What a disk resource is beside its size: where it is, and the persistent volume on it.

use std::{cmp::Ordering, fmt};

use bytes::Bytes;

use super::{Resource, Resources};
use crate::roles::Role;

/// A disk's description (Mesos `DiskInfo`). Two are equal if their source and the id of their persistent volume are: where a volume
/// is mounted is the affair of whoever uses it.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Disk {
    /// `None`: a part of the agent's work directory.
    pub source: Option<DiskSource>,
    /// Set exactly for persistent volumes.
    pub persistence: Option<Persistence>,
    pub volume: Option<VolumeMount>,
}

/// Where a disk comes from, compared as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DiskSource {
    /// The encoded `v1::Resource.DiskInfo.Source`.
    pub definition: Bytes,
    /// The form of Mesos' messages: `MOUNT:/mnt`.
    pub text: String,
    /// Whether it can only be used whole (a mount, a block device).
    pub whole: bool,
}

/// The identity of a persistent volume.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Persistence {
    /// Unique on an agent among the volumes of a role.
    pub id: String,
    /// Who created it.
    pub principal: Option<String>,
}

/// Where a persistent volume is mounted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct VolumeMount {
    /// Relative to the sandbox; also absolute for a container of an image.
    pub container_path: String,
    pub read_only: bool,
}

/// The name of a persistent volume on an agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct VolumeId {
    /// The role that it is reserved for.
    pub role: Role,
    pub id: String,
}

impl Disk {
    fn identity(&self) -> (Option<&DiskSource>, Option<&str>) {
        (self.source.as_ref(), self.persistence.as_ref().map(|persistence| persistence.id.as_str()))
    }
}

impl PartialEq for Disk {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Disk {}

impl std::hash::Hash for Disk {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl PartialOrd for Disk {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Disk {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl fmt::Display for Disk {
    /// The form of Mesos' messages: `MOUNT:/mnt,id:path`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            f.write_str(&source.text)?;
        }
        if let Some(persistence) = &self.persistence {
            let comma = if self.source.is_some() { "," } else { "" };
            write!(f, "{comma}{}", persistence.id)?;
        }
        match &self.volume {
            Some(volume) => write!(f, ":{}", volume.container_path),
            None => Ok(()),
        }
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of role {}", self.id, self.role)
    }
}

impl Resource {
    /// Its name, if it is a persistent volume.
    pub fn volume_id(&self) -> Option<VolumeId> {
        let persistence = self.disk.as_ref()?.persistence.as_ref()?;
        let role = self.reservation()?.role.clone();
        Some(VolumeId { role, id: persistence.id.clone() })
    }

    /// Whether it is a persistent volume.
    pub fn is_persistent_volume(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.persistence.is_some())
    }

    /// The disk that a persistent volume is on.
    pub(super) fn without_volume(&self) -> Resource {
        let mut plain = self.clone();
        if self.is_persistent_volume() {
            plain.shared = false;
            plain.disk = self
                .disk
                .as_ref()
                .and_then(|disk| disk.source.clone())
                .map(|source| Disk { source: Some(source), persistence: None, volume: None }.into());
        }
        plain
    }
}

impl Resources {
    /// The persistent volumes.
    pub fn persistent_volumes(&self) -> Resources {
        self.filter(Resource::is_persistent_volume)
    }

    /// The same resources without persistent volumes, of which a user takes all or nothing.
    pub fn without_persistent_volumes(&self) -> Resources {
        self.filter(|resource| !resource.is_persistent_volume())
    }
}
