//! The environment of an executor: the variables that Mesos' executor libraries read, a fixed PATH, and the operator's
//! variables.

use std::{path::Path, time::Duration};

use kernel_core::agent::Start;
use kernel_model::executor::ExecutorKind;

use super::RuntimeOptions;
use crate::{access::executor_tokens::TOKEN_VARIABLE, images::SANDBOX_DIRECTORY};

/// Not the agent's own PATH, which differs between machines.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long an executor waits for a disconnected agent (Mesos' `--recovery_timeout`).
const RECOVERY_TIMEOUT: &str = "15mins";

/// The longest back-off of an executor's subscription.
const SUBSCRIPTION_BACKOFF_MAX: &str = "2secs";

/// All variables of an executor on the machine; of equal names the last wins.
pub(crate) fn environment(
    options: &RuntimeOptions,
    start: &Start,
    sandbox: &Path,
    token: String,
) -> Vec<(String, String)> {
    // The built-in executors have the agent's user: nothing that a framework sets may reach their processes (LD_PRELOAD).
    let own = start.executor.command.as_ref().filter(|_| start.executor.kind == ExecutorKind::Custom);
    let own = own.map(|command| command.environment.as_slice()).unwrap_or_default();
    let on_machine = [("PATH", PATH.to_owned()), ("CATAMARAN_BINARY", options.binary.display().to_string())];
    let variables = on_machine.into_iter().map(|(name, value)| (name.to_owned(), value));
    variables
        .chain(of_place(start, &sandbox.display().to_string()))
        .chain(of_executor(options, start, token))
        .chain(options.environment.iter().cloned())
        .chain(own.iter().cloned())
        .collect()
}

/// The agent's variables of an executor in a container of an image, whose paths are its own.
pub(super) fn in_image(options: &RuntimeOptions, start: &Start, token: String) -> Vec<(String, String)> {
    of_place(start, SANDBOX_DIRECTORY).chain(of_executor(options, start, token)).collect()
}

/// The agent's variables of a task in a container of an image.
pub(super) fn task_variables(start: &Start) -> Vec<(String, String)> {
    of_place(start, SANDBOX_DIRECTORY).collect()
}

/// Which executor of which framework it is, and where.
fn of_place(start: &Start, sandbox: &str) -> impl Iterator<Item = (String, String)> + use<> {
    let executor = &start.executor;
    let framework_id = start.framework.id.as_ref().map(|id| id.as_str()).unwrap_or_default();
    let mut variables: Vec<(&str, String)> = vec![
        ("MESOS_FRAMEWORK_ID", framework_id.to_owned()),
        ("MESOS_EXECUTOR_ID", executor.executor_id.to_string()),
        ("MESOS_SLAVE_ID", start.agent_id.to_string()),
        ("MESOS_DIRECTORY", sandbox.to_owned()),
        ("MESOS_SANDBOX", sandbox.to_owned()),
    ];
    let of_executor = || executor.resources.iter().find_map(|resource| resource.allocation_role.as_ref());
    if let Some(role) = start.task.as_ref().map_or_else(of_executor, |task| task.role()) {
        variables.push(("MESOS_ALLOCATION_ROLE", role.to_string()));
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value))
}

/// What an executor needs to talk to its agent.
fn of_executor(
    options: &RuntimeOptions,
    start: &Start,
    token: String,
) -> impl Iterator<Item = (String, String)> + use<> {
    let executor = &start.executor;
    let grace = executor.shutdown_grace.unwrap_or(options.shutdown_grace);
    let flag = |on: bool| if on { "1" } else { "0" }.to_owned();
    let mut variables: Vec<(&str, String)> = vec![
        ("MESOS_SLAVE_PID", format!("slave(1)@{}", options.endpoint)),
        ("MESOS_AGENT_ENDPOINT", options.endpoint.clone()),
        ("MESOS_CHECKPOINT", flag(start.framework.checkpoint)),
        ("MESOS_HTTP_COMMAND_EXECUTOR", flag(executor.kind == ExecutorKind::Command)),
        ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", duration(grace)),
        (TOKEN_VARIABLE, token),
        ("LIBPROCESS_PORT", "0".to_owned()),
    ];
    if start.framework.checkpoint {
        variables.push(("MESOS_RECOVERY_TIMEOUT", RECOVERY_TIMEOUT.to_owned()));
        variables.push(("MESOS_SUBSCRIPTION_BACKOFF_MAX", SUBSCRIPTION_BACKOFF_MAX.to_owned()));
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value))
}

/// A duration as Mesos' libraries parse it: a number and a unit.
pub(crate) fn duration(length: Duration) -> String {
    const UNITS: [(&str, u128); 8] = [
        ("weeks", 604_800_000_000_000),
        ("days", 86_400_000_000_000),
        ("hrs", 3_600_000_000_000),
        ("mins", 60_000_000_000),
        ("secs", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let nanoseconds = length.as_nanos();
    let fitting = UNITS.iter().find(|(_, size)| nanoseconds >= *size);
    let (unit, size) = fitting.copied().unwrap_or(("ns", 1));
    format!("{}{unit}", nanoseconds as f64 / size as f64)
}
