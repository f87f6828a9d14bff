//! The stop of this machine: whom it waits for, how long at most, and what could not be removed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::bail;
use kernel::agent::{AgentHandle, STOP_MARGIN, ShutdownKind, StopProgress};
use kubelet_executor::StoppingNode;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::{console, node::NodeFiles, progress::Progress, runtime::Signals, server::Running};

/// How often the progress is read.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How often an unchanged progress line is printed again if the output is not a terminal.
const REPEAT_EVERY: Duration = Duration::from_secs(15);
/// Maximum number of names per line; the others are only counted.
const NAMES_MAX: usize = 8;
/// Time limit for an agent that does not answer, and for killing what still runs.
const KILL_MAX: Duration = Duration::from_secs(20);
/// Timeout of a request to the agent: its longest write to disk on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How much each poll extends systemd's time limit for the stop: more than the steps after the Pods' end may take.
const EXTENSION_US: u32 = 90_000_000;
/// Time limit for the control plane: requests in progress and the last writes.
const SERVER_MAX: Duration = Duration::from_secs(20);

/// Stops the agent and everything it runs, reports whom it waits for, and leaves nothing on the machine. A second signal kills
/// what the first one asked to stop.
pub async fn stop(agent: AgentHandle, files: &NodeFiles, signals: &mut Signals) -> anyhow::Result<()> {
    console::line("stopping the Pods and tasks on this machine");
    tracing::info!("stopping the agent with its pods and tasks");
    tell_systemd(sd_notify::NotifyState::Stopping);
    let config = files.read_config().ok();
    let progress = agent.progress();
    let ended = agent.shutdown(ShutdownKind::StopTasks);
    tokio::pin!(ended);
    let mut display = Display::new();
    let mut killed = false;
    let mut node_stops = false;
    let mut give_up_at = Instant::now() + KILL_MAX;
    loop {
        tokio::select! {
            () = &mut ended => break,
            () = signals.wait() => {
                display.note("killing everything that still runs");
                // An agent that does not accept it is given up below.
                let _ = timeout(ANSWER_MAX, progress.shutdown_now()).await;
                killed = true;
                give_up_at = Instant::now() + KILL_MAX;
            }
            () = sleep(POLL_INTERVAL) => {
                // The stop has its own time limits; systemd's default is shorter than the grace periods of Pods may be.
                tell_systemd(sd_notify::NotifyState::ExtendTimeoutUsec(EXTENSION_US));
                if let Ok(Some((waits_for, left))) = timeout(ANSWER_MAX, progress.waits_for()).await {
                    // After its deadline the agent kills what still runs. If it cannot, the stop must end nevertheless.
                    if !killed && !left.is_zero() {
                        give_up_at = Instant::now() + left + KILL_MAX;
                    }
                    let node = config.as_ref().and_then(StoppingNode::read);
                    // The executor has stopped its Pods and removes leftovers.
                    let over = node_stops && node.is_none();
                    node_stops |= node.is_some();
                    let waits_for = if over { StopProgress { resumed: Vec::new(), ..waits_for } } else { waits_for };
                    // Pods that end within their grace period are not killed; the executors clean up in the remaining time.
                    let grace = left.saturating_sub(STOP_MARGIN);
                    display.show(&Waiting::of(&waits_for, node.as_ref()), grace);
                }
            }
            () = sleep_until(give_up_at) => {
                display.note("the agent does not end; it is left behind");
                break;
            }
        }
    }
    display.finish();
    tracing::info!(killed, "the agent has stopped");
    clear(files, signals).await
}

/// Removes what the executor could not remove, or what a crash left behind, and reports what could not be removed. A signal kills
/// Pods that are still being stopped, a second one ends the attempt.
pub async fn clear(files: &NodeFiles, signals: &mut Signals) -> anyhow::Result<()> {
    if let Some(data) = files.root.parent() {
        // There is only something if an agent was killed and the next one had not started before this stop.
        let killed = kernel::agent::kill_orphans(&data.join("agent"));
        if killed > 0 {
            console::line(&format!("killed {killed} tasks that an earlier run had left"));
        }
    }
    kernel::agent::remove_empty_cgroups();
    // Without a configuration, no executor has run in this directory.
    let Ok(config) = files.read_config() else { return Ok(()) };
    let kill = Arc::new(AtomicBool::new(false));
    let (own, killed) = (config.clone(), Arc::clone(&kill));
    // A task of its own: a system call that hangs must not keep this one from seeing signals.
    let teardown = tokio::spawn(async move { kubelet_executor::teardown_node(&own, &killed).await });
    tokio::pin!(teardown);
    let mut display = Display::new();
    let left = loop {
        tokio::select! {
            left = &mut teardown => break left?,
            () = signals.wait() => {
                if kill.swap(true, Ordering::Relaxed) {
                    break kubelet_executor::find_leftovers(&config);
                }
                display.note("killing everything that still runs");
            }
            () = sleep(POLL_INTERVAL) => if let Some(node) = StoppingNode::read(&config) {
                display.show(&Waiting::of(&StopProgress::default(), Some(&node)), node.left());
            },
        }
    };
    display.finish();
    if left.is_empty() {
        return Ok(());
    }
    for resource in &left {
        console::line(&format!("not removed: {resource}"));
    }
    bail!(
        "some resources could not be removed from this machine (listed above); starting and stopping again with the same \
         --data-dir tries again"
    )
}

