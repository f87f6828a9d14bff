//! Pods and tasks at full rate on the same agents: both have more demand than there is room, and all of them end after a while. How
//! far are the shares from the weights?

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use crate::binding::bound_pod;
use crate::connection::{Connection, Lines};
use crate::measure::{Meter, rounded};
use crate::scheduler_client::{Framework, messages};
use crate::target::{POD_PREFIX, PodBatch, Target};

/// The framework's role. The server needs `--weights k8s=W,load=W`.
const ROLE: &str = "load";

/// What a Pod requests, and a task uses.
const CPUS: f64 = 1.0;

/// Time between two samples of the shares.
const SAMPLING: Duration = Duration::from_millis(200);

/// Pods that are due and wait for a worker; those that come then wait, too.
const DUE_BOUND: usize = 1024;

/// Arguments of the load.
#[derive(Args, Clone)]
pub struct Shares {
    /// Address of the master's HTTP API
    #[arg(long, value_name = "HOST:PORT")]
    pub mesos: String,
    /// The fraction of the machines that is due to Pods, from the weights of the roles `k8s` and `load`
    #[arg(long, default_value_t = 2.0 / 3.0)]
    pub due: f64,
    /// Seconds to measure
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Seconds before the measurement, in which the shares converge
    #[arg(long, default_value_t = 20)]
    pub warm_up_s: u64,
    /// Seconds that Pods and tasks live on average; each from half of it to one and a half
    #[arg(long, default_value_t = 10)]
    pub lifetime_s: u64,
    /// Number of connections that create and delete Pods
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
}

/// The CPUs of the cluster, and what Pods and the framework hold of them.
#[derive(Debug, Clone, Copy)]
struct Sample {
    total: f64,
    pods: f64,
    tasks: f64,
}

impl Shares {
    /// The load with its defaults, on this master.
    pub fn of(mesos: &str) -> Self {
        let (due, seconds, warm_up_s, lifetime_s, connections) = (2.0 / 3.0, 20, 20, 10, 16);
        Shares { mesos: mesos.to_owned(), due, seconds, warm_up_s, lifetime_s, connections }
    }

    /// Runs the load.
    pub async fn run(&self, target: &Target) -> anyhow::Result<Value> {
        let namespace_role = format!("k8s/{}", target.namespace());
        let total = self.sample(&namespace_role).await?.total;
        ensure!(total >= 1.0, "the cluster has no CPUs");
        let stop = Arc::new(AtomicBool::new(false));
        let lifetime = Duration::from_secs(self.lifetime_s);
        let framework = Framework::subscribe(&self.mesos, ROLE).await?;
        let tasks = tokio::spawn(keep_launching(framework, lifetime, Arc::clone(&stop)));
        let pods = Pods { wanted: total as usize, lifetime, connections: self.connections };
        let pods = pods.keep_running(target, Arc::clone(&stop)).await?;
        tokio::time::sleep(Duration::from_secs(self.warm_up_s)).await;
        let meter = Meter::start(target.pids())?;
        let mut samples = Vec::new();
        let end = Instant::now() + Duration::from_secs(self.seconds);
        while Instant::now() < end && !tasks.is_finished() {
            tokio::time::sleep(SAMPLING).await;
            samples.push(self.sample(&namespace_role).await?);
        }
        let spent = meter.stop()?;
        stop.store(true, Ordering::Relaxed);
        let (launched, bound) = (tasks.await??, pods.stop().await?);
        let mut line = spent.report("shares", "Pod or task, from its launch to its end", launched + bound);
        line.extend(report(&samples, self.due));
        line.insert("tasks".to_owned(), launched.into());
        line.insert("pods".to_owned(), bound.into());
        Ok(Value::Object(line))
    }

