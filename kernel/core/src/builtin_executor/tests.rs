//! Scripts and properties of the built-in executors.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use expect_test::expect;
use kernel_model::{
    agent::AgentInfo,
    executor::{CommandInfo, Event as AgentEvent, ExecutorInfo, ExecutorKind},
    framework::{FrameworkCapability, FrameworkInfo},
    labels::Labels,
    resources::Resources,
    task::{TaskInfo, TaskState, TaskStatus},
    time::Time,
};
use proptest::prelude::*;

use super::{Action, BuiltinExecutor, Event, Settings, health::HealthPolicy};

/// A machine, its clock, and what it has said so far.
struct Played {
    machine: BuiltinExecutor,
    now: Time,
    said: String,
    updates: Vec<Arc<TaskStatus>>,
    started: Vec<String>,
}

fn task(id: &str) -> TaskInfo {
    TaskInfo {
        name: id.into(),
        task_id: id.into(),
        agent_id: "a".into(),
        resources: Resources::default(),
        zero_resources: Vec::new(),
        executor: None,
        command: Some(CommandInfo { shell: true, value: Some("true".into()), ..CommandInfo::default() }),
        kill_grace: None,
        max_completion_time: None,
        image: None,
        data: Bytes::new(),
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}

impl Played {
    fn new(kind: ExecutorKind) -> Self {
        let settings =
            Settings { kind, recovery_wait: Duration::ZERO, shutdown_grace: Duration::from_secs(5), seed: 1 };
        let machine = BuiltinExecutor::new(settings);
        let mut played = Self {
            machine,
            now: Time::default(),
            said: String::new(),
            updates: Vec::new(),
            started: Vec::new(),
        };
        played.subscribe();
        played
    }

    fn subscribe(&mut self) {
        let framework = FrameworkInfo {
            user: "ann".into(),
            name: "test".into(),
            id: Some("f".into()),
            failover_timeout: Duration::ZERO,
            checkpoint: true,
            roles: Vec::new(),
            hostname: String::new(),
            principal: None,
            webui_url: String::new(),
            capabilities: [FrameworkCapability::TaskKillingState].into(),
            labels: Labels::default(),
            extra: Bytes::new(),
        };
        self.agent(AgentEvent::Subscribed {
            executor: Arc::new(executor()),
            framework: Arc::new(framework),
            agent: Arc::new(agent()),
            container_id: "c".into(),
        });
    }

    fn agent(&mut self, event: AgentEvent) {
        self.step(Event::Agent(event));
    }

    fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.machine.step(self.now, event, &mut actions);
        for action in actions {
            let second = self.now.0 / 1_000_000_000;
            let _ = match &action {
                Action::Start { task, framework_user } => {
                    self.started.push(task.task_id.to_string());
                    writeln!(self.said, "{second} start {} as {framework_user}", task.task_id)
                }
                Action::Terminate(task_id) => writeln!(self.said, "{second} terminate {task_id}"),
                Action::Kill(task_id) => writeln!(self.said, "{second} kill {task_id}"),
                Action::Log(line) => writeln!(self.said, "{second} log {line}"),
                Action::Update(status) => {
                    self.updates.push(status.clone());
                    let message = status.message.as_deref().unwrap_or_default();
                    let reason = status.reason.map(|reason| format!(" {reason:?}")).unwrap_or_default();
                    let health = status.healthy.map(|is| format!(" healthy: {is}")).unwrap_or_default();
                    let (id, state) = (&status.task_id, status.state);
                    writeln!(self.said, "{second} {id} {state:?}{reason}{health} {message}")
                }
            };
        }
    }

    fn launch_group(&mut self, tasks: Vec<TaskInfo>) {
        self.agent(AgentEvent::LaunchGroup { tasks });
    }

    fn started(&mut self, id: &str) {
        self.step(Event::Started { task_id: id.into(), health: None, extra: Bytes::new() });
    }

    fn exited(&mut self, id: &str, succeeded: bool) {
        let message = "Command exited".to_owned();
        self.step(Event::Exited { task_id: id.into(), succeeded, message });
    }

    fn after(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.step(Event::Wake);
    }

    fn acknowledge_all(&mut self) {
        for status in std::mem::take(&mut self.updates) {
            let uuid = status.uuid.expect("an update of an executor has an id");
            self.agent(AgentEvent::Acknowledged { task_id: status.task_id.clone(), uuid });
        }
    }

    fn is_over(&self) -> bool {
        self.machine.is_over(self.now)
    }

    /// What was said since the last call.
    fn said(&mut self) -> String {
        std::mem::take(&mut self.said)
    }
}

