//! Creates Pods that no scheduler binds: the cost of a durable write.

use clap::Args;
use serde_json::Value;

use crate::measure::Meter;
use crate::target::{NOBODY, PodBatch, Target};

/// Arguments of the load.
#[derive(Args, Clone)]
pub struct Creates {
    /// Number of Pods
    #[arg(long, default_value_t = 10_000)]
    pub pods: usize,
    /// Number of connections, each with one request at a time
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
