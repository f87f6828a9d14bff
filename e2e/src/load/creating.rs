//! Durable creates of Pods that nobody schedules: what a write costs.

use clap::Args;
use serde_json::Value;

use crate::measure::Meter;
use crate::target::{NOBODY, PodBatch, Target};

/// How much to create.
#[derive(Args, Clone)]
pub struct Creates {
    /// How many Pods
    #[arg(long, default_value_t = 10_000)]
    pub pods: usize,
    /// How many connections, one request at a time on each
    #[arg(long, default_value_t = 32)]
    pub connections: usize,
}

impl Creates {
    /// Runs the load.
    pub async fn run(&self, target: &Target) -> anyhow::Result<Value> {
        let batch = PodBatch { first: 0, count: self.pods, scheduler: NOBODY };
        let meter = Meter::start(target.pids())?;
        let latencies = target.create_pods(&batch, self.connections, |_, _| {}).await?;
        let spent = meter.stop()?;
        let mut line = spent.report("creates", "durable Pod create", latencies.len());
        line.insert("connections".to_owned(), self.connections.into());
        latencies.report(&mut line);
        Ok(Value::Object(line))
    }
}
