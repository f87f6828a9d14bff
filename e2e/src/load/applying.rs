//! Applies the same Deployment again and again, server-side: the cost of a change that is none.

use anyhow::ensure;
use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use crate::connection::{APPLY_PATCH, Connection};
use crate::measure::{Latencies, Meter};
use crate::target::Target;
use std::time::{Duration, Instant};

/// How often the version of a new Deployment is looked at until it is the same twice.
const SETTLES_MAX: usize = 50;

/// Arguments of the load.
#[derive(Args, Clone)]
pub struct Applies {
    /// Number of applies of each connection
    #[arg(long, default_value_t = 500)]
    pub applies: usize,
    /// Number of connections, each with one request at a time and one Deployment
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
}

impl Applies {
    /// Runs the load.
    pub async fn run(&self, target: &Target) -> anyhow::Result<Value> {
        let mut connections = Vec::new();
        for number in 0..self.connections {
            let mut connection = target.connect().await?;
            connection.patch_type = APPLY_PATCH;
            let name = format!("applied-{number}");
            let path = format!("{}/{name}?fieldManager=bench", target.deployments());
            let body = deployment(&name);
            let mut created = resource_version(&mut connection, &path, &body).await?;
            // The controller writes the status first.
            for _ in 0..SETTLES_MAX {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let now = resource_version(&mut connection, &path, &body).await?;
                if std::mem::replace(&mut created, now.clone()) == now {
                    break;
                }
            }
            connections.push((connection, path, body, created));
        }
        let meter = Meter::start(target.pids())?;
        let count = self.applies;
        let workers = connections.into_iter().map(|(mut connection, path, body, created)| {
            tokio::spawn(async move {
                let mut latencies = Latencies::default();
                for _ in 0..count {
                    let begun = Instant::now();
                    let version = resource_version(&mut connection, &path, &body).await?;
                    latencies.push(begun.elapsed());
                    ensure!(version == created, "{path} was written");
                }
                connection.expect(Method::DELETE, &path, Bytes::new()).await?;
                Ok::<_, anyhow::Error>(latencies)
            })
        });
        let mut latencies = Latencies::default();
        for worker in workers.collect::<Vec<_>>() {
            latencies.extend(worker.await??);
        }
        let spent = meter.stop()?;
        let mut line = spent.report("applies", "server-side apply that changes nothing", latencies.len());
        line.insert("connections".to_owned(), self.connections.into());
        latencies.report(&mut line);
        Ok(Value::Object(line))
    }
}

async fn resource_version(connection: &mut Connection, path: &str, body: &Bytes) -> anyhow::Result<Value> {
    let answer: Value = serde_json::from_slice(&connection.expect(Method::PATCH, path, body.clone()).await?)?;
    Ok(answer.pointer("/metadata/resourceVersion").cloned().unwrap_or_default())
}

/// A Deployment without replicas, so that no controller does more than look at it.
fn deployment(name: &str) -> Bytes {
    let labels = json!({"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "load"});
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [{
                        "name": "app",
                        "image": "registry.example/bench/app:1.0",
                        "command": ["/app", "--listen", ":8080"],
                        "env": [{"name": "MODE", "value": "load"}, {"name": "PORT", "value": "8080"}],
                        "ports": [{"name": "http", "containerPort": 8080}],
                        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                    }],
                },
            },
        },
    });
    Bytes::from(deployment.to_string())
}
