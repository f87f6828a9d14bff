//! Arguments of the verbs that look at a cluster or look after it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::output::OutputFormat;

/// Arguments of `images`.
#[derive(Debug, Clone, Subcommand)]
pub enum ImagesVerb {
    /// Import the images of archives: of `docker save`, `podman save`, or the OCI's, also compressed with gzip
    Import(ImportImages),
    /// List the images of this machine's node
    List(ListImages),
}

/// Which node, and how to report.
#[derive(Debug, Clone, Args)]
pub struct NodeArguments {
    /// Data directory of the running `up` or `agent` [default: that of this machine]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Format of the report
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// Arguments of `images import`.
#[derive(Debug, Clone, Args)]
pub struct ImportImages {
    /// Archives; '-' is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub node: NodeArguments,
}

/// Arguments of `images list`.
#[derive(Debug, Clone, Args)]
pub struct ListImages {
    #[command(flatten)]
    pub node: NodeArguments,
}

/// Arguments of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArguments {
    #[command(flatten)]
    pub node: NodeArguments,
}

/// What `explain` explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Explained {
    /// A Pod, by its name or NAMESPACE/NAME
    Pod,
    /// A task, by its id; that of a Pod is the Pod's UID
    Task,
    /// A framework, by its id or name
    Framework,
    /// A role
    Role,
}

/// Arguments of `explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArguments {
    /// What to explain
    #[arg(value_enum, value_name = "KIND")]
    pub kind: Explained,
    /// Its name
    pub name: String,
    /// Namespace of the Pod
    #[arg(long, short, value_name = "NAME", default_value = "default")]
    pub namespace: String,
    /// Mesos address of the master [default: that of the cluster on this machine]
    #[arg(long, value_name = "HOST:PORT")]
    pub master: Option<String>,
    /// File with the credentials of the Mesos API [default: that of the cluster on this machine]
    #[arg(long, value_name = "PATH")]
    pub mesos_credentials: Option<PathBuf>,
    /// Kubeconfig for the Pod [default: that of the cluster on this machine]
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub node: NodeArguments,
}

/// Arguments of `backup`.
#[derive(Debug, Clone, Args)]
pub struct BackupArguments {
    /// File to write; '-' is standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Data directory of the server, which may be running [default: that of this machine]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Format of the report
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// Arguments of `restore`.
#[derive(Debug, Clone, Args)]
pub struct RestoreArguments {
    /// File that `backup` has written; '-' is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Data directory to create, or an empty one
    #[arg(long, value_name = "DIR", default_value = "/var/lib/catamaran")]
    pub data_dir: PathBuf,
    /// Format of the report
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// Arguments of `uninstall`.
#[derive(Debug, Clone, Args)]
pub struct UninstallArguments {
    /// Data directory to remove, with everything on the machine that belongs to it [default: that of this machine]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Remove it; without this, only what would be removed is listed
    #[arg(long)]
    pub yes: bool,
    /// Format of the report
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    /// Command with its arguments; one argument alone is a line for the shell
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    /// CPUs of the task
    #[arg(long, value_name = "N", default_value_t = 0.1)]
    pub cpus: f64,
    /// Memory of the task in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32.0)]
    pub mem: f64,
    /// Mesos address of the master [default: that of the cluster on this machine]
    #[arg(long, value_name = "HOST:PORT")]
    pub master: Option<String>,
    /// File with the credentials of the Mesos API [default: that of the cluster on this machine]
    #[arg(long, value_name = "PATH")]
    pub mesos_credentials: Option<PathBuf>,
    /// File with the credentials of the agents, which read the task's output [default: those of the master, or of the agent on
    /// this machine]
    #[arg(long, value_name = "PATH")]
    pub agent_credentials: Option<PathBuf>,
    /// Name of the task and its framework
    #[arg(long, value_name = "NAME", default_value = "run")]
    pub name: String,
    /// Role whose resources the task uses
    #[arg(long, value_name = "ROLE", default_value = "*")]
    pub role: String,
    /// User of the task [default: the user that calls this]
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Environment variable of the task; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
    /// Host name of the agent to run on [default: any]
    #[arg(long, value_name = "HOST")]
    pub on: Option<String>,
    #[command(flatten)]
    pub node: NodeArguments,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
