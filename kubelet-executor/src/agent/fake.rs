//! An in-memory agent: launches tasks, acknowledges updates, remembers them.

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

/// An agent without a network.
#[derive(Debug, Default)]
pub struct FakeAgent {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stream: Option<mpsc::Sender<Event>>,
    updates: Vec<TaskStatus>,
    subscriptions: Vec<Call>,
    dropping_updates: bool,
    dropped_updates: usize,
    refusing_resizes: bool,
}

impl FakeAgent {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event to the subscriber; returns whether there is one.
    pub async fn send_event(&self, event: Event) -> bool {
        let stream = self.state().stream.clone();
        match stream {
            Some(stream) => stream.send(event).await.is_ok(),
            None => false,
        }
    }

    /// All updates in order, without repetitions.
    pub fn updates(&self) -> Vec<TaskStatus> {
        self.state().updates.clone()
    }

    /// All SUBSCRIBE calls.
    pub fn subscriptions(&self) -> Vec<Call> {
        self.state().subscriptions.clone()
    }

    /// Closes the event stream, as an agent that ends does.
    pub fn disconnect(&self) {
        self.state().stream = None;
    }

    /// How many updates were dropped.
    pub fn dropped_updates(&self) -> usize {
        self.state().dropped_updates
    }

    /// Whether requests for other amounts are refused.
    pub fn set_refusing_resizes(&self, refusing_resizes: bool) {
        self.state().refusing_resizes = refusing_resizes;
    }

    /// Whether updates are dropped without an acknowledgement.
    pub fn set_dropping_updates(&self, dropping_updates: bool) {
        self.state().dropping_updates = dropping_updates;
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
        image: None,
        labels: Default::default(),
        extra: Default::default(),
    };
    let agent = AgentInfo {
        id: None,
        hostname: "localhost".to_owned(),
        ip: "127.0.0.1".to_owned(),
        port: 5051,
        resources: Resources::default(),
        runs_images: false,
        attributes: Vec::new(),
        operations: Default::default(),
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
        let status = match call {
            Call::Update { status } => status,
            Call::ResizeTask { task_id, amounts } => {
                let resources = match self.state().refusing_resizes {
                    true => Resources::default(),
                    false => amounts,
                };
                self.send_event(Event::TaskResized { task_id, resources }).await;
                return Ok(());
            }
            _ => return Ok(()),
        };
        let (task_id, uuid) = (status.task_id.clone(), status.uuid);
        let stream = {
            let mut state = self.state();
            if state.dropping_updates {
                state.dropped_updates += 1;
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
