//! Runs a client with a deadline, and polls until a condition holds.

use std::{
    io::Read,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

/// Exit status and output of a program.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// The standard output; an error unless the program succeeded.
    pub fn ok(self) -> anyhow::Result<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        bail!("it ended with {}\nstdout: {}\nstderr: {}", self.status, self.stdout, self.stderr)
    }
}

/// Runs a program to completion; after the deadline it is killed and an error returned.
pub fn run(command: &mut Command, deadline: Duration) -> anyhow::Result<Output> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {shown}"))?;
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > deadline {
            child.kill()?;
            child.wait()?;
            let said = stdout.join().unwrap_or_default();
            let complained = stderr.join().unwrap_or_default();
            bail!("{shown} took longer than {deadline:?}\nstdout: {said}\nstderr: {complained}");
        }
        thread::sleep(Duration::from_millis(10));
    };
    // A process that it has left behind may keep its output open.
    while !(stdout.is_finished() && stderr.is_finished()) {
        if start.elapsed() > deadline {
            bail!("{shown} has ended with {status}, and something that it started keeps its output open");
        }
        thread::sleep(Duration::from_millis(10));
    }
    let read = |thread: thread::JoinHandle<String>| thread.join().unwrap_or_default();
    Ok(Output { status, stdout: read(stdout), stderr: read(stderr) })
}

fn reader(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // On an error, the output read so far is still useful.
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Calls `ask` until it returns `Some` or the deadline has passed; `what` names the condition in the error.
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    let mut latest = None;
    loop {
        match ask() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(error) => latest = Some(error),
        }
        if start.elapsed() > deadline {
            match latest {
                Some(error) => return Err(error.context(format!("waited {deadline:?} for {what}"))),
                None => bail!("waited {deadline:?} for {what}"),
            }
        }
        thread::sleep(Duration::from_millis(200));
    }
}
