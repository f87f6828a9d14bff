//! The command line: verbs and flags.

pub mod node;
pub mod security;
pub mod verbs;

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use apiserver_shim::{
    auth::audit::AuditMode,
    storage::{
        pod_cidrs::{Cidr, NODE_BITS},
        service_addresses::{DEFAULT_SERVICE_CIDR, ServiceCidr},
    },
};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use kernel::builtin_executor;

use node::AgentArguments;
use security::{AuthenticationArguments, EncryptionArguments};
use verbs::{
    BackupArguments, ExplainArguments, ImagesVerb, RestoreArguments, RunArguments, StatusArguments,
    UninstallArguments,
};

use crate::{
    agent, announcement, backup, build, documentation, explain, images,
    logging::{self, LogFormat},
    nested_container, run, server, status, task_images, uninstall, up, user_kubeconfig,
};

/// A Kubernetes API and the Apache Mesos v1 API on the same machines, with one resource ledger.
#[derive(Debug, Parser)]
#[command(name = "catamaran", version = build::VERSION.as_str(), max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Format of the log on standard error [default: text]
    #[arg(long, global = true, value_name = "FORMAT", value_enum)]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start a whole cluster in one process: server and one agent
    Up(Up),
    /// Start the control plane: the Mesos master and the Kubernetes API
    Server(Server),
    /// Start an agent on this machine and join a server
    Agent(Agent),
    /// Print a token with which machines can join
    JoinToken(JoinTokenArguments),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages into a directory
    #[command(hide = true)]
    ManPages { directory: PathBuf },
    /// Show what runs on this machine and whether it is healthy
    Status(StatusArguments),
    /// Say why a Pod, a task, a framework or a role waits
    Explain(ExplainArguments),
    /// Run a command as a task, follow its output and pass its exit code on
    Run(RunArguments),
    /// Import and list images of this machine's node
    #[command(subcommand)]
    Images(ImagesVerb),
    /// Write the store and the keys of a server, which may be running, into a file
    Backup(BackupArguments),
    /// Restore a backup into an empty data directory
    Restore(RestoreArguments),
    /// Remove everything of a cluster that does not run any more from this machine
    Uninstall(UninstallArguments),
    /// Run the Pods of this machine (started by an agent)
    #[command(hide = true)]
    Executor,
    /// Run one command task (started by an agent)
    #[command(hide = true)]
    CommandExecutor,
    /// Run groups of tasks (started by an agent)
    #[command(hide = true)]
    DefaultExecutor,
    /// Run a container below another one (started by an agent)
    #[command(hide = true, subcommand)]
    NestedContainer(nested_container::NestedContainerVerb),
    /// Run a task's container of an image, or a command in it (started by an agent and its executors)
    #[command(hide = true, subcommand)]
    TaskContainer(task_images::TaskContainerVerb),
    /// Add a cluster to a kubeconfig, or remove it (started by `up` and `uninstall`, as the user whose file it is)
    #[command(hide = true)]
    EditKubeconfig { edit: user_kubeconfig::Edit, path: PathBuf },
}

impl Arguments {
    /// Runs the chosen verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        logging::init(self.log_format)?;
        match self.verb {
            Verb::Up(arguments) => up::run(arguments),
            Verb::Server(arguments) => server::run(arguments),
            Verb::Agent(arguments) => agent::run(arguments),
            Verb::JoinToken(arguments) => server::print_join_token(&arguments),
            Verb::Completions { shell } => documentation::completions(shell),
            Verb::ManPages { directory } => documentation::manual_pages(&directory),
            Verb::Status(arguments) => return status::run(&arguments),
            Verb::Explain(arguments) => return explain::run(&arguments),
            Verb::Run(arguments) => return run::run(&arguments),
            Verb::Images(verb) => images::run(&verb),
            Verb::Backup(arguments) => backup::back_up(&arguments),
            Verb::Restore(arguments) => backup::restore(&arguments),
            Verb::Uninstall(arguments) => return uninstall::run(&arguments),
            Verb::Executor => agent::run_executor(),
            // The agent reads this exit code as the task's.
            Verb::CommandExecutor => return Ok(builtin_executor::run_command()),
            Verb::DefaultExecutor => return Ok(builtin_executor::run_default()),
            Verb::NestedContainer(verb) => return Ok(nested_container::run(&verb)),
            Verb::TaskContainer(verb) => return task_images::run(verb),
            Verb::EditKubeconfig { edit, path } => return user_kubeconfig::run(edit, &path),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The store's backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChoice {
    /// In the data directory.
    Embedded,
    /// In memory, lost when the process ends: for trials and benchmarks.
    Memory,
    /// In etcd, at these endpoints.
    Etcd(Vec<String>),
}

/// Parses `embedded`, `memory` or `etcd=http://host:port[,…]`.
fn store_choice(text: &str) -> Result<StoreChoice, String> {
    match text.split_once('=') {
        None if text == "embedded" => Ok(StoreChoice::Embedded),
        None if text == "memory" => Ok(StoreChoice::Memory),
        Some(("etcd", endpoints)) if endpoints.starts_with("http") => {
            Ok(StoreChoice::Etcd(endpoints.split(',').map(str::to_owned).collect()))
        }
        _ => Err("expected 'embedded', 'memory', or 'etcd=http://HOST:PORT[,http://…]'".to_owned()),
    }
}

/// Parses a listening address, `ADDRESS:PORT` or `HOST:PORT`; of a host's addresses the first IPv4 one is taken.
fn socket_address(text: &str) -> Result<SocketAddr, String> {
    if text.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
        return Err("expected ADDRESS:PORT or HOST:PORT, for example 127.0.0.1:6443".to_owned());
    }
    let known: Vec<SocketAddr> =
        text.to_socket_addrs().map_err(|error| format!("the host has no address: {error}"))?.collect();
    let first = known.iter().find(|address| address.is_ipv4()).or(known.first());
    first.copied().ok_or_else(|| "the host has no address".to_owned())
}

