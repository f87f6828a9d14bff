//! `catamaran agent`: joins a server and runs this machine's agent; and the hidden verbs of the executors that agents start.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use kernel::{
    agent::AgentHandle,
    agent_link::{AddressRange, Dialer, TlsDialer},
};
use kernel_model::resources::Attribute;

use crate::{
    arguments::{Agent, node::AgentArguments},
    cgroup_mounts,
    data_directory::{DataDirectory, running::RunningProcess},
    example_images, flags,
    mesos_access::MesosAccess,
    node::{self, NodeFiles},
    pod_network::{Network, Source},
    preflight::{self, Listener},
    progress::Progress,
    renewal::{self, Signer},
    runtime, stop,
};

/// How long admission may take before a line says that the agent is still waiting.
const ADMISSION_NOTICE: Duration = Duration::from_secs(5);
/// The environment variable with the join token.
const JOIN_TOKEN_VARIABLE: &str = "CATAMARAN_JOIN_TOKEN";
/// How often an executor without a Pod CIDR reads its configuration again.
const CONFIG_READ_EVERY: Duration = Duration::from_secs(1);

/// `catamaran agent`.
pub fn run(arguments: Agent) -> anyhow::Result<()> {
    runtime::block_on(async move {
        let mut signals = runtime::Signals::listen()?;
        flags::check(&arguments.agent)?;
        preflight::need_root("agent")?;
        preflight::need_ports(&[("--agent-listen", arguments.agent.agent_listen)])?;
        let data = DataDirectory::open(&arguments.data_dir)?;
        let progress = Progress::start();
        let name = node::name(&arguments.agent)?;
        let files = NodeFiles::below(data.path());
        let mesos = MesosAccess::open(&data, &arguments.mesos, false)?;
        tokio::select! {
            joined = join(&files, &arguments, &name, &progress) => joined?,
            () = signals.wait() => return stop::clear(&files, &mut signals).await,
        }
        let source = Source::Remote(arguments.master.clone(), files.client_tls()?);
        let network = tokio::select! {
            network = obtain_network(source, &files, &arguments.agent, &progress) => network?,
            () = signals.wait() => return stop::clear(&files, &mut signals).await,
        };
        let dialer = Arc::new(TlsDialer { master: arguments.master.clone(), tls: files.tls_source() });
        let mut agent = start(&data, &files, &arguments.agent, &mesos, network, dialer, &progress).await?;
        progress.note(&format!("credentials of the Mesos API: {}", mesos.file.display()));
        mesos.warn_if_anonymous(&[arguments.agent.agent_listen], &progress);
        preflight::tell_listeners(&listeners(&arguments.agent), &progress);
        let ip = node::advertised(&arguments.agent);
        let signer = Signer::Remote(arguments.master.clone());
        tokio::spawn(renewal::keep_node_certificate(signer, files.clone(), name.clone(), ip));
        let process = RunningProcess {
            master: Some(arguments.master.clone()),
            agent: Some(agent.reachable_at()),
            node: Some(name.clone()),
            ..RunningProcess::new("agent", &mesos.file)
        };
        process.write(&data)?;
        let ready = format!("ready: {name} runs Pods and tasks for {}", arguments.master);
        serve(&mut agent, progress, &ready, &mut signals, std::future::pending()).await?;
        stop::stop(agent, &files, &mut signals).await
    })
}

async fn join(files: &NodeFiles, arguments: &Agent, name: &str, progress: &Progress) -> anyhow::Result<()> {
    if files.joined() && !renewal::has_ended(files) {
        return Ok(());
    }
    progress.doing(&format!("joining the cluster at {}", arguments.master));
    let Some(token) = join_token(arguments)? else {
        bail!(
            "this machine has not joined yet, or its certificate has ended: give what the server wrote to join-token with --token-file, \
             {JOIN_TOKEN_VARIABLE} or --token"
        );
    };
    node::join(files, &arguments.master, &token, name, node::advertised(&arguments.agent)).await
}

/// What an agent and its executor of Pods listen on.
pub fn listeners(arguments: &AgentArguments) -> [Listener; 2] {
    let name = "the node's server for logs and exec (TLS)";
    [
        Listener::at("the agent's Mesos API (plain HTTP)", arguments.agent_listen),
        Listener { name, ip: node::advertised(arguments), port: None },
    ]
}

