//! Runs a command in a task's running container, for health checks.

use std::{io::Write, time::Duration};

use cri::v1;

use super::{labels, socket};
use crate::{config::Config, runtime::Runtime};

/// The exit code if the command was not run, as of `docker exec`.
const NOT_RUN: u8 = 126;

/// Runs a command and returns its exit code. Its output goes to the standard error.
pub async fn exec(config: &Config, id: &str, timeout: Duration, command: &[String]) -> u8 {
    match in_container(config, id, timeout, command).await {
        Ok(response) => {
            let mut errors = std::io::stderr();
            // The output of a check is of no consequence.
            let _ = errors.write_all(&response.stdout).and_then(|()| errors.write_all(&response.stderr));
            u8::try_from(response.exit_code).unwrap_or(u8::MAX)
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "cannot run a command in the container: {error}");
            NOT_RUN
        }
    }
}

async fn in_container(
    config: &Config,
    id: &str,
    timeout: Duration,
    command: &[String],
) -> Result<v1::ExecSyncResponse, cri::Error> {
    let client = cri::Client::new(&socket(config))?;
    let (_, containers) = client.list(&[(labels::CONTAINER.to_owned(), id.to_owned())]).await?;
    let running = |container: &&v1::Container| container.state == v1::ContainerState::ContainerRunning as i32;
    let Some(container) = containers.iter().find(running) else {
        return Err(cri::Error {
            operation: "ExecSync",
            kind: cri::ErrorKind::NotFound,
            message: "it does not run".to_owned(),
        });
    };
    Runtime::exec(&client, &container.id, command, timeout).await
}
