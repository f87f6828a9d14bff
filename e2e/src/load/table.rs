//! The benchmark table: starts our server, runs each load on it and, alternating, on a peer if one is given. Prints the
//! results beside the targets, upstream's figures and the physical limits.

mod progress;
mod rows;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use crate::applying::Applies;
use crate::binding::Bind;
use crate::creating::Creates;
use crate::fan_out::FanOut;
use crate::large::Large;
use crate::launching::Launches;
use crate::measure::{self, rounded};
use crate::offering::Offers;
use crate::patching::Patches;
use crate::reading::Reads;
use crate::sharing::Shares;
use crate::target::Target;

use progress::Progress;
use rows::Figures;
use server::ServerProcess;

/// How long a new cluster idles before its memory is read.
const IDLE: Duration = Duration::from_secs(10);

/// Tasks to launch over HTTP.
const LAUNCHES: usize = 100_000;

/// Arguments of `table`.
#[derive(Args, Clone)]
pub struct Table {
    /// The catamaran binary
    #[arg(long, value_name = "PATH", default_value = "target/release/catamaran")]
    binary: PathBuf,
    /// The allocator's benchmark (an example program of kernel-core)
    #[arg(long, value_name = "PATH", default_value = "target/release/examples/offer_cycle")]
    offer_cycle: PathBuf,
    /// Store of our server, as in `catamaran server --store`
    #[arg(long, value_name = "STORE", default_value = "embedded")]
    store: String,
    /// Number of hollow nodes for the binding load
    #[arg(long, default_value_t = 5_000)]
    nodes: usize,
    /// Number of Pods to create and to bind; memory is read with twice as many
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// Number of Pods to list
    #[arg(long, default_value_t = 200_000)]
    listed: usize,
    /// Kubeconfig of another API server to measure in the same run
    #[arg(long, value_name = "PATH")]
    peer_kubeconfig: Option<PathBuf>,
    /// Process ids of the other API server, its store and its scheduler, for CPU and memory
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    peer_pid: Vec<u32>,
    /// Run the binding load on the other server too; it needs a scheduler and nodes
    #[arg(long)]
    peer_binds: bool,
}

/// The loads that need no nodes, in table order.
const LOADS: [&str; 8] = ["creates", "policy", "patches", "applies", "get", "list", "fanout", "large"];

impl Table {
    /// Runs all loads and prints the table.
    pub async fn run(&self) -> anyhow::Result<()> {
        let mut progress = Progress::start();
        let mut figures = Figures::default();
        let peer = match &self.peer_kubeconfig {
            Some(path) => Some(Target::new(path, "bench", &self.peer_pid)?),
            None => None,
        };
        progress.begin("two starts, then memory at rest");
        let result = self.start_and_idle(&mut figures).await;
        progress.end(result);
        if let Some(peer) = &peer
            && !peer.pids().is_empty()
        {
            figures.set("peer_idle_mib", rounded(measure::rss_mib(peer.pids())?));
        }
        let result = self.loads(peer.as_ref(), &mut figures, &mut progress).await;
        progress.note("loads", result);
        let result = self.bind(&mut figures, &mut progress).await;
        progress.note("bind", result);
        if let Some(peer) = peer.filter(|_| self.peer_binds) {
            let result = self.bind_on(&peer, "peer", &mut figures, &mut progress).await;
            progress.note("bind on the peer", result);
        }
        let result = self.offers(&mut figures, &mut progress).await;
        progress.note("offers", result);
        let result = self.shares(&mut figures, &mut progress).await;
        progress.note("shares", result);
        progress.begin("offer cycle");
        progress.end(self.offer_cycle(&mut figures));
        print!("\n{}", rows::render(&self.what(), &figures));
        progress.finish()
    }

