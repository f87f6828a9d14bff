//! Labels and annotations by which sandboxes and containers are found again. Those of the Pod are upstream's, so that
//! `crictl` and log collectors understand them.

/// The Pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// The Pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// The Pod's UID.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// The container's name in the Pod's spec.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Which node made it: several may share one runtime.
pub const NODE_TAG: &str = "catamaran.dev/node-tag";
/// How often the container had been restarted.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// What may not change under the running container.
pub const HASH: &str = "io.kubernetes.container.hash";
/// Where the container may leave a last word.
pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Where to take the last word from.
pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
