//! The life of one Pod.
//!
//! ```text
//!            Seen (adopt)                       all mains over, Kill, deadline
//!  new ──────────────▶ sandbox ▶ inits ▶ mains ───────────────▶ ending ▶ (persist Final) ▶ sandbox removed ▶ gone
//! ```
//!
//! The machine keeps what was last seen of each container in a slot and, after every event, walks from the sandbox over
//! the init containers to the main ones and asks for the next step of whatever is not where it should be. Nothing is
//! asked for before the first listing: that listing is how a restarted executor, or a restarted runtime, is adopted.

mod advance;
mod ending;
mod listing;
pub(crate) mod slot;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};

use crate::{
    action::{Action, Effects, Event, Final, Outcome, Told},
    backoff::Backoff,
    probe::{ProbeKind, Verdict},
    seen::{ContainerSeen, SandboxSeen},
    spec, status,
    time::after,
};
use ending::Ending;
use slot::{Op, Slot, Waiting};

/// One Pod's machine.
#[derive(Debug, Clone)]
pub struct PodMachine {
    pub(crate) pod: Arc<Pod>,
    pub(crate) host_ip: String,
    pub(crate) slots: Vec<Slot>,
    pub(crate) sandbox: Sandbox,
    pub(crate) sandbox_trouble: Option<Waiting>,
    pub(crate) accepted_at: Timestamp,
    pub(crate) initialized: bool,
    pub(crate) ending: Option<Ending>,
    pub(crate) finale: Option<Final>,
    pub(crate) transitions: BTreeMap<String, (bool, Timestamp)>,
    adopted: bool,
    gone: bool,
    sandbox_backoff: Backoff,
    sandbox_not_before: Option<Timestamp>,
    sandbox_settled_at: Timestamp,
    next_sandbox_attempt: u32,
    /// Removals asked for, so that each is asked for once.
    discarded: BTreeSet<String>,
}

/// The Pod's sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sandbox {
    None,
    Starting,
    Up(SandboxSeen),
    Removing(String),
}

impl PodMachine {
    /// A machine for a Pod that was handed over at `now` to the machine with address `host_ip`.
    pub fn new(pod: Arc<Pod>, host_ip: &str, now: Timestamp) -> Self {
        let slots =
            spec::containers(&pod).map(|(role, container)| Slot::new(role, &container.name)).collect();
        let mut machine = Self {
            pod,
            host_ip: host_ip.to_owned(),
            slots,
            sandbox: Sandbox::None,
            sandbox_trouble: None,
            accepted_at: now,
            initialized: false,
            ending: None,
            finale: None,
            transitions: BTreeMap::new(),
            adopted: false,
            gone: false,
            sandbox_backoff: Backoff::default(),
            sandbox_not_before: None,
            sandbox_settled_at: Timestamp::MIN,
            next_sandbox_attempt: 0,
            discarded: BTreeSet::new(),
        };
        status::note_transitions(&mut machine, now);
        machine
    }

    /// Takes an event in and says what to do about it. Total: no event is wrong at any time.
    pub fn step(&mut self, now: Timestamp, event: Event) -> Effects {
        let mut actions = Vec::new();
        if !self.gone {
            self.take_in(now, event, &mut actions);
        }
        let mut persist = None;
        if self.adopted && !self.gone {
            self.advance(now, &mut actions);
            persist = self.conclude(now, &mut actions);
            self.probe(now, &mut actions);
        }
        status::note_transitions(self, now);
        Effects { persist, after_persist: actions, wake_at: self.wake_at(now) }
    }

    /// The Pod as last told.
    pub fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// The status to report.
    pub fn status(&self) -> PodStatus {
        match &self.finale {
            Some(finale) => finale.status.clone(),
            None => status::of(self),
        }
    }

    /// Whether the status rests on anything: a listing, or the news that there is none to be had.
    pub fn is_known(&self) -> bool {
        self.adopted || self.sandbox_trouble.is_some()
    }

    /// Whether a listing was taken in.
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// How the Pod ended, once nothing of it is left.
    pub fn outcome(&self) -> Option<Outcome> {
        if self.gone { self.finale.as_ref().map(|finale| finale.outcome) } else { None }
    }

    /// The sandbox that stands, if one does.
    pub fn sandbox(&self) -> Option<&SandboxSeen> {
        match &self.sandbox {
            Sandbox::Up(sandbox) => Some(sandbox),
            _ => None,
        }
    }

    /// The id of a container's running instance.
    pub fn running(&self, name: &str) -> Option<&str> {
        let slot = self.slots.iter().find(|slot| slot.name == name)?;
        slot.current.as_ref().filter(|current| current.is_running()).map(|current| current.id.as_str())
    }

    /// The newest instance of each container that ever ran, whether it still does or not.
    pub fn instances(&self) -> impl Iterator<Item = &ContainerSeen> {
        self.slots.iter().filter_map(|slot| slot.current.as_ref().or(slot.last.as_ref()))
    }

    /// Whether something is under way that a listing will show soon: the shell looks more often then.
    pub fn expects_change(&self) -> bool {
        if self.gone {
            return false;
        }
        let ends_by_itself = spec::restart_policy(&self.pod) != spec::RestartPolicy::Always;
        !self.adopted
            || self.ending.is_some()
            || !matches!(self.sandbox, Sandbox::Up(_))
            || self.slots.iter().any(|slot| {
                let running = slot.current.as_ref().is_some_and(|current| current.is_running());
                slot.op != Op::None || (running && (ends_by_itself || slot.role == spec::Role::Init))
            })
    }

