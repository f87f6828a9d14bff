//! `catamaran run`: one command task by hand, through the scheduler API that every framework uses. Its output is followed, its exit
//! code is passed on, and Ctrl-C kills it.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use kernel::driver::{HttpDriver, SchedulerDriver};
use kernel_model::{
    executor::CommandInfo,
    framework::{FrameworkCapability, FrameworkInfo},
    ids::FrameworkId,
    labels::Labels,
    offer::{Filters, Offer},
    offer_preferences::OfferPreferences,
    resources::Resources,
    roles::Role,
    scheduler::{Call, Event, Operation, Subscribe},
    task::{Reason, TaskInfo, TaskState, TaskStatus},
};
use serde_json::json;
use tokio::{sync::mpsc, time::sleep};

use crate::{
    arguments::verbs::RunArguments,
    console,
    data_directory::{elsewhere, running},
    mesos_client::{MesosClient, Unauthorized, credentials_file},
    output::OutputFormat,
    runtime::{self, Signals},
};

/// How often the output is read.
const READ_EVERY: Duration = Duration::from_millis(200);
/// How long an offer may take before a line says so: several allocations.
const OFFER_NOTICE: Duration = Duration::from_secs(5);
/// How long an offer that does not fit is declined.
const DECLINED: Duration = Duration::from_secs(5);
/// How often a launch whose offer was withdrawn is repeated: an agent that stops withdraws all of its offers, once.
const LAUNCHES_MAX: u32 = 3;
/// The file in the sandbox with the exit code, which no status update has.
const EXIT_CODE_FILE: &str = "exit-code";
/// Runs the arguments, also to their end after a signal, and writes the file.
const WRAPPER: &str = "trap : TERM INT; \"$@\"; code=$?; echo $code > exit-code; exit $code";
/// The exit code after Ctrl-C, as of a shell.
const INTERRUPTED: u8 = 130;

/// A task that was launched.
struct Launched {
    agent: String,
    agent_name: String,
    /// Bytes of standard output and standard error that were printed.
    printed: [u64; 2],
    runs: bool,
}

/// How it ended.
struct End {
    state: TaskState,
    reason: Option<Reason>,
    message: Option<String>,
    exit_code: Option<i32>,
}

struct Run<'a> {
    arguments: &'a RunArguments,
    client: MesosClient,
    /// With the credentials of the agents, which may differ from those of the master.
    agents: MesosClient,
    driver: HttpDriver,
    framework_id: Option<FrameworkId>,
    task_id: String,
    wanted: Resources,
    launched: Option<Launched>,
    launches: u32,
    interrupted: bool,
    /// Whether a line has said that the output cannot be read.
    unreadable_reported: bool,
}

/// `catamaran run`.
pub fn run(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::FAILURE;
    runtime::block_on(async {
        code = run_task(arguments).await?;
        Ok(())
    })?;
    Ok(code)
}

async fn run_task(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let data = running::choose(arguments.node.data_dir.as_deref());
    let process = match running::of(&data) {
        // Who names the master needs no cluster on this machine.
        Err(_) if arguments.master.is_some() => None,
        found => found?,
    };
    let master =
        arguments.master.clone().or_else(|| process.as_ref().and_then(|process| process.master.clone()));
    let master = master.with_context(|| elsewhere::no_master(&data))?;
    let known = process.as_ref().map(|process| process.credentials.as_path());
    let file = credentials_file(arguments.mesos_credentials.as_deref(), known, &data);
    if arguments.mesos_credentials.is_some() && !file.exists() {
        bail!("--mesos-credentials: cannot read {}", file.display());
    }
    let client = MesosClient::new(Some(&file))?;
    let agents = MesosClient::new(Some(&agent_credentials(arguments, &file)))?;
    let driver = HttpDriver::new(master.clone());
    let driver = match client.credential() {
        Some(credential) => driver.with_credential(credential),
        None => driver,
    };
    let wanted = format!("cpus:{};mem:{}", arguments.cpus, arguments.mem);
    let wanted: Resources = wanted.parse().context("--cpus and --mem")?;
    let task_id = format!("{}-{}", arguments.name, std::process::id());
    let mut run = Run {
        arguments,
        client,
        agents,
        driver,
        framework_id: None,
        task_id,
        wanted,
        launched: None,
        launches: 0,
        interrupted: false,
        unreadable_reported: false,
    };
    let events = run.driver.subscribe(run.subscription()?).await;
    let mut events = events.with_context(|| format!("cannot run a task on the master at {master}"))?;
    // The stream stays open until the framework is torn down.
    let end = run.follow(&mut events, &mut signals).await;
    run.call(Call::Teardown).await;
    run.report(end?)
}

