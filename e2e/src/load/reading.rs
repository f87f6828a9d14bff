//! Gets one Pod, and lists all Pods.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use crate::measure::{Latencies, Meter, rounded};
use crate::target::{POD_PREFIX, PodBatch, Target};

/// Arguments of the load.
#[derive(Args, Clone)]
pub struct Reads {
    /// Number of Pods to create first
    #[arg(long, default_value_t = 1_000)]
    pub pods: usize,
    /// Number of connections, each with one request at a time
    #[arg(long, default_value_t = 32)]
    pub connections: usize,
    /// Duration in seconds
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
}

impl Reads {
    /// Gets one Pod at a time.
    pub async fn get(&self, target: &Target) -> anyhow::Result<Value> {
        let (pods, base) = (self.pods.max(1), target.pods());
        let path = move |number: usize| format!("{base}/{POD_PREFIX}{}", number % pods);
        self.read(target, "get", "GET of a Pod", path).await
    }

    /// Lists all Pods.
    pub async fn list(&self, target: &Target) -> anyhow::Result<Value> {
        let path = target.pods();
        let mut line = self.read(target, "list", "LIST of all Pods", move |_| path.clone()).await?;
        let each = line["server_cpu_us_each"].as_f64().map(|each| rounded(each / self.pods.max(1) as f64));
        line["server_cpu_us_per_object"] = json!(each);
        Ok(line)
    }

    async fn read(
        &self,
        target: &Target,
        bench: &str,
        operation: &str,
        path: impl Fn(usize) -> String + Send + Sync + 'static,
    ) -> anyhow::Result<Value> {
        let batch = PodBatch::unscheduled(self.pods);
        target.create_pods(&batch, self.connections, |_, _| {}).await?;
        let path = Arc::new(path);
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(target.connect().await?);
        }
        let meter = Meter::start(target.pids())?;
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let workers = connections.into_iter().enumerate().map(|(worker, mut connection)| {
            let path = Arc::clone(&path);
            tokio::spawn(async move {
                let (mut latencies, mut bytes) = (Latencies::default(), 0);
                let mut number = worker;
                while Instant::now() < end {
                    let begun = Instant::now();
                    bytes += connection.expect(Method::GET, &path(number), Bytes::new()).await?.len();
                    latencies.push(begun.elapsed());
                    number += 1;
                }
                Ok::<_, anyhow::Error>((latencies, bytes))
            })
        });
        let (mut latencies, mut bytes) = (Latencies::default(), 0);
        for worker in workers.collect::<Vec<_>>() {
            let (own, read) = worker.await??;
            latencies.extend(own);
            bytes += read;
        }
        let spent = meter.stop()?;
        let count = latencies.len();
        let mut line = spent.report(bench, operation, count);
        line.insert("connections".to_owned(), self.connections.into());
        line.insert("pods".to_owned(), self.pods.into());
        line.insert(
            "mib_per_s".to_owned(),
            json!(rounded(bytes as f64 / 1048576.0 / spent.wall.as_secs_f64())),
        );
        latencies.report(&mut line);
        Ok(Value::Object(line))
    }
}
