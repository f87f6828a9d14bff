//! `catamaran server`: starts and wires store, master, API server, controllers and scheduler.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::SystemTime};

use anyhow::{Context, bail};
use apiserver_shim::{
    auth::{
        audit::{AuditOptions, Policy, PolicyError, Rotation},
        authentication::TokenKey,
    },
    pipeline::admission::AdmissionConfiguration,
    scheduler::{SchedulerConfiguration, read_configuration},
    server::{
        ApiHandle, ApiOptions,
        certificate_signer::ClusterSigner,
        runners::{self, RunnersHandle, RunnersOptions},
    },
    storage::pod_cidrs::{ClusterCidr, InvalidCidr, PodCidrs},
};
use kernel::{
    agent_link::{AddressRangeError, Addresses, JoinAuthority, JoinRefusal, JoinRequest, Joined},
    hollow::HollowHandle,
    server::{AgentEndpoint, MasterHandle, MasterOptions},
};
use shim_pki::{JoinTokens, Pki, ServerNames, directory, identity};
use store::{EmbeddedStore, EtcdConfig, EtcdStore, MemoryStore, Store};
use tokio::task::JoinHandle;
use transport::tls;

use crate::{
    announcement::{self, Announcement},
    arguments::{JoinTokenArguments, Server, ServerArguments, StoreChoice, SubjectName},
    build, console,
    control::{self, ControlSocket},
    data_directory::{DataDirectory, running::RunningProcess},
    flag_values, hollow,
    mesos_access::MesosAccess,
    pod_network::Ranges,
    preflight::{self, Listener},
    progress::Progress,
    ready,
    renewal::{JOIN_TOKEN_FILE, ServerFiles},
    runtime,
    security::{self, EncryptedStore},
    stop,
    user_kubeconfig::UserKubeconfig,
};

/// A running control plane.
pub struct Running {
    pub(crate) master: MasterHandle,
    pub(crate) api: ApiHandle,
    pub(crate) pki: Arc<Pki>,
    pub(crate) ranges: Ranges,
    /// Base URL of the Kubernetes API.
    pub api_url: String,
    pub(crate) kubeconfigs: Kubeconfigs,
    runners: RunnersHandle,
    hollow: Option<HollowHandle>,
    renewal: JoinHandle<()>,
    encryption: Option<JoinHandle<()>>,
    _announcement: Option<Announcement>,
    _control: ControlSocket,
}

/// `catamaran server`.
pub fn run(arguments: Server) -> anyhow::Result<()> {
    let (server, mesos) = (arguments.server, arguments.mesos);
    preflight::need_ports(&[("--api-listen", server.api_listen), ("--mesos-listen", server.mesos_listen)])?;
    let data = DataDirectory::open(&server.data_dir)?;
    runtime::block_on(async move {
        let mut signals = runtime::Signals::listen()?;
        let progress = Progress::start();
        let access = MesosAccess::open(&data, &mesos, server.mesos_anonymous_root)?;
        let mut running = tokio::select! {
            running = start(&data, &server, &access, None, &progress) => running?,
            () = signals.wait() => return Ok(()),
        };
        access.warn_if_anonymous(&[server.mesos_listen], &progress);
        preflight::tell_listeners(&listeners(&server), &progress);
        running_process("server", &running, &server, &access).write(&data)?;
        progress.finish(&ready::of_server(&running, &server, &access.file, &data).to_string());
        let failed = tokio::select! {
            why = running.failed() => Some(why),
            () = signals.wait() => None,
        };
        let stopped = stop::stop_server(running, &mut signals).await;
        failed.map_or(stopped, |why| bail!("{why}"))
    })
}

/// `catamaran join-token`: the server reads the tokens for each join, so it need not be restarted.
pub fn print_join_token(arguments: &JoinTokenArguments) -> anyhow::Result<()> {
    let certificate = arguments.data_dir.join("pki/ca.crt");
    let authority = std::fs::read_to_string(&certificate)
        .with_context(|| format!("there is no cluster here: cannot read {}", certificate.display()))?;
    let tokens = JoinTokens::new(&arguments.data_dir, &authority)?;
    let token = match arguments.rotate {
        true => tokens.rotate(SystemTime::now(), arguments.join_token_ttl)?,
        false => tokens.current(SystemTime::now(), arguments.join_token_ttl)?,
    };
    directory::write_private(&arguments.data_dir.join(JOIN_TOKEN_FILE), &format!("{token}\n"))?;
    console::line(&token.to_string());
    Ok(())
}

/// What a control plane serves.
pub fn running_process(
    verb: &str,
    running: &Running,
    arguments: &ServerArguments,
    mesos: &MesosAccess,
) -> RunningProcess {
    let listen = arguments.mesos_listen;
    let master = SocketAddr::new(preflight::advertised(listen), listen.port());
    RunningProcess {
        api: Some(running.api_url.clone()),
        kubeconfig: Some(running.kubeconfigs.path.clone()),
        master: Some(master.to_string()),
        ..RunningProcess::new(verb, &mesos.file)
    }
}

