//! `catamaran agent`: a machine that joins a server; and the executors that agents start.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use kernel::{
    agent::{AgentHandle, ShutdownKind},
    agent_link::{Dialer, TlsDialer},
};

use crate::{
    arguments::{Agent, AgentArguments},
    cgroup_mounts,
    data_directory::DataDirectory,
    images,
    node::{self, NodeFiles},
    preflight,
    progress::Progress,
    runtime,
};

/// How long an agent may take to be admitted before we say that it is still waiting.
const ADMISSION_NOTICE: Duration = Duration::from_secs(5);

/// `catamaran agent`.
pub fn run(arguments: Agent) -> anyhow::Result<()> {
    runtime::block_on(async move {
        let mut signals = runtime::Signals::listen()?;
        preflight::need_root("agent")?;
        preflight::need_ports(&[("--agent-listen", arguments.agent.agent_listen)])?;
        let data = DataDirectory::open(&arguments.data_dir)?;
        let progress = Progress::start();
        let name = node::name(&arguments.agent)?;
        let files = NodeFiles::below(data.path());
        tokio::select! {
            joined = join(&files, &arguments, &name, &progress) => joined?,
            () = signals.wait() => return clear(&files, &mut signals).await,
        }
        let dialer = TlsDialer { master: arguments.master.clone(), tls: files.client_tls()? };
        let mut agent = start(&data, &files, &arguments.agent, Arc::new(dialer), &progress).await?;
        let ready = format!("ready: {name} runs Pods and tasks for {}", arguments.master);
        serve(&mut agent, progress, &ready, &mut signals, std::future::pending()).await?;
        stop(agent, &files, &mut signals).await
    })
}

async fn join(files: &NodeFiles, arguments: &Agent, name: &str, progress: &Progress) -> anyhow::Result<()> {
    if files.joined() {
        return Ok(());
    }
    progress.doing(&format!("joining the cluster at {}", arguments.master));
    let Some(token) = &arguments.token else {
        bail!("this machine has not joined yet: give --token with what the server wrote to join-token");
    };
    node::join(files, &arguments.master, token, name, node::advertised(&arguments.agent)).await
}

/// Says that all is ready once the agent is admitted, and returns when it is to be stopped. An agent that ends by itself is
/// an error, and so is what `failed` tells: what runs on this machine goes on, as after a crash.
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

/// Starts the agent of this machine.
pub async fn start(
    data: &DataDirectory,
    files: &NodeFiles,
    arguments: &AgentArguments,
    dialer: Arc<dyn Dialer>,
    progress: &Progress,
) -> anyhow::Result<AgentHandle> {
    let name = node::name(arguments)?;
    files.write_config(&name, node::advertised(arguments), arguments)?;
    if arguments.example_images {
        progress.doing("building the example's images");
        images::build_examples(&files.root.join("images"))?;
    }
    if arguments.cri_endpoint.is_none()
        && let Some(missing) = preflight::missing_packages()
    {
        progress.note(&format!(
            "warning: this machine lacks what containers need, so Pods wait; on Debian install with: apt-get install {missing}"
        ));
    }
    if arguments.cri_endpoint.is_none()
        && let Some(interface) = kubelet_executor::pod_network_taken_by(&files.read_config()?)
    {
        progress.note(&format!(
            "warning: {} is routed to {interface} already, so Pods here will not be reached; is another cluster up? \
             Give another --pod-cidr",
            arguments.pod_cidr
        ));
    }
    if let Err(error) = cgroup_mounts::restore() {
        progress.note(&format!("warning: Pods will not start without control groups: {error:#}"));
    }
    progress.doing("starting the agent");
    let options = node::agent_options(data.path(), files, arguments)?;
    Ok(kernel::agent::start(options, dialer).await?)
}

/// Waits until the master has admitted the agent; false if the agent ends before.
async fn admitted(agent: &AgentHandle, progress: &Progress) -> bool {
    let mut noticed = false;
    let start = tokio::time::Instant::now();
    while agent.id().await.is_none() {
        if agent.progress().still_running().await.is_none() {
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

/// Stops the agent and all that it runs, says what is waited for, and leaves the machine as it was before. A second signal
/// kills what the first one asked to end.
pub async fn stop(
    agent: AgentHandle,
    files: &NodeFiles,
    signals: &mut runtime::Signals,
) -> anyhow::Result<()> {
    println!("stopping: Pods and tasks of this machine end first");
    let progress = agent.progress();
    let ended = agent.shutdown(ShutdownKind::StopTasks);
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => break,
            () = signals.wait() => {
                println!("stopping at once: what still runs is killed");
                progress.shutdown_now().await;
            }
            () = tokio::time::sleep(Duration::from_secs(3)) => {
                if let Some((tasks, executors)) = progress.still_running().await {
                    println!("stopping: {tasks} tasks and {executors} executors still run (once more Ctrl-C kills them)");
                }
            }
        }
    }
    clear(files, signals).await
}

/// Ends what the executor could not end, or an executor that a crash left here, and says what withstood.
pub async fn clear(files: &NodeFiles, signals: &mut runtime::Signals) -> anyhow::Result<()> {
    // Where no executor was ever configured, none has run.
    let Ok(config) = files.read_config() else { return Ok(()) };
    let left = tokio::select! {
        left = kubelet_executor::clear_node(&config) => left,
        () = signals.wait() => kubelet_executor::find_remains(&config),
    };
    if left.is_empty() {
        return Ok(());
    }
    for remnant in &left {
        println!("left on this machine: {remnant}");
    }
    bail!(
        "this machine could not be cleared of everything; the lines above say what is left. Starting and stopping again with \
         the same --data-dir removes it as well"
    )
}

/// `catamaran executor`: carries the Pods of a machine.
pub fn run_executor() -> anyhow::Result<()> {
    let config = kubelet_executor::Config::from_environment()?;
    runtime::block_on(async move {
        kubelet_executor::run(config).await.context("the executor failed")?;
        Ok(())
    })
}

/// `catamaran command-executor`: runs one command task.
pub fn run_command_executor() -> ExitCode {
    kernel::command_executor::run()
}
