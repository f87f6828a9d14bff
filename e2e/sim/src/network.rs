//! Links between agents and the master, and schedulers' streams. They deliver in order with delays, and are cut at any
//! time. Each end notices a cut at a time of its own; messages in flight may be lost.

use std::time::Duration;

use kernel_core::{agent, effect::LinkId, master};
use kernel_model::{
    agent::{ToAgent, ToMaster},
    ids::StreamId,
    scheduler::{self, Call},
    time::Time,
};

use crate::{
    framework::Kind,
    world::{Action, World},
};

/// A connection between an agent and the master.
pub(crate) struct Link {
    pub(crate) node: usize,
    /// Nothing is delivered any more, messages in flight included.
    pub(crate) cut: bool,
    /// Whether the end has not noticed the cut yet.
    pub(crate) at_master: bool,
    pub(crate) at_agent: bool,
    /// What is sent in one direction does not arrive before, because the network loses it and it is sent again.
    pub(crate) held_to_master: Time,
    pub(crate) held_to_agent: Time,
    last_to_master: Time,
    last_to_agent: Time,
}

/// A scheduler's subscription.
pub(crate) struct Stream {
    pub(crate) framework: usize,
    pub(crate) cut: bool,
    pub(crate) at_master: bool,
    pub(crate) at_framework: bool,
    /// Nothing arrives at the framework before.
    pub(crate) held: Time,
    last: Time,
}

impl World {
    /// When a message sent now arrives: after all messages sent before.
    pub(crate) fn arrival(&mut self, last: Time) -> Time {
        let delay = if self.random.permille(20) { (20, 400) } else { (0, 8) };
        let at = self.now + self.random.millis(delay.0, delay.1);
        at.max(Time(last.0 + 1))
    }

    pub(crate) fn dial(&mut self, node: usize, life: u64) {
        let here = &self.nodes[node];
        if here.life != life || here.agent.is_none() || here.link.is_some() {
            return;
        }
        if here.isolated || here.half_isolated_until > self.now || self.control.master.is_none() {
            let wait = self.random.millis(500, 1500);
            return self.after(wait, Action::Dial(node, life));
        }
        self.control.next_link += 1;
        let id = LinkId(self.control.next_link);
        let (last_to_master, last_to_agent) = (self.now, self.now);
        let link = Link {
            node,
            cut: false,
            at_master: true,
            at_agent: true,
            held_to_master: self.now,
            held_to_agent: self.now,
            last_to_master,
            last_to_agent,
        };
        self.links.insert(id, link);
        self.nodes[node].link = Some(id);
        self.note(format_args!("link {} of node {node}", id.0));
        self.master_step(master::Event::AgentConnected { link: id });
        self.agent_step(node, agent::Event::LinkUp);
    }

    pub(crate) fn send_to_agent(&mut self, id: LinkId, message: ToAgent) {
        let Some(link) = self.links.get(&id).filter(|l| l.at_master) else { return };
        let last = link.last_to_agent.max(link.held_to_agent);
        let at = self.arrival(last);
        self.links.get_mut(&id).expect("looked up above").last_to_agent = at;
        self.at(at, Action::ToAgent(id, message));
    }

    pub(crate) fn send_to_master(&mut self, node: usize, message: ToMaster) {
        let Some(id) = self.nodes[node].link else { return };
        let last = self.links[&id].last_to_master.max(self.links[&id].held_to_master);
        let at = self.arrival(last);
        self.links.get_mut(&id).expect("held by its node").last_to_master = at;
        self.at(at, Action::ToMaster(id, message));
    }

    pub(crate) fn deliver_to_master(&mut self, id: LinkId, message: ToMaster) {
        if self.links.get(&id).is_some_and(|link| link.at_master && !link.cut) {
            self.note(format_args!("master hears on {}: {}", id.0, brief_to_master(&message)));
            self.master_step(master::Event::AgentMessage { link: id, message });
        }
    }

    pub(crate) fn deliver_to_agent(&mut self, id: LinkId, message: ToAgent) {
        let Some(link) = self.links.get(&id).filter(|link| link.at_agent && !link.cut) else { return };
        let node = link.node;
        if !matches!(message, ToAgent::Ping) {
            self.note(format_args!("node {node} hears on {}: {}", id.0, brief_to_agent(&message)));
        }
        self.agent_step(node, agent::Event::FromMaster(message));
    }

