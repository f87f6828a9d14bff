//! An agent of channels: hands tasks out, acknowledges updates, remembers them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kernel_model::{
    agent::AgentInfo,
    executor::{Call, Event, ExecutorInfo, ExecutorKind},
    framework::FrameworkInfo,
    resources::Resources,
    task::TaskStatus,
};
use tokio::sync::mpsc;

use super::{AgentLink, LinkError};

const QUEUE_MAX: usize = 256;

/// See the file's head.
#[derive(Debug, Default)]
pub struct FakeAgent {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stream: Option<mpsc::Sender<Event>>,
    updates: Vec<TaskStatus>,
    subscriptions: Vec<Call>,
    deaf: bool,
    swallowed: usize,
}

impl FakeAgent {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event to whoever is subscribed; answers whether somebody is.
    pub async fn tell(&self, event: Event) -> bool {
        let stream = self.state().stream.clone();
        match stream {
            Some(stream) => stream.send(event).await.is_ok(),
            None => false,
        }
    }

    /// Every update that came, in order; repetitions left out.
    pub fn updates(&self) -> Vec<TaskStatus> {
        self.state().updates.clone()
    }

    /// Every SUBSCRIBE that came.
    pub fn subscriptions(&self) -> Vec<Call> {
        self.state().subscriptions.clone()
    }

    /// Breaks the connection, as an agent's end would.
    pub fn hang_up(&self) {
        self.state().stream = None;
    }

    /// How many updates were swallowed.
    pub fn swallowed(&self) -> usize {
        self.state().swallowed
    }

    /// Whether updates are swallowed without an acknowledgement.
    pub fn set_deaf(&self, deaf: bool) {
        self.state().deaf = deaf;
    }
}

fn subscribed() -> Event {
    let executor = ExecutorInfo {
        kind: ExecutorKind::Custom,
        executor_id: "kubelet".into(),
        framework_id: None,
        command: None,
        resources: Resources::default(),
        name: String::new(),
        source: String::new(),
        data: Default::default(),
        shutdown_grace: None,
        labels: Default::default(),
        extra: Default::default(),
    };
    let agent = AgentInfo {
        id: None,
        hostname: "localhost".to_owned(),
        ip: "127.0.0.1".to_owned(),
        port: 5051,
        resources: Resources::default(),
        attributes: Vec::new(),
    };
    Event::Subscribed {
        executor: executor.into(),
        framework: framework().into(),
        agent: agent.into(),
        container_id: "c".into(),
    }
}

fn framework() -> FrameworkInfo {
    FrameworkInfo {
        user: String::new(),
        name: "kubernetes".to_owned(),
        id: None,
        failover_timeout: Default::default(),
        checkpoint: true,
        roles: Vec::new(),
        hostname: String::new(),
        principal: None,
        webui_url: String::new(),
        capabilities: Default::default(),
        labels: Default::default(),
        extra: Default::default(),
    }
}

#[async_trait]
impl AgentLink for FakeAgent {
    async fn subscribe(&self, call: Call) -> Result<mpsc::Receiver<Event>, LinkError> {
        let (stream, events) = mpsc::channel(QUEUE_MAX);
        let unacknowledged = match &call {
            Call::Subscribe { unacknowledged_updates, .. } => unacknowledged_updates.clone(),
            _ => Vec::new(),
        };
        self.state().subscriptions.push(call);
        let _ = stream.send(subscribed()).await;
        self.state().stream = Some(stream);
        for status in unacknowledged {
            self.send(Call::Update { status: status.into() }).await?;
        }
        Ok(events)
    }

    async fn send(&self, call: Call) -> Result<(), LinkError> {
        let Call::Update { status } = call else { return Ok(()) };
        let (task_id, uuid) = (status.task_id.clone(), status.uuid);
        let stream = {
            let mut state = self.state();
            if state.deaf {
                state.swallowed += 1;
                return Ok(());
            }
            if !state.updates.iter().any(|known| known.uuid == uuid) {
                state.updates.push(TaskStatus::clone(&status));
            }
            state.stream.clone()
        };
        if let (Some(stream), Some(uuid)) = (stream, uuid) {
            let _ = stream.send(Event::Acknowledged { task_id, uuid }).await;
        }
        Ok(())
    }
}
