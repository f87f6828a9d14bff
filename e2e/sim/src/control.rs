//! The master's process: the state machine, its disk, and crashes before and after a write.

use kernel_core::{
    audit,
    effect::RequestId,
    master::{Effect, Event, Master, MasterConfig, Refusal, Registry},
};
use kernel_model::{
    agent::{ToAgent, ToMaster},
    caller::Caller,
    ids::{AgentId, StreamId},
    scheduler::{Call, MasterInfo, Operation, Subscribe},
    time::Time,
};
use std::{collections::BTreeMap, time::Duration};

use shim_core::scheduler::machine::CallOutcome;

use crate::{
    framework::Kind,
    situations::launched_tasks,
    variety::{Clock, PREEMPT_AFTER, WRONG_MAX},
    world::{Action, World},
};

/// The master and its disk.
#[derive(Default)]
pub(crate) struct Control {
    pub(crate) master: Option<Master>,
    pub(crate) clock: Clock,
    disk: Registry,
    /// Number of starts of the process.
    pub(crate) starts: u64,
    pub(crate) next_link: u64,
    next_request: u64,
    /// The latest request that succeeded.
    pub(crate) accepted: Option<RequestId>,
    /// The latest request that was refused, and why.
    pub(crate) refused: Option<(RequestId, Refusal)>,
    /// The framework of each request, for refusals.
    requests: BTreeMap<RequestId, (usize, StreamId)>,
}

impl Control {
    /// When the master's next timer is due, by the world's clock.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        Some(self.clock.when(self.master.as_ref()?.next_deadline()?))
    }

    pub(crate) fn next_request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }
}

impl World {
    pub(crate) fn start_master(&mut self) {
        if self.control.master.is_some() {
            return;
        }
        self.control.starts += 1;
        let mut config = MasterConfig::new(MasterInfo {
            id: format!("m{}", self.control.starts).into(),
            hostname: "localhost".into(),
            ip: "127.0.0.1".into(),
            port: 5050,
            version: "1.11.0".into(),
        });
        config.ping_interval = Duration::from_secs(5);
        config.ping_timeouts = 3;
        config.agent_reregister_timeout = Duration::from_secs(25);
        config.offer_timeout = Some(Duration::from_secs(20));
        config.preempt_after = self.variety.preemption.then_some(PREEMPT_AFTER);
        config.run_as.anonymous_root = true;
        if self.variety.clocks {
            self.control.clock = Clock::wrong(&mut self.variety.random, WRONG_MAX);
        }
        let registry = Registry::from_records(self.control.disk.iter().cloned());
        let starts = self.control.starts;
        self.note(format_args!("master {starts} starts"));
        self.control.master = Some(Master::new(config, registry));
    }

    pub(crate) fn crash_master(&mut self) {
        if self.control.master.take().is_none() {
            return;
        }
        self.note(format_args!("master crashes"));
        self.control.requests.clear();
        let links: Vec<_> = self.links.iter().filter(|(_, l)| l.at_master).map(|(id, _)| *id).collect();
        for id in links {
            self.links.get_mut(&id).expect("listed above").at_master = false;
            let delay = self.random.millis(0, 200);
            self.after(delay, Action::AgentNotices(id));
        }
        let streams: Vec<_> =
            self.streams.iter().filter(|(_, s)| s.at_master).map(|(id, _)| id.clone()).collect();
        for id in streams {
            self.streams.get_mut(&id).expect("listed above").at_master = false;
            let delay = self.random.millis(0, 200);
            self.after(delay, Action::FrameworkNotices(id));
        }
        let wait = self.random.millis(50, 5000);
        self.after(wait, Action::StartMaster);
    }

    /// One step of the master. It may crash before the write, or between the write and the effects that depend on it.
    pub(crate) fn master_step(&mut self, event: Event) {
        let now = self.control.clock.read(self.now);
        let offers_before = self.offers_now();
        let Some(master) = &mut self.control.master else { return };
        // Pings and pongs change no table.
        let idle = matches!(event, Event::Tick | Event::AgentMessage { message: ToMaster::Pong, .. });
        let effects = master.step(now, event);
        let pings = |effect: &Effect| matches!(effect, Effect::ToAgent { message: ToAgent::Ping, .. });
        let quiet = idle && effects.persist.is_empty() && effects.after_persist.iter().all(pings);
        let notes = if quiet { Vec::new() } else { audit::audit(master) };
        let writes = !effects.persist.is_empty();
        let hit = self.faults_enabled && self.random.permille(if writes { 20 } else { 1 });
        let before = hit && self.random.permille(500);
        if !before {
            for op in &effects.persist {
                self.control.disk.apply(op);
            }
            self.master_has_written(&effects.persist);
        }
        for note in notes {
            self.fail(note.to_string());
        }
        if !quiet {
            self.check_limits(&offers_before);
            self.check_quotas();
        }
        if hit {
            self.faults += 1;
            let moment = if before { "before its write" } else { "after its write" };
            self.note(format_args!("the master is hit {moment}"));
            return self.crash_master();
        }
        for effect in effects.after_persist {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Reply { request, result } => {
                self.operator_answered(request, result.as_ref().map(|_| ()));
                match &result {
                    Ok(_) => self.control.accepted = Some(request),
                    Err(refusal) => self.control.refused = Some((request, refusal.clone())),
                }
                let Some((framework, stream)) = self.control.requests.remove(&request) else { return };
                if let Err(refusal) = result {
                    self.note(format_args!("framework {framework} is refused: {refusal}"));
                    let delay = self.random.millis(0, 10);
                    self.after(delay, Action::Refused { framework, stream });
                }
            }
            Effect::ToScheduler { stream, event } => {
                self.check_told_loss(&event);
                self.send_to_framework(&stream, event);
            }
            Effect::CloseStream { stream } => self.master_closes_stream(&stream),
            Effect::ToAgent { link, message } => {
                if let ToAgent::RunTask { launch, .. } = &message {
                    self.note_volumes(launch.tasks());
                }
                self.send_to_agent(link, message);
            }
            Effect::CloseLink { link } => self.master_closes(link),
            Effect::Operator(event) => self.tell_schedulers(&event),
            Effect::Dropped { .. } => {}
        }
    }

