//! A Pod's path until it is bound: create, schedule, bind, and one watch that receives the binding.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use crate::connection::Lines;
use crate::measure::{Latencies, Meter, rounded};
use crate::target::{POD_PREFIX, PodBatch, Target};

/// Arguments of the load.
#[derive(Args, Clone)]
pub struct Bind {
    /// How many Pods
    #[arg(long, default_value_t = 10_000)]
    pub pods: usize,
    /// Number of the first Pod, to add to those of an earlier run
    #[arg(long, default_value_t = 0)]
    pub first: usize,
    /// Number of connections that create Pods
    #[arg(long, default_value_t = 32)]
    pub connections: usize,
    /// Seconds within which the last Pod must be bound
    #[arg(long, default_value_t = 300)]
    pub timeout_s: u64,
}

impl Bind {
    /// Runs the load.
    pub async fn run(&self, target: &Target) -> anyhow::Result<Value> {
        let version = target.resource_version().await?;
        let path = format!("{}?watch=true&resourceVersion={version}", target.pods());
        let mut connection = target.connect().await?;
        let answer = connection.start(Method::GET, &path, Bytes::new()).await?;
        let seen = tokio::spawn(watch_bindings(Lines::of(answer)?, self.first, self.pods));

        let started: Arc<Vec<OnceLock<Instant>>> =
            Arc::new((0..self.pods).map(|_| OnceLock::new()).collect());
        let (starting, first) = (Arc::clone(&started), self.first);
        let batch = PodBatch { first, scheduler: "default-scheduler", ..PodBatch::unscheduled(self.pods) };
        let meter = Meter::start(target.pids())?;
        let begun = Instant::now();
        let creates = target.create_pods(&batch, self.connections, move |number, at| {
            // Each number is used once.
            let _ = starting[number - first].set(at);
        });
        let creates = creates.await?;
        let created = begun.elapsed();
        let timeout = Duration::from_secs(self.timeout_s);
        let bound =
            tokio::time::timeout(timeout, seen).await.context("not all Pods were bound in time")???;
        let spent = meter.stop()?;

        let mut latencies = Latencies::default();
        for (started, bound) in started.iter().zip(&bound) {
            let started = started.get().context("a Pod was bound before it was created")?;
            latencies.push(bound.saturating_duration_since(*started));
        }
        let mut line = spent.report("bind", "Pod create to bound", self.pods);
        latencies.report(&mut line);
        line.insert("creates_per_s".to_owned(), json!(rounded(creates.len() as f64 / created.as_secs_f64())));
        Ok(Value::Object(line))
    }
}

/// Reads a watch until every Pod of the load is bound; returns when each binding was first seen.
async fn watch_bindings(mut lines: Lines, first: usize, count: usize) -> anyhow::Result<Vec<Instant>> {
    let mut bound: Vec<Option<Instant>> = vec![None; count];
    let mut missing = count;
    while missing > 0 {
        let go_on = lines.next(|line| {
            let Some(number) = bound_pod(line) else { return };
            let slot = number.checked_sub(first).and_then(|index| bound.get_mut(index));
            if let Some(slot @ None) = slot {
                *slot = Some(Instant::now());
                missing -= 1;
            }
        });
        if !go_on.await? {
            bail!("the watch ended with {missing} of {count} Pods not bound");
        }
    }
    Ok(bound.into_iter().flatten().collect())
}

/// The number of the Pod that an event shows as bound. Searches for the two fields without parsing the rest, because the
/// client shares its cores with the server.
pub fn bound_pod(line: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(line).ok()?;
    let node = after(text, "\"nodeName\":")?;
    if node.starts_with("\"\"") {
        return None;
    }
    let name = after(text, "\"name\":").filter(|name| is_own(name));
    // A container's name may come before the Pod's.
    let name = name.or_else(|| text.split("\"name\":").map(str::trim_start).find(|name| is_own(name)))?;
    let digits = name.strip_prefix('"')?.strip_prefix(POD_PREFIX)?;
    digits.split('"').next()?.parse().ok()
}

fn is_own(name: &str) -> bool {
    name.strip_prefix('"').is_some_and(|name| name.starts_with(POD_PREFIX))
}

fn after<'a>(text: &'a str, field: &str) -> Option<&'a str> {
    text.find(field).map(|at| text[at + field.len()..].trim_start())
}

#[cfg(test)]
mod tests;
