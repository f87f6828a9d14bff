//! The processes of frameworks: they start, subscribe, lose their streams, and crash.

use std::{collections::BTreeSet, time::Duration};

use kernel_model::{
    ids::StreamId,
    scheduler::{Call, Subscribe},
    task::TaskState,
};
use shim_core::scheduler::machine;

use crate::{
    framework::{ItemState, Kind, WAKE},
    world::{Action, World},
};

impl World {
    pub(crate) fn start_framework(&mut self, index: usize) {
        let framework = &mut self.frameworks[index];
        if std::mem::replace(&mut framework.alive, true) {
            return;
        }
        framework.life += 1;
        let life = framework.life;
        self.note(format_args!("framework {index} starts"));
        if self.frameworks[index].kind == Kind::Kubernetes {
            self.start_scheduler(index);
        }
        match self.frameworks[index].kind {
            Kind::Java => self.start_driver(index),
            _ => self.subscribe_later(index, 0, 100),
        }
        self.after(WAKE, Action::Wake { framework: index, life });
    }

    /// The process crashes; its durable state stays.
    pub(crate) fn crash_framework(&mut self, index: usize) {
        let framework = &mut self.frameworks[index];
        if !std::mem::take(&mut framework.alive) {
            return;
        }
        framework.subscribed = false;
        framework.watches_cluster = false;
        framework.scheduler.crash(framework.life);
        framework.java.crash();
        let stream = framework.stream.take();
        self.note(format_args!("framework {index} crashes"));
        if let Some(id) = stream {
            self.streams.get_mut(&id).expect("streams are kept").at_framework = false;
            let delay = self.random.millis(0, 1000);
            self.after(delay, Action::MasterNoticesStream(id));
        }
        let wait = self.random.millis(50, 5000);
        self.after(wait, Action::StartFramework(index));
    }

    pub(crate) fn subscribe(&mut self, index: usize, life: u64) {
        let framework = &mut self.frameworks[index];
        if framework.life != life || !framework.alive || framework.stream.is_some() {
            return;
        }
        if self.control.master.is_none() {
            return self.subscribe_later(index, 300, 1500);
        }
        framework.streams += 1;
        let stream = StreamId::new(format!("stream-{index}-{}", framework.streams));
        framework.stream = Some(stream.clone());
        let (framework, suppressed_roles) = match &framework.scheduler.machine {
            Some(machine) => {
                framework.roles = machine.roles();
                let info = machine::framework_info(framework.id.clone(), &framework.roles);
                (info, framework.roles.iter().cloned().collect())
            }
            None => (framework.info(index), BTreeSet::new()),
        };
        let subscribe = Subscribe { framework, suppressed_roles, preferences: Default::default() };
        self.note(format_args!("framework {index} subscribes on {stream}"));
        self.subscription_arrives(index, stream, subscribe);
    }

    /// A framework notices that its stream is closed.
    pub(crate) fn stream_ended(&mut self, index: usize, stream: &StreamId) {
        let framework = &mut self.frameworks[index];
        if framework.stream.as_ref() == Some(stream) {
            framework.stream = None;
            framework.subscribed = false;
            framework.watches_cluster = false;
            self.note(format_args!("framework {index} notices the end of {stream}"));
            if self.frameworks[index].kind == Kind::Java {
                return self.driver_loses_stream(index);
            }
            self.scheduler_step(index, machine::Event::Unsubscribed);
            self.subscribe_later(index, 50, 1500);
        }
    }

    /// A call was refused, usually because the master has another stream for the framework.
    pub(crate) fn call_refused(&mut self, index: usize, stream: &StreamId) {
        if self.frameworks[index].stream.as_ref() != Some(stream) {
            return;
        }
        if let Some(held) = self.streams.get_mut(stream) {
            held.at_framework = false;
            self.after(Duration::ZERO, Action::MasterNoticesStream(stream.clone()));
        }
        self.stream_ended(index, stream);
    }

    /// What a framework does every few seconds: it asks, kills and revives.
    pub(crate) fn wake(&mut self, index: usize, life: u64) {
        let framework = &self.frameworks[index];
        if framework.life != life || !framework.alive {
            return;
        }
        self.after(WAKE, Action::Wake { framework: index, life });
        if self.frameworks[index].kind == Kind::Kubernetes {
            return self.clients_act(index);
        }
        if !self.frameworks[index].subscribed {
            return;
        }
        if self.frameworks[index].kind == Kind::Volumes {
            self.wake_storage(index);
        }
        let now = self.now;
        let mut pending = false;
        let mut ask = Vec::new();
        let mut kill = Vec::new();
        let is_hog = self.frameworks[index].kind == Kind::Hog;
        for (id, item) in &mut self.frameworks[index].items {
            let intended_long = item.state == ItemState::Intended && now.since(item.asked).as_secs() >= 4;
            let running_long = item.state == ItemState::Running && now.since(item.asked).as_secs() >= 15;
            if intended_long || running_long {
                item.asked = now;
                ask.push((id.clone(), item.agent.clone()));
            }
            let due = item.kill_after.is_some_and(|age| now.since(item.since) >= age);
            match item.state {
                // It is not wanted any more.
                ItemState::Pending if due && is_hog => item.state = ItemState::Done(TaskState::Killed),
                ItemState::Pending => pending = true,
                ItemState::Intended | ItemState::Running if due => {
                    kill.push((id.clone(), item.agent.clone()))
                }
                _ => {}
            }
        }
        if !ask.is_empty() {
            self.send_call(index, Call::Reconcile { tasks: ask }, None);
        }
        for (task_id, agent_id) in kill {
            self.send_call(index, Call::Kill { task_id, agent_id, grace: None }, None);
        }
        if pending && now.since(self.frameworks[index].revived).as_secs() >= 6 {
            self.frameworks[index].revived = now;
            self.send_call(index, Call::Revive { roles: vec![] }, None);
        }
    }
}