/// What a server listens on.
pub fn listeners(arguments: &ServerArguments) -> [Listener; 2] {
    [
        Listener::at("the Kubernetes API (TLS)", arguments.api_listen),
        Listener::at("the Mesos API and the agents' links (plain HTTP and TLS)", arguments.mesos_listen),
    ]
}

/// Starts all parts in order of dependency.
pub async fn start(
    data: &DataDirectory,
    arguments: &ServerArguments,
    mesos: &MesosAccess,
    user_kubeconfig: Option<UserKubeconfig>,
    progress: &Progress,
) -> anyhow::Result<Running> {
    let cluster_cidr = cluster_cidr(arguments)?;
    let (audit, admission) = (audit(arguments)?, admission_configuration(arguments)?);
    let scheduler_configuration = scheduler_configuration(arguments)?;
    let authentication = security::authentication(&arguments.authentication)?;
    progress.doing("opening the store");
    let (EncryptedStore { store, reload }, control) = open_store(data, arguments).await?;
    progress.doing("reading the cluster's keys");
    let pki = Arc::new(Pki::open_or_create(data.path(), SystemTime::now())?);
    let ip = preflight::advertised(arguments.api_listen);
    let api_url = format!("https://{}", SocketAddr::new(ip, arguments.api_listen.port()));
    progress.doing("starting the master");
    let pod_cidrs = PodCidrs::new(Arc::clone(&store), cluster_cidr);
    let ranges = Ranges { pod_cidrs, service_cidr: arguments.service_cidr };
    let authority = Authority { pki: Arc::clone(&pki), api_url: api_url.clone(), ranges: ranges.clone() };
    let master = start_master(arguments, mesos, &store, authority).await?;
    let announcement = arguments.zk.clone().map(|path| announcement::start(path, &master)).transpose()?;
    progress.doing("starting the API");
    let api = apiserver_shim::server::start(ApiOptions {
        store,
        pki: Arc::clone(&pki),
        listen: arguments.api_listen,
        advertise: ip,
        names: subject_names(&arguments.tls_san),
        audit,
        admission,
        authentication,
        service_cidr: arguments.service_cidr,
        build: build::info(),
        flags: flag_values::of_this_process(),
    })
    .await?;
    let runners = runners::start(RunnersOptions {
        pipeline: api.pipeline().clone(),
        driver: Arc::new(master.in_process_driver()),
        roles: Some(Arc::new(master.in_process_driver())),
        node_endpoints: api.node_endpoints().clone(),
        pod_cidrs: ranges.pod_cidrs.clone(),
        scheduler_configuration,
        metrics: api.metrics().clone(),
        components: api.components().clone(),
        ca_pem: pki.authority.certificate().to_owned(),
        service: Some(api.service("system:kube-controller-manager")),
        signer: Some(Arc::new(ClusterSigner(Arc::clone(&pki)))),
        token_signer: Some(Arc::new(TokenKey::parse(&pki.service_account_key)?)),
    });
    let hollow = hollow::start(&master, arguments.hollow_nodes, progress);
    let files = server_files(data, arguments, (&pki, &api_url), user_kubeconfig);
    let (kubeconfigs, renewal) = keep_files(files, progress)?;
    Ok(Running {
        master,
        api,
        pki,
        ranges,
        api_url,
        kubeconfigs,
        runners,
        hollow,
        renewal,
        _announcement: announcement,
        _control: control,
        encryption: reload,
    })
}

/// The files that the server keeps in its data directory.
fn server_files(
    data: &DataDirectory,
    arguments: &ServerArguments,
    (pki, api_url): (&Arc<Pki>, &str),
    user_kubeconfig: Option<UserKubeconfig>,
) -> ServerFiles {
    ServerFiles {
        pki: Arc::clone(pki),
        join_token: data.join(JOIN_TOKEN_FILE),
        join_token_ttl: arguments.join_token_ttl,
        kubeconfig: arguments.kubeconfig.clone().unwrap_or_else(|| data.join("kubeconfig")),
        kubeconfig_mode: arguments.write_kubeconfig_mode,
        user_kubeconfig,
        api_url: api_url.to_owned(),
    }
}

/// The range of Pods, which no Service may share.
fn cluster_cidr(arguments: &ServerArguments) -> anyhow::Result<ClusterCidr> {
    if arguments.service_cidr.cidr().overlaps(arguments.cluster_cidr) {
        bail!("--service-cidr {} overlaps --cluster-cidr {}", arguments.service_cidr, arguments.cluster_cidr);
    }
    Ok(ClusterCidr::new(arguments.cluster_cidr, arguments.node_cidr_mask_size)?)
}

