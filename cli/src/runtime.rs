//! The tokio runtime, and the signals that stop the process.

use std::{future::Future, time::Duration};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::console;

/// How long the process may take to end after the second signal, which kills what runs: the agent has 20 seconds, and so has the
/// control plane; the rest is for removing hundreds of sandboxes.
const KILL_MAX: Duration = Duration::from_secs(120);

/// The signals after which the process exits at once: the first two end and kill, the next two end the removal of leftovers.
const SIGNALS_MAX: u32 = 5;

/// How long blocking calls in progress may take at the end.
const LAST_CALLS_MAX: Duration = Duration::from_secs(2);

/// Runs a verb to completion.
pub fn block_on(body: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let result = runtime.block_on(body);
    // A system call that hangs (on a pipe, a network file system) must not keep the process.
    runtime.shutdown_timeout(LAST_CALLS_MAX);
    result
}

/// The signals that stop the process: SIGINT, SIGTERM, and SIGHUP when its terminal is closed.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` if SIGHUP is ignored, as below `nohup`.
    hangup: Option<Signal>,
}

impl Signals {
    /// Installs the handlers; from here on the signals no longer end the process by themselves. A watchdog ends it if the stop
    /// hangs.
    pub fn listen() -> anyhow::Result<Self> {
        let stops_at_hangup = !ignores(SignalKind::hangup());
        keep_ignored_from_children()?;
        std::thread::Builder::new()
            .name("stop-watchdog".to_owned())
            .spawn(move || watch_stop(stops_at_hangup))
            .context("cannot start a thread")?;
        Self::install(stops_at_hangup)
    }

    fn install(stops_at_hangup: bool) -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: stops_at_hangup.then(|| listen(SignalKind::hangup())).transpose()?,
        })
    }

    /// Waits for one of the signals.
    pub async fn wait(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Ends the process if it does not end by itself: some time after the second signal, at once after the fifth. It has a runtime
/// of its own, because the other one may hang.
fn watch_stop(stops_at_hangup: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let Ok(mut signals) = Signals::install(stops_at_hangup) else { return };
        overdue(&mut signals).await;
    });
    console::error_line(
        "error: the stop takes too long: exiting, Pods and tasks may be left on this machine",
    );
    std::process::exit(1);
}

/// Returns when a stop has taken too long.
async fn overdue(signals: &mut Signals) {
    signals.wait().await;
    signals.wait().await;
    let more = async {
        for _ in 2..SIGNALS_MAX {
            signals.wait().await;
        }
    };
    // Either way it is overdue.
    let _ = tokio::time::timeout(KILL_MAX, more).await;
}

/// Programs inherit which signals are ignored, and not which have a handler. So what this process ignores gets a handler that does
/// nothing: tasks and Pods of an agent below `nohup`, or in the background of a script, get signals as usual.
fn keep_ignored_from_children() -> anyhow::Result<()> {
    let kinds = [
        SignalKind::hangup(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        SignalKind::alarm(),
        SignalKind::child(),
    ];
    for kind in kinds.into_iter().filter(|kind| ignores(*kind)) {
        // The handler stays for the life of the process.
        drop(signal(kind).context("cannot listen for signals")?);
    }
    Ok(())
}

/// Whether this process was started with a signal ignored (`SigIgn` of proc_pid_status(5)).
fn ignores(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (kind.as_raw_value() - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The signals that a child of this process ignores.
    fn ignored_by_a_child() -> u64 {
        let output = Command::new("grep").args(["^SigIgn:", "/proc/self/status"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        u64::from_str_radix(text.trim_start_matches("SigIgn:").trim(), 16).unwrap()
    }

    #[test]
    fn ignored_signals_are_not_inherited() {
        let own = std::env::current_exe().unwrap();
        let script = format!(
            "trap '' HUP QUIT USR1 USR2 ALRM; exec {} --exact --ignored runtime::tests::below_a_shell_that_ignores_signals",
            own.display()
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }

    #[tokio::test]
    #[ignore = "run by `ignored_signals_are_not_inherited`, which has a shell ignore signals"]
    async fn below_a_shell_that_ignores_signals() {
        // HUP, QUIT, USR1, USR2, ALRM
        let all = [1, 3, 10, 12, 14].iter().map(|number| 1 << (number - 1)).sum::<u64>();
        assert_eq!(ignored_by_a_child() & all, all);
        let _signals = Signals::listen().unwrap();
        assert_eq!(ignored_by_a_child() & all, 0);
        // It goes on to be without effect here.
        let pid = std::process::id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        assert!(!ignores(SignalKind::hangup()));
    }
}
