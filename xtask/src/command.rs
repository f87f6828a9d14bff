//! Runs programs, fails at the first failure, and counts tests.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, bail};

/// Flags that select every target of the workspace, for two runs of cargo. `--all-targets` leaves out the targets of the
/// end-to-end tests and of the conformance suite, which a plain `cargo test` does not run.
pub const EVERY_TARGET: [&[&str]; 2] =
    [&["--all-targets"], &["--test", "end_to_end", "--test", "conformance"]];

/// The folder with the workspace's Cargo.toml.
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies inside the workspace")
}

/// Cargo's target directory, as configured by the environment or a configuration file.
pub fn target_directory() -> anyhow::Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .no_deps()
        .exec()
        .context("cannot ask cargo for its target directory")?;
    Ok(metadata.target_directory.into_std_path_buf())
}

/// The cargo that runs this program.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

pub fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments);
    command
}

/// Runs a command with inherited output; an error unless it succeeds.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("could not start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// The command line for messages.
fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Test counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Passed tests.
    pub passed: u64,
    /// Failed tests.
    pub failed: u64,
    /// Ignored tests.
    pub ignored: u64,
}

impl Count {
    /// Adds the counts of libtest's summary line (`test result: ok. 3 passed; 0 failed; 1 ignored; …`).
    pub fn add_line(&mut self, line: &str) {
        let Some(rest) = line.trim().strip_prefix("test result: ") else { return };
        for part in rest.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(word)) = (words.next().and_then(|n| n.parse::<u64>().ok()), words.next())
            else {
                continue;
            };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Runs a test command, forwards its standard output, and counts tests. A failure without a failed test counts as one.
pub fn run_counting(command: &mut Command, count: &mut Count) -> anyhow::Result<()> {
    let shown = shown(command);
    let failed_before = count.failed;
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("could not start `{shown}`"))?;
    let output = child.stdout.take().expect("standard output is piped");
    // Tests and their child processes may print any bytes.
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("could not read the output of the tests")?;
        let line = String::from_utf8_lossy(&line);
        count.add_line(&line);
        println!("{line}");
    }
    if !child.wait()?.success() && count.failed == failed_before {
        count.failed += 1;
    }
    Ok(())
}

/// Runs a named step and prints its duration.
pub fn step<T>(name: &str, body: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    println!("== {name}");
    let start = Instant::now();
    let outcome = body().with_context(|| format!("step '{name}' failed"));
    println!(
        "== {name}: {} in {:.1} s",
        if outcome.is_ok() { "done" } else { "failed" },
        start.elapsed().as_secs_f64()
    );
    outcome
}

#[cfg(test)]
mod tests;
