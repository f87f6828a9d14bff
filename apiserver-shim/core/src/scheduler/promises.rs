//! Promises: launches that the kernel accepted and the store does not confirm yet. Kernel first, then bind: so after a
//! crash, a lost write or a returning agent the task and the Pod may disagree, and this table says what becomes of it.
//! It is asked for every status update and for every answer of a reconciliation.

/// What the kernel knows of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Staging, starting, running or being killed.
    Alive,
    /// Its agent does not answer; it may be running.
    Unreachable,
    /// Ended by itself, well.
    Finished,
    /// Ended by itself, badly.
    Failed,
    /// Ended because somebody killed it.
    Killed,
    /// Refused for what it asks.
    Invalid,
    /// Accepted, but its agent never started it.
    NeverStarted,
    /// Ended with its agent or executor, without a word.
    Gone,
    /// The kernel has never heard of it.
    Unknown,
}

impl Known {
    /// Whether nothing can follow.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Known::Alive | Known::Unreachable)
    }
}

/// The task of a Pod.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct TaskView<'a> {
    pub known: Known,
    /// The node where it is, if that is known.
    pub node: Option<&'a str>,
    /// The update carries the node's own word on the Pod.
    pub has_status: bool,
}

/// The Pod of a task.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct PodView<'a> {
    /// The node that it is bound to.
    pub node: Option<&'a str>,
    /// Its phase says that it has ended.
    pub ended: bool,
    /// Its phase says that it was started.
    pub started: bool,
    /// It is being deleted.
    pub deleting: bool,
}

/// What to do about it, in this order; the update is acknowledged once all is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Write the binding that the crash cut off.
    Bind,
    /// Store the node's word on the Pod.
    WriteStatus,
    /// Mark the Pod as ended: the kernel's word, for its node has said nothing.
    #[allow(missing_docs)]
    End { succeeded: bool, reason: &'static str },
    /// Launch it again, under the same id, where it is bound.
    Relaunch,
    /// Not promised any more: it is pending again.
    Forget,
    /// Kill the task.
    Kill,
    /// Remove the object, finalizers permitting.
    Remove,
}

/// What becomes of a task and its Pod (`None`: there is no such Pod).
pub fn settle(task: TaskView<'_>, pod: Option<PodView<'_>>) -> Vec<Step> {
    let Some(pod) = pod else {
        return if task.known == Known::Alive { vec![Step::Kill] } else { Vec::new() };
    };
    let mut steps = Vec::new();
    if pod.node.is_none() {
        match (task.known, task.node) {
            // Nothing ran: the Pod is as good as never scheduled.
            (Known::Unknown | Known::NeverStarted, _) | (_, None) => {
                steps.push(if pod.deleting { Step::Remove } else { Step::Forget });
                return steps;
            }
            (Known::Invalid, _) if pod.deleting => return vec![Step::Remove],
            (Known::Invalid, _) => return vec![Step::End { succeeded: false, reason: "TaskInvalid" }],
            (_, Some(_)) => steps.push(Step::Bind),
        }
    } else if task.node.is_some() && task.node != pod.node {
        // Somebody bound it elsewhere by hand: what the API says holds. Or it is news of an earlier promise to another
        // machine, which that machine may tell again at any time.
        return if task.known == Known::Alive { vec![Step::Kill] } else { Vec::new() };
    }
    if task.known.is_terminal() {
        steps.extend(settle_ended(task, pod));
    } else if task.known == Known::Alive {
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

fn settle_ended(task: TaskView<'_>, pod: PodView<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let relaunch = matches!(task.known, Known::NeverStarted | Known::Unknown) && !pod.started;
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
        let (succeeded, reason) = match task.known {
            Known::Finished => (true, "Completed"),
            Known::Invalid => (false, "TaskInvalid"),
            Known::Killed => (false, "TaskKilled"),
            Known::Failed => (false, "TaskFailed"),
            _ => (false, "NodeLost"),
        };
        steps.push(Step::End { succeeded, reason });
    }
    steps
}

#[cfg(test)]
#[path = "promises/tests.rs"]
mod tests;