/// The join token, from where it was given.
fn join_token(arguments: &Agent) -> anyhow::Result<Option<String>> {
    if let Some(path) = &arguments.token_file {
        let token = std::fs::read_to_string(path)
            .with_context(|| format!("--token-file: cannot read {}", path.display()))?;
        return Ok(Some(token.trim().to_owned()));
    }
    let variable = || std::env::var(JOIN_TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
    Ok(arguments.token.clone().or_else(variable))
}

/// Prints `ready` once the master has admitted the agent, and returns on a signal. An agent that ends by itself and a part
/// that `failed` reports are errors; in that case Pods and tasks keep running, as after a crash.
pub async fn serve(
    agent: &mut AgentHandle,
    progress: Progress,
    ready: &str,
    signals: &mut runtime::Signals,
    failed: impl Future<Output = String>,
) -> anyhow::Result<()> {
    tokio::pin!(failed);
    let admitted = tokio::select! {
        admitted = admitted(agent, &progress) => admitted,
        () = signals.wait() => return Ok(()),
        why = &mut failed => bail!("{why}"),
    };
    if admitted {
        progress.finish(ready);
    }
    tokio::select! {
        () = signals.wait() => Ok(()),
        why = agent.ended() => bail!("{why}"),
        why = &mut failed => bail!("{why}"),
    }
}

/// Requests this machine's Pod CIDR, for as long as the server does not answer.
pub async fn obtain_network(
    source: Source,
    files: &NodeFiles,
    arguments: &AgentArguments,
    progress: &Progress,
) -> anyhow::Result<Network> {
    let previous = files.read_config().ok();
    let addresses = source.obtain(arguments.pod_cidr, previous, progress).await?;
    Ok(Network { source, addresses })
}

/// Starts the agent of this machine.
pub async fn start(
    data: &DataDirectory,
    files: &NodeFiles,
    arguments: &AgentArguments,
    mesos: &MesosAccess,
    network: Network,
    dialer: Arc<dyn Dialer>,
    progress: &Progress,
) -> anyhow::Result<AgentHandle> {
    let name = node::name(arguments)?;
    let beside_server = matches!(network.source, Source::Local(..));
    let virtual_ranges = network.addresses.virtual_ranges;
    let pod_cidr = match network.addresses.range {
        AddressRange::Assigned(cidr) => Some(cidr),
        AddressRange::Exhausted(why) => {
            progress.note(&format!("warning: no Pods run on this machine: {why}"));
            configure_later(network.source, &name, files, arguments, virtual_ranges.clone());
            None
        }
    };
    files.write_config(&name, arguments, pod_cidr.as_deref(), &virtual_ranges)?;
    if arguments.example_images {
        progress.doing("building the example's images");
        example_images::build_examples(&files.root.join("images"))?;
    }
    if arguments.cri_endpoint.is_none()
        && let Some(missing) = preflight::missing_packages()
    {
        progress.note(&format!(
            "warning: Pods cannot run on this machine: packages are missing; on Debian: apt-get install {missing}"
        ));
    }
    if let (None, Some(cidr)) = (&arguments.cri_endpoint, &pod_cidr)
        && let Some(interface) = kubelet_executor::conflicting_interface(&files.read_config()?).await
    {
        progress.note(&format!(
            "warning: {cidr} is already routed to {interface}, so Pods on this machine will not be reachable; is another \
             cluster running here? Set another --pod-cidr"
        ));
    }
    if let Err(error) = cgroup_mounts::restore() {
        progress
            .note(&format!("warning: control groups are not available, so Pods will not start: {error:#}"));
    }
    progress.doing("starting the agent");
    let mut options = node::agent_options(data.path(), files, arguments, pod_cidr.as_deref())?;
    options.access = mesos.access.clone();
    options.run_as = mesos.run_as.clone();
    if beside_server {
        options.attributes.push(Attribute::text(node::CONTROL_PLANE_ATTRIBUTE, "true"));
    }
    Ok(kernel::agent::start(options, dialer).await?)
}

/// Writes the executor's configuration again once a Pod CIDR is free. The server has no Pods for this machine until then.
fn configure_later(
    source: Source,
    name: &str,
    files: &NodeFiles,
    arguments: &AgentArguments,
    virtual_ranges: Vec<String>,
) {
    let (name, files, arguments) = (name.to_owned(), files.clone(), arguments.clone());
    tokio::spawn(async move {
        let cidr = source.wait_until_assigned().await;
        if let Err(error) = files.write_config(&name, &arguments, Some(&cidr), &virtual_ranges) {
            tracing::error!(%error, cidr, "the assigned Pod CIDR cannot be stored");
        }
    });
}

/// Waits until the master has admitted the agent; `false` if the agent ends first.
async fn admitted(agent: &AgentHandle, progress: &Progress) -> bool {
    let mut noticed = false;
    let start = tokio::time::Instant::now();
    while agent.id().await.is_none() {
        if agent.progress().waits_for().await.is_none() {
            return false;
        }
        if !noticed && start.elapsed() > ADMISSION_NOTICE {
            noticed = true;
            progress.note("still waiting for the master to admit this agent");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

/// `catamaran executor`: runs the Pods of this machine.
pub fn run_executor() -> anyhow::Result<()> {
    let mut config = kubelet_executor::Config::from_environment()?;
    runtime::block_on(async move {
        // No Pod is launched on a node without a Pod CIDR, so the agent is about to write one.
        while config.pod_cidr.is_none() && config.cri_endpoint.is_none() {
            tokio::time::sleep(CONFIG_READ_EVERY).await;
            config = kubelet_executor::Config::from_environment()?;
        }
        kubelet_executor::run(config).await.context("the executor failed")?;
        Ok(())
    })
}