    async fn sample(&self, namespace_role: &str) -> anyhow::Result<Sample> {
        let metrics = crate::scheduler_client::get(&self.mesos, "/metrics/snapshot").await?;
        let roles = crate::scheduler_client::get(&self.mesos, "/roles").await?;
        let roles = roles["roles"].as_array().context("/roles has no list")?;
        let held = |name: &str| {
            let role = roles.iter().find(|role| role["name"] == name);
            role.and_then(|role| role["resources"]["cpus"].as_f64()).unwrap_or_default()
        };
        let total = metrics["master/cpus_total"].as_f64().context("no master/cpus_total")?;
        Ok(Sample { total, pods: held(namespace_role), tasks: held(ROLE) })
    }
}

/// The parts of Pods and tasks of what both hold, how far they were from what is due, and what is idle meanwhile, in percent.
fn report(samples: &[Sample], due: f64) -> serde_json::Map<String, Value> {
    let mean =
        |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / samples.len().max(1) as f64;
    let part = |sample: &Sample| sample.pods / (sample.pods + sample.tasks);
    let gap = |sample: &Sample| (part(sample) - due).abs();
    let line = json!({
        "pods_percent": rounded(mean(&part) * 100.0),
        "tasks_percent": rounded(mean(&|sample| 1.0 - part(sample)) * 100.0),
        "idle_percent": rounded(mean(&|sample| 1.0 - (sample.pods + sample.tasks) / sample.total) * 100.0),
        "mean_gap_percent": rounded(mean(&gap) * 100.0),
        "worst_gap_percent": rounded(samples.iter().map(gap).fold(0.0, f64::max) * 100.0),
        "samples": samples.len(),
    });
    match line {
        Value::Object(fields) => fields,
        _ => unreachable!("the macro above makes an object"),
    }
}

/// How long the Pod or task of this number lives: lifetimes differ, so that they do not end in waves.
fn lifetime_of(number: usize, mean: Duration) -> Duration {
    // Multiples of the golden ratio are spread evenly.
    mean.mul_f64(0.5 + (number as f64 * 0.618_033_988_75).fract())
}