/// Stops the control plane in bounded time. A second signal ends it at once.
pub async fn stop_server(running: Running, signals: &mut Signals) -> anyhow::Result<()> {
    tracing::info!("stopping the control plane");
    tokio::select! {
        () = running.stop() => Ok(()),
        () = signals.wait() => Ok(()),
        () = sleep(SERVER_MAX) => bail!("the control plane did not stop within {} s", SERVER_MAX.as_secs()),
    }
}

/// Notifies systemd, if it has started this process.
fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    let _ = sd_notify::notify(&[state]);
}

/// The Pods, tasks and executors that a stop waits for.
struct Waiting(Vec<(&'static str, Vec<String>)>);

impl Waiting {
    fn of(agent: &StopProgress, node: Option<&StoppingNode>) -> Self {
        let ids = |ids: Vec<&str>| ids.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let pods = match node {
            Some(node) => node.pods.clone(),
            None => agent.resumed.clone(),
        };
        let tasks = ids(agent.tasks.iter().map(|(_, task)| task.as_str()).collect());
        let executors = ids(agent.executors.iter().map(|(_, executor)| executor.as_str()).collect());
        // The executor of Pods ends last: after its Pods, when it has removed their leftovers.
        let executors = if pods.is_empty() && tasks.is_empty() { executors } else { Vec::new() };
        Self(vec![("Pods", pods), ("tasks", tasks), ("executors", executors)])
    }

    /// The names as text; `None` if there are none.
    fn text(&self) -> Option<String> {
        let parts = self.0.iter().filter(|(_, names)| !names.is_empty()).map(|(kind, names)| {
            let mut shown = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
            if names.len() > NAMES_MAX {
                shown.push_str(&format!(" and {} more", names.len() - NAMES_MAX));
            }
            match (names.len(), kind.strip_suffix('s')) {
                (1, Some(one)) => format!("{one} {shown}"),
                (many, _) => format!("{many} {kind} ({shown})"),
            }
        });
        let parts: Vec<String> = parts.collect();
        (!parts.is_empty()).then(|| parts.join(" and "))
    }
}

/// The progress: a line that is replaced on a terminal, and printed when it changes elsewhere.
struct Display {
    progress: Progress,
    shown: String,
    shown_at: Instant,
}

impl Display {
    fn new() -> Self {
        Self { progress: Progress::start(), shown: String::new(), shown_at: Instant::now() }
    }

    fn show(&mut self, waiting: &Waiting, left: Duration) {
        let Some(names) = waiting.text() else { return };
        let limit = match left.as_secs() + u64::from(left.subsec_nanos() > 0) {
            0 => String::new(),
            seconds => format!(" up to {seconds} s"),
        };
        let line = format!("stopping: waiting{limit} for {names} (press Ctrl-C again to kill what runs)");
        if self.progress.replaces_lines() {
            self.progress.doing(&line);
        } else if names != self.shown || self.shown_at.elapsed() > REPEAT_EVERY {
            self.progress.doing(&line);
            self.shown = names;
            self.shown_at = Instant::now();
        }
    }

    fn note(&self, line: &str) {
        self.progress.note(line);
    }

    fn finish(self) {
        self.progress.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_whom_a_stop_waits_for() {
        let text = |agent: &StopProgress| Waiting::of(agent, None).text().unwrap_or_default();
        let mut agent = StopProgress::default();
        assert_eq!(text(&agent), "");
        agent.executors = vec![("f".into(), "pods".into())];
        assert_eq!(text(&agent), "executor pods");
        agent.tasks = vec![("f".into(), "t1".into())];
        assert_eq!(text(&agent), "task t1");
        agent.resumed = (0..10).map(|n| format!("p{n}")).collect();
        assert_eq!(text(&agent), "10 Pods (p0, p1, p2, p3, p4, p5, p6, p7 and 2 more) and task t1");
    }
}