/// The credentials of the agents: an agent on a machine of its own, or beside a server, has generated its own.
fn agent_credentials(arguments: &RunArguments, of_master: &Path) -> PathBuf {
    const AGENT: &str = "/var/lib/catamaran-agent";
    let beside = || running::of(Path::new(AGENT)).ok().flatten().map(|process| process.credentials);
    let of_up = of_master.parent().and_then(|data| running::of(data).ok().flatten());
    let shared =
        arguments.mesos_credentials.is_some() || of_up.is_some_and(|process| process.agent.is_some());
    let chosen = arguments.agent_credentials.clone().or_else(|| if shared { None } else { beside() });
    chosen.unwrap_or_else(|| of_master.to_owned())
}

impl Run<'_> {
    fn subscription(&self) -> anyhow::Result<Subscribe> {
        let uid = nix::unistd::geteuid();
        let own = nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
        let framework = FrameworkInfo {
            user: self.arguments.user.clone().or(own).context("this user has no name: give --user")?,
            name: self.arguments.name.clone(),
            id: None,
            failover_timeout: Duration::ZERO,
            checkpoint: true,
            roles: vec![Role::parse(&self.arguments.role).context("--role")?],
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            principal: self.client.credential().map(|credential| credential.principal.clone()),
            webui_url: String::new(),
            capabilities: BTreeSet::from([
                FrameworkCapability::PartitionAware,
                FrameworkCapability::MultiRole,
                FrameworkCapability::ReservationRefinement,
                FrameworkCapability::GpuResources, // of a machine with GPUs, all is offered to these alone
            ]),
            labels: Labels::default(),
            extra: Bytes::new(),
        };
        Ok(Subscribe {
            framework,
            suppressed_roles: BTreeSet::new(),
            preferences: OfferPreferences::default(),
        })
    }

    async fn call(&self, call: Call) {
        let Some(framework_id) = &self.framework_id else { return };
        if let Err(error) = self.driver.call(framework_id, call).await {
            tracing::warn!(%error, "a call to the master failed");
        }
    }

    /// Handles events until the task ends.
    async fn follow(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        signals: &mut Signals,
    ) -> anyhow::Result<End> {
        let notice = tokio::time::Instant::now() + OFFER_NOTICE;
        let mut noticed = false;
        loop {
            tokio::select! {
                event = events.recv() => {
                    let event = event.context("the master closed the connection; the task is killed")?;
                    if let Some(status) = self.event(event).await? {
                        self.print_output().await;
                        let exit_code = self.exit_code().await;
                        let (state, reason) = (status.state, status.reason);
                        return Ok(End { state, reason, message: status.message.clone(), exit_code });
                    }
                }
                () = signals.wait() => {
                    if self.interrupted || self.launched.is_none() {
                        bail!("interrupted");
                    }
                    self.interrupted = true;
                    console::error_line("killing the task (press Ctrl-C again not to wait for its end)");
                    let task_id = self.task_id.as_str().into();
                    self.call(Call::Kill { task_id, agent_id: None, grace: None }).await;
                }
                () = sleep(READ_EVERY), if self.launched.as_ref().is_some_and(|launched| launched.runs) => {
                    self.print_output().await;
                }
                () = tokio::time::sleep_until(notice), if self.launched.is_none() && !noticed => {
                    noticed = true;
                    console::error_line(&format!("waiting for an agent with {}", self.wanted));
                }
            }
        }
    }

    /// Handles an event; the task's last status ends the run.
    async fn event(&mut self, event: Event) -> anyhow::Result<Option<Arc<TaskStatus>>> {
        match event {
            Event::Subscribed { framework_id, .. } => self.framework_id = Some(framework_id),
            Event::Offers { offers } => self.offers(offers).await,
            Event::Update { status } => {
                if let (Some(uuid), Some(agent_id)) = (status.uuid, status.agent_id.clone()) {
                    let task_id = status.task_id.clone();
                    self.call(Call::Acknowledge { agent_id, task_id, uuid }).await;
                }
                if let Some(launched) = &mut self.launched {
                    launched.runs |= status.state == TaskState::Running;
                }
                // Its offer was withdrawn meanwhile, as of an agent that stops: the next one is as good.
                let launches_again = status.state == TaskState::Dropped && self.launch_again().await;
                if launches_again {
                    return Ok(None);
                }
                // An agent that may come back with the task is not waited for.
                let lost = matches!(status.state, TaskState::Lost | TaskState::Unreachable);
                if status.state.is_terminal() || lost {
                    return Ok(Some(status));
                }
            }
            Event::Error { message, .. } => bail!("the master refuses: {message}"),
            _ => {}
        }
        Ok(None)
    }

    /// Asks for other offers after a launch that had no effect; `false` if that has been done often enough.
    async fn launch_again(&mut self) -> bool {
        let dropped = self.launched.as_ref().is_some_and(|launched| !launched.runs);
        if !dropped || self.interrupted || self.launches >= LAUNCHES_MAX {
            return false;
        }
        self.launched = None;
        self.task_id = format!("{}-{}", self.task_id, self.launches);
        self.call(Call::Revive { roles: Vec::new() }).await;
        true
    }

    /// Launches the task on the first offer that has room, and declines the others.
    async fn offers(&mut self, offers: Vec<Arc<Offer>>) {
        for offer in offers {
            let host = self.arguments.on.as_deref().is_none_or(|host| host == offer.agent.hostname);
            let found = offer.resources.find(&self.wanted).filter(|_| host && self.launched.is_none());
            let filters = Filters { refuse: DECLINED };
            let offer_ids = vec![offer.id.clone()];
            let Some(resources) = found else {
                self.call(Call::Decline { offer_ids, filters }).await;
                continue;
            };
            self.launches += 1;
            self.launched = Some(Launched {
                agent: host_port(&offer.agent.ip, offer.agent.port),
                agent_name: offer.agent.hostname.clone(),
                printed: [0, 0],
                runs: false,
            });
            let tasks = vec![self.task(&offer, resources)];
            self.call(Call::Accept { offer_ids, operations: vec![Operation::Launch { tasks }], filters })
                .await;
            self.call(Call::Suppress { roles: Vec::new() }).await;
        }
    }

    fn task(&self, offer: &Offer, resources: Resources) -> TaskInfo {
        let words = &self.arguments.command;
        let mut arguments = ["sh", "-c", WRAPPER, "sh"].map(str::to_owned).to_vec();
        if let [line] = &words[..] {
            arguments.extend(["/bin/sh", "-c", line].map(str::to_owned));
        } else {
            arguments.extend(words.iter().cloned());
        }
        let command = CommandInfo {
            shell: false,
            value: Some("/bin/sh".to_owned()),
            arguments,
            environment: self.arguments.env.clone(),
            user: None,
            uris: Vec::new(),
            extra: Bytes::new(),
        };
        TaskInfo {
            name: self.arguments.name.clone(),
            task_id: self.task_id.as_str().into(),
            agent_id: offer.agent_id.clone(),
            resources,
            zero_resources: Vec::new(),
            executor: None,
            command: Some(command),
            kill_grace: None,
            max_completion_time: None,
            image: None,
            data: Bytes::new(),
            labels: Labels::default(),
            extra: Bytes::new(),
        }
    }

    fn sandbox_file(&self, name: &str) -> String {
        let framework = self.framework_id.as_ref().map_or("", |id| id.as_str());
        format!("/frameworks/{framework}/executors/{}/runs/latest/{name}", self.task_id)
    }

    /// Prints what the task has written since the last time.
    async fn print_output(&mut self) {
        let files = [self.sandbox_file("stdout"), self.sandbox_file("stderr")];
        let json = self.arguments.node.output == OutputFormat::Json;
        let Some(launched) = &mut self.launched else { return };
        for (number, file) in files.iter().enumerate() {
            loop {
                let read = self.agents.read_file(&launched.agent, file, launched.printed[number]).await;
                let (data, more) = match read {
                    Ok(read) => read,
                    // Before the start it does not exist.
                    Err(error) => {
                        if error.is::<Unauthorized>() && !self.unreadable_reported {
                            self.unreadable_reported = true;
                            console::error_line(&format!(
                                "the output cannot be read: {error:#}; give those of the agent with --agent-credentials"
                            ));
                        }
                        tracing::debug!(%error, file, "the output cannot be read");
                        break;
                    }
                };
                launched.printed[number] += data.len() as u64;
                // The report is the only thing on standard output then.
                print(&data, number == 1 || json);
                if !more {
                    break;
                }
            }
        }
    }

    async fn exit_code(&self) -> Option<i32> {
        let launched = self.launched.as_ref()?;
        let (data, _) =
            self.agents.read_file(&launched.agent, &self.sandbox_file(EXIT_CODE_FILE), 0).await.ok()?;
        std::str::from_utf8(&data).ok()?.trim().parse().ok()
    }

    fn report(&self, end: End) -> anyhow::Result<ExitCode> {
        let state = mesos_name("TASK", end.state);
        let agent = self.launched.as_ref().map_or("", |launched| launched.agent_name.as_str());
        let reason = end.reason.map(|reason| mesos_name("REASON", reason));
        if self.arguments.node.output == OutputFormat::Json {
            let framework = self.framework_id.as_ref().map(|id| id.as_str());
            self.arguments.node.output.print(String::new, || {
                json!({
                    "frameworkId": framework, "taskId": self.task_id, "agent": agent, "state": state,
                    "reason": reason, "message": end.message, "exitCode": end.exit_code,
                })
            });
        } else if end.is_unusual() {
            console::error_line(&end.line(agent));
        }
        let code = match end.exit_code {
            _ if self.interrupted => INTERRUPTED,
            Some(code) => u8::try_from(code).unwrap_or(1),
            None => u8::from(end.state != TaskState::Finished),
        };
        Ok(ExitCode::from(code))
    }
}