fn scheduler_configuration(arguments: &ServerArguments) -> anyhow::Result<SchedulerConfiguration> {
    match &arguments.scheduler_config {
        Some(path) => read_configuration(path).context("--scheduler-config"),
        None => Ok(SchedulerConfiguration::default()),
    }
}

fn admission_configuration(arguments: &ServerArguments) -> anyhow::Result<AdmissionConfiguration> {
    match &arguments.admission_control_config_file {
        Some(path) => AdmissionConfiguration::read(path).context("--admission-control-config-file"),
        None => Ok(AdmissionConfiguration::default()),
    }
}

/// Where the administrator's credentials are.
#[derive(Debug, Clone)]
pub struct Kubeconfigs {
    /// The server's own file.
    pub path: PathBuf,
    /// The user's, and the name of the cluster's context in it.
    pub user: Option<(PathBuf, String)>,
}

/// Writes the files that expire, and renews them from then on.
fn keep_files(files: ServerFiles, progress: &Progress) -> anyhow::Result<(Kubeconfigs, JoinHandle<()>)> {
    files.write_join_token()?;
    let (admin, merged) = files.write_kubeconfig()?;
    let context = merged.and_then(|merged| {
        let failed =
            |error| progress.note(&format!("warning: the cluster is not in your kubeconfig: {error:#}"));
        merged.map_err(failed).ok()
    });
    let user = files.user_kubeconfig.as_ref().map(|user| user.path().to_owned()).zip(context);
    let kubeconfigs = Kubeconfigs { path: files.kubeconfig.clone(), user };
    Ok((kubeconfigs, tokio::spawn(files.keep(admin))))
}

/// The names of `--tls-san`, by kind.
fn subject_names(names: &[SubjectName]) -> ServerNames {
    let mut sorted = ServerNames::default();
    for name in names {
        match name {
            SubjectName::Dns(host) => sorted.dns.push(host.clone()),
            SubjectName::Ip(address) => sorted.addresses.push(*address),
        }
    }
    sorted
}

/// The audit log that was asked for.
fn audit(arguments: &ServerArguments) -> Result<Option<AuditOptions>, PolicyError> {
    let (Some(path), Some(policy)) = (&arguments.audit_log_path, &arguments.audit_policy_file) else {
        return Ok(None);
    };
    let policy = Policy::read(policy)?;
    let rotation = Rotation {
        bytes_max: u64::from(arguments.audit_log_maxsize) << 20,
        files_max: arguments.audit_log_maxbackup as usize,
        days_max: arguments.audit_log_maxage,
    };
    Ok(Some(AuditOptions { policy, path: path.clone(), mode: arguments.audit_log_mode, rotation }))
}

impl Running {
    /// Waits until a part ends by itself and returns the reason. The process must end then, so that its supervisor notices.
    /// Call it once.
    pub async fn failed(&mut self) -> String {
        tokio::select! {
            why = self.master.failed() => why,
            why = self.runners.ended() => why,
        }
    }

    /// Stops all parts in reverse order.
    pub async fn stop(self) {
        self.renewal.abort();
        self.encryption.iter().for_each(JoinHandle::abort);
        drop(self.hollow);
        self.runners.stop();
        self.api.shutdown().await;
        self.master.shutdown().await;
    }
}

/// Opens the store, with encrypted values if they are to be.
async fn open_store(
    data: &DataDirectory,
    arguments: &ServerArguments,
) -> anyhow::Result<(EncryptedStore, ControlSocket)> {
    let store: Arc<dyn Store> = match &arguments.store {
        StoreChoice::Embedded => Arc::new(EmbeddedStore::open(&data.join("store"))?),
        StoreChoice::Memory => Arc::new(MemoryStore::new()),
        StoreChoice::Etcd(endpoints) => {
            let endpoints = endpoints.join(",");
            let config = EtcdConfig::new(&endpoints, EtcdConfig::DEFAULT_KEY_PREFIX)?;
            let store = EtcdStore::open(config).await.context("cannot reach etcd; is it running?")?;
            Arc::new(store)
        }
    };
    // A backup has the values as they are in the store.
    let control = control::listen(data.path(), Arc::clone(&store))?;
    Ok((security::encrypt(&arguments.encryption, store)?, control))
}