    fn request(&mut self, framework: usize, stream: &StreamId) -> RequestId {
        let request = self.control.next_request();
        self.control.requests.insert(request, (framework, stream.clone()));
        request
    }

    pub(crate) fn subscription_arrives(&mut self, framework: usize, stream: StreamId, subscribe: Subscribe) {
        self.open_stream(framework, &stream);
        let request = self.request(framework, &stream);
        let caller = self.caller_of(framework);
        self.master_step(Event::Subscribe { request, stream, caller, subscribe: subscribe.into() });
    }

    pub(crate) fn call_arrives(
        &mut self,
        framework: usize,
        stream: StreamId,
        call: Call,
        launch: Option<(u64, usize)>,
    ) {
        let agent = agent_of(&call);
        let id = self.frameworks[framework].id.clone();
        let Some(framework_id) = id.filter(|_| self.control.master.is_some()) else {
            if let Some(launch) = launch {
                self.launch_call_answered(framework, launch, CallOutcome::Unanswered);
            }
            return;
        };
        let request = self.request(framework, &stream);
        let tasks = launched_tasks(&call);
        self.note_call(framework, &call);
        let (stream, caller) = (Some(stream), self.caller_of(framework));
        self.master_step(Event::SchedulerCall { request, framework_id, stream, caller, call });
        let accepted = self.control.accepted == Some(request);
        if accepted {
            self.note_accepted(framework, &tasks);
            if self.frameworks[framework].has_pods() {
                self.note_launches(tasks);
            }
        }
        if let Some(launch) = launch {
            let outcome = match (accepted, self.control.master.is_some()) {
                (true, _) => CallOutcome::Accepted,
                (false, true) => CallOutcome::Refused,
                (false, false) => CallOutcome::Unanswered,
            };
            self.launch_call_answered(framework, launch, outcome);
        }
        if let Some(agent) = self.launches_pods(framework, agent).filter(|_| accepted) {
            self.plan_blackout(framework, &agent);
            self.plan_stop(&agent);
        }
    }
}

impl World {
    /// The master gets a call.
    pub(crate) fn note_call(&mut self, framework: usize, call: &Call) {
        self.note(format_args!("master gets from framework {framework}: {}", brief(call)));
    }

    /// With other kinds of work in the cluster only the Kubernetes scheduler is of the master's process.
    pub(crate) fn caller_of(&self, framework: usize) -> Caller {
        match self.variety.on && self.frameworks[framework].kind != Kind::Kubernetes {
            true => Caller::Anonymous,
            false => Caller::InProcess,
        }
    }
}

/// The agent of an ACCEPT's launches.
fn agent_of(call: &Call) -> Option<AgentId> {
    let Call::Accept { operations, .. } = call else { return None };
    operations.iter().find_map(|operation| match operation {
        Operation::Launch { tasks } | Operation::LaunchGroup { tasks, .. } => {
            Some(tasks.first()?.agent_id.clone())
        }
        Operation::Convert { .. }
        | Operation::Malformed { .. }
        | Operation::Invalid { .. }
        | Operation::Unsupported { .. } => None,
    })
}

fn brief(call: &Call) -> String {
    match call {
        Call::Accept { offer_ids, operations, .. } => {
            format!("accept {offer_ids:?} with {} operations", operations.len())
        }
        Call::Decline { offer_ids, .. } => format!("decline {offer_ids:?}"),
        Call::Kill { task_id, .. } => format!("kill {task_id}"),
        Call::Acknowledge { task_id, uuid, .. } => format!("acknowledge {task_id} {uuid:?}"),
        Call::Demand { roles } => {
            let all: Vec<String> = roles.iter().map(|(role, what)| format!("{role} {what}")).collect();
            format!("demand [{}]", all.join(", "))
        }
        Call::Reconcile { tasks } => format!("reconcile {} tasks", tasks.len()),
        other => format!("{other:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
    }
}
