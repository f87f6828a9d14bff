//! `catamaran up`: a server and one agent in one process.

use std::sync::Arc;

use kernel::agent_link::JoinRequest;
use shim_pki::{NodeRequest, authority};

use crate::{
    agent,
    arguments::Up,
    data_directory::{DataDirectory, running::RunningProcess},
    flags,
    mesos_access::MesosAccess,
    node::{self, NodeFiles},
    pod_network::Source,
    preflight,
    progress::Progress,
    ready,
    renewal::{self, Signer},
    runtime,
    server::{self, Authority, Running},
    stop,
    user_kubeconfig::UserKubeconfig,
};

/// `catamaran up`.
pub fn run(arguments: Up) -> anyhow::Result<()> {
    runtime::block_on(async move {
        let mut signals = runtime::Signals::listen()?;
        flags::check(&arguments.agent)?;
        preflight::need_root("up")?;
        preflight::need_ports(&[
            ("--api-listen", arguments.server.api_listen),
            ("--mesos-listen", arguments.server.mesos_listen),
            ("--agent-listen", arguments.agent.agent_listen),
        ])?;
        let data = DataDirectory::open(&arguments.server.data_dir)?;
        start_and_serve(&data, &arguments, &mut signals).await
    })
}

async fn start_and_serve(
    data: &DataDirectory,
    arguments: &Up,
    signals: &mut runtime::Signals,
) -> anyhow::Result<()> {
    let progress = Progress::start();
    let files = NodeFiles::below(data.path());
    let mesos = MesosAccess::open(data, &arguments.mesos, arguments.server.mesos_anonymous_root)?;
    let user = if arguments.no_merge { None } else { UserKubeconfig::of_caller() };
    let mut running = tokio::select! {
        running = server::start(data, &arguments.server, &mesos, user, &progress) => running?,
        // An earlier run may have been killed and its Pods may still run here.
        () = signals.wait() => return stop::clear(&files, signals).await,
    };
    let authority = admit(&running, &files, arguments)?;
    let name = node::name(&arguments.agent)?;
    let ip = node::advertised(&arguments.agent);
    let renewed = renewal::keep_node_certificate(Signer::Local(authority), files.clone(), name, ip);
    let renewal = tokio::spawn(renewed);
    let dialer = Arc::new(running.master.attach_agent());
    let source = Source::Local(running.ranges.clone(), node::name(&arguments.agent)?);
    let network = tokio::select! {
        network = agent::obtain_network(source, &files, &arguments.agent, &progress) => network?,
        () = signals.wait() => return stop::clear(&files, signals).await,
    };
    let mut agent = agent::start(data, &files, &arguments.agent, &mesos, network, dialer, &progress).await?;
    mesos.warn_if_anonymous(&[arguments.server.mesos_listen, arguments.agent.agent_listen], &progress);
    preflight::tell_listeners(&server::listeners(&arguments.server), &progress);
    preflight::tell_listeners(&agent::listeners(&arguments.agent), &progress);
    let process = server::running_process("up", &running, &arguments.server, &mesos);
    let process = RunningProcess {
        agent: Some(agent.reachable_at()),
        node: Some(node::name(&arguments.agent)?),
        ..process
    };
    process.write(data)?;
    let ready = ready::of_cluster(&running, arguments, &mesos.file, data).to_string();
    agent::serve(&mut agent, progress, &ready, signals, running.failed()).await?;
    renewal.abort();
    let stopped = stop::stop(agent, &files, signals).await;
    stop::stop_server(running, signals).await?;
    stopped
}

/// Issues this machine's certificate, at each start, since the API's address may have changed.
fn admit(running: &Running, files: &NodeFiles, arguments: &Up) -> anyhow::Result<Authority> {
    let name = node::name(&arguments.agent)?;
    let NodeRequest { csr, key } = authority::node_request(&name)?;
    let addresses = vec![node::advertised(&arguments.agent)];
    let request = JoinRequest { token: String::new(), node_name: name, addresses, csr };
    let authority = Authority {
        pki: Arc::clone(&running.pki),
        api_url: running.api_url.clone(),
        ranges: running.ranges.clone(),
    };
    files.write_joined(&authority.sign(&request)?, &key)?;
    Ok(authority)
}
