//! A master, an agent and a framework in this process.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use kernel::{
    access::{Access, Credential, Credentials},
    agent::{self, AgentHandle, AgentOptions, ShutdownKind},
    driver::{InProcessDriver, SchedulerDriver},
    server::{self, MasterHandle, MasterOptions},
};
use kernel_model::{
    executor::{CommandInfo, ExecutorInfo, ExecutorKind},
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{AgentId, FrameworkId},
    labels::Labels,
    offer::{Filters, Offer},
    resources::Resources,
    roles::Role,
    scheduler::{Call, Event, Operation, Subscribe},
    task::{TaskInfo, TaskState, TaskStatus},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;

/// The timeout of every wait in these tests.
const TIMEOUT: Duration = Duration::from_secs(60);

pub struct Cluster {
    _master: MasterHandle,
    driver: InProcessDriver,
    dialer: Arc<dyn kernel::agent_link::Dialer>,
    events: mpsc::Receiver<Event>,
    framework_id: FrameworkId,
    agent: Option<AgentHandle>,
    /// Whether the next agent serves clients without credentials, who may do nothing as root.
    pub serves_anonymous: bool,
    agent_address: SocketAddr,
    work_dir: tempfile::TempDir,
    waiting: Vec<TaskInfo>,
    offers: Vec<Offer>,
    statuses: BTreeMap<String, VecDeque<TaskStatus>>,
    /// Ids of received updates: an update is resent if its acknowledgement was lost.
    seen: BTreeSet<kernel_model::ids::UpdateId>,
    pub last: TaskStatus,
}

fn framework() -> FrameworkInfo {
    FrameworkInfo {
        user: "root".into(),
        name: "test".into(),
        id: None,
        failover_timeout: Duration::from_secs(600),
        checkpoint: true,
        roles: vec![Role::parse("tests").unwrap()],
        hostname: String::new(),
        principal: None,
        webui_url: String::new(),
        capabilities: BTreeSet::from([
            FrameworkCapability::PartitionAware,
            FrameworkCapability::TaskKillingState,
            FrameworkCapability::MultiRole,
        ]),
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}

impl Cluster {
    pub async fn start() -> Self {
        let store = Arc::new(store::MemoryStore::new());
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let master = server::start(MasterOptions::new(store, listen)).await.unwrap();
        let driver = master.in_process_driver();
        let subscribe = Subscribe {
            framework: framework(),
            suppressed_roles: BTreeSet::new(),
            preferences: Default::default(),
        };
        let mut events = driver.subscribe(subscribe).await.unwrap();
        let Some(Event::Subscribed { framework_id, .. }) = events.recv().await else {
            panic!("not subscribed")
        };
        let mut cluster = Self {
            dialer: Arc::new(master.attach_agent()),
            _master: master,
            driver,
            events,
            framework_id,
            agent: None,
            serves_anonymous: false,
            agent_address: listen,
            work_dir: tempfile::tempdir().unwrap(),
            waiting: Vec::new(),
            offers: Vec::new(),
            statuses: BTreeMap::new(),
            seen: BTreeSet::new(),
            last: TaskStatus::new(
                "none".into(),
                TaskState::Unknown,
                kernel_model::task::Source::Master,
                kernel_model::time::Time(0),
            ),
        };
        cluster.restart_agent().await;
        cluster
    }

    pub async fn restart_agent(&mut self) {
        let binary = self.work_dir.path().join("binary");
        let this = std::env::current_exe().unwrap();
        let script = format!(
            "#!/bin/sh\nBUILTIN_EXECUTOR=$1 BUILTIN_ARGUMENTS=\"$2 $3\" exec {} --exact builtin_executor_entry --nocapture\n",
            this.display()
        );
        fs::write(&binary, script).unwrap();
        fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut options = AgentOptions::new(self.work_dir.path(), binary);
        options.listen = self.agent_address;
        options.access = Access::with(Credentials::one(&Credential::new("test", "secret")));
        if self.serves_anonymous {
            options.access = options.access.or_anonymous(false);
        }
        options.resources = Some("cpus:1000;mem:1000000;disk:1000000".into());
        let agent = agent::start(options, self.dialer.clone()).await.unwrap();
        self.agent_address = agent.local_addr();
        self.agent = Some(agent);
    }

    /// The agent crashes, as with SIGKILL.
    pub async fn crash_agent(&mut self) {
        self.agent.take().unwrap().shutdown(ShutdownKind::KeepTasks).await;
        self.offers.clear();
    }

    pub async fn stop_agent(&mut self, kind: ShutdownKind) {
        self.agent.take().unwrap().shutdown(kind).await;
        self.offers.clear();
    }

    pub async fn launch(&mut self, id: &str, line: &str) {
        self.launch_with(id, |task| task.command.as_mut().unwrap().value = Some(line.to_owned()));
        self.flush().await;
    }

    /// Adds a launch of `true`, modified by `change`.
    pub fn launch_with(&mut self, id: &str, change: impl FnOnce(&mut TaskInfo)) {
        let command = CommandInfo { shell: true, value: Some("true".into()), ..CommandInfo::default() };
        let mut task = TaskInfo {
            name: id.into(),
            task_id: id.into(),
            agent_id: AgentId::from(""),
            resources: Resources::default(),
            zero_resources: Vec::new(),
            executor: None,
            command: Some(command),
            kill_grace: None,
            max_completion_time: None,
            image: None,
            data: Bytes::new(),
            labels: Labels::default(),
            extra: Bytes::new(),
        };
        change(&mut task);
        self.waiting.push(task);
    }

    /// Launches the added tasks on the next offer.
    pub async fn flush(&mut self) {
        self.accept(|tasks| vec![Operation::Launch { tasks }]).await;
    }

    /// Launches the added tasks after these operations, which an offer must have room for.
    pub async fn flush_after(&mut self, needed: &Resources, operations: Vec<Operation>) {
        self.wait_for_offer(needed).await;
        let launch = |tasks| operations.into_iter().chain([Operation::Launch { tasks }]).collect();
        self.accept(launch).await;
    }

    /// Waits for an offer with these resources, and forgets others.
    pub async fn wait_for_offer(&mut self, needed: &Resources) {
        let fits = |offer: &Offer| offer.resources.unallocated().contains(needed);
        while !self.offers.iter().any(fits) {
            self.event().await;
        }
        self.offers.retain(fits);
    }

    /// Launches the added tasks as one group of a default executor, on the next offer.
    pub async fn flush_group(&mut self, executor_id: &str) {
        let executor = ExecutorInfo {
            kind: ExecutorKind::Default,
            command: None,
            resources: "cpus:0.1;mem:32;disk:1".parse().unwrap(),
            ..custom_executor(executor_id, "")
        };
        self.accept(|tasks| vec![Operation::LaunchGroup { executor, tasks }]).await;
    }

    async fn accept(&mut self, operations: impl FnOnce(Vec<TaskInfo>) -> Vec<Operation>) {
        while self.offers.is_empty() {
            self.event().await;
        }
        let offer = self.offers.remove(0);
        let share: Resources = "cpus:0.1;mem:64;disk:1".parse().unwrap();
        let tasks = self.waiting.drain(..).map(|task| {
            let mut resources = task.resources;
            resources += &share;
            let resources = resources.allocated_to(&offer.role);
            TaskInfo { agent_id: offer.agent_id.clone(), resources, ..task }
        });
        let operations = operations(tasks.collect());
        let filters = Filters { refuse: Duration::ZERO };
        self.call(Call::Accept { offer_ids: vec![offer.id], operations, filters }).await;
    }

    pub async fn kill(&self, id: &str, grace: Duration) {
        self.call(Call::Kill { task_id: id.into(), agent_id: None, grace: Some(grace) }).await;
    }

    async fn call(&self, call: Call) {
        self.driver.call(&self.framework_id, call).await.unwrap();
    }

    async fn event(&mut self) {
        let event = tokio::time::timeout(TIMEOUT, self.events.recv()).await.expect("an event in time");
        match event.expect("the stream lives") {
            Event::Offers { offers } => self.offers.extend(offers.into_iter().map(Arc::unwrap_or_clone)),
            Event::Rescind { offer_id } => self.offers.retain(|offer| offer.id != offer_id),
            Event::Update { status } => {
                let (id, refused) = (&status.task_id, status.state == TaskState::Error);
                assert!(!refused, "{id} is refused: {:?}", status.message);
                if let (Some(uuid), Some(agent_id)) = (status.uuid, status.agent_id.clone()) {
                    let task_id = status.task_id.clone();
                    self.call(Call::Acknowledge { agent_id, task_id, uuid }).await;
                    if !self.seen.insert(uuid) {
                        return;
                    }
                    let queue = self.statuses.entry(status.task_id.to_string()).or_default();
                    queue.push_back(Arc::unwrap_or_clone(status));
                }
            }
            _ => {}
        }
    }

    pub async fn next_state(&mut self, id: &str) -> TaskState {
        loop {
            if let Some(status) = self.statuses.get_mut(id).and_then(VecDeque::pop_front) {
                let state = status.state;
                self.last = status;
                return state;
            }
            self.event().await;
        }
    }

    pub async fn states_until_end(&mut self, id: &str) -> Vec<TaskState> {
        let mut states = Vec::new();
        while states.last().is_none_or(|state: &TaskState| !state.is_terminal()) {
            states.push(self.next_state(id).await);
        }
        states
    }

    /// The header value with the token of an executor `other`, which has ended.
    pub async fn token_of_another_executor(&mut self) -> String {
        self.launch_with("other-task", |task| {
            task.command = None;
            let line = "echo $MESOS_EXECUTOR_AUTHENTICATION_TOKEN > token; touch ready; sleep 1000";
            task.executor = Some(custom_executor("other", line).into());
        });
        self.flush().await;
        self.wait_for_file("other", "ready").await;
        let token = fs::read_to_string(self.sandbox("other").join("token")).unwrap();
        self.end_executor("other").await;
        format!("Bearer {}", token.trim())
    }

    pub fn agent_address(&self) -> SocketAddr {
        self.agent_address
    }

    pub fn framework_id(&self) -> &str {
        self.framework_id.as_str()
    }

    pub fn directory(&self) -> String {
        self.work_dir.path().display().to_string()
    }

    pub async fn end_executor(&self, id: &str) {
        let agent_id = self.agent.as_ref().unwrap().id().await.unwrap();
        self.call(Call::Shutdown { executor_id: id.into(), agent_id }).await;
    }

    pub async fn teardown(&self) {
        self.call(Call::Teardown).await;
    }

    pub fn sandbox(&self, id: &str) -> PathBuf {
        self.sandbox_if_any(id).unwrap()
    }

    fn sandbox_if_any(&self, id: &str) -> Option<PathBuf> {
        let slaves = self.work_dir.path().join("slaves");
        let agent = fs::read_dir(slaves).ok()?.next()?.ok()?.path();
        let framework = agent.join("frameworks").join(self.framework_id.as_str());
        Some(framework.join("executors").join(id).join("runs").join("latest"))
    }

    pub async fn wait_for_file(&self, id: &str, name: &str) {
        wait_until(name, || {
            self.sandbox_if_any(id).is_some_and(|sandbox| fs::read(sandbox.join(name)).is_ok())
        })
        .await;
    }

    /// Waits until the task's process has terminated.
    pub async fn wait_for_exit(&self, id: &str) {
        let pid = fs::read_to_string(self.sandbox(id).join("pids")).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        wait_until("the task's end", || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z")))
            .await;
    }

    /// Asserts that no process of a task and no cgroup is left.
    pub async fn no_process_left(&self) {
        wait_until("all processes to end", || self.processes().is_empty()).await;
        wait_until("all notes to go", || {
            fs::read_dir(self.work_dir.path().join("meta/containers"))
                .map_or(true, |mut dir| dir.next().is_none())
        })
        .await;
    }

    /// The processes of executors and tasks.
    fn processes(&self) -> Vec<Pid> {
        let variable = format!("MESOS_SANDBOX={}", self.work_dir.path().display());
        let belongs = |entry: &fs::DirEntry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            String::from_utf8_lossy(&environment).contains(&variable)
        };
        let entries = fs::read_dir("/proc").unwrap().flatten().filter(belongs);
        entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
    }
}

/// Kills what a failed test, or one that does not wait for its executors, has left running. An executor whose agent has
/// gone would wait for it for the recovery timeout of 15 minutes.
impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.agent.take());
        // Again, for what a process has started meanwhile.
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while std::time::Instant::now() < deadline {
            let processes = self.processes();
            if processes.is_empty() {
                break;
            }
            for pid in processes {
                let _ = kill_process(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        agent::kill_orphans(self.work_dir.path());
    }
}

pub fn custom_executor(id: &str, line: &str) -> ExecutorInfo {
    ExecutorInfo {
        kind: ExecutorKind::Custom,
        executor_id: id.into(),
        framework_id: None,
        command: Some(CommandInfo { shell: true, value: Some(line.to_owned()), ..CommandInfo::default() }),
        resources: Resources::default(),
        name: id.to_owned(),
        source: String::new(),
        data: Bytes::new(),
        shutdown_grace: Some(Duration::from_millis(300)),
        image: None,
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}

pub async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
