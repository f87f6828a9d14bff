//! Decodes containers of images from `mesos.v1.ContainerInfo`, and says what of them is not supported.

use std::path::{Component, Path};

use kernel_model::container::{
    ContainerKind, ContainerNetwork, ContainerVolume, DockerParameters, ImageContainer, PortMapping,
    VolumeSource,
};

use crate::{
    supported::Refused,
    v1::{
        self,
        container_info::{DockerInfo, Type, docker_info},
        volume,
    },
};

type Supported<T> = Result<T, Refused>;

fn refuse<T>(what: &'static str) -> Supported<T> {
    Err(Refused::Unsupported(what))
}

/// Refuses what no version could do.
fn invalid<T>(why: &'static str) -> Supported<T> {
    Err(Refused::InvalidContainer(why))
}

/// Refuses the first feature that is asked for.
fn refuse_any(asked: &[(bool, &'static str)]) -> Supported<()> {
    asked.iter().find(|(is_asked, _)| *is_asked).map_or(Ok(()), |(_, what)| refuse(what))
}

/// Whether a container has an image.
pub fn has_image(container: &v1::ContainerInfo) -> bool {
    container.docker.is_some()
        || container.r#type == Type::Docker as i32
        || container.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some())
}

/// The container of an image; `None` if it has no image. What else a container may ask for is checked elsewhere.
pub fn image_from_wire(container: &v1::ContainerInfo) -> Supported<Option<ImageContainer>> {
    if !has_image(container) {
        return Ok(None);
    }
    let volumes =
        container.volumes.iter().map(volume_from_wire).collect::<Supported<Vec<ContainerVolume>>>()?;
    let of_mesos = container.mesos.as_ref().and_then(|mesos| mesos.image.as_ref());
    let container = match (container.r#type == Type::Docker as i32, &container.docker, of_mesos) {
        (true, Some(docker), None) => ImageContainer {
            kind: ContainerKind::Docker,
            image: docker.image.clone(),
            force_pull: docker.force_pull_image.unwrap_or(false),
            volumes,
            network: network_from_wire(docker)?,
            parameters: parameters_from_wire(docker)?,
        },
        (false, None, Some(image)) => ImageContainer {
            kind: ContainerKind::Mesos,
            image: name_of(image)?,
            force_pull: !image.cached.unwrap_or(true),
            volumes,
            network: ContainerNetwork::Host,
            parameters: DockerParameters::default(),
        },
        (true, None, _) => return invalid("'docker' must be set if the type is DOCKER"),
        (true, Some(_), Some(_)) => return invalid("'mesos.image' must not be set if the type is DOCKER"),
        (false, ..) => return invalid("'docker' must not be set if the type is MESOS"),
    };
    match container.image.as_str() {
        "" => invalid("the image has no name"),
        name if name.contains(char::is_whitespace) => invalid("the image's name contains whitespace"),
        _ => Ok(Some(container)),
    }
}

fn name_of(from: &v1::Image) -> Supported<String> {
    if from.r#type != v1::image::Type::Docker as i32 {
        return refuse("images of type APPC");
    }
    let Some(docker) = &from.docker else {
        return invalid("'docker' must be set in an image of type DOCKER");
    };
    refuse_any(&[
        (docker.credential.is_some(), "credentials of images"),
        (docker.config.is_some(), "docker configurations of images"),
    ])?;
    Ok(docker.name.clone())
}

fn network_from_wire(docker: &DockerInfo) -> Supported<ContainerNetwork> {
    refuse_any(&[
        (docker.privileged(), "privileged containers"),
        (docker.volume_driver.is_some(), "volume drivers"),
    ])?;
    match docker.network() {
        docker_info::Network::Host if docker.port_mappings.is_empty() => Ok(ContainerNetwork::Host),
        docker_info::Network::Host => refuse("port mappings on the machine's network"),
        docker_info::Network::Bridge => {
            let mappings = docker.port_mappings.iter().map(mapping_from_wire);
            Ok(ContainerNetwork::Bridge(mappings.collect::<Supported<_>>()?))
        }
        docker_info::Network::None => refuse("containers without a network"),
        docker_info::Network::User => refuse("named networks"),
    }
}