/// Launches tasks on everything that is offered, and kills each after its lifetime. Returns how many it launched.
async fn keep_launching(
    mut framework: Framework,
    lifetime: Duration,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<usize> {
    let size = messages::TaskSize { cpus: CPUS, mem: 1.0 };
    let (mut launched, mut alive) = (0, BinaryHeap::new());
    framework.call(messages::revive(&framework.id)).await?;
    while !stop.load(Ordering::Relaxed) {
        while alive.peek().is_some_and(|Reverse((end, _))| *end <= Instant::now())
            && let Some(Reverse((_, number))) = alive.pop()
        {
            framework.call(messages::kill(&framework.id, &format!("t{number}"))).await?;
        }
        let record = match tokio::time::timeout(SAMPLING, framework.record()).await {
            Ok(record) => record?,
            Err(_) => continue,
        };
        let event = messages::Event::read(&record)?;
        if let Some(why) = event.error {
            bail!("ERROR: {why}");
        }
        for offer in &event.offers {
            let numbers = launched..launched + offer.capacity(size);
            let names: Vec<String> = numbers.clone().map(|number| format!("t{number}")).collect();
            let call = match names.len() {
                0 => messages::decline(&framework.id, std::iter::once(offer.id)),
                _ => messages::launch(&framework.id, offer, size, names.iter().map(String::as_str)),
            };
            framework.call(call).await?;
            launched = numbers.end;
            let now = Instant::now();
            alive.extend(numbers.map(|number| Reverse((now + lifetime_of(number, lifetime), number))));
        }
        if let Some(update) = event.update.filter(|update| !update.uuid.is_empty()) {
            framework.call(messages::acknowledge(&framework.id, &update)).await?;
        }
    }
    framework.call(messages::teardown(&framework.id)).await?;
    Ok(launched)
}

/// The Pods of the load.
struct Pods {
    wanted: usize,
    lifetime: Duration,
    connections: usize,
}

/// Pods that are kept running.
struct RunningPods {
    bound: Arc<AtomicUsize>,
    watch: tokio::task::JoinHandle<anyhow::Result<()>>,
    replacing: Vec<tokio::task::JoinHandle<anyhow::Result<()>>>,
}

impl Pods {
    /// Creates as many Pods as wanted, deletes each a lifetime after it was bound, and creates another one.
    async fn keep_running(&self, target: &Target, stop: Arc<AtomicBool>) -> anyhow::Result<RunningPods> {
        let version = target.resource_version().await?;
        let path = format!("{}?watch=true&resourceVersion={version}", target.pods());
        let mut connection = target.connect().await?;
        let answer = connection.start(Method::GET, &path, Bytes::new()).await?;
        let (sender, receiver) = mpsc::channel(DUE_BOUND);
        let bound = Arc::new(AtomicUsize::new(0));
        let watch = tokio::spawn(watch_bound(Lines::of(answer)?, self.lifetime, sender, Arc::clone(&bound)));
        let batch =
            PodBatch { scheduler: "default-scheduler", cpu: "1", ..PodBatch::unscheduled(self.wanted) };
        target.create_pods(&batch, self.connections, |_, _| {}).await?;
        let (next, queue) = (Arc::new(AtomicUsize::new(self.wanted)), Arc::new(Mutex::new(receiver)));
        let mut replacing = Vec::new();
        for _ in 0..self.connections {
            let worker = Replacing {
                connection: target.connect().await?,
                path: target.pods(),
                batch: batch.clone(),
                next: Arc::clone(&next),
                queue: Arc::clone(&queue),
            };
            replacing.push(tokio::spawn(worker.run(Arc::clone(&stop))));
        }
        Ok(RunningPods { bound, watch, replacing })
    }
}

/// One of the workers that replace Pods at the end of their lives.
struct Replacing {
    connection: Connection,
    path: String,
    batch: PodBatch,
    /// The number of the next Pod.
    next: Arc<AtomicUsize>,
    /// The Pods that are due.
    queue: Arc<Mutex<mpsc::Receiver<usize>>>,
}

impl Replacing {
    async fn run(mut self, stop: Arc<AtomicBool>) -> anyhow::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let due = tokio::time::timeout(SAMPLING, async { self.queue.lock().await.recv().await });
            let number = match due.await {
                Ok(Some(number)) => number,
                Ok(None) => break,
                Err(_) => continue,
            };
            let one = format!("{}/{POD_PREFIX}{number}?gracePeriodSeconds=0", self.path);
            self.connection.expect(Method::DELETE, &one, Bytes::new()).await?;
            let body = self.batch.pod(self.next.fetch_add(1, Ordering::Relaxed));
            self.connection.expect(Method::POST, &self.path, body).await?;
        }
        Ok(())
    }
}

impl RunningPods {
    /// Ends the load; returns how many Pods were bound.
    async fn stop(self) -> anyhow::Result<usize> {
        self.watch.abort();
        for worker in self.replacing {
            worker.await??;
        }
        Ok(self.bound.load(Ordering::Relaxed))
    }
}

/// Sends the number of each Pod at the end of its life, which begins when it is bound.
async fn watch_bound(
    mut lines: Lines,
    lifetime: Duration,
    due: mpsc::Sender<usize>,
    bound: Arc<AtomicUsize>,
) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    let mut begin_life = |line: &[u8]| {
        let Some(number) = bound_pod(line).filter(|number| seen.insert(*number)) else { return };
        bound.fetch_add(1, Ordering::Relaxed);
        let due = due.clone();
        tokio::spawn(async move {
            tokio::time::sleep(lifetime_of(number, lifetime)).await;
            // The receivers end with the load.
            let _ = due.send(number).await;
        });
    };
    while lines.next(&mut begin_life).await? {}
    bail!("the watch of Pods ended")
}
