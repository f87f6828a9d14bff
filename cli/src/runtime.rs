//! The tokio runtime, and the signals that stop the process.

use std::{future::Future, time::Duration};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

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
    /// Installs the handlers; from here on the signals no longer end the process by themselves.
    pub fn listen() -> anyhow::Result<Self> {
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

/// Whether this process was started with a signal ignored (`SigIgn` of proc_pid_status(5)).
fn ignores(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (kind.as_raw_value() - 1)) != 0)
}