fn mapping_from_wire(from: &docker_info::PortMapping) -> Supported<PortMapping> {
    let port = |number: u32| u16::try_from(number).ok().filter(|port| *port > 0);
    let (Some(host_port), Some(container_port)) = (port(from.host_port), port(from.container_port)) else {
        return invalid("ports of port mappings must be between 1 and 65535");
    };
    match from.protocol.as_deref().unwrap_or("tcp") {
        "tcp" => Ok(PortMapping { host_port, container_port, udp: false }),
        "udp" => Ok(PortMapping { host_port, container_port, udp: true }),
        _ => refuse("port mappings of protocols other than 'tcp' and 'udp'"),
    }
}

fn parameters_from_wire(docker: &DockerInfo) -> Supported<DockerParameters> {
    let mut parameters = DockerParameters::default();
    for v1::Parameter { key, value } in &docker.parameters {
        match (key.as_str(), value.split_once('=')) {
            ("env", Some((name, text))) => parameters.environment.push((name.to_owned(), text.to_owned())),
            ("entrypoint", _) => parameters.entrypoint = Some(value.clone()),
            ("workdir", _) if value.starts_with('/') => parameters.working_directory = Some(value.clone()),
            ("read-only", _) if value == "true" || value == "false" => {
                parameters.read_only = value == "true";
            }
            _ => {
                return refuse(
                    "docker parameters other than 'entrypoint', 'env' with a value, 'read-only' and 'workdir'",
                );
            }
        }
    }
    Ok(parameters)
}

fn volume_from_wire(from: &v1::Volume) -> Supported<ContainerVolume> {
    let source = source_from_wire(from)?;
    let is_absolute = |path: &str| path.starts_with('/');
    let leads_up = |path: &str| Path::new(path).components().any(|part| part == Component::ParentDir);
    let hides_all =
        |path: &str| !Path::new(path).components().any(|part| matches!(part, Component::Normal(_)));
    let is_own = matches!(source, VolumeSource::Sandbox(_));
    refuse_any(&[
        (is_own && !is_absolute(&from.container_path), "volumes with two relative paths"),
        (leads_up(source.path()) || leads_up(&from.container_path), "volumes with '..' in a path"),
        (hides_all(&from.container_path), "volumes that hide the whole container"),
    ])?;
    let read_only = from.mode() == volume::Mode::Ro;
    Ok(ContainerVolume { source, container_path: from.container_path.clone(), read_only })
}