/// Parses a listening address that is also advertised (in the kubeconfig, to agents), so port 0 is refused.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let address = socket_address(text)?;
    if address.port() == 0 {
        Err("the port must not be 0: clients are given this address".to_owned())
    } else {
        Ok(address)
    }
}

/// Parses a Pod CIDR: it must have room for the bridge's address and at least a few Pods.
fn pod_cidr(text: &str) -> Result<Cidr, String> {
    match text.parse::<Cidr>() {
        Ok(cidr) if NODE_BITS.contains(&cidr.bits()) => Ok(cidr),
        _ => Err("expected an IPv4 CIDR between /8 and /29, for example 10.244.1.0/24".to_owned()),
    }
}

/// Parses a duration in seconds, with decimals.
fn seconds(text: &str) -> Result<Duration, String> {
    // Thirty years, beyond which sums of times might overflow.
    const LONGEST: Duration = Duration::from_secs(1_000_000_000);
    text.parse::<f64>()
        .ok()
        .and_then(|secs| Duration::try_from_secs_f64(secs).ok())
        .filter(|length| (Duration::from_millis(10)..=LONGEST).contains(length))
        .ok_or_else(|| "expected seconds, at least 0.01 and at most 1000000000".to_owned())
}

/// Like [`seconds`], but 0 is allowed.
fn seconds_or_zero(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0.0) => Ok(Duration::ZERO),
        _ => seconds(text),
    }
}