    fn take_in(&mut self, now: Timestamp, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Seen(seen) => self.take_listing(now, seen, actions),
            Event::Update(pod) => self.take_update(pod, actions),
            Event::Kill { grace } => self.end(ending::Cause::Killed, after(now, grace)),
            Event::SandboxStarted(sandbox) => {
                self.sandbox_settled_at = now;
                self.sandbox_backoff.reset();
                self.sandbox_trouble = None;
                self.sandbox = Sandbox::Up(sandbox);
            }
            Event::SandboxFailed { reason, message } => self.sandbox_failed(now, reason, message, actions),
            Event::SandboxRemoved { id } => self.sandbox_removed(now, &id),
            Event::ContainerStarted(seen) => {
                if let Some(slot) = slot::find(&mut self.slots, &seen.name) {
                    let started = spec::container(&self.pod, &seen.name);
                    slot.started(seen, started, now);
                }
            }
            Event::ContainerFailed { name, failure, message } => {
                let pod = self.pod.clone();
                if let Some(slot) = slot::find(&mut self.slots, &name) {
                    slot.start_failed(&pod, failure, message, now, actions);
                }
            }
            Event::StopReturned { id } => {
                for slot in &mut self.slots {
                    slot.stop_returned(&id, now);
                }
            }
            Event::Probed { container_id, kind, result } => {
                self.probed(now, &container_id, kind, result, actions)
            }
            Event::RuntimeAway { message } => self.runtime_away(now, message, actions),
            Event::Tick => {}
        }
    }

    /// Said once per message, and shown until a sandbox stands.
    fn runtime_away(&mut self, now: Timestamp, message: String, actions: &mut Vec<Action>) {
        let reason = "FailedCreatePodSandBox";
        if self.sandbox_trouble.as_ref().is_some_and(|trouble| trouble.message == message) {
            return;
        }
        let told = Told { container: None, warning: true, reason, message: message.clone() };
        actions.push(Action::Tell(told));
        self.sandbox_trouble = Some(Waiting { reason, message, since: now });
    }

    fn take_update(&mut self, pod: Arc<Pod>, actions: &mut Vec<Action>) {
        if pod.metadata.uid != self.pod.metadata.uid {
            return;
        }
        let ephemeral = |pod: &Pod| spec::spec(pod).ephemeral_containers.as_ref().map_or(0, Vec::len);
        if ephemeral(&pod) > ephemeral(&self.pod) {
            // The API takes them; whoever waits for one must learn that it will not come.
            let message = "this node does not run ephemeral containers yet".to_owned();
            actions.push(Action::Tell(Told { container: None, warning: true, reason: "Failed", message }));
        }
        self.pod = pod;
    }

    fn sandbox_failed(
        &mut self,
        now: Timestamp,
        reason: &'static str,
        message: String,
        actions: &mut Vec<Action>,
    ) {
        if self.sandbox == Sandbox::Starting {
            self.sandbox = Sandbox::None;
        }
        self.sandbox_settled_at = now;
        let told = Told { container: None, warning: true, reason, message: message.clone() };
        actions.push(Action::Tell(told));
        self.sandbox_trouble = Some(Waiting { reason, message, since: now });
        // What is missing is often about to come: look again soon at first, then as often as upstream would.
        let delay = self.sandbox_backoff.failed() / 10;
        self.sandbox_not_before = Some(after(now, delay));
    }

    fn sandbox_removed(&mut self, now: Timestamp, id: &str) {
        self.discarded.remove(id);
        if self.sandbox != Sandbox::Removing(id.to_owned()) {
            return;
        }
        self.sandbox = Sandbox::None;
        self.sandbox_settled_at = now;
        self.initialized = false;
        let policy = spec::restart_policy(&self.pod);
        for slot in &mut self.slots {
            slot.sandbox_removed(policy, now);
        }
    }

    fn probe(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.ending.is_some() {
            return;
        }
        for slot in &mut self.slots {
            let Some(current) = &slot.current else { continue };
            if !current.is_running() || slot.op != Op::None {
                continue;
            }
            for kind in slot.probes.take_due(now) {
                let (name, container_id) = (slot.name.clone(), current.id.clone());
                actions.push(Action::RunProbe { name, container_id, kind });
            }
        }
    }

    fn probed(
        &mut self,
        now: Timestamp,
        container_id: &str,
        kind: ProbeKind,
        result: Result<(), String>,
        actions: &mut Vec<Action>,
    ) {
        let pod = self.pod.clone();
        let ending = self.ending.is_some();
        let probed =
            |slot: &&mut Slot| slot.current.as_ref().is_some_and(|current| current.id == container_id);
        let Some(slot) = self.slots.iter_mut().find(probed) else { return };
        if !slot.current.as_ref().is_some_and(|current| current.is_running()) || ending {
            return;
        }
        let verdict = slot.probes.result(kind, result.is_ok(), now);
        if let Err(why) = result {
            actions.push(slot.tell(true, "Unhealthy", format!("{} probe failed: {why}", kind.title())));
        }
        if verdict == Verdict::Kill && slot.op == Op::None {
            let own = spec::container(&pod, &slot.name)
                .and_then(|container| kind.of(container)?.termination_grace_period_seconds)
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(std::time::Duration::from_secs);
            let why = format!(
                "Container {} failed {} probe, will be restarted",
                slot.name,
                kind.title().to_ascii_lowercase()
            );
            slot.stop(own.unwrap_or_else(|| spec::grace(&pod)), why, now, actions);
        }
    }

    fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.gone || !self.adopted {
            return None;
        }
        let sandbox = (self.sandbox == Sandbox::None).then_some(self.sandbox_not_before).flatten();
        let slots = self.slots.iter().filter_map(|slot| slot.wake_at());
        let ending = self.ending.is_none().then(|| self.deadline()).flatten();
        slots.chain(sandbox).chain(ending).filter(|at| *at > now).min()
    }
}

#[cfg(test)]
pub(crate) mod tests;
