//! Frameworks that launch many small tasks over the public scheduler API, and acknowledge every update, until all run: the rate at
//! which tasks can be started.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::measure::{Meter, rounded};
use crate::scheduler_client::{
    Framework,
    messages::{self, TaskSize},
};

/// What each task uses.
const TASK: TaskSize = TaskSize { cpus: 0.01, mem: 1.0 };

/// Deadline for all tasks to run.
const RUN_TIMEOUT: Duration = Duration::from_secs(300);

/// Arguments of the load.
#[derive(Args, Clone)]
pub struct Launches {
    /// Address of the master's HTTP API
    #[arg(long, value_name = "HOST:PORT")]
    pub mesos: String,
    /// Process ids of the server, for CPU and memory
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Number of tasks, of 0.01 CPU and 1 MiB each
    #[arg(long, default_value_t = 100_000)]
    pub tasks: usize,
    /// Number of frameworks, each in a role of its own
    #[arg(long, default_value_t = 10)]
    pub frameworks: usize,
    /// Most tasks launched with one offer
    #[arg(long, default_value_t = 20)]
    pub tasks_per_offer: usize,
}

impl Launches {
    /// Runs the load, and tears its frameworks down.
    pub async fn run(&self) -> anyhow::Result<Value> {
        let mut workers = Vec::new();
        let each = self.tasks.div_ceil(self.frameworks.max(1));
        let mut frameworks = Vec::new();
        for number in 0..self.frameworks {
            frameworks.push(Framework::subscribe(&self.mesos, &format!("launch-{number}")).await?);
        }
        let meter = Meter::start(&self.pids)?;
        for framework in frameworks {
            workers.push(tokio::spawn(launch_all(framework, each, self.tasks_per_offer)));
        }
        let (mut calls, mut open) = (0, Vec::new());
        for worker in workers {
            let (framework, made) = tokio::time::timeout(RUN_TIMEOUT, worker)
                .await
                .with_context(|| format!("not all tasks ran after {RUN_TIMEOUT:?}"))???;
            calls += made;
            open.push(framework);
        }
        let spent = meter.stop()?;
        for mut framework in open {
            let teardown = messages::teardown(&framework.id);
            framework.call(teardown).await?;
        }
        let tasks = each * self.frameworks;
        let mut line = spent.report("launches", "task launched, running and acknowledged", tasks);
        line.insert("wall_ms".to_owned(), (spent.wall.as_secs_f64() * 1e3).round().into());
        let a_minute = rounded(tasks as f64 * 60.0 / spent.wall.as_secs_f64());
        line.insert("per_minute".to_owned(), a_minute.into());
        line.insert("calls".to_owned(), calls.into());
        Ok(Value::Object(line))
    }
}

/// Launches tasks until this many run. Returns the framework, still subscribed, and the calls that it made.
async fn launch_all(
    mut framework: Framework,
    wanted: usize,
    tasks_per_offer: usize,
) -> anyhow::Result<(Framework, usize)> {
    let (mut launched, mut running, mut calls) = (0, 0, 1);
    let mut is_revived = true;
    framework.call(messages::revive(&framework.id)).await?;
    while running < wanted {
        let record = framework.record().await?;
        let event = messages::Event::read(&record)?;
        if let Some(why) = event.error {
            bail!("ERROR: {why}");
        }
        for offer in &event.offers {
            let count = offer.capacity(TASK).min(tasks_per_offer).min(wanted - launched);
            let names: Vec<String> =
                (launched..launched + count).map(|number| format!("t{number}")).collect();
            let call = match count {
                0 => messages::decline(&framework.id, std::iter::once(offer.id)),
                _ => messages::launch(&framework.id, offer, TASK, names.iter().map(String::as_str)),
            };
            framework.call(call).await?;
            launched += count;
            calls += 1;
        }
        if let Some(update) = event.update {
            let state = update.state;
            let is_wanted = [messages::STARTING, messages::RUNNING].contains(&state);
            ensure!(is_wanted, "{}: state {state}: {}", update.task, update.message);
            running += usize::from(state == messages::RUNNING);
            framework.call(messages::acknowledge(&framework.id, &update)).await?;
            calls += 1;
        }
        if launched == wanted && std::mem::take(&mut is_revived) {
            framework.call(messages::suppress(&framework.id)).await?;
            calls += 1;
        }
    }
    Ok((framework, calls))
}
