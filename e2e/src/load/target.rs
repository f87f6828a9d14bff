//! The server under load and the load's namespace on it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::bail;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::measure::Latencies;
use e2e::kubeconfig::{self, Access};

/// A scheduler name without a scheduler: its Pods stay pending.
const NOBODY: &str = "nobody";

/// The name prefix of a load's Pods; nothing else in such a Pod has this prefix.
pub const POD_PREFIX: &str = "bench-pod-";

/// The server under load.
pub struct Target {
    access: Access,
    namespace: String,
    pids: Vec<u32>,
}

impl Target {
    /// The server of a kubeconfig.
    pub fn new(kubeconfig: &Path, namespace: &str, pids: &[u32]) -> anyhow::Result<Target> {
        Ok(Target {
            access: kubeconfig::read(kubeconfig)?,
            namespace: namespace.to_owned(),
            pids: pids.to_vec(),
        })
    }

    /// Process ids of the server.
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Opens a new connection.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.access).await
    }

    /// The name of the load's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The path of the namespace's Pods.
    pub fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.namespace)
    }

    /// The path of the namespace's Deployments.
    pub fn deployments(&self) -> String {
        format!("/apis/apps/v1/namespaces/{}/deployments", self.namespace)
    }

    /// Creates the namespace and the service account that upstream's server requires for Pods.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        ensure_created(&mut connection, "/api/v1/namespaces", &namespace).await?;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let accounts = format!("/api/v1/namespaces/{}/serviceaccounts", self.namespace);
        ensure_created(&mut connection, &accounts, &account).await
    }

    /// Deletes the load's Pods, so many with each deletecollection that it ends within a server's request timeout.
    pub async fn sweep(&self) -> anyhow::Result<()> {
        const PAGE: usize = 20_000;
        let mut connection = self.connect().await?;
        let path = format!("{}?gracePeriodSeconds=0&limit={PAGE}", self.pods());
        loop {
            let bytes = connection.expect(Method::DELETE, &path, Bytes::new()).await?;
            let deleted: Value = serde_json::from_slice(&bytes)?;
            if deleted["items"].as_array().is_none_or(|items| items.len() < PAGE) {
                return Ok(());
            }
        }
    }

    /// The current resourceVersion of the namespace's Pods.
    pub async fn resource_version(&self) -> anyhow::Result<String> {
        let mut connection = self.connect().await?;
        let bytes = connection.expect(Method::GET, &format!("{}?limit=1", self.pods()), Bytes::new()).await?;
        let list: Value = serde_json::from_slice(&bytes)?;
        match list["metadata"]["resourceVersion"].as_str() {
            Some(version) => Ok(version.to_owned()),
            None => bail!("the list has no resourceVersion"),
        }
    }

    /// Creates Pods `first..first + count` over several connections and returns one latency for each. `started` is called
    /// just before each request.
    pub async fn create_pods(
        &self,
        batch: &PodBatch,
        connections: usize,
        started: impl Fn(usize, Instant) + Send + Sync + 'static,
    ) -> anyhow::Result<Latencies> {
        let next = Arc::new(AtomicUsize::new(batch.first));
        let started = Arc::new(started);
        let end = batch.first + batch.count;
        let mut workers = Vec::new();
        for _ in 0..connections {
            let (next, started, path, batch) =
                (Arc::clone(&next), Arc::clone(&started), self.pods(), batch.clone());
            let mut connection = self.connect().await?;
            workers.push(tokio::spawn(async move {
                let mut latencies = Latencies::default();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        return Ok::<_, anyhow::Error>(latencies);
                    }
                    let body = batch.pod(number);
                    let begun = Instant::now();
                    started(number, begun);
                    connection.expect(Method::POST, &path, body).await?;
                    latencies.push(begun.elapsed());
                }
            }));
        }
        let mut latencies = Latencies::default();
        for worker in workers {
            latencies.extend(worker.await??);
        }
        Ok(latencies)
    }
}

async fn ensure_created(connection: &mut Connection, path: &str, object: &Value) -> anyhow::Result<()> {
    let (status, answer) = connection.send(Method::POST, path, Bytes::from(object.to_string())).await?;
    match status.is_success() || status == StatusCode::CONFLICT {
        true => Ok(()),
        false => bail!("POST {path}: {status}: {}", String::from_utf8_lossy(&answer)),
    }
}

/// The Pods to create.
#[derive(Clone)]
pub struct PodBatch {
    /// Number of the first Pod.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// Their `spec.schedulerName`.
    pub scheduler: &'static str,
    /// Their request of `cpu`.
    pub cpu: &'static str,
}

impl PodBatch {
    /// Small Pods that no scheduler binds.
    pub fn unscheduled(count: usize) -> Self {
        PodBatch { first: 0, count, scheduler: NOBODY, cpu: "10m" }
    }

    /// One of them, by number: a Pod like one of a Deployment, about 700 bytes.
    pub fn pod(&self, number: usize) -> Bytes {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": format!("{POD_PREFIX}{number}"),
                "labels": {"app.kubernetes.io/name": "bench", "app.kubernetes.io/part-of": "load", "tier": "web"},
                "annotations": {"catamaran.dev/bench": "one of many Pods that look alike"},
            },
            "spec": {
                "schedulerName": self.scheduler,
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "tolerations": [{"key": "catamaran.dev/hollow", "operator": "Exists"}],
                "containers": [{
                    "name": "app",
                    "image": "registry.example/bench/app:1.0",
                    "command": ["/app", "--listen", ":8080"],
                    "env": [{"name": "MODE", "value": "load"}, {"name": "PORT", "value": "8080"}],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "resources": {"requests": {"cpu": self.cpu, "memory": "16Mi"}},
                }],
            },
        });
        Bytes::from(pod.to_string())
    }
}
