//! Accessors for a Pod's spec.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

/// The default of `terminationGracePeriodSeconds`.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// The role of a container in its Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs to completion before the next container starts.
    Init,
    /// An init container with `restartPolicy: Always`: runs beside all later containers.
    Sidecar,
    /// An entry of `spec.containers`.
    Main,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// The Pod's spec, or an empty one.
pub fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

/// The restart policy; `Always` is the default.
pub fn restart_policy(pod: &Pod) -> RestartPolicy {
    match spec(pod).restart_policy.as_deref() {
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

/// The Pod's termination grace period.
pub fn grace(pod: &Pod) -> Duration {
    match spec(pod).termination_grace_period_seconds {
        Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        None => DEFAULT_GRACE,
    }
}

/// Init containers, then main containers, each with its role.
pub fn containers(pod: &Pod) -> impl Iterator<Item = (Role, &Container)> {
    let spec = spec(pod);
    let init = spec.init_containers.iter().flatten().map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        (if sidecar { Role::Sidecar } else { Role::Init }, container)
    });
    init.chain(spec.containers.iter().map(|container| (Role::Main, container)))
}

/// Finds a container by name.
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    containers(pod).map(|(_, container)| container).find(|container| container.name == name)
}

/// Hash of the part of a container's spec whose change restarts the container. Only the image is mutable in the API.
pub fn container_hash(container: &Container) -> String {
    // FNV-1a: stable across releases, unlike the standard library's hasher.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in
        container.name.bytes().chain([0]).chain(container.image.iter().flat_map(|image| image.bytes()))
    {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

/// `name_namespace(uid)`, as in upstream's messages.
pub fn full_name(pod: &Pod) -> String {
    let metadata = &pod.metadata;
    format!(
        "{}_{}({})",
        metadata.name.as_deref().unwrap_or_default(),
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.uid.as_deref().unwrap_or_default()
    )
}
