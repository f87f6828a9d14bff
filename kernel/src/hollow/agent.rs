//! One hollow agent: the state machine, and its effects without real processes.

use std::{collections::VecDeque, sync::Arc};

use kernel_core::{
    agent::{Agent, Config, ConnectionId, Effect, Event, Record, RequestId},
    effect::LinkId,
};
use kernel_model::{
    agent::{AgentInfo, ToMaster},
    ids::{ContainerId, ExecutorId, FrameworkId},
    resources::Attribute,
    time::Time,
};

use super::{HollowOptions, fake_executor};

/// A simulated executor.
pub(super) struct FakeExecutor {
    pub(super) framework_id: FrameworkId,
    pub(super) executor_id: ExecutorId,
    pub(super) container_id: ContainerId,
    pub(super) connection: ConnectionId,
}

/// A hollow agent.
pub(super) struct HollowAgent {
    pub(super) agent: Agent,
    pub(super) link: Option<LinkId>,
    /// When the next tick is scheduled.
    pub(super) next_tick: Option<Time>,
    pub(super) options: Arc<HollowOptions>,
    /// A few at most, so a linear search is enough.
    pub(super) executors: Vec<FakeExecutor>,
    index: u32,
    next_number: u32,
}

impl HollowAgent {
    pub(super) fn new(index: u32, options: Arc<HollowOptions>) -> Self {
        let mut attributes = options.attributes.clone();
        attributes.push(Attribute::text("catamaran.dev/hollow", "true"));
        let [_, high, middle, low] = index.to_be_bytes();
        let info = AgentInfo {
            id: None,
            hostname: format!("{}{index:05}", options.hostname_prefix),
            // An address of the shared address space (RFC 6598), which no test machine has. It is stable, so that a
            // restarted agent replaces its predecessor.
            ip: format!("100.{}.{middle}.{low}", 64 + (high & 63)),
            port: 5051,
            resources: options.resources.clone(),
            attributes,
            runs_images: false,
            operations: Default::default(),
        };
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        Self {
            agent: Agent::new(Config::new(info, seed)),
            link: None,
            next_tick: None,
            options,
            executors: Vec::new(),
            index,
            next_number: 0,
        }
    }

    pub(super) fn number(&mut self) -> u32 {
        self.next_number = self.next_number.wrapping_add(1);
        self.next_number
    }

    /// An update id that is unique within the cluster as long as this process lives.
    pub(super) fn update_id(&mut self) -> kernel_model::ids::UpdateId {
        let mut bytes = *b"hollow--________";
        bytes[8..12].copy_from_slice(&self.index.to_be_bytes());
        bytes[12..].copy_from_slice(&self.number().to_be_bytes());
        kernel_model::ids::UpdateId(bytes)
    }

    /// Handles an event with everything that follows inside the agent. `false` if the agent drops its link.
    pub(super) fn step(&mut self, now: Time, event: Event, outgoing: &mut Vec<ToMaster>) -> bool {
        let mut keeps_link = true;
        let (mut next, mut events) = (Some(event), VecDeque::new());
        while let Some(event) = next.take().or_else(|| events.pop_front()) {
            let effects = self.agent.step(now, event);
            // Nothing is persisted: a stopped hollow agent is gone.
            let _: Vec<Record> = effects.persist;
            for effect in effects.after_persist {
                match effect {
                    Effect::DropLink => keeps_link = false,
                    Effect::Start(start) => events.push_back(self.start_executor(*start)),
                    Effect::Terminate { container_id } | Effect::Destroy { container_id } => {
                        events.extend(self.end_executor(&container_id));
                    }
                    Effect::ToExecutor { connection, event } => {
                        fake_executor::react(self, now, connection, event, &mut events);
                    }
                    Effect::SyncVolumes { .. } => {
                        events.push_back(Event::VolumesSynced { failed: Default::default() });
                    }
                    other => outgoing.extend(super::to_master(other)),
                }
            }
        }
        keeps_link
    }

    fn start_executor(&mut self, start: kernel_core::agent::Start) -> Event {
        let framework_id = start.framework.id.clone().unwrap_or_else(|| FrameworkId::from(""));
        let executor_id = start.executor.executor_id.clone();
        let connection = ConnectionId(self.number().into());
        self.executors.push(FakeExecutor {
            framework_id: framework_id.clone(),
            executor_id: executor_id.clone(),
            container_id: start.container_id,
            connection,
        });
        Event::Subscribe {
            request: RequestId(0),
            connection,
            framework_id,
            executor_id,
            unacknowledged_tasks: Vec::new(),
            unacknowledged_updates: Vec::new(),
        }
    }

    /// Terminates a container, if it exists.
    pub(super) fn end_executor(&mut self, container_id: &ContainerId) -> Option<Event> {
        let at = self.executors.iter().position(|executor| executor.container_id == *container_id)?;
        let executor = self.executors.swap_remove(at);
        Some(Event::Exited { container_id: executor.container_id, status: 0, limitation: None })
    }
}
