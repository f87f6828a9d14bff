//! The built-in executor: a process that runs one command task and uses the executor API like any other executor. So
//! the task survives its agent, and its updates are delivered when the agent is back.
//!
//! The process keeps the agent's user, and the command and the commands of checks run as the task's user. So a task cannot
//! reach its executor's token, and the program of the executor need not be readable for the user.
//!
//! Plain threads: one reads the agent's events, one waits for the command, one per check probes it, and [`run`] decides.
//! Each thread that uses HTTP has a runtime of its own, which runs only while the thread waits for it.

mod agent_client;
mod command;
mod health;
mod probe;
mod task;
#[cfg(test)]
mod tests;

use std::{env, process::ExitCode, sync::mpsc, time::Duration};

use kernel_model::ids::{ExecutorId, FrameworkId};

use crate::{access::executor_tokens::TOKEN_VARIABLE, http::query::duration};
use agent_client::AgentClient;
use task::CommandTask;

/// Queued messages between the threads; senders wait when the queue is full.
const MESSAGE_QUEUE_BOUND: usize = 64;

/// The settings from the environment that the agent set.
#[derive(Debug, Clone)]
struct Settings {
    endpoint: String,
    framework_id: FrameworkId,
    executor_id: ExecutorId,
    /// Proves to the agent which executor this is.
    token: Option<String>,
    /// Whether to wait for an agent that disconnected.
    checkpoint: bool,
    recovery_timeout: Duration,
    backoff_max: Duration,
    shutdown_grace: Duration,
}

/// Runs the task that the agent launches. Returns when its last update is acknowledged.
pub fn run() -> ExitCode {
    let settings = match Settings::from_environment() {
        Ok(settings) => settings,
        Err(name) => {
            eprintln!("command-executor is started by an agent: {name} is not set");
            return ExitCode::from(2);
        }
    };
    let (messages, inbox) = mpsc::sync_channel(MESSAGE_QUEUE_BOUND);
    let client = match AgentClient::new(settings.clone()) {
        Ok(client) => client,
        Err(error) => {
            eprintln!("command-executor cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    CommandTask::new(settings, client, messages).run(&inbox)
}

impl Settings {
    fn from_environment() -> Result<Self, &'static str> {
        let need = |name: &'static str| env::var(name).map_err(|_| name);
        let length =
            |name, default| env::var(name).ok().and_then(|text| duration(&text).ok()).unwrap_or(default);
        Ok(Self {
            endpoint: need("MESOS_AGENT_ENDPOINT")?,
            framework_id: need("MESOS_FRAMEWORK_ID")?.into(),
            executor_id: need("MESOS_EXECUTOR_ID")?.into(),
            token: env::var(TOKEN_VARIABLE).ok(),
            checkpoint: env::var("MESOS_CHECKPOINT").is_ok_and(|flag| flag == "1"),
            recovery_timeout: length("MESOS_RECOVERY_TIMEOUT", Duration::from_secs(15 * 60)),
            backoff_max: length("MESOS_SUBSCRIPTION_BACKOFF_MAX", Duration::from_secs(2)),
            shutdown_grace: length("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", Duration::from_secs(5)),
        })
    }
}
