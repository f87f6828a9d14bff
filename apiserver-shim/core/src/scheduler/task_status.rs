//! Decides what follows for a task and its Pod. Launches precede bindings, so the kernel and the store may disagree
//! after a crash, a lost write or the return of an agent; this table resolves it. It is used for every status update
//! and every answer to reconciliation.

use kernel_model::task::{Reason, Source, TaskState, TaskStatus};

/// The state of a task as the kernel reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObservedTaskState {
    /// Staging, starting, running or being killed.
    Alive,
    /// The agent is unreachable; the task may be running.
    Unreachable,
    /// Terminated successfully.
    Finished,
    /// Terminated with a failure.
    Failed,
    /// Terminated by a kill.
    Killed,
    /// Refused as invalid.
    Invalid,
    /// Accepted, but never started by its agent.
    NeverStarted,
    /// Lost together with its agent or executor.
    Gone,
    /// The kernel has no such task.
    Unknown,
}

impl ObservedTaskState {
    /// Whether the state is terminal.
    pub fn is_terminal(self) -> bool {
        !matches!(self, ObservedTaskState::Alive | ObservedTaskState::Unreachable)
    }
}

/// Why the master refused a launch. This says nothing about an existing task with the same ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchRefusal {
    /// The offers are no longer valid.
    InvalidOffers,
    /// The task is invalid, or its ID is in use. Mesos has one reason for both and only the message differs, on which
    /// no decision depends. So the kernel is asked whether it has the task.
    InvalidTask,
}

/// The meaning of a status update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// It reports the state of the task.
    State(ObservedTaskState),
    /// It refuses a launch.
    Refused(LaunchRefusal),
}

impl Observation {
    /// The task state that it implies.
    pub fn state(self) -> Option<ObservedTaskState> {
        match self {
            Observation::State(state) => Some(state),
            Observation::Refused(_) => None,
        }
    }

    /// Whether the task may have run or may be running.
    pub fn may_have_run(self) -> bool {
        use ObservedTaskState::*;
        self.state().is_some_and(|state| !matches!(state, Invalid | NeverStarted | Unknown))
    }
}

/// Interprets a status update.
pub fn observe(status: &TaskStatus) -> Observation {
    use ObservedTaskState::*;
    let by_master = status.source == Source::Master;
    let state = match status.state {
        TaskState::Staging | TaskState::Starting | TaskState::Running | TaskState::Killing => Alive,
        TaskState::Unreachable => Unreachable,
        TaskState::Finished => Finished,
        TaskState::Failed => Failed,
        TaskState::Killed => Killed,
        TaskState::Error if by_master => return Observation::Refused(LaunchRefusal::InvalidTask),
        TaskState::Error => Invalid,
        TaskState::Unknown => Unknown,
        // An answer to reconciliation: the kernel has no such task. TASK_LOST, in contrast, is the latest state of a task that
        // it has until the update is acknowledged: we are partition-aware.
        TaskState::Gone if status.reason == Some(Reason::Reconciliation) => Unknown,
        TaskState::Dropped | TaskState::Lost if by_master && status.reason == Some(Reason::InvalidOffers) => {
            return Observation::Refused(LaunchRefusal::InvalidOffers);
        }
        TaskState::Dropped => NeverStarted,
        TaskState::Lost | TaskState::Gone | TaskState::GoneByOperator => Gone,
    };
    Observation::State(state)
}

/// The observed task of a Pod.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct TaskView<'a> {
    pub observed: ObservedTaskState,
    /// The node of the task, if known.
    pub node: Option<&'a str>,
    /// Whether the update contains a Pod status from the node.
    pub has_status: bool,
}

/// The Pod of a task.
#[derive(Debug, Clone, Copy)]
pub struct PodView<'a> {
    /// The node that it is bound to.
    pub node: Option<&'a str>,
    /// Whether it has finished.
    pub ended: bool,
    /// Whether its containers may have been started.
    pub started: bool,
    /// It is being deleted.
    pub deleting: bool,
}

/// A step to take, in order. The update is acknowledged once all steps are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Step {
    /// Write the binding that a crash prevented.
    Bind,
    /// Store the Pod status that the node reports.
    WriteStatus,
    /// Mark the Pod as finished, because its node has not reported the end.
    End {
        /// Whether it succeeded.
        succeeded: bool,
        reason: &'static str,
    },
    /// Launch it again with the same ID on the node that it is bound to.
    Relaunch,
    /// There is no task: the Pod is pending again.
    Forget,
    /// Kill the task.
    Kill,
    /// Remove the object if it has no finalizers.
    Remove,
}

/// Decides what follows for a task and its Pod (`None`: there is no such Pod).
pub fn resolve_task_status(task: TaskView<'_>, pod: Option<PodView<'_>>) -> Vec<Step> {
    use ObservedTaskState::*;
    let kill_if_alive = || if task.observed == Alive { vec![Step::Kill] } else { Vec::new() };
    let Some(pod) = pod else { return kill_if_alive() };
    let mut steps = Vec::new();
    if pod.node.is_none() {
        match (task.observed, task.node) {
            // A deleted Pod is not bound any more.
            (Alive, _) if pod.deleting => return vec![Step::Kill],
            (Unreachable, _) if pod.deleting => return Vec::new(),
            (_, _) if pod.deleting => return vec![Step::Remove],
            // The task never ran: the Pod is treated as never scheduled.
            (Unknown | NeverStarted, _) => return vec![Step::Forget],
            (Invalid, _) => return vec![Step::End { succeeded: false, reason: "TaskInvalid" }],
            // The task may run on an agent whose Node is not known yet: keep reconciling.
            (Alive | Unreachable, None) => return Vec::new(),
            (_, None) => {}
            (_, Some(_)) => steps.push(Step::Bind),
        }
    } else if task.node.is_some() && task.node != pod.node {
        // A client bound it elsewhere, and the API's state prevails. Or the report is about an earlier launch on
        // another node, which that agent may repeat at any time.
        return kill_if_alive();
    }
    if task.observed.is_terminal() {
        steps.extend(resolve_ended(task, pod));
    } else if task.observed == Alive {
        if pod.ended && !task.has_status {
            steps.push(Step::Kill);
        } else {
            if task.has_status && !pod.ended {
                steps.push(Step::WriteStatus);
            }
            if pod.deleting || pod.ended {
                steps.push(Step::Kill);
            }
        }
    }
    steps
}

fn resolve_ended(task: TaskView<'_>, pod: PodView<'_>) -> Vec<Step> {
    use ObservedTaskState::*;
    let mut steps = Vec::new();
    let relaunch = matches!(task.observed, NeverStarted | Unknown) && !pod.started;
    if pod.deleting {
        if task.has_status && !pod.ended {
            steps.push(Step::WriteStatus);
        }
        steps.push(Step::Remove);
    } else if pod.ended {
    } else if relaunch {
        steps.push(Step::Relaunch);
    } else if task.has_status {
        steps.push(Step::WriteStatus);
    } else {
        let (succeeded, reason) = match task.observed {
            Finished => (true, "Completed"),
            Invalid => (false, "TaskInvalid"),
            Killed => (false, "TaskKilled"),
            Failed => (false, "TaskFailed"),
            _ => (false, "NodeLost"),
        };
        steps.push(Step::End { succeeded, reason });
    }
    steps
}

#[cfg(test)]
#[path = "task_status/tests.rs"]
mod tests;
