//! Flags of an agent.

use std::{net::SocketAddr, time::Duration};

use apiserver_shim::storage::pod_cidrs::Cidr;
use clap::Args;
use kernel_model::oversubscription::{Estimator, QosController};

use super::{pod_cidr, seconds, seconds_or_zero, socket_address};

/// Flags of an agent.
#[derive(Debug, Clone, Args)]
pub struct AgentArguments {
    /// Address of the agent's Mesos API
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5051", value_parser = socket_address)]
    pub agent_listen: SocketAddr,
    /// Socket of the container runtime [default: a private containerd]
    #[arg(long, value_name = "SOCKET")]
    pub cri_endpoint: Option<String>,
    /// Name of the Node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Resources to offer, as cpus:4;mem:8192;disk:10000;ports:[31000-32000] [default: detected]
    #[arg(long, value_name = "RESOURCES")]
    pub resources: Option<String>,
    /// Attributes of the agent, as rack:r1;generation:3;slots:[1-4]: texts, numbers and ranges, as in Mesos
    #[arg(long, value_name = "ATTRIBUTES")]
    pub attributes: Option<String>,
    /// Range of the Pods' addresses on this machine [default: assigned by the server from its --cluster-cidr]
    #[arg(long, value_name = "CIDR", value_parser = pod_cidr)]
    pub pod_cidr: Option<Cidr>,
    /// Unsafe sysctls that Pods on this machine may set: names, or prefixes with '*', as kernel.msg*,net.core.somaxconn
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',', value_parser = sysctl_pattern)]
    pub allowed_unsafe_sysctls: Vec<String>,
    /// When the disk is almost full, so that no new Pods are started: signals nodefs.available and nodefs.inodesFree, as
    /// nodefs.available<1Gi,nodefs.inodesFree<5% [default: 10% but at most 4Gi; 5%]
    #[arg(long, value_name = "THRESHOLDS", value_parser = thresholds)]
    pub eviction_hard: Option<String>,
    /// Seconds that a stop grants Pods and tasks at most; 0 kills them at once [default: their own grace periods]
    #[arg(long, visible_alias = "stop-timeout", value_name = "SECONDS", value_parser = seconds_or_zero)]
    pub shutdown_grace_period: Option<Duration>,
    /// Offer revocable resources beyond those of the machine: fixed:cpus:4, always these; or usage[:SHARE], a share of the
    /// CPUs that are allocated and have not been used for a minute [default: none]
    #[arg(long, value_name = "ESTIMATOR")]
    pub resource_estimator: Option<Estimator>,
    /// Seconds between two estimates of revocable resources
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub oversubscribed_resources_interval: Duration,
    /// When tasks and Pods on revocable resources end: load:5min=8,15min=6, all of them above a load average; or
    /// pressure:cpu=60,memory=10, one after the other while tasks wait for more than that percentage of the time
    /// [default: never]
    #[arg(long, value_name = "CONTROLLER")]
    pub qos_controller: Option<QosController>,
    /// Seconds between two looks at the machine for --qos-controller
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub qos_correction_interval_min: Duration,
    /// Build and import the images of manifests/examples
    #[arg(long)]
    pub example_images: bool,
}

/// Checks a pattern of sysctls.
fn sysctl_pattern(text: &str) -> Result<String, String> {
    kubelet_executor::sysctl::Pattern::parse(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// Checks thresholds of the disk.
fn thresholds(text: &str) -> Result<String, String> {
    text.parse::<kubelet_executor::disk_pressure::Thresholds>().map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}
