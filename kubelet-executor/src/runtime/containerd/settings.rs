//! containerd's configuration file.

use std::path::Path;

use super::Paths;
use crate::config::Config;

/// The bit of CAP_SYS_RESOURCE in a capability set.
const CAP_SYS_RESOURCE: u32 = 24;

/// Renders the file in version 2, which 1.6 reads and later releases migrate.
pub(crate) fn render(config: &Config, paths: &Paths, plugins: &Path, networks: &Path) -> String {
    format!(
        r#"# Written by catamaran at every start.
version = 2
root = {root:?}
state = {state:?}
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = {socket:?}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {sandbox_image:?}
  restrict_oom_score_adj = {restrict}
  # Below our own directory, so that every network namespace tells by its path whose it is.
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {plugins:?}
    conf_dir = {networks:?}

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false

  # A directory per registry host may be put here; loopback hosts are contacted over plain HTTP without one.
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = {registries:?}
"#,
        root = paths.dir.join("root"),
        state = paths.dir.join("state"),
        socket = paths.socket,
        sandbox_image = config.sandbox_image,
        restrict = !may_lower_oom_score(),
        registries = paths.dir.join("certs.d"),
    )
}

/// Whether this process may lower OOM scores. In containers it often may not, and then every sandbox would fail.
pub(crate) fn may_lower_oom_score() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits & (1 << CAP_SYS_RESOURCE) != 0)
}