    /// Time to readiness of a first and a second start, and memory of the idle server.
    async fn start_and_idle(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let first = ServerProcess::start(&self.binary, directory.path(), "up", &self.store_flag()).await?;
        figures.set("ready_first_ms", first.ready_ms());
        first.stop().await?;
        let again = ServerProcess::start(&self.binary, directory.path(), "up", &self.store_flag()).await?;
        figures.set("ready_again_ms", again.ready_ms());
        tokio::time::sleep(IDLE).await;
        figures.set("idle_mib", rounded(measure::rss_mib(&[again.pid()])?));
        let family = again.family()?;
        figures.set("idle_family_mib", rounded(measure::rss_mib(&family)?));
        again.stop().await
    }

    /// Runs the loads without nodes, each on our server and then on the peer, under the same conditions.
    async fn loads(
        &self,
        peer: Option<&Target>,
        figures: &mut Figures,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let server =
            ServerProcess::start(&self.binary, directory.path(), "server", &self.store_flag()).await?;
        let ours = Target::new(server.kubeconfig(), "bench", &[server.pid()])?;
        for load in LOADS {
            for (whose, target) in [("ours", Some(&ours)), ("peer", peer)] {
                let Some(target) = target else { continue };
                progress.begin(&format!("{load} on {whose}"));
                let line = self.load(load, target).await;
                progress.end(line.map(|line| figures.line(whose, line)));
            }
        }
        server.stop().await
    }

    /// Runs one load in an empty namespace.
    async fn load(&self, load: &str, target: &Target) -> anyhow::Result<Value> {
        target.prepare().await?;
        target.sweep().await?;
        let reads = Reads { pods: 1_000, connections: 32, seconds: 5 };
        let line = match load {
            "creates" => Creates { pods: self.pods, connections: 32, policy: false }.run(target).await,
            "policy" => Creates { pods: self.pods, connections: 32, policy: true }.run(target).await,
            "applies" => Applies { applies: 500, connections: 16 }.run(target).await,
            "large" => Large { pods: self.listed, connections: 32, lists: 5 }.run(target).await,
            "patches" => Patches { patches: self.pods, pods: 1_000, connections: 32 }.run(target).await,
            "get" => reads.get(target).await,
            "list" => Reads { connections: 2, ..reads }.list(target).await,
            _ => {
                let pods = 1_000;
                FanOut { watchers: 500, watchers_per_connection: 10, pods, connections: 8 }.run(target).await
            }
        };
        target.sweep().await?;
        line
    }