    /// Cuts a link. Its ends notice later.
    pub(crate) fn cut_link(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.cut = true;
        self.let_notice(id);
    }

    /// Each end notices the cut at a time of its own.
    pub(crate) fn let_notice(&mut self, id: LinkId) {
        for action in [Action::MasterNotices(id), Action::AgentNotices(id)] {
            let slow = if self.random.permille(150) { 8_000 } else { 300 };
            let delay = self.random.millis(0, slow);
            self.after(delay, action);
        }
    }

    pub(crate) fn master_notices(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if std::mem::take(&mut link.at_master) {
            self.note(format_args!("master notices the end of link {}", id.0));
            self.master_step(master::Event::AgentDisconnected { link: id });
        }
    }

    pub(crate) fn agent_notices(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let node = link.node;
        if std::mem::take(&mut link.at_agent) {
            self.note(format_args!("node {node} notices the end of link {}", id.0));
            self.nodes[node].link = None;
            self.agent_step(node, agent::Event::LinkDown);
            self.dial_later(node);
        }
    }

    pub(crate) fn dial_later(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let wait = self.random.millis(50, 1500);
        self.after(wait, Action::Dial(node, life));
    }

    /// The master has closed a link. The agent notices after the messages sent before.
    pub(crate) fn master_closes(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.at_master = false;
        let after = link.last_to_agent.max(link.held_to_agent).max(self.now);
        self.at(Time(after.0 + 1), Action::AgentNotices(id));
    }

    pub(crate) fn open_stream(&mut self, framework: usize, id: &StreamId) {
        let last = self.now;
        let stream = Stream { framework, cut: false, at_master: true, at_framework: true, held: last, last };
        self.streams.insert(id.clone(), stream);
    }

    pub(crate) fn send_to_framework(&mut self, id: &StreamId, event: scheduler::Event) {
        let Some(stream) = self.streams.get(id).filter(|s| s.at_master) else { return };
        let last = stream.last.max(stream.held);
        let at = self.arrival(last);
        self.streams.get_mut(id).expect("looked up above").last = at;
        self.at(at, Action::ToFramework(id.clone(), Box::new(event)));
    }

    pub(crate) fn deliver_to_framework(&mut self, id: &StreamId, event: scheduler::Event) {
        let Some(stream) = self.streams.get(id).filter(|s| s.at_framework && !s.cut) else { return };
        let framework = stream.framework;
        self.framework_hears(framework, id, event);
    }

    pub(crate) fn cut_stream(&mut self, id: &StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.cut = true;
        let (one, other) = (self.random.millis(0, 3000), self.random.millis(0, 3000));
        self.after(one, Action::MasterNoticesStream(id.clone()));
        self.after(other, Action::FrameworkNotices(id.clone()));
    }

    pub(crate) fn master_closes_stream(&mut self, id: &StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.at_master = false;
        let after = stream.last.max(stream.held).max(self.now);
        self.at(Time(after.0 + 1), Action::FrameworkNotices(id.clone()));
    }

    pub(crate) fn master_notices_stream(&mut self, id: &StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if std::mem::take(&mut stream.at_master) {
            self.note(format_args!("master notices the end of stream {id}"));
            self.master_step(master::Event::SchedulerClosed { stream: id.clone() });
        }
    }

    pub(crate) fn framework_notices(&mut self, id: &StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let framework = stream.framework;
        if std::mem::take(&mut stream.at_framework) {
            self.stream_ended(framework, id);
        }
    }

    /// Sends a call, in order or not at all; returns whether it was sent.
    pub(crate) fn send_call(&mut self, framework: usize, call: Call, launch: Option<(u64, usize)>) -> bool {
        if self.frameworks[framework].kind == Kind::Java {
            self.request_of_driver(framework, call);
            return true;
        }
        let Some(stream) = self.frameworks[framework].stream.clone() else { return false };
        if self.faults_enabled && self.random.permille(15) {
            self.note(format_args!("framework {framework} loses a call"));
            return false;
        }
        let last = self.frameworks[framework].last_call.max(self.frameworks[framework].calls_held);
        let at = self.arrival(last);
        if self.variety.loose_calls && self.frameworks[framework].kind != Kind::Kubernetes {
            return self.send_loosely(framework, stream, call, at);
        }
        self.frameworks[framework].last_call = at;
        self.at(at, Action::Call { framework, stream, call, launch });
        true
    }

