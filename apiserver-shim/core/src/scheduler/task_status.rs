//! What becomes of a task and its Pod. The kernel comes first, then the binding: so after a crash, a lost write or a
//! returning agent the two may disagree, and this table decides. It is asked for every status update and for every answer
//! of a reconciliation.

use kernel_model::task::{Reason, Source, TaskState, TaskStatus};

/// What the kernel knows of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObservedTaskState {
    /// Staging, starting, running or being killed.
    Alive,
    /// Its agent does not answer; it may be running.
    Unreachable,
    /// Ended by itself, successfully.
    Finished,
    /// Ended by itself, with a failure.
    Failed,
    /// Ended because somebody killed it.
    Killed,
    /// Refused for what it asks.
    Invalid,
    /// Accepted, but its agent never started it.
    NeverStarted,
    /// Ended with its agent or executor, unreported.
    Gone,
    /// The kernel has no such task.
    Unknown,
}

impl ObservedTaskState {
    /// Whether nothing can follow.
    pub fn is_terminal(self) -> bool {
        !matches!(self, ObservedTaskState::Alive | ObservedTaskState::Unreachable)
    }
}

/// Why the master refused a launch. It says nothing of a task of the same ID that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchRefusal {
    /// The offers are not valid any more.
    InvalidOffers,
    /// The task is invalid, or its ID is taken. Mesos has one reason for both; only the message tells them apart, and no
    /// decision depends on a message. So the kernel is asked whether it has the task.
    InvalidTask,
}

/// What a status update says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// Something of the task.
    State(ObservedTaskState),
    /// Something of a launch.
    Refused(LaunchRefusal),
}

impl Observation {
    /// What it says of the task.
    pub fn state(self) -> Option<ObservedTaskState> {
        match self {
            Observation::State(state) => Some(state),
            Observation::Refused(_) => None,
        }
    }

    /// Whether the task may have run, or may be running.
    pub fn may_have_run(self) -> bool {
        use ObservedTaskState::*;
        self.state().is_some_and(|state| !matches!(state, Invalid | NeverStarted | Unknown))
    }
}

/// Reads a status update.
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
        // Answers to our questions: the kernel has no such task.
        TaskState::Gone | TaskState::Lost if status.reason == Some(Reason::Reconciliation) => Unknown,
        TaskState::Dropped | TaskState::Lost if by_master && status.reason == Some(Reason::InvalidOffers) => {
            return Observation::Refused(LaunchRefusal::InvalidOffers);
        }
        TaskState::Dropped => NeverStarted,
        TaskState::Lost | TaskState::Gone | TaskState::GoneByOperator => Gone,
    };
    Observation::State(state)
}

/// The task of a Pod.
#[derive(Debug, Clone, Copy)]
pub struct TaskView<'a> {
    /// Its state.
    pub observed: ObservedTaskState,
    /// The node where it is, if that is known.
    pub node: Option<&'a str>,
    /// The update carries the Pod's status as its node reports it.
    pub has_status: bool,
}

/// The Pod of a task.
#[derive(Debug, Clone, Copy)]
pub struct PodView<'a> {
    /// The node that it is bound to.
    pub node: Option<&'a str>,
    /// It has ended.
    pub ended: bool,
    /// Its containers may have been started.
    pub started: bool,
    /// It is being deleted.
    pub deleting: bool,
}

/// What to do, in this order; the update is acknowledged once all is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Write the binding that the crash cut off.
    Bind,
    /// Store the Pod's status as the node reports it.
    WriteStatus,
    /// Mark the Pod as ended: its node has reported nothing.
    End {
        /// Whether successfully.
        succeeded: bool,
        /// `status.reason`.
        reason: &'static str,
    },
    /// Launch it again, under the same ID, where it is bound.
    Relaunch,
    /// There is no task: it is pending again.
    Forget,
    /// Kill the task.
    Kill,
    /// Remove the object, finalizers permitting.
    Remove,
}

/// What becomes of a task and its Pod (`None`: there is no such Pod).
pub fn resolve_task_status(task: TaskView<'_>, pod: Option<PodView<'_>>) -> Vec<Step> {
    use ObservedTaskState::*;
    let kill_if_alive = || if task.observed == Alive { vec![Step::Kill] } else { Vec::new() };
    let Some(pod) = pod else { return kill_if_alive() };
    let mut steps = Vec::new();
    if pod.node.is_none() {
        match (task.observed, task.node) {
            // Nothing runs that a client wants: it is not bound any more.
            (Alive, _) if pod.deleting => return vec![Step::Kill],
            (Unreachable, _) if pod.deleting => return Vec::new(),
            (_, _) if pod.deleting => return vec![Step::Remove],
            // Nothing ran: the Pod is as good as never scheduled.
            (Unknown | NeverStarted, _) => return vec![Step::Forget],
            (Invalid, _) => return vec![Step::End { succeeded: false, reason: "TaskInvalid" }],
            // It may be running on an agent whose node is not known yet: the question stays open.
            (Alive | Unreachable, None) => return Vec::new(),
            (_, None) => {}
            (_, Some(_)) => steps.push(Step::Bind),
        }
    } else if task.node.is_some() && task.node != pod.node {
        // Somebody bound it elsewhere by hand: what the API says holds. Or it is news of an earlier launch on another node,
        // whose agent may repeat it at any time.
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