/// Flags of the control plane.
#[derive(Debug, Clone, Args)]
pub struct ServerArguments {
    /// Directory of the store, the cluster's keys and the kubeconfig
    #[arg(long, value_name = "DIR", default_value = "/var/lib/catamaran")]
    pub data_dir: PathBuf,
    /// File to write the administrator's kubeconfig to [default: kubeconfig in the data directory]
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
    /// Mode of that file, in octal; with 644 each user of this machine is an administrator of the cluster
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = octal_mode)]
    pub write_kubeconfig_mode: u32,
    /// Further host names and addresses under which clients reach the Kubernetes API, for its certificate
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = subject_name)]
    pub tls_san: Vec<SubjectName>,
    /// Address of the Kubernetes API (TLS)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6443", value_parser = listen_address)]
    pub api_listen: SocketAddr,
    /// Address of the Mesos master API; agents connect here too
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5050", value_parser = listen_address)]
    pub mesos_listen: SocketAddr,
    /// Announce the master in ZooKeeper for frameworks that look for it there: zk://HOST:PORT[,…]/PATH
    #[arg(long, value_name = "URL", value_parser = announcement::parse)]
    pub zk: Option<libmesos_core::master::ZooKeeperPath>,
    /// Store backend: embedded, memory, or etcd=http://HOST:PORT[,…]
    #[arg(long, value_name = "STORE", default_value = "embedded", value_parser = store_choice)]
    pub store: StoreChoice,
    /// IPv4 range of the Pods' addresses; each Node is assigned a part of it
    #[arg(long, value_name = "CIDR", default_value = "10.244.0.0/16")]
    pub cluster_cidr: Cidr,
    /// Prefix length of a Node's part of the cluster CIDR
    #[arg(long, value_name = "BITS", default_value_t = 24)]
    pub node_cidr_mask_size: u8,
    /// IPv4 range of the Services' cluster IPs; nodes learn it when their agent starts
    #[arg(long, visible_alias = "service-cluster-ip-range", value_name = "CIDR", default_value = DEFAULT_SERVICE_CIDR)]
    pub service_cidr: ServiceCidr,
    /// Number of simulated agents, which report tasks as running and run nothing, for load tests
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub hollow_nodes: u32,
    /// Weights of roles for fair sharing: ROLE=WEIGHT[,…]
    #[arg(long, value_name = "WEIGHTS", default_value = "", value_parser = weights)]
    pub weights: Weights,
    /// File with a KubeSchedulerConfiguration: profiles and their plugins [default: one profile, default-scheduler]
    #[arg(long, value_name = "PATH")]
    pub scheduler_config: Option<PathBuf>,
    /// File with an AdmissionConfiguration: Pod Security's defaults and exemptions [default: privileged, none exempt]
    #[arg(long, value_name = "PATH")]
    pub admission_control_config_file: Option<PathBuf>,
    /// Let clients without credentials run tasks as root, too
    #[arg(long, requires = "mesos_anonymous")]
    pub mesos_anonymous_root: bool,
    /// Seconds for which a join token is valid; the file join-token has a new one after half of that time
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = seconds)]
    pub join_token_ttl: Duration,
    /// Seconds between heartbeats on Mesos streams
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub heartbeat_interval: Duration,
    /// Seconds until an unanswered offer is rescinded; 0 means never
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds_or_zero)]
    pub offer_timeout: Duration,
    /// Seconds for which a role with demand may miss what its quota guarantees to it, until tasks of others end for it; 0 means never
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds_or_zero)]
    pub preempt_after: Duration,
    /// Seconds between pings of an agent; after five missed pings it is unreachable
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub agent_ping_timeout: Duration,
    #[command(flatten)]
    pub encryption: EncryptionArguments,
    #[command(flatten)]
    pub authentication: AuthenticationArguments,
    /// File to append audit events to; '-' is standard output [default: no audit log]
    #[arg(long, value_name = "FILE", requires = "audit_policy_file")]
    pub audit_log_path: Option<PathBuf>,
    /// Policy of audit.k8s.io/v1 that says which requests are recorded
    #[arg(long, value_name = "FILE", requires = "audit_log_path")]
    pub audit_policy_file: Option<PathBuf>,
    /// What happens when the audit log cannot keep up: 'blocking' makes requests wait, 'batch' drops events
    #[arg(long, value_name = "MODE", default_value = "blocking", value_parser = audit_mode)]
    pub audit_log_mode: AuditMode,
    /// Megabytes of the audit log before a new file is begun; 0 means any size
    #[arg(long, value_name = "MEGABYTES", default_value = "100")]
    pub audit_log_maxsize: u32,
    /// Number of old audit logs to keep; 0 means all
    #[arg(long, value_name = "FILES", default_value = "100")]
    pub audit_log_maxbackup: u32,
    /// Days that old audit logs are kept; 0 means for ever
    #[arg(long, value_name = "DAYS", default_value = "366")]
    pub audit_log_maxage: u32,
}

/// A name in a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectName {
    /// A host name; its first label may be `*`.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

/// Parses a host name (RFC 1123) or an address.
fn subject_name(text: &str) -> Result<SubjectName, String> {
    if let Ok(address) = text.parse() {
        return Ok(SubjectName::Ip(address));
    }
    let label = |label: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host = text.strip_prefix("*.").unwrap_or(text);
    // A number as the last label is an address that has not been read as one.
    let number = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if text.len() > 253 || !host.split('.').all(label) || number {
        return Err("expected a host name or an IP address".to_owned());
    }
    Ok(SubjectName::Dns(text.to_ascii_lowercase()))
}

/// Parses the mode of a file that its owner can read, in octal.
fn octal_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 && mode & 0o400 != 0 => Ok(mode),
        _ => Err("expected the mode of a file that its owner can read, for example 600 or 644".to_owned()),
    }
}

/// Parses a mode of the audit log.
fn audit_mode(text: &str) -> Result<AuditMode, String> {
    match text {
        "blocking" => Ok(AuditMode::Blocking),
        "batch" => Ok(AuditMode::Batch),
        _ => Err("give 'blocking' or 'batch'".to_owned()),
    }
}

/// Weights by role.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weights(pub Vec<(String, f64)>);