    /// Binds Pods to hollow nodes, and reads memory with all nodes and twice the Pods.
    async fn bind(&self, figures: &mut Figures, progress: &mut Progress) -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let nodes = self.nodes.to_string();
        let flags = [self.store_flag(), vec!["--hollow-nodes".to_owned(), nodes]].concat();
        progress.begin(&format!("{} hollow nodes", self.nodes));
        let server = ServerProcess::start(&self.binary, directory.path(), "server", &flags).await?;
        let target = Target::new(server.kubeconfig(), "bench", &[server.pid()])?;
        progress.end(server::wait_for_nodes(&target, self.nodes).await);
        let result = self.bind_on(&target, "ours", figures, progress).await;
        result.with_context(|| server.tail())?;
        server.stop().await
    }

    async fn bind_on(
        &self,
        target: &Target,
        whose: &str,
        figures: &mut Figures,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        target.prepare().await?;
        target.sweep().await?;
        for (first, which) in [(0, "first"), (self.pods, "next")] {
            progress.begin(&format!("bind the {which} {} Pods on {whose}", self.pods));
            let bind = Bind { pods: self.pods, first, connections: 32, timeout_s: 300 };
            let line = bind.run(target).await;
            let failed = line.is_err();
            progress.end(line.map(|line| {
                if first == 0 {
                    figures.line(whose, line);
                }
            }));
            if failed {
                break;
            }
            if first > 0 && !target.pids().is_empty() {
                let name = if whose == "peer" { "peer_loaded_mib" } else { "loaded_mib" };
                figures.set(name, rounded(measure::rss_mib(target.pids())?));
            }
        }
        // Ours ends with its directory.
        if whose == "peer" { target.sweep().await } else { Ok(()) }
    }

    /// Shows every agent to every framework over HTTP; the best of three runs counts. Then launches tasks on the same agents.
    async fn offers(&self, figures: &mut Figures, progress: &mut Progress) -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let (agents, frameworks) = (1_000, 50);
        let nodes = ["--hollow-nodes", "1000", "--mesos-anonymous"].map(str::to_owned).to_vec();
        progress.begin(&format!("offers of {agents} agents to {frameworks} frameworks"));
        let flags = [self.store_flag(), nodes].concat();
        let server = ServerProcess::start(&self.binary, directory.path(), "server", &flags).await?;
        let target = Target::new(server.kubeconfig(), "bench", &[server.pid()])?;
        server::wait_for_nodes(&target, agents).await?;
        let offers =
            Offers { mesos: server.mesos().to_owned(), pids: vec![server.pid()], agents, frameworks };
        let mut best: Option<Value> = None;
        for _ in 0..3 {
            let line = offers.run().await.with_context(|| server.tail())?;
            if best.as_ref().is_none_or(|best| field(&line, "wall_ms") < field(best, "wall_ms")) {
                best = Some(line);
            }
        }
        progress.end(best.context("no run").map(|line| figures.line("ours", line)));
        let launches = Launches {
            mesos: server.mesos().to_owned(),
            pids: vec![server.pid()],
            tasks: LAUNCHES,
            frameworks: 10,
            tasks_per_offer: 20,
        };
        progress.begin(&format!("launches of {LAUNCHES} tasks"));
        let line = launches.run().await.with_context(|| server.tail());
        progress.end(line.map(|line| figures.line("ours", line)));
        server.stop().await
    }

    /// Pods and tasks at full rate on the same agents, Pods with twice the weight.
    async fn shares(&self, figures: &mut Figures, progress: &mut Progress) -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let flags = ["--hollow-nodes", "30", "--mesos-anonymous", "--weights", "k8s=2,load=1"];
        let flags = [self.store_flag(), flags.map(str::to_owned).to_vec()].concat();
        progress.begin("Pods and tasks that share 30 agents");
        let server = ServerProcess::start(&self.binary, directory.path(), "server", &flags).await?;
        let target = Target::new(server.kubeconfig(), "bench", &[server.pid()])?;
        server::wait_for_nodes(&target, 30).await?;
        target.prepare().await?;
        let line = Shares::of(server.mesos()).run(&target).await.with_context(|| server.tail());
        progress.end(line.map(|line| figures.line("ours", line)));
        server.stop().await
    }

    /// Runs the allocator's benchmark in its own process.
    fn offer_cycle(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let output = std::process::Command::new(&self.offer_cycle)
            .output()
            .with_context(|| format!("{} cannot be run", self.offer_cycle.display()))?;
        anyhow::ensure!(output.status.success(), "it ended with {}", output.status);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        print!("{text}");
        figures.offer_cycle(&text)
    }

    /// Describes the measured configuration.
    fn what(&self) -> String {
        let (nodes, pods, twice) = (self.nodes, self.pods, self.pods * 2);
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        format!(
            "{nodes} hollow nodes, {pods} Pods to create and to bind ({twice} for memory), 1000 Pods to read and to \
             watch; store: {}; {cores} cores, the client on the same ones.\nupstream: API server 1.36, etcd 3.6 and \
             scheduler, measured with such loads on a like machine; peer: by this client, in this run.",
            self.store
        )
    }

    fn store_flag(&self) -> Vec<String> {
        vec!["--store".to_owned(), self.store.clone()]
    }
}

/// A field of a load's JSON line.
fn field(line: &Value, name: &str) -> Option<f64> {
    line.get(name).and_then(Value::as_f64)
}
