//! Many watches on the Pods of a few writers: the cost of a delivery.
//!
//! The same creates run twice, first without watches; the difference is the cost of the deliveries.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use crate::connection::{Connection, Lines};
use crate::measure::{Meter, rounded};
use crate::target::{PodBatch, Target};

/// How long the last watch may take to receive the last event.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Arguments of the load.
#[derive(Args, Clone)]
pub struct FanOut {
    /// Number of watches
    #[arg(long, default_value_t = 500)]
    pub watchers: usize,
    /// Number of watches per connection (HTTP/2)
    #[arg(long, default_value_t = 10)]
    pub watchers_per_connection: usize,
    /// Number of Pods to create
    #[arg(long, default_value_t = 1_000)]
    pub pods: usize,
    /// Number of connections that create Pods
    #[arg(long, default_value_t = 8)]
    pub connections: usize,
}

impl FanOut {
    /// Runs the load.
    pub async fn run(&self, target: &Target) -> anyhow::Result<Value> {
        let alone = PodBatch::unscheduled(self.pods);
        let meter = Meter::start(target.pids())?;
        target.create_pods(&alone, self.connections, |_, _| {}).await?;
        let unwatched = meter.stop()?;

        let mut readers = Vec::with_capacity(self.watchers);
        for lines in self.open(target).await? {
            readers.push(tokio::spawn(count_lines(lines, self.pods)));
        }
        let watched = PodBatch { first: self.pods, ..alone };
        let meter = Meter::start(target.pids())?;
        let mut latencies = target.create_pods(&watched, self.connections, |_, _| {}).await?;
        let creates = latencies.len();
        let mut deliveries = 0;
        for reader in readers {
            deliveries += reader.await??;
        }
        let spent = meter.stop()?;

        let mut line = spent.report("fanout", "watch delivery", deliveries);
        let own =
            spent.cpu.zip(unwatched.cpu).map(|(with, without)| with.total().saturating_sub(without.total()));
        let own = own.map(|own| rounded(own.as_secs_f64() * 1e6 / deliveries as f64));
        line.insert("server_cpu_us_each_without_creates".to_owned(), json!(own));
        line.insert("watchers".to_owned(), self.watchers.into());
        line.insert("creates".to_owned(), creates.into());
        line.insert("creates_per_s".to_owned(), json!(rounded(creates as f64 / spent.wall.as_secs_f64())));
        line.insert(
            "creates_per_s_unwatched".to_owned(),
            json!(rounded(creates as f64 / unwatched.wall.as_secs_f64())),
        );
        std::mem::take(&mut latencies).report(&mut line);
        Ok(Value::Object(line))
    }

    /// Opens the watches and waits for each response.
    async fn open(&self, target: &Target) -> anyhow::Result<Vec<Lines>> {
        let version = target.resource_version().await?;
        let path = format!("{}?watch=true&resourceVersion={version}", target.pods());
        let mut watches = Vec::with_capacity(self.watchers);
        let mut shared: Option<Connection> = None;
        for number in 0..self.watchers {
            let fresh = number % self.watchers_per_connection.max(1) == 0;
            let mut connection = match shared.as_ref().filter(|_| !fresh).and_then(Connection::share) {
                Some(connection) => connection,
                None => target.connect().await?,
            };
            let answer = connection.start(Method::GET, &path, Bytes::new()).await?;
            watches.push(Lines::of(answer)?);
            shared = Some(connection);
        }
        Ok(watches)
    }
}

/// Reads until at least this many events have arrived.
async fn count_lines(mut lines: Lines, wanted: usize) -> anyhow::Result<usize> {
    let mut count = 0;
    let read = async {
        while count < wanted {
            if !lines.next(|_| count += 1).await? {
                bail!("a watch ended after {count} of {wanted} events");
            }
        }
        Ok(())
    };
    tokio::time::timeout(TIMEOUT, read).await.context("a watch fell silent")??;
    Ok(count)
}
