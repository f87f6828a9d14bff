//! Injected faults, planned from the seed at the start. Crashes around writes and the faults of the network come on top.

use std::time::Duration;

use kernel_core::agent;
use kernel_model::ids::AgentId;

use crate::{
    variety::{Clock, WRONG_MAX},
    world::{Action, World},
};

/// A fault.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    CutLink(usize),
    /// A machine cannot reach the master for this many milliseconds.
    Isolate(usize, u64),
    Rejoin(usize),
    CrashAgent(usize),
    Reboot(usize),
    /// One of the machine's containers dies.
    KillExecutor(usize),
    CrashMaster,
    CutStream(usize),
    CrashFramework(usize),
    /// Master and scheduler, which are one process in `catamaran server`, crash together. A machine that has just received a
    /// launch cannot reach the next master for `length` milliseconds.
    Blackout {
        framework: usize,
        node: usize,
        length: u64,
    },
    /// The agent is stopped in order, and started again some seconds later.
    StopAgent(usize),
    /// What a machine sends to the master does not arrive for this many milliseconds, or what the master sends to it.
    IsolateOneWay {
        node: usize,
        to_master: bool,
        length: u64,
    },
    /// The same for a framework: its calls, or its events.
    IsolateFramework {
        framework: usize,
        calls: bool,
        length: u64,
    },
    /// A clock jumps forward by so many milliseconds: the master's, or a machine's.
    JumpClock(Option<usize>, u64),
}

/// Maximum number of planned faults of a run.
const FAULTS_MAX: u64 = 12;
/// Launches of Pods that are followed by a blackout, per thousand.
const BLACKOUTS: u64 = 60;
/// Launches of Pods whose agent is stopped while they arrive, per thousand; and those stops during which the machine loses its
/// network, so that the agent does not hear what is acknowledged.
const STOPS: u64 = 20;
const STOPS_WITHOUT_NETWORK: u64 = 500;
/// Maximum time in milliseconds for which a blackout cuts a machine off: longer than the master waits for it.
const BLACKOUT_MAX: u64 = 60_000;

impl World {
    pub(crate) fn plan_faults(&mut self) {
        let span = self.options.faults.as_millis() as u64;
        let count = self.random.below(FAULTS_MAX + 1);
        for _ in 0..count {
            let node = self.random.index(self.nodes.len());
            let framework = self.random.index(self.frameworks.len());
            let fault = match self.random.below(16) {
                0..=2 => Fault::CutLink(node),
                3..=4 => {
                    let longest = if self.random.permille(500) { 40_000 } else { 6_000 };
                    Fault::Isolate(node, 1000 + self.random.below(longest))
                }
                5..=6 => Fault::CrashAgent(node),
                7 => Fault::Reboot(node),
                8..=10 => Fault::KillExecutor(node),
                11..=12 => Fault::CrashMaster,
                13 => Fault::CutStream(framework),
                _ => Fault::CrashFramework(framework),
            };
            let at = self.random.millis(1000, span.max(1001));
            self.after(at, Action::Fault(fault));
        }
        self.plan_one_way_faults(span);
    }

    /// Partitions in one direction, and jumps of clocks.
    fn plan_one_way_faults(&mut self, span: u64) {
        if !self.variety.on {
            return;
        }
        let clocks = self.variety.clocks;
        let (nodes, frameworks) = (self.nodes.len(), self.frameworks.len());
        for _ in 0..self.variety.random.below(FAULTS_MAX / 2) {
            let random = &mut self.variety.random;
            let longest = if random.permille(500) { 40_000 } else { 5_000 };
            let length = 500 + random.below(longest);
            let fault = match random.below(6) {
                0..=2 => Fault::IsolateOneWay {
                    node: random.index(nodes),
                    to_master: random.permille(500),
                    length,
                },
                3 if clocks => Fault::JumpClock(Some(random.index(nodes)), length),
                4 if clocks => Fault::JumpClock(None, length),
                _ => {
                    let framework = random.index(frameworks);
                    Fault::IsolateFramework { framework, calls: random.permille(500), length }
                }
            };
            let at = random.millis(1000, span.max(1001));
            self.after(at, Action::Fault(fault));
        }
    }

