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
        std::thread::Builder::new()
            .name("stop-watchdog".to_owned())
            .spawn(watch_stop)
            .context("cannot start a thread")?;
        Self::install()
    }

    fn install() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: (!ignores(SignalKind::hangup())).then(|| listen(SignalKind::hangup())).transpose()?,
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
fn watch_stop() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let Ok(mut signals) = Signals::install() else { return };
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

/// Whether this process was started with a signal ignored (`SigIgn` of proc_pid_status(5)).
fn ignores(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (kind.as_raw_value() - 1)) != 0)
}
