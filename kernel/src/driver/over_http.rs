//! The driver over the public v1 API, which any framework can use.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use kernel_model::{
    agent::AgentSnapshot,
    ids::{AgentId, FrameworkId},
    operator, scheduler,
};
use kernel_wire::{
    codec::{ContentType, decode, encode},
    operator as operator_wire, scheduler_call, scheduler_event,
    v1::{master, scheduler as wire},
};
use tokio::sync::{Mutex, mpsc};

use crate::access::Credential;

use super::{
    DriverError, SchedulerDriver,
    recordio_client::{MasterClient, RecordStream, unreachable},
};

/// Queued events before the stream waits for its reader.
const EVENTS_BOUND: usize = 1024;

/// How often agents are polled for changes that the event stream does not report.
const AGENTS_POLL: Duration = Duration::from_secs(2);

const SCHEDULER_PATH: &str = "/api/v1/scheduler";

const OPERATOR_PATH: &str = "/api/v1";

/// A driver for a master at `host:port`.
#[derive(Clone)]
pub struct HttpDriver {
    master: MasterClient,
    /// The stream id of each framework. Locked during a call, so that calls arrive in order.
    streams: Arc<Mutex<HashMap<FrameworkId, String>>>,
}

impl HttpDriver {
    /// A driver for the master at `host:port`.
    pub fn new(master: impl Into<String>) -> Self {
        Self { master: MasterClient::new(master), streams: Arc::default() }
    }

    /// The driver with the credentials of a framework.
    pub fn with_credential(self, credential: &Credential) -> Self {
        Self { master: self.master.with_credential(credential), ..self }
    }

    async fn agents(&self) -> Result<Vec<AgentSnapshot>, DriverError> {
        let call = master::Call { r#type: Some(master::call::Type::GetAgents as i32), ..Default::default() };
        let body = encode(ContentType::Protobuf, &call);
        let answer = self.master.call(OPERATOR_PATH, None, body).await?;
        let response: master::Response = decode(ContentType::Protobuf, &answer).map_err(unreachable)?;
        snapshots(response.get_agents.ok_or_else(|| unreachable("a response without agents"))?)
    }
}

#[async_trait]
impl SchedulerDriver for HttpDriver {
    async fn subscribe(
        &self,
        subscribe: scheduler::Subscribe,
    ) -> Result<mpsc::Receiver<scheduler::Event>, DriverError> {
        let body = encode(ContentType::Protobuf, &scheduler_call::subscribe_to_wire(&subscribe));
        let records = self.master.open(SCHEDULER_PATH, body).await?;
        let stream = records.header("Mesos-Stream-Id");
        let stream =
            stream.ok_or_else(|| unreachable("a subscription without 'Mesos-Stream-Id'"))?.to_owned();
        let (deliver, events) = mpsc::channel(EVENTS_BOUND);
        tokio::spawn(read_events(records, stream, self.streams.clone(), deliver));
        Ok(events)
    }

    async fn call(&self, framework_id: &FrameworkId, call: scheduler::Call) -> Result<(), DriverError> {
        let body = encode(ContentType::Protobuf, &scheduler_call::to_wire(framework_id, &call));
        let streams = self.streams.lock().await;
        let stream = streams.get(framework_id).map(String::as_str);
        self.master.call(SCHEDULER_PATH, stream, body).await?;
        Ok(())
    }

    async fn watch_cluster(
        &self,
    ) -> Result<(Vec<AgentSnapshot>, mpsc::Receiver<operator::Event>), DriverError> {
        let call = master::Call { r#type: Some(master::call::Type::Subscribe as i32), ..Default::default() };
        let body = encode(ContentType::Protobuf, &call);
        let mut records = self.master.open(OPERATOR_PATH, body).await?;
        let first = records.next_record().await.ok_or_else(|| unreachable("the stream ended at once"))?;
        let first: master::Event = decode(ContentType::Protobuf, &first).map_err(unreachable)?;
        let agents = first.subscribed.and_then(|s| s.get_state).and_then(|state| state.get_agents);
        let agents = snapshots(agents.ok_or_else(|| unreachable("a subscription without agents"))?)?;
        let (deliver, events) = mpsc::channel(EVENTS_BOUND);
        let known = agents.iter().map(|a| (a.info.id.clone(), a.clone())).collect();
        tokio::spawn(watch(self.clone(), records, known, deliver));
        Ok((agents, events))
    }
}

async fn read_events(
    mut records: RecordStream,
    stream: String,
    streams: Arc<Mutex<HashMap<FrameworkId, String>>>,
    deliver: mpsc::Sender<scheduler::Event>,
) {
    loop {
        let record = tokio::select! {
            record = records.next_record() => record,
            () = deliver.closed() => None,
        };
        let Some(record) = record else { return };
        let event = match parse_event(&record) {
            Ok(Some(event)) => event,
            Ok(None) => continue,
            Err(error) => return tracing::warn!(%error, "an event of the master does not parse"),
        };
        if let scheduler::Event::Subscribed { framework_id, .. } = &event {
            streams.lock().await.insert(framework_id.clone(), stream.clone());
        }
        if deliver.send(event).await.is_err() {
            return;
        }
    }
}

fn parse_event(record: &Bytes) -> Result<Option<scheduler::Event>, DriverError> {
    let event: wire::Event = decode(ContentType::Protobuf, record).map_err(unreachable)?;
    scheduler_event::from_wire(event).map_err(unreachable)
}

/// Forwards events, and generates `AgentUpdated` from polling, because Mesos has no such event.
async fn watch(
    driver: HttpDriver,
    mut records: RecordStream,
    mut known: HashMap<Option<AgentId>, AgentSnapshot>,
    deliver: mpsc::Sender<operator::Event>,
) {
    let mut poll = tokio::time::interval(AGENTS_POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let mut pending = Vec::new();
        tokio::select! {
            record = records.next_record() => {
                let Some(record) = record else { return };
                let parsed = decode::<master::Event>(ContentType::Protobuf, &record).map_err(unreachable);
                match parsed.and_then(|event| operator_wire::event_from_wire(event).map_err(unreachable)) {
                    Ok(event) => pending.extend(event),
                    Err(error) => return tracing::warn!(%error, "an event of the master does not parse"),
                }
            }
            _ = poll.tick() => {
                let Ok(agents) = driver.agents().await else { continue };
                for agent in agents {
                    let id = agent.info.id.clone();
                    if known.get(&id) != Some(&agent) {
                        known.insert(id, agent.clone());
                        pending.push(operator::Event::AgentUpdated { agent });
                    }
                }
            }
            () = deliver.closed() => return,
        }
        for event in pending {
            if deliver.send(event).await.is_err() {
                return;
            }
        }
    }
}

fn snapshots(agents: master::response::GetAgents) -> Result<Vec<AgentSnapshot>, DriverError> {
    agents
        .agents
        .into_iter()
        .map(operator_wire::agent_from_wire)
        .collect::<Result<_, _>>()
        .map_err(unreachable)
}
