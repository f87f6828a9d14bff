//! An agent that runs no processes and reports tasks as running.

use kernel::agent_link::{AgentLink, Dialer, InProcessDialer};
use kernel_model::{
    agent::{AgentInfo, ToAgent, ToMaster},
    ids::{AgentId, FrameworkId, TaskId, UpdateId},
    resources::{Ranges, Resource, Resources, Scalar},
    task::{Source, TaskState, TaskStatus},
    time::Time,
};
use tokio::{sync::mpsc, time::timeout};

use crate::client::TIMEOUT;

/// The description of an agent with four CPUs.
pub(crate) fn info(hostname: &str) -> AgentInfo {
    let resources: Resources = [
        Resource::scalar("cpus", Scalar::from_units(4)),
        Resource::scalar("mem", Scalar::from_units(4096)),
        Resource::ranges("ports", Ranges::new([(31000, 32000)])),
    ]
    .into_iter()
    .collect();
    AgentInfo {
        id: None,
        hostname: hostname.into(),
        ip: "127.0.0.1".into(),
        port: 5051,
        resources,
        attributes: Vec::new(),
        runs_images: false,
        operations: Default::default(),
    }
}

/// Starts an agent; the receiver gets the master's messages.
pub(crate) async fn start(dialer: InProcessDialer, hostname: &str) -> mpsc::Receiver<ToAgent> {
    start_as(dialer, info(hostname)).await
}

/// Starts an agent with this description.
pub(crate) async fn start_as(dialer: InProcessDialer, info: AgentInfo) -> mpsc::Receiver<ToAgent> {
    let AgentLink { outgoing, mut incoming } = dialer.dial().await.expect("the master runs");
    outgoing.send(ToMaster::Register { info: info.into() }).await.expect("the master listens");
    let (seen, messages) = mpsc::channel(1024);
    tokio::spawn(async move {
        let mut own: Option<AgentId> = None;
        let mut updates = 0u8;
        while let Some(message) = incoming.recv().await {
            let mut update = |framework_id: &FrameworkId, task_id: &TaskId, state| {
                updates += 1;
                let status = TaskStatus {
                    uuid: Some(UpdateId([updates; 16])),
                    agent_id: own.clone(),
                    ..TaskStatus::new(
                        task_id.clone(),
                        state,
                        Source::Executor,
                        Time(1_700_000_000_000_000_000),
                    )
                };
                ToMaster::Update {
                    framework_id: framework_id.clone(),
                    status: status.into(),
                    latest_state: state,
                }
            };
            let answer = match &message {
                ToAgent::Registered { agent_id, .. } => {
                    own = Some(agent_id.clone());
                    None
                }
                ToAgent::RunTask { framework, launch, .. } => {
                    let id = framework.id.as_ref().expect("subscribed");
                    Some(update(id, &launch.tasks()[0].task_id, TaskState::Running))
                }
                ToAgent::KillTask { framework_id, task_id, .. } => {
                    Some(update(framework_id, task_id, TaskState::Killed))
                }
                ToAgent::Ping => Some(ToMaster::Pong),
                _ => None,
            };
            let _ = seen.try_send(message);
            if let Some(answer) = answer
                && outgoing.send(answer).await.is_err()
            {
                return;
            }
        }
    });
    messages
}

/// The next message from the master that `pick` selects.
pub(crate) async fn next_message<T>(
    agent: &mut mpsc::Receiver<ToAgent>,
    mut pick: impl FnMut(ToAgent) -> Option<T>,
) -> T {
    loop {
        let message = timeout(TIMEOUT, agent.recv()).await.expect("in time").expect("the agent lives");
        if let Some(picked) = pick(message) {
            return picked;
        }
    }
}