    /// The clocks of machines differ from the start.
    pub(crate) fn set_clocks(&mut self) {
        if self.variety.clocks {
            for node in &mut self.nodes {
                node.clock = Clock::wrong(&mut self.variety.random, WRONG_MAX);
            }
        }
    }

    /// Plans a blackout after accepted launches of Pods, when all processes that know of them may be lost. It has its own
    /// random numbers, so that seeds without a blackout do not change.
    pub(crate) fn plan_blackout(&mut self, framework: usize, agent: &AgentId) {
        if !self.faults_enabled || !self.blackouts.permille(BLACKOUTS) {
            return;
        }
        let Some(node) = self.nodes.iter().position(|node| node.ids.contains(agent)) else { return };
        let (delay, length) = (self.blackouts.millis(0, 80), 1000 + self.blackouts.below(BLACKOUT_MAX));
        self.after(delay, Action::Fault(Fault::Blackout { framework, node, length }));
    }

    /// Plans the stop of an agent to which Pods were just launched: it refuses what arrives meanwhile.
    pub(crate) fn plan_stop(&mut self, agent: &AgentId) {
        if !self.faults_enabled || !self.stops.permille(STOPS) {
            return;
        }
        let Some(node) = self.nodes.iter().position(|node| node.ids.contains(agent)) else { return };
        let at = self.stops.millis(0, 8);
        self.after(at, Action::Fault(Fault::StopAgent(node)));
        if self.stops.permille(STOPS_WITHOUT_NETWORK) {
            let (later, length) = (self.stops.millis(5, 60), 1000 + self.stops.below(6000));
            self.after(at + later, Action::Fault(Fault::Isolate(node, length)));
        }
    }

    fn black_out(&mut self, framework: usize, node: usize, length: u64) {
        self.note_blackout(framework, node, length);
        self.crash_master();
        self.crash_framework(framework);
        self.inject(Fault::Isolate(node, length));
    }

    pub(crate) fn inject(&mut self, fault: Fault) {
        if let Fault::Rejoin(node) = fault {
            self.nodes[node].isolated = false;
            return;
        }
        if !self.faults_enabled {
            return;
        }
        self.faults += 1;
        self.note(format_args!("FAULT {fault:?}"));
        match fault {
            Fault::CutLink(node) => {
                if let Some(id) = self.nodes[node].link {
                    self.cut_link(id);
                }
            }
            Fault::Isolate(node, length) => {
                self.nodes[node].isolated = true;
                if let Some(id) = self.nodes[node].link {
                    self.cut_link(id);
                }
                self.after(Duration::from_millis(length), Action::Fault(Fault::Rejoin(node)));
            }
            Fault::StopAgent(node) => self.agent_step(node, agent::Event::Stop),
            Fault::CrashAgent(node) => self.crash_agent(node, (100, 15_000)),
            Fault::Reboot(node) => self.reboot(node),
            Fault::KillExecutor(node) => {
                let ids: Vec<_> = self.nodes[node].containers.keys().cloned().collect();
                if !ids.is_empty() {
                    let victim = ids[self.random.index(ids.len())].clone();
                    self.container_dies(node, &victim, 137);
                }
            }
            Fault::CrashMaster => self.crash_master(),
            Fault::CutStream(framework) => {
                if let Some(id) = self.frameworks[framework].stream.clone() {
                    self.cut_stream(&id);
                }
            }
            Fault::CrashFramework(framework) => self.crash_framework(framework),
            Fault::Blackout { framework, node, length } => self.black_out(framework, node, length),
            Fault::IsolateOneWay { node, to_master, length } => {
                self.half_isolate(node, to_master, Duration::from_millis(length));
            }
            Fault::IsolateFramework { framework, calls, length } => {
                self.half_isolate_framework(framework, calls, Duration::from_millis(length));
            }
            Fault::JumpClock(Some(node), length) => {
                self.nodes[node].clock.jump(Duration::from_millis(length))
            }
            Fault::JumpClock(None, length) => self.control.clock.jump(Duration::from_millis(length)),
            Fault::Rejoin(_) => {}
        }
    }

    /// Ends the injection of faults.
    pub(crate) fn calm_down(&mut self) {
        self.note(format_args!("no more faults"));
        self.faults_enabled = false;
        for node in &mut self.nodes {
            node.isolated = false;
        }
    }
}