fn host_port(ip: &str, port: u16) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// Prints bytes as they are. Whoever closed the output does not want to read them.
fn print(data: &[u8], to_stderr: bool) {
    let write = |to: &mut dyn Write| to.write_all(data).and_then(|()| to.flush());
    let _ = if to_stderr { write(&mut io::stderr()) } else { write(&mut io::stdout()) };
}

impl End {
    /// Whether the exit code does not say all: there is none, or what was killed has exceeded a limit.
    fn is_unusual(&self) -> bool {
        use Reason::{ContainerLimitation, ContainerLimitationDisk, ContainerLimitationMemory};
        let limits = [ContainerLimitation, ContainerLimitationDisk, ContainerLimitationMemory];
        self.exit_code.is_none() || self.reason.is_some_and(|reason| limits.contains(&reason))
    }

    /// State, reason and message. Statistics may follow the first line of a message.
    fn line(&self, agent: &str) -> String {
        let mut line = format!("{} on {agent}", mesos_name("TASK", self.state));
        if let Some(reason) = self.reason {
            line += &format!(", {}", mesos_name("REASON", reason));
        }
        match self.message.as_deref().unwrap_or_default().lines().next() {
            Some(message) => line + ": " + message.trim_end(),
            None => line,
        }
    }
}

/// Mesos' name of a state or reason: `TASK_GONE_BY_OPERATOR` of `GoneByOperator`.
fn mesos_name(prefix: &str, value: impl fmt::Debug) -> String {
    let mut name = prefix.to_owned();
    for character in format!("{value:?}").chars() {
        if character.is_uppercase() {
            name.push('_');
        }
        name.push(character.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_names_of_mesos() {
        assert_eq!(mesos_name("TASK", TaskState::Finished), "TASK_FINISHED");
        assert_eq!(mesos_name("TASK", TaskState::GoneByOperator), "TASK_GONE_BY_OPERATOR");
    }

    #[test]
    fn a_task_that_exceeds_its_memory_is_reported_although_it_has_an_exit_code() {
        let message = "Memory limit exceeded: Requested: 72MB (with 32MB for the executor)\n\nMEMORY STATISTICS: \nanon 5\n";
        let killed = |reason| End {
            state: TaskState::Failed,
            reason,
            message: Some(message.to_owned()),
            exit_code: Some(137),
        };
        let exceeded = killed(Some(Reason::ContainerLimitationMemory));
        assert!(exceeded.is_unusual());
        assert_eq!(
            exceeded.line("n1"),
            "TASK_FAILED on n1, REASON_CONTAINER_LIMITATION_MEMORY: Memory limit exceeded: Requested: 72MB \
             (with 32MB for the executor)"
        );
        assert!(!killed(Some(Reason::CommandExecutorFailed)).is_unusual(), "its own exit code says all");
        assert!(!killed(None).is_unusual());
        let lost = End { message: None, exit_code: None, ..killed(None) };
        assert_eq!((lost.is_unusual(), lost.line("n1").as_str()), (true, "TASK_FAILED on n1"));
    }

    #[test]
    fn the_wrapper_passes_arguments_and_exit_codes_on() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", WRAPPER, "sh", "/bin/sh", "-c", "echo \"$0 $1\"; exit 7", "a b", "c"]);
        let output = command.current_dir(directory.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(output.stdout, b"a b c\n");
        assert_eq!(std::fs::read_to_string(directory.path().join(EXIT_CODE_FILE)).unwrap(), "7\n");
    }

    #[test]
    fn addresses_of_both_families_are_urls() {
        assert_eq!(host_port("10.0.0.1", 5051), "10.0.0.1:5051");
        assert_eq!(host_port("fd00::1", 5051), "[fd00::1]:5051");
    }
}
