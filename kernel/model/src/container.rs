//! Containers of images: what Mesos' `ContainerInfo` says about one, as far as it is supported.

/// A container that runs in the file system of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageContainer {
    /// Whose rules apply to command and working directory.
    pub kind: ContainerKind,
    /// The name of the image, as `docker pull` takes it.
    pub image: String,
    /// Whether the image is pulled although the machine has one of that name.
    pub force_pull: bool,
    /// Directories and files from outside in the container.
    pub volumes: Vec<ContainerVolume>,
    /// Its network.
    pub network: ContainerNetwork,
    /// What parameters for `docker run` set.
    pub parameters: DockerParameters,
}

/// The type of a container (Mesos `ContainerInfo.Type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerKind {
    /// As `docker run` does: a command without a shell is an argument of the image's entrypoint, and its directory is the image's.
    Docker,
    /// As Mesos' own containerizer does: a command with a value replaces the image's entrypoint, and its directory is the sandbox,
    /// unless the image has one.
    Mesos,
}

/// A volume of a container of an image (Mesos `Volume`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerVolume {
    /// What it shows.
    pub source: VolumeSource,
    /// Absolute, or relative to the sandbox.
    pub container_path: String,
    /// Whether the container cannot write it.
    pub read_only: bool,
}

/// What a volume of a container shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// A path of the machine, which is absolute (Mesos `host_path`).
    Machine(String),
    /// A directory of its own sandbox, relative to that (a relative `host_path`, or Mesos' `SANDBOX_PATH` of type `SELF`).
    Sandbox(String),
    /// A directory of the sandbox of the container above, relative to that (Mesos' `SANDBOX_PATH` of type `PARENT`).
    ParentSandbox(String),
}

impl VolumeSource {
    /// Its path.
    pub fn path(&self) -> &str {
        match self {
            Self::Machine(path) | Self::Sandbox(path) | Self::ParentSandbox(path) => path,
        }
    }
}

/// The network of a container of an image (Mesos `DockerInfo.Network`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerNetwork {
    /// The machine's.
    Host,
    /// The network of the machine's Pods, with ports of the machine that lead to ports of the container.
    Bridge(Vec<PortMapping>),
}

/// A port of the machine that leads to one of a container (Mesos `DockerInfo.PortMapping`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortMapping {
    /// Of the machine, from the task's resources.
    pub host_port: u16,
    /// Of the container.
    pub container_port: u16,
    /// TCP if false.
    pub udp: bool,
}

/// The parameters for `docker run` that are supported (Mesos `DockerInfo.parameters`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DockerParameters {
    /// `env`; names without a value are not supported.
    pub environment: Vec<(String, String)>,
    /// `entrypoint`
    pub entrypoint: Option<String>,
    /// `workdir`
    pub working_directory: Option<String>,
    /// `read-only`: whether the image's file system cannot be written.
    pub read_only: bool,
}