    /// Each call over HTTP has its own request: some are overtaken by later ones, and some are sent again by a client or a proxy
    /// that has seen no answer.
    fn send_loosely(&mut self, framework: usize, stream: StreamId, call: Call, at: Time) -> bool {
        let random = &mut self.variety.random;
        let later = at + random.millis(0, 500);
        let (overtaken, again) = (random.permille(30), random.permille(20));
        if again {
            let (stream, call) = (stream.clone(), call.clone());
            self.at(later, Action::Call { framework, stream, call, launch: None });
        }
        if !overtaken {
            self.frameworks[framework].last_call = at;
        }
        let at = if overtaken { later } else { at };
        self.at(at, Action::Call { framework, stream, call, launch: None });
        true
    }

    /// Nothing arrives in one direction of a machine's link for this long. Both ends send on, until they miss the other.
    pub(crate) fn half_isolate(&mut self, node: usize, to_master: bool, length: Duration) {
        let until = self.now + length;
        self.nodes[node].half_isolated_until = until;
        if let Some(link) = self.nodes[node].link.and_then(|id| self.links.get_mut(&id)) {
            match to_master {
                true => link.held_to_master = until,
                false => link.held_to_agent = until,
            }
        }
    }

    /// The same for a framework: its stream, or its calls.
    pub(crate) fn half_isolate_framework(&mut self, framework: usize, calls: bool, length: Duration) {
        let until = self.now + length;
        let here = &mut self.frameworks[framework];
        match calls {
            true => here.calls_held = until,
            false => {
                if let Some(stream) = here.stream.as_ref().and_then(|id| self.streams.get_mut(id)) {
                    stream.held = until;
                }
            }
        }
    }

    pub(crate) fn subscribe_later(&mut self, framework: usize, from: u64, to: u64) {
        let life = self.frameworks[framework].life;
        let last = self.frameworks[framework].last_call;
        let wait: Duration = self.random.millis(from, to);
        let at = (self.now + wait).max(Time(last.0 + 1));
        self.frameworks[framework].last_call = at;
        self.at(at, Action::Subscribe { framework, life });
    }
}

fn brief_to_master(message: &ToMaster) -> String {
    match message {
        ToMaster::Register { .. } => "register".to_owned(),
        ToMaster::Reregister { tasks, executors, .. } => {
            let tasks: Vec<String> =
                tasks.iter().map(|t| format!("{} {:?}", t.info.task_id, t.state)).collect();
            format!("reregister with {} executors and [{}]", executors.len(), tasks.join(", "))
        }
        ToMaster::Update { status, latest_state, .. } => {
            format!("update {} {:?} latest {latest_state:?}", status.task_id, status.state)
        }
        ToMaster::ExitedExecutor { executor_id, .. } => format!("{executor_id} exited"),
        ToMaster::Message { .. } => "message".to_owned(),
        ToMaster::ResizeTask { task_id, amounts, .. } => format!("resize {task_id} to {amounts}"),
        ToMaster::OperationStatus { operation } => {
            format!("operation {} {:?}", operation.id, operation.state)
        }
        ToMaster::VolumesFailed { volumes } => format!("{} volumes cannot be made", volumes.len()),
        ToMaster::ContainerRuntime { failure } => format!("has a container runtime with failure {failure:?}"),
        ToMaster::Oversubscribed { resources } => format!("oversubscribes {resources}"),
        ToMaster::Pong => "pong".to_owned(),
        ToMaster::Stopping => "stopping".to_owned(),
        ToMaster::Unregister => "unregister".to_owned(),
    }
}

fn brief_to_agent(message: &ToAgent) -> String {
    match message {
        ToAgent::Registered { agent_id, .. } => format!("registered {agent_id}"),
        ToAgent::Reregistered { agent_id, unknown_here, .. } => {
            format!("reregistered {agent_id}, unknown {unknown_here:?}")
        }
        ToAgent::RunTask { launch, launch_executor, .. } => {
            let tasks: Vec<&str> = launch.tasks().iter().map(|t| t.task_id.as_str()).collect();
            format!("run {} (new executor: {launch_executor})", tasks.join(" "))
        }
        ToAgent::KillTask { task_id, .. } => format!("kill {task_id}"),
        ToAgent::Acknowledge { task_id, uuid, .. } => format!("acknowledge {task_id} {uuid:?}"),
        ToAgent::TaskResized { task_id, resources, .. } => format!("{task_id} holds {resources}"),
        other => format!("{other:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
    }
}