fn agent() -> AgentInfo {
    AgentInfo {
        id: None,
        hostname: String::new(),
        ip: String::new(),
        port: 0,
        resources: Resources::default(),
        attributes: Vec::new(),
        runs_images: false,
        operations: Default::default(),
    }
}

fn executor() -> ExecutorInfo {
    ExecutorInfo {
        kind: ExecutorKind::Default,
        executor_id: "e".into(),
        framework_id: None,
        command: None,
        resources: Resources::default(),
        name: String::new(),
        source: String::new(),
        data: Bytes::new(),
        shutdown_grace: None,
        image: None,
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}

#[test]
fn a_group_lives_until_its_last_task_has_finished() {
    let mut played = Played::new(ExecutorKind::Default);
    played.launch_group(vec![task("a"), task("b")]);
    played.started("a");
    played.started("b");
    played.exited("a", true);
    played.acknowledge_all();
    assert!(!played.is_over());
    played.exited("b", true);
    assert!(!played.is_over(), "its last update is not acknowledged");
    played.acknowledge_all();
    assert!(played.is_over());
    expect![[r"
        0 a Starting 
        0 b Starting 
        0 start a as ann
        0 start b as ann
        0 a Running 
        0 b Running 
        0 a Finished Command exited
        0 b Finished Command exited
    "]]
    .assert_eq(&played.said());
}

#[test]
fn a_failed_task_takes_its_group_with_it_and_no_other() {
    let mut played = Played::new(ExecutorKind::Default);
    let patient = TaskInfo { kill_grace: Some(Duration::from_secs(7)), ..task("b") };
    played.launch_group(vec![task("a"), patient, task("c")]);
    played.launch_group(vec![task("other")]);
    ["a", "b", "other"].into_iter().for_each(|id| played.started(id));
    played.said();
    played.exited("a", false);
    played.started("c");
    played.after(3);
    played.after(4);
    played.exited("b", false);
    played.exited("c", false);
    assert!(!played.is_over());
    expect![[r"
        0 a Failed Command exited
        0 terminate b
        0 b Killing 
        0 terminate c
        0 terminate c
        3 kill c
        7 kill b
        7 b Killed Command exited
        7 c Killed Command exited
    "]]
    .assert_eq(&played.said());
}

#[test]
fn a_container_that_cannot_be_started_is_the_reason() {
    let said = |is_container| {
        let mut played = Played::new(ExecutorKind::Default);
        played.launch_group(vec![task("a")]);
        played.said();
        played.step(Event::NotStarted { task_id: "a".into(), is_container, message: "why".into() });
        played.said()
    };
    assert_eq!(said(true), "0 a Failed ContainerLaunchFailed why\n");
    assert_eq!(said(false), "0 a Failed why\n");
}

#[test]
fn a_kill_is_for_the_group_and_its_grace_for_the_named_task() {
    let mut played = Played::new(ExecutorKind::Default);
    played.launch_group(vec![task("a"), task("b")]);
    played.started("a");
    played.said();
    let grace = Some(Duration::from_secs(1));
    played.agent(AgentEvent::Kill { task_id: "a".into(), grace });
    played.step(Event::NotStarted {
        task_id: "b".into(),
        is_container: true,
        message: "the start was stopped".into(),
    });
    played.after(1);
    played.exited("a", false);
    expect![[r"
        0 terminate a
        0 a Killing 
        0 terminate b
        0 b Killed the start was stopped
        1 kill a
        1 a Killed Command exited
    "]]
    .assert_eq(&played.said());
}

#[test]
fn a_task_that_cannot_be_started_takes_the_rest_of_its_group_with_it() {
    let mut played = Played::new(ExecutorKind::Default);
    played.launch_group(vec![TaskInfo { command: None, ..task("a") }, task("b")]);
    assert!(played.started.is_empty());
    expect![[r"
        0 a Starting 
        0 b Starting 
        0 a Failed the task has no command
        0 terminate b
        0 b Killed the task was killed before it was started
    "]]
    .assert_eq(&played.said());
    played.acknowledge_all();
    assert!(played.is_over());
}

#[test]
fn time_and_health_end_a_task() {
    let mut played = Played::new(ExecutorKind::Default);
    let short = TaskInfo { max_completion_time: Some(Duration::from_secs(9)), ..task("a") };
    played.launch_group(vec![short]);
    played.started("a");
    played.launch_group(vec![task("b")]);
    let health = Some(HealthPolicy { failures_max: 2, grace: Duration::ZERO });
    played.step(Event::Started { task_id: "b".into(), health, extra: Bytes::new() });
    played.said();
    for good in [true, true, false, false] {
        played.step(Event::Health { task_id: "b".into(), good });
    }
    played.exited("b", true);
    played.after(9);
    played.exited("a", true);
    expect![[r"
        0 b Running TaskHealthCheckStatusUpdated healthy: true 
        0 b Running TaskHealthCheckStatusUpdated healthy: false 
        0 b Running TaskHealthCheckStatusUpdated healthy: false 
        0 terminate b
        0 b Killing healthy: false 
        0 b Killed healthy: false Command exited
        9 terminate a
        9 a Killing 
        9 a Failed MaxCompletionTimeReached Command exited
    "]]
    .assert_eq(&played.said());
}

#[test]
fn the_command_executor_runs_one_task() {
    let mut played = Played::new(ExecutorKind::Command);
    let launch = |id: &str| AgentEvent::Launch { task: Box::new(task(id)) };
    played.agent(launch("a"));
    played.started("a");
    played.agent(launch("a"));
    played.agent(launch("b"));
    played.launch_group(vec![task("c")]);
    played.exited("a", false);
    assert!(!played.is_over());
    played.after(60);
    assert!(played.is_over(), "nobody acknowledges");
    expect![[r"
        0 a Starting 
        0 start a as ann
        0 a Running 
        0 b Failed the command executor runs one task only
        0 c Failed the command executor runs no task groups
        0 a Failed Command exited
    "]]
    .assert_eq(&played.said());
}

#[test]
fn a_single_task_ends_the_default_executor() {
    let mut played = Played::new(ExecutorKind::Default);
    played.launch_group(vec![task("a")]);
    played.started("a");
    played.said();
    played.agent(AgentEvent::Launch { task: Box::new(task("b")) });
    expect![[r"
        0 log the default executor runs task groups only
        0 terminate a
        0 a Killing 
    "]]
    .assert_eq(&played.said());
    played.after(4);
    assert_eq!(played.said(), "4 kill a\n");
    played.after(1);
    assert!(played.is_over());
}

#[test]
fn what_is_not_acknowledged_is_sent_with_the_next_subscription() {
    let mut played = Played::new(ExecutorKind::Default);
    played.launch_group(vec![task("a")]);
    let (tasks, updates) = played.machine.unacknowledged();
    assert_eq!((tasks.len(), updates.len()), (1, 1));
    played.acknowledge_all();
    played.started("a");
    let (tasks, updates) = played.machine.unacknowledged();
    assert_eq!((tasks.len(), updates.len()), (0, 1));
    played.said();
    played.subscribe();
    assert_eq!(played.said(), "0 a Running \n");
}

#[derive(Debug, Clone)]
enum Happening {
    Launch(u8),
    Kill(u8),
    Start(u8),
    Refuse(u8),
    Exit(u8, bool),
    Sick(u8),
    Wait(u8),
    Acknowledge,
    Subscribe,
    Shutdown,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (1u8..4).prop_map(Happening::Launch),
        2 => any::<u8>().prop_map(Happening::Kill),
        8 => any::<u8>().prop_map(Happening::Start),
        1 => any::<u8>().prop_map(Happening::Refuse),
        6 => (any::<u8>(), any::<bool>()).prop_map(|(which, good)| Happening::Exit(which, good)),
        1 => any::<u8>().prop_map(Happening::Sick),
        2 => (0u8..10).prop_map(Happening::Wait),
        3 => Just(Happening::Acknowledge),
        1 => Just(Happening::Subscribe),
        1 => Just(Happening::Shutdown),
    ]
}

proptest! {
    /// Whatever happens: a task has one terminal status and no status after it, and once a task of a group did not finish, the
    /// others are killed.
    #[test]
    fn each_task_ends_once_with_its_group(happenings in proptest::collection::vec(happening(), 1..80)) {
        let mut played = Played::new(ExecutorKind::Default);
        let (mut launched, mut groups) = (0usize, Vec::<Vec<String>>::new());
        let (mut running, mut statuses) = (Vec::<String>::new(), Vec::new());
        let pick = |of: &[String], which: u8| of.get(usize::from(which) % of.len().max(1)).cloned();
        for happening in happenings {
            match happening {
                Happening::Launch(count) => {
                    let ids: Vec<String> = (0..count).map(|n| format!("t{}", launched + usize::from(n))).collect();
                    launched += ids.len();
                    played.launch_group(ids.iter().map(|id| task(id)).collect());
                    groups.push(ids);
                }
                Happening::Kill(which) => {
                    let all: Vec<String> = groups.concat();
                    if let Some(id) = pick(&all, which) {
                        played.agent(AgentEvent::Kill { task_id: id.as_str().into(), grace: None });
                    }
                }
                Happening::Start(which) | Happening::Refuse(which) => {
                    if let Some(id) = pick(&played.started, which) {
                        played.started.retain(|other| *other != id);
                        match happening {
                            Happening::Refuse(_) => {
                                let message = String::new();
                                played.step(Event::NotStarted { task_id: id.as_str().into(), is_container: false, message });
                            }
                            _ => {
                                let health = Some(HealthPolicy { failures_max: 1, grace: Duration::ZERO });
                                let task_id = id.as_str().into();
                                played.step(Event::Started { task_id, health, extra: Bytes::new() });
                                running.push(id);
                            }
                        }
                    }
                }
                Happening::Exit(which, good) => {
                    if let Some(id) = pick(&running, which) {
                        running.retain(|other| *other != id);
                        played.exited(&id, good);
                    }
                }
                Happening::Sick(which) => {
                    if let Some(id) = pick(&running, which) {
                        played.step(Event::Health { task_id: id.as_str().into(), good: false });
                    }
                }
                Happening::Wait(seconds) => played.after(seconds.into()),
                Happening::Acknowledge => {
                    statuses.extend(played.updates.iter().cloned());
                    played.acknowledge_all();
                }
                Happening::Subscribe => {
                    // What is sent again is no new status.
                    statuses.append(&mut played.updates);
                    played.subscribe();
                }
                Happening::Shutdown => played.agent(AgentEvent::Shutdown),
            }
        }
        // Whatever was started comes to its end.
        for id in std::mem::take(&mut played.started) {
            played.started(&id);
            running.push(id);
        }
        for id in running {
            played.exited(&id, false);
        }
        statuses.append(&mut played.updates);
        let mut seen = std::collections::BTreeSet::new();
        statuses.retain(|status| seen.insert(status.uuid));
        for group in groups {
            for id in &group {
                let own = statuses.iter().filter(|status| status.task_id.as_str() == id);
                let own: Vec<TaskState> = own.map(|status| status.state).collect();
                prop_assert_eq!(own.iter().filter(|state| state.is_terminal()).count(), 1, "{}: {:?}", id, own);
                prop_assert!(own.last().is_some_and(|state| state.is_terminal()), "{}: {:?}", id, own);
            }
            let of_group = statuses.iter().filter(|status| group.iter().any(|id| status.task_id.as_str() == id));
            let ends = of_group.map(|status| status.state).filter(|state| state.is_terminal());
            let after: Vec<TaskState> = ends.skip_while(|state| *state == TaskState::Finished).skip(1).collect();
            prop_assert!(after.iter().all(|state| *state == TaskState::Killed), "{:?}: {:?}", group, after);
        }
    }
}
