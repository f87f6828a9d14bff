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
    preflight::need_root("agent")?;
    preflight::need_ports(&[("--agent-listen", arguments.agent.agent_listen)])?;
    let data = DataDirectory::open(&arguments.data_dir)?;
    runtime::block_on(async move {
        let progress = Progress::start();
        let name = node::name(&arguments.agent)?;
        let ip = node::advertised(&arguments.agent);
        let files = NodeFiles::below(data.path());
        if !files.joined() {
            progress.doing(&format!("joining the cluster at {}", arguments.master));
            let Some(token) = &arguments.token else {
                bail!(
                    "this machine has not joined yet: give --token with what the server wrote to join-token"
                );
            };
            node::join(&files, &arguments.master, token, &name, ip).await?;
        }
        let dialer = TlsDialer { master: arguments.master.clone(), tls: files.client_tls()? };
        let mut agent = start(&data, &files, &arguments.agent, Arc::new(dialer), &progress).await?;
        let mut signals = runtime::Signals::listen()?;
        admitted(&agent, &progress).await;
        progress.finish(&format!("ready: {name} runs Pods and tasks for {}", arguments.master));
        tokio::select! {
            () = signals.wait() => {}
            why = agent.ended() => bail!("{why}"),
        }
        stop(agent).await;
        Ok(())
    })
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
        && let Some(missing) = preflight::missing_runtime()
    {
        progress.note(&format!("warning: {missing}"));
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

/// Waits until the master has admitted the agent.
pub async fn admitted(agent: &AgentHandle, progress: &Progress) {
    let mut noticed = false;
    let start = tokio::time::Instant::now();
    while agent.id().await.is_none() {
        if !noticed && start.elapsed() > ADMISSION_NOTICE {
            noticed = true;
            progress.note("still waiting for the master to admit this agent");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Stops the agent and all that it runs, and says what is waited for.
pub async fn stop(agent: AgentHandle) {
    println!("stopping: Pods and tasks of this machine end first");
    let progress = agent.progress();
    let ended = agent.shutdown(ShutdownKind::StopTasks);
    tokio::pin!(ended);
    loop {
        tokio::select! {
            _ = &mut ended => return,
            () = tokio::time::sleep(Duration::from_secs(3)) => {
                if let Some((tasks, executors)) = progress.still_running().await {
                    println!("stopping: {tasks} tasks and {executors} executors still run");
                }
            }
        }
    }
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
