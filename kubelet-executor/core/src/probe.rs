//! Probe schedules and thresholds. The shell runs the probes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};

use crate::time::after;

/// Why a probe did not succeed, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeFailure {
    /// The container answered badly, or not in time.
    #[error("failed: {0}")]
    Failed(String),
    /// The probe could not be carried out.
    #[error("errored and resulted in unknown state: {0}")]
    Errored(String),
}

/// The probes that a container may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// Blocks the other probes until it succeeds; its failure restarts the container.
    Startup,
    /// Its failure restarts the container.
    Liveness,
    /// Its result is the container's readiness.
    Readiness,
}

impl ProbeKind {
    /// In evaluation order.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    /// The name in Events.
    pub fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    /// The probe in a container's spec.
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// The probes of one running instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probes {
    runs: Vec<Run>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    kind: ProbeKind,
    period: Duration,
    success_threshold: u32,
    failure_threshold: u32,
    next_at: Timestamp,
    in_flight: bool,
    successes: u32,
    failures: u32,
    passed: bool,
}

/// The consequence of a probe's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ProbeVerdict {
    None,
    /// The container must be restarted.
    Kill,
}

impl Probes {
    /// Creates the probes of an instance that was started at `started_at`. Probes of adopted instances are due at
    /// once.
    pub fn new(container: &Container, started_at: Timestamp, now: Timestamp) -> Self {
        let runs = ProbeKind::ALL
            .into_iter()
            .filter_map(|kind| kind.of(container).map(|probe| Run::new(kind, probe, started_at, now)))
            .collect();
        Self { runs }
    }

    /// Whether the startup probe has succeeded.
    pub fn started(&self) -> bool {
        self.runs.iter().all(|run| run.kind != ProbeKind::Startup || run.passed)
    }

    /// Whether the probes allow the container to be ready.
    pub fn ready(&self) -> bool {
        self.started() && self.runs.iter().all(|run| run.kind != ProbeKind::Readiness || run.passed)
    }

    /// Takes the probes that are due; each counts as in progress from here on.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<ProbeKind> {
        let started = self.started();
        let mut due = Vec::new();
        for run in &mut self.runs {
            if run.active(started) && !run.in_flight && run.next_at <= now {
                run.in_flight = true;
                due.push(run.kind);
            }
        }
        due
    }

    /// When [`Self::take_due`] next returns a probe.
    pub fn next_at(&self) -> Option<Timestamp> {
        let started = self.started();
        self.runs.iter().filter(|run| run.active(started) && !run.in_flight).map(|run| run.next_at).min()
    }

    /// Handles a result.
    pub fn result(&mut self, kind: ProbeKind, ok: bool, now: Timestamp) -> ProbeVerdict {
        let Some(run) = self.runs.iter_mut().find(|run| run.kind == kind) else { return ProbeVerdict::None };
        run.in_flight = false;
        run.next_at = after(now, run.period);
        if ok {
            run.failures = 0;
            run.successes = run.successes.saturating_add(1);
            if run.successes >= run.success_threshold {
                run.passed = true;
            }
            return ProbeVerdict::None;
        }
        run.successes = 0;
        run.failures = run.failures.saturating_add(1);
        if run.failures < run.failure_threshold {
            return ProbeVerdict::None;
        }
        match kind {
            ProbeKind::Readiness => {
                run.passed = false;
                ProbeVerdict::None
            }
            ProbeKind::Startup | ProbeKind::Liveness => {
                run.failures = 0;
                ProbeVerdict::Kill
            }
        }
    }
}

impl Run {
    fn new(kind: ProbeKind, probe: &Probe, started_at: Timestamp, now: Timestamp) -> Self {
        let delay = Duration::from_secs(positive(probe.initial_delay_seconds, 0).into());
        Self {
            kind,
            period: Duration::from_secs(positive(probe.period_seconds, 10).max(1).into()),
            success_threshold: positive(probe.success_threshold, 1).max(1),
            failure_threshold: positive(probe.failure_threshold, 3).max(1),
            next_at: after(started_at, delay).max(now),
            in_flight: false,
            successes: 0,
            failures: 0,
            passed: kind == ProbeKind::Liveness,
        }
    }

    /// The startup probe stops at its first success; the others start there.
    fn active(&self, started: bool) -> bool {
        if self.kind == ProbeKind::Startup { !self.passed } else { started }
    }
}

fn positive(value: Option<i32>, default: u32) -> u32 {
    value.and_then(|v| u32::try_from(v).ok()).unwrap_or(default)
}

#[cfg(test)]
mod tests;