async fn start_master(
    arguments: &ServerArguments,
    mesos: &MesosAccess,
    store: &Arc<dyn Store>,
    authority: Authority,
) -> anyhow::Result<MasterHandle> {
    let ip = preflight::advertised(arguments.mesos_listen);
    let names = ServerNames { dns: Vec::new(), addresses: vec![ip] };
    let signer = &authority.pki.authority;
    let certificate = signer.issue_server(&names, SystemTime::now())?;
    let agent_tls = tls::server_config(
        &certificate.certificate,
        &certificate.key,
        signer.certificate(),
        tls::ClientCertificate::Optional,
        tls::ALPN_HTTP1,
    )?;
    let mut options = MasterOptions::new(Arc::clone(store), arguments.mesos_listen);
    options.hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    options.advertise_ip = Some(ip);
    options.heartbeat_interval = arguments.heartbeat_interval;
    options.agent_ping_interval = arguments.agent_ping_timeout;
    options.offer_timeout = Some(arguments.offer_timeout).filter(|timeout| !timeout.is_zero());
    options.preempt_after = Some(arguments.preempt_after).filter(|after| !after.is_zero());
    options.access = mesos.access.clone();
    options.run_as = mesos.run_as.clone();
    options.flags = flags(arguments, &options);
    options.agent_endpoint = Some(AgentEndpoint { tls: agent_tls, authority: Arc::new(authority) });
    let master = kernel::server::start(options).await?;
    if !arguments.weights.0.is_empty() {
        master.set_weights(&arguments.weights.0).await.context("--weights")?;
    }
    Ok(master)
}

/// The content of `/flags`: the master's settings under Mesos' names.
fn flags(arguments: &ServerArguments, options: &MasterOptions) -> Vec<(String, String)> {
    let secs = |length: std::time::Duration| format!("{}secs", length.as_secs_f64());
    let mut flags = vec![
        ("hostname", options.hostname.clone()),
        ("ip", arguments.mesos_listen.ip().to_string()),
        ("port", arguments.mesos_listen.port().to_string()),
        ("work_dir", arguments.data_dir.display().to_string()),
        ("agent_ping_timeout", secs(options.agent_ping_interval)),
        ("max_agent_ping_timeouts", options.agent_ping_timeouts.to_string()),
        ("agent_reregister_timeout", secs(options.agent_reregister_timeout)),
    ];
    flags.extend(options.advertise_ip.map(|ip| ("advertise_ip", ip.to_string())));
    flags.extend(options.offer_timeout.map(|timeout| ("offer_timeout", secs(timeout))));
    flags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Signs certificates for machines that present the join token, and admits agent links with a node's certificate.
pub struct Authority {
    pub(crate) pki: Arc<Pki>,
    /// Base URL of the Kubernetes API, returned to joining machines.
    pub api_url: String,
    pub(crate) ranges: Ranges,
}

impl Authority {
    /// Signs a machine's request without checking its token.
    pub fn sign(&self, request: &JoinRequest) -> anyhow::Result<Joined> {
        let names = ServerNames { dns: Vec::new(), addresses: request.addresses.clone() };
        let certificate =
            self.pki.authority.sign_node(&request.csr, &request.node_name, &names, SystemTime::now())?;
        Ok(Joined {
            certificate,
            authority: self.pki.authority.certificate().to_owned(),
            api_server: self.api_url.clone(),
        })
    }

    fn check(&self, certificate: &[u8]) -> anyhow::Result<String> {
        let identity = identity::of_certificate(certificate)?;
        match identity::node_name(&identity.user) {
            Some(name) if identity.groups.iter().any(|group| group == "system:nodes") => Ok(name.to_owned()),
            _ => bail!("{} is not a node of this cluster", identity.user),
        }
    }
}

#[async_trait::async_trait]
impl JoinAuthority for Authority {
    async fn join(&self, request: JoinRequest) -> Result<Joined, JoinRefusal> {
        let refused = |error: &dyn std::fmt::Display| JoinRefusal(format!("{error:#}"));
        let accepted = self.pki.join_tokens.accepts(&request.token, SystemTime::now());
        if !accepted.map_err(|error| refused(&error))? {
            return Err(JoinRefusal(
                "the join token is not valid for this cluster, or has expired; a valid one is in the file join-token in \
                 the server's data directory"
                    .to_owned(),
            ));
        }
        self.sign(&request).map_err(|error| JoinRefusal(format!("{error:#}")))
    }

    async fn renew(&self, certificate: &[u8], request: JoinRequest) -> Result<Joined, JoinRefusal> {
        let name = self.admits(certificate)?;
        if name != request.node_name {
            return Err(JoinRefusal(format!("the certificate is that of node {name}")));
        }
        self.sign(&request).map_err(|error| JoinRefusal(format!("{error:#}")))
    }

    fn admits(&self, certificate: &[u8]) -> Result<String, JoinRefusal> {
        self.check(certificate).map_err(|error| JoinRefusal(format!("{error:#}")))
    }

    async fn address_range(
        &self,
        node_name: &str,
        requested: Option<&str>,
    ) -> Result<Addresses, AddressRangeError> {
        let requested = requested.map(str::parse).transpose();
        let requested =
            requested.map_err(|error: InvalidCidr| AddressRangeError::Refused(error.to_string()))?;
        self.ranges.assign(node_name, requested).await
    }
}
