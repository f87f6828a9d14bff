//! Frameworks that revive at once and decline everything, over the public scheduler API, until each has seen every agent: the cost
//! of showing the cluster to everybody.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;
use tokio::sync::watch;

use crate::measure::Meter;
use crate::scheduler_client::{Framework, messages};

/// How long one run may take: twice the default offer timeout.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);

/// Arguments of the load.
#[derive(Args, Clone)]
pub struct Offers {
    /// Address of the master's HTTP API
    #[arg(long, value_name = "HOST:PORT")]
    pub mesos: String,
    /// Process ids of the server, for CPU and memory
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Number of agents of the cluster
    #[arg(long, default_value_t = 1_000)]
    pub agents: usize,
    /// Number of frameworks, each in a role of its own
    #[arg(long, default_value_t = 50)]
    pub frameworks: usize,
}

impl Offers {
    /// Runs the load.
    pub async fn run(&self) -> anyhow::Result<Value> {
        let mut frameworks = Vec::new();
        for number in 0..self.frameworks {
            frameworks.push(Framework::subscribe(&self.mesos, &format!("bench-{number}")).await?);
        }
        let (start, started) = watch::channel(false);
        let workers: Vec<_> = frameworks
            .into_iter()
            .map(|framework| tokio::spawn(see_all(framework, self.agents, started.clone())))
            .collect();
        let meter = Meter::start(&self.pids)?;
        start.send(true)?;
        let (mut offers, mut calls) = (0, 0);
        // The streams stay open until all are done: a framework that leaves would free its share for the others.
        let mut open = Vec::new();
        for worker in workers {
            let (framework, seen) = tokio::time::timeout(RUN_TIMEOUT, worker)
                .await
                .with_context(|| format!("not everything was seen after {RUN_TIMEOUT:?}"))???;
            offers += seen.offers;
            calls += seen.calls;
            open.push(framework);
        }
        let spent = meter.stop()?;
        let mut line = spent.report("offers", "offer made, sent and declined", offers);
        line.insert("wall_ms".to_owned(), (spent.wall.as_secs_f64() * 1e3).round().into());
        line.insert("calls".to_owned(), calls.into());
        line.insert("agents".to_owned(), self.agents.into());
        line.insert("frameworks".to_owned(), self.frameworks.into());
        Ok(Value::Object(line))
    }
}

/// What a framework saw.
#[derive(Default)]
struct Seen {
    agents: HashSet<String>,
    offers: usize,
    calls: usize,
}

/// Revives at the start, and declines until the framework has seen all agents.
async fn see_all(
    mut framework: Framework,
    agents: usize,
    mut started: watch::Receiver<bool>,
) -> anyhow::Result<(Framework, Seen)> {
    started.wait_for(|started| *started).await?;
    let mut seen = Seen::default();
    framework.call(messages::revive(&framework.id)).await?;
    while seen.agents.len() < agents {
        let record = framework.record().await?;
        let event = messages::Event::read(&record)?;
        if let Some(why) = event.error {
            bail!("ERROR: {why}");
        }
        if event.offers.is_empty() {
            continue;
        }
        for messages::Offer { agent, .. } in &event.offers {
            if !seen.agents.contains(*agent) {
                seen.agents.insert((*agent).to_owned());
            }
        }
        seen.offers += event.offers.len();
        seen.calls += 1;
        let decline = messages::decline(&framework.id, event.offers.iter().map(|offer| offer.id));
        framework.call(decline).await?;
    }
    Ok((framework, seen))
}