fn source_from_wire(from: &v1::Volume) -> Supported<VolumeSource> {
    use volume::source::{Type, sandbox_path};
    let source = from.source.as_ref();
    let of_sandbox = source.filter(|source| source.r#type() == Type::SandboxPath);
    if let Some(sandbox) = of_sandbox.and_then(|source| source.sandbox_path.as_ref()) {
        if sandbox.path.is_empty() {
            return invalid("the sandbox path of a volume is empty");
        }
        return match sandbox.r#type() {
            sandbox_path::Type::Self_ if sandbox.path.starts_with('/') => {
                invalid("the sandbox path of a volume is absolute")
            }
            sandbox_path::Type::Parent => Ok(VolumeSource::ParentSandbox(sandbox.path.clone())),
            sandbox_path::Type::Self_ => Ok(VolumeSource::Sandbox(sandbox.path.clone())),
            sandbox_path::Type::Unknown => invalid("a volume of a sandbox must be of type SELF or PARENT"),
        };
    }
    let of_machine = || {
        let source = source.filter(|source| source.r#type() == Type::HostPath)?;
        source.host_path.as_ref().filter(|path| path.mount_propagation.is_none())
    };
    match from.host_path.clone().or_else(|| of_machine().map(|path| path.path.clone())) {
        Some(path) if path.is_empty() => invalid("the host path of a volume is empty"),
        Some(path) if path.starts_with('/') => Ok(VolumeSource::Machine(path)),
        Some(path) => Ok(VolumeSource::Sandbox(path)),
        None => refuse("volumes that are not paths of the machine or of a sandbox"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docker(change: impl FnOnce(&mut v1::ContainerInfo, &mut DockerInfo)) -> v1::ContainerInfo {
        let mut container = v1::ContainerInfo { r#type: Type::Docker as i32, ..Default::default() };
        let mut docker = DockerInfo { image: "a:1".into(), ..Default::default() };
        change(&mut container, &mut docker);
        v1::ContainerInfo { docker: Some(docker), ..container }
    }

    fn mesos(change: impl FnOnce(&mut v1::Image)) -> v1::ContainerInfo {
        let docker = v1::image::Docker { name: "a:1".into(), ..Default::default() };
        let mut image =
            v1::Image { r#type: v1::image::Type::Docker as i32, docker: Some(docker), ..Default::default() };
        change(&mut image);
        let mesos = v1::container_info::MesosInfo { image: Some(image) };
        v1::ContainerInfo { r#type: Type::Mesos as i32, mesos: Some(mesos), ..Default::default() }
    }

    fn volume(host_path: &str, container_path: &str) -> v1::Volume {
        v1::Volume {
            mode: volume::Mode::Ro as i32,
            host_path: Some(host_path.into()),
            container_path: container_path.into(),
            ..Default::default()
        }
    }

    fn parameter(key: &str, value: &str) -> v1::Parameter {
        v1::Parameter { key: key.into(), value: value.into() }
    }

    #[test]
    fn both_types_of_containers_have_images() {
        let plain = |kind| ImageContainer {
            kind,
            image: "a:1".into(),
            force_pull: false,
            volumes: Vec::new(),
            network: ContainerNetwork::Host,
            parameters: DockerParameters::default(),
        };
        assert_eq!(image_from_wire(&docker(|_, _| ())), Ok(Some(plain(ContainerKind::Docker))));
        assert_eq!(image_from_wire(&mesos(|_| ())), Ok(Some(plain(ContainerKind::Mesos))));
        let pulled = image_from_wire(&mesos(|image| image.cached = Some(false))).unwrap().unwrap();
        assert!(pulled.force_pull);
        let none = v1::ContainerInfo { r#type: Type::Mesos as i32, ..Default::default() };
        assert_eq!(image_from_wire(&none), Ok(None));
    }

    #[test]
    fn what_docker_runs_with_is_decoded() {
        let container = docker(|container, docker| {
            container.volumes =
                vec![volume("/data", "/in"), volume("out", "/out"), volume("/data", "inside")];
            docker.set_network(docker_info::Network::Bridge);
            docker.port_mappings = vec![docker_info::PortMapping {
                host_port: 31000,
                container_port: 80,
                protocol: Some("udp".into()),
            }];
            docker.parameters = vec![
                parameter("env", "A=b=c"),
                parameter("entrypoint", "/bin/x"),
                parameter("workdir", "/w"),
                parameter("read-only", "true"),
            ];
        });
        let image = image_from_wire(&container).unwrap().unwrap();
        let paths: Vec<_> = image.volumes.iter().map(|v| (v.source.path(), v.read_only)).collect();
        assert_eq!(paths, [("/data", true), ("out", true), ("/data", true)]);
        let mapping = PortMapping { host_port: 31000, container_port: 80, udp: true };
        assert_eq!(image.network, ContainerNetwork::Bridge(vec![mapping]));
        assert_eq!(
            image.parameters,
            DockerParameters {
                environment: vec![("A".into(), "b=c".into())],
                entrypoint: Some("/bin/x".into()),
                working_directory: Some("/w".into()),
                read_only: true,
            }
        );
    }

    #[test]
    fn sandboxes_are_sources_of_volumes() {
        use volume::{Source, source};
        let decoded = |kind: source::sandbox_path::Type, path: &str, container_path: &str| {
            let sandbox_path = source::SandboxPath { r#type: Some(kind as i32), path: path.into() };
            let source = Source {
                r#type: Some(source::Type::SandboxPath as i32),
                sandbox_path: Some(sandbox_path),
                ..Default::default()
            };
            let volume = v1::Volume {
                source: Some(source),
                host_path: None,
                mode: volume::Mode::Rw as i32,
                ..volume("", container_path)
            };
            let container = v1::ContainerInfo { volumes: vec![volume], ..mesos(|_| ()) };
            Ok(image_from_wire(&container)?.unwrap().volumes.remove(0).source)
        };
        use source::sandbox_path::Type::{Parent, Self_};
        assert_eq!(decoded(Parent, "a", "in"), Ok(VolumeSource::ParentSandbox("a".into())));
        assert_eq!(decoded(Self_, "a", "/in"), Ok(VolumeSource::Sandbox("a".into())));
        let two = Refused::Unsupported("volumes with two relative paths");
        assert_eq!(decoded(Self_, "a", "in"), Err(two));
        let up = Refused::Unsupported("volumes with '..' in a path");
        assert_eq!(decoded(Parent, "../a", "/in"), Err(up));
        for (kind, path, why) in [(Parent, "", "is empty"), (Self_, "/etc", "is absolute")] {
            let why = format!("Invalid ContainerInfo: the sandbox path of a volume {why}");
            assert_eq!(decoded(kind, path, "/in").unwrap_err().to_string(), why);
        }
        // A persistent volume of the container above can be outside of the sandbox.
        assert_eq!(decoded(Parent, "/a", "/in"), Ok(VolumeSource::ParentSandbox("/a".into())));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let why = |container: &v1::ContainerInfo| image_from_wire(container).unwrap_err().to_string();
        let of_docker = |change: fn(&mut DockerInfo)| why(&docker(|_, docker| change(docker)));
        let with = |what: &str| format!("{what} are not supported yet");
        assert_eq!(of_docker(|docker| docker.privileged = Some(true)), with("privileged containers"));
        assert_eq!(
            of_docker(|docker| docker.set_network(docker_info::Network::User)),
            with("named networks")
        );
        let others = of_docker(|docker| docker.parameters = vec![parameter("cap-add", "ALL")]);
        assert!(others.starts_with("docker parameters other than 'entrypoint', "), "{others}");
        assert!(of_docker(|docker| docker.parameters = vec![parameter("env", "HOME")]).starts_with("docker"));
        assert_eq!(why(&mesos(|image| image.set_type(v1::image::Type::Appc))), with("images of type APPC"));
        for (host, inside) in [("a", "b"), ("/a/../b", "/c"), ("/a", "/c/.."), ("/a", "/")] {
            let refused = docker(|container, _| container.volumes = vec![volume(host, inside)]);
            assert!(why(&refused).starts_with("volumes "), "{host} {inside}");
        }
    }

    #[test]
    fn what_is_invalid_is_called_so() {
        let refused = |container: &v1::ContainerInfo| image_from_wire(container).unwrap_err();
        let of_docker = |change: fn(&mut DockerInfo)| refused(&docker(|_, docker| change(docker)));
        let invalid = Refused::InvalidContainer;
        let why = of_docker(|docker| docker.image = String::new());
        assert_eq!(why.to_string(), "Invalid ContainerInfo: the image has no name");
        let spaced = of_docker(|docker| docker.image = "a b".into());
        assert_eq!(spaced, invalid("the image's name contains whitespace"));
        for (host_port, container_port) in [(0, 80), (80, 0), (65536, 80), (80, 65536)] {
            let mapping = docker_info::PortMapping { host_port, container_port, protocol: None };
            let mapped = refused(&docker(|_, docker| {
                docker.set_network(docker_info::Network::Bridge);
                docker.port_mappings = vec![mapping];
            }));
            assert_eq!(mapped, invalid("ports of port mappings must be between 1 and 65535"));
        }
        let empty = refused(&docker(|container, _| container.volumes = vec![volume("", "/c")]));
        assert_eq!(empty, invalid("the host path of a volume is empty"));
        let nothing = refused(&mesos(|image| image.docker = None));
        assert_eq!(nothing, invalid("'docker' must be set in an image of type DOCKER"));
        let both = v1::ContainerInfo { docker: docker(|_, _| ()).docker, ..mesos(|_| ()) };
        assert_eq!(refused(&both), invalid("'docker' must not be set if the type is MESOS"));
        let typed = v1::ContainerInfo { r#type: Type::Docker as i32, ..both };
        assert_eq!(refused(&typed), invalid("'mesos.image' must not be set if the type is DOCKER"));
        let none = v1::ContainerInfo { r#type: Type::Docker as i32, ..Default::default() };
        assert_eq!(refused(&none), invalid("'docker' must be set if the type is DOCKER"));
    }
}
