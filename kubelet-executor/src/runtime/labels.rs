//! Labels and annotations that identify sandboxes and containers. Those of the Pod are upstream's, so that `crictl`
//! and log collectors understand them.

pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// The node that created it: several may share one runtime.
pub const NODE_TAG: &str = "catamaran.dev/node-tag";
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// See [`executor_core::spec::container_hash`].
pub const HASH: &str = "io.kubernetes.container.hash";
pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
