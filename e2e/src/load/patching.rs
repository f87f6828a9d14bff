//! Patches Pods one after the other, as kubectl and controllers do: the cost of a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use crate::measure::{Latencies, Meter};
use crate::target::{POD_PREFIX, PodBatch, Target};

/// Arguments of the load.
#[derive(Args, Clone)]
pub struct Patches {
    /// Number of patches
    #[arg(long, default_value_t = 5_000)]
    pub patches: usize,
    /// Number of Pods to create first; each is patched in turn
    #[arg(long, default_value_t = 1_000)]
    pub pods: usize,
    /// Number of connections, each with one request at a time
    #[arg(long, default_value_t = 32)]
    pub connections: usize,
}

impl Patches {
    /// Runs the load.
    pub async fn run(&self, target: &Target) -> anyhow::Result<Value> {
        let pods = self.pods.max(1);
        let batch = PodBatch::unscheduled(pods);
        target.create_pods(&batch, self.connections, |_, _| {}).await?;
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(target.connect().await?);
        }
        let (next, end) = (Arc::new(AtomicUsize::new(0)), self.patches);
        let meter = Meter::start(target.pids())?;
        let workers = connections.into_iter().map(|mut connection| {
            let (next, base) = (Arc::clone(&next), target.pods());
            tokio::spawn(async move {
                let mut latencies = Latencies::default();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        return Ok::<_, anyhow::Error>(latencies);
                    }
                    let path = format!("{base}/{POD_PREFIX}{}", number % pods);
                    let patch =
                        json!({"metadata": {"annotations": {"catamaran.dev/patch": number.to_string()}}});
                    let begun = Instant::now();
                    connection.expect(Method::PATCH, &path, Bytes::from(patch.to_string())).await?;
                    latencies.push(begun.elapsed());
                }
            })
        });
        let mut latencies = Latencies::default();
        for worker in workers.collect::<Vec<_>>() {
            latencies.extend(worker.await??);
        }
        let spent = meter.stop()?;
        let mut line = spent.report("patches", "durable strategic merge patch of a Pod", latencies.len());
        line.insert("connections".to_owned(), self.connections.into());
        latencies.report(&mut line);
        Ok(Value::Object(line))
    }
}