/// Parses `ROLE=WEIGHT[,…]`.
fn weights(text: &str) -> Result<Weights, String> {
    let one = |part: &str| {
        let (role, weight) = part.split_once('=').ok_or("expected ROLE=WEIGHT[,…]")?;
        match weight.parse::<f64>() {
            Ok(weight) if weight.is_finite() && weight > 0.0 => Ok((role.to_owned(), weight)),
            _ => Err(format!("invalid weight '{weight}': expected a number greater than zero")),
        }
    };
    text.split(',').filter(|part| !part.is_empty()).map(one).collect::<Result<_, String>>().map(Weights)
}

/// Flags about the clients of the Mesos APIs.
#[derive(Debug, Clone, Args)]
pub struct MesosArguments {
    /// File with the principals and secrets of the Mesos API, in Mesos' form [default: mesos-credentials in the data
    /// directory, generated]
    #[arg(long, visible_alias = "credentials", value_name = "PATH")]
    pub mesos_credentials: Option<PathBuf>,
    /// File with Mesos ACLs in JSON ('run_tasks' and 'permissive'): the users that principals may run tasks and containers as
    #[arg(long, visible_alias = "acls", value_name = "PATH")]
    pub mesos_acls: Option<PathBuf>,
    /// Open the Mesos API to clients without credentials, who run tasks as unprivileged users
    #[arg(long)]
    pub mesos_anonymous: bool,
    /// Accept executors without a token, for client libraries that send none
    #[arg(long)]
    pub mesos_anonymous_executors: bool,
}

/// Arguments of `up`.
#[derive(Debug, Clone, Args)]
pub struct Up {
    /// Do not add the cluster to ~/.kube/config of the user who started it (with sudo, of the user who called sudo)
    #[arg(long)]
    pub no_merge: bool,
    #[command(flatten)]
    pub server: ServerArguments,
    #[command(flatten)]
    pub agent: AgentArguments,
    #[command(flatten)]
    pub mesos: MesosArguments,
}

/// Arguments of `server`.
#[derive(Debug, Clone, Args)]
pub struct Server {
    #[command(flatten)]
    pub server: ServerArguments,
    #[command(flatten)]
    pub mesos: MesosArguments,
}

/// Arguments of `join-token`.
#[derive(Debug, Clone, Args)]
pub struct JoinTokenArguments {
    /// Data directory of the server, which may be running
    #[arg(long, value_name = "DIR", default_value = "/var/lib/catamaran")]
    pub data_dir: PathBuf,
    /// Withdraw all tokens and create a new one
    #[arg(long)]
    pub rotate: bool,
    /// Seconds for which a new token is valid
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = seconds)]
    pub join_token_ttl: Duration,
}

/// Arguments of `agent`.
#[derive(Debug, Clone, Args)]
pub struct Agent {
    /// Mesos address of the server
    #[arg(long, value_name = "HOST:PORT")]
    pub master: String,
    /// Join token from the file join-token in the server's data directory; needed for the first start only. Other users of
    /// this machine can read it: --token-file and the environment variable CATAMARAN_JOIN_TOKEN are safer
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// File with the join token
    #[arg(long, value_name = "PATH", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Directory of the agent's checkpoint, certificate, containers and logs
    #[arg(long, value_name = "DIR", default_value = "/var/lib/catamaran-agent")]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub agent: AgentArguments,
    #[command(flatten)]
    pub mesos: MesosArguments,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_address_may_have_a_name() {
        assert_eq!(listen_address("localhost:6443"), Ok(SocketAddr::from(([127, 0, 0, 1], 6443))));
        assert_eq!(listen_address("[::1]:6443").map(|address| address.port()), Ok(6443));
        for wrong in [
            "6443",
            "localhost",
            ":6443",
            "localhost:x",
            "localhost:65536",
            "no.such.host.invalid:1",
            "127.0.0.1:0",
        ] {
            assert!(listen_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_of_the_certificate_is_a_host_or_an_address() {
        assert_eq!(subject_name("192.0.2.1"), Ok(SubjectName::Ip([192, 0, 2, 1].into())));
        assert_eq!(subject_name("Api.Example.org"), Ok(SubjectName::Dns("api.example.org".to_owned())));
        assert!(subject_name("*.example.org").is_ok());
        for wrong in ["", "a b", "-a", "a..b", "192.0.2.300", "*", "https://a", "a_b"] {
            assert!(subject_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_neither_too_short_nor_too_long() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds_or_zero("0"), Ok(Duration::ZERO));
        for wrong in ["", "0", "-1", "0.001", "1e10", "1e300", "inf", "nan", "5s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mode_is_octal_and_readable() {
        assert_eq!(octal_mode("644"), Ok(0o644));
        assert_eq!(octal_mode("0600"), Ok(0o600));
        for wrong in ["", "8", "000", "1777", "rw", "-1"] {
            assert!(octal_mode(wrong).is_err(), "{wrong}");
        }
    }
}
