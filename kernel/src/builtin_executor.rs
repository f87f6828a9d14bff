//! The built-in executors: processes that use the executor API like any other executor. The command executor runs one
//! task, the default executor groups of tasks. So tasks survive their agent, and their updates are delivered when it is back.
//!
//! The process keeps the agent's user, and commands and the commands of checks run as the task's user. So a task cannot
//! reach its executor's token, and the program of the executor need not be readable for the user.
//!
//! A task of a group in an image is a container that the agent runs ([`nested`]).
//!
//! Plain threads: one reads the agent's events, one per task starts it and waits for it, one per check probes, and the main
//! thread feeds what they send to the state machine ([`kernel_core::builtin_executor`]). Each thread that uses HTTP has a
//! runtime of its own, which runs only while the thread waits for it.

mod agent_client;
mod command;
mod containers;
mod launch;
mod main_loop;
mod nested;
mod probe;
#[cfg(test)]
mod tests;

use std::{env, path::PathBuf, process::ExitCode, sync::mpsc, time::Duration};

use kernel_core::builtin_executor;
use kernel_model::{
    executor::ExecutorKind,
    ids::{ExecutorId, FrameworkId},
};

use crate::{
    access::executor_tokens::TOKEN_VARIABLE, http::query::duration, images::ContainerCommands,
    runtime::launch::CONTAINER_VARIABLE,
};
use agent_client::AgentClient;
use containers::Containers;

/// Queued messages between the threads; senders wait when the queue is full.
const MESSAGE_QUEUE_BOUND: usize = 64;

/// The settings from the environment that the agent set.
#[derive(Debug, Clone)]
struct Settings {
    kind: ExecutorKind,
    endpoint: String,
    framework_id: FrameworkId,
    executor_id: ExecutorId,
    /// Proves to the agent which executor this is.
    token: Option<String>,
    sandbox: PathBuf,
    /// Whether to wait for an agent that disconnected.
    checkpoint: bool,
    recovery_timeout: Duration,
    backoff_max: Duration,
    shutdown_grace: Duration,
    /// How the command executor runs its task in the container of an image.
    container: Option<ContainerCommands>,
}

/// Runs the one task that the agent launches. Returns when its last update is acknowledged.
pub fn run_command() -> ExitCode {
    run(ExecutorKind::Command)
}

/// Runs groups of tasks. Returns when none is left and the last update is acknowledged.
pub fn run_default() -> ExitCode {
    run(ExecutorKind::Default)
}

fn run(kind: ExecutorKind) -> ExitCode {
    let settings = match Settings::from_environment(kind) {
        Ok(settings) => settings,
        Err(name) => {
            eprintln!("built-in executors are started by an agent: {name} is not set");
            return ExitCode::from(2);
        }
    };
    let (messages, inbox) = mpsc::sync_channel(MESSAGE_QUEUE_BOUND);
    let client = match AgentClient::new(settings.clone()) {
        Ok(client) => client,
        Err(error) => {
            eprintln!("the executor cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let containers = Containers::new(settings.clone(), messages.clone());
    main_loop::run(&settings, &client, containers, (messages, inbox))
}

impl Settings {
    fn from_environment(kind: ExecutorKind) -> Result<Self, &'static str> {
        let need = |name: &'static str| env::var(name).map_err(|_| name);
        let length =
            |name, default| env::var(name).ok().and_then(|text| duration(&text).ok()).unwrap_or(default);
        Ok(Self {
            kind,
            endpoint: need("MESOS_AGENT_ENDPOINT")?,
            framework_id: need("MESOS_FRAMEWORK_ID")?.into(),
            executor_id: need("MESOS_EXECUTOR_ID")?.into(),
            token: env::var(TOKEN_VARIABLE).ok(),
            sandbox: need("MESOS_SANDBOX")?.into(),
            checkpoint: env::var("MESOS_CHECKPOINT").is_ok_and(|flag| flag == "1"),
            recovery_timeout: length("MESOS_RECOVERY_TIMEOUT", Duration::from_secs(15 * 60)),
            backoff_max: length("MESOS_SUBSCRIPTION_BACKOFF_MAX", Duration::from_secs(2)),
            shutdown_grace: length("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", Duration::from_secs(5)),
            container: match env::var(CONTAINER_VARIABLE) {
                Ok(text) => Some(ContainerCommands::parse(&text).ok_or(CONTAINER_VARIABLE)?),
                Err(_) => None,
            },
        })
    }
    fn of_machine(&self) -> builtin_executor::Settings {
        builtin_executor::Settings {
            kind: self.kind,
            recovery_wait: if self.checkpoint { self.recovery_timeout } else { Duration::ZERO },
            shutdown_grace: self.shutdown_grace,
            seed: uuid::Uuid::new_v4().as_u64_pair().0,
        }
    }
}
