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
    /// Directories and files of the machine in the container.
    pub volumes: Vec<HostVolume>,
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

/// A volume from the machine (Mesos `Volume` with `host_path`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostVolume {
    /// Absolute, or relative to the sandbox.
    pub host_path: String,
    /// Absolute, or relative to the sandbox.
    pub container_path: String,
    /// Whether the container cannot write it.
    pub read_only: bool,
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
