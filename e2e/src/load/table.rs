//! Everything at once: starts our server, runs each load on it (and on a peer, if one is named), and
//! prints the figures beside the targets, upstream's, the physical limits and what stands between.

mod rows;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use crate::binding::Bind;
use crate::creating::Creates;
use crate::fan_out::FanOut;
use crate::measure::{self, rounded};
use crate::reading::Reads;
use crate::target::Target;

use rows::Figures;
use server::ServerProcess;

/// How long a fresh cluster is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(10);

/// What to measure.
#[derive(Args, Clone)]
pub struct Table {
    /// Our binary
    #[arg(long, value_name = "PATH", default_value = "target/release/catamaran")]
    binary: PathBuf,
    /// The allocator's own measurement
    #[arg(long, value_name = "PATH", default_value = "target/release/examples/offer_cycle")]
    offer_cycle: PathBuf,
    /// Where our server keeps its objects
    #[arg(long, value_name = "STORE", default_value = "embedded")]
    store: String,
    /// Hollow nodes for binding
    #[arg(long, default_value_t = 5_000)]
    nodes: usize,
    /// Pods to create and to bind; memory is read with twice as many
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// Another API server to measure in the same run
    #[arg(long, value_name = "PATH")]
    peer_kubeconfig: Option<PathBuf>,
    /// Its processes
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    peer_pid: Vec<u32>,
    /// Bind Pods on the peer too: it must have nodes that take them
    #[arg(long)]
    peer_binds: bool,
}

impl Table {
    /// Measures and prints.
    pub async fn run(&self) -> anyhow::Result<()> {
        let mut figures = Figures::default();
        let mut failures = Vec::new();
        let mut note = |what: &str, result: anyhow::Result<()>| {
            if let Err(error) = result {
                eprintln!("{what}: {error:#}");
                failures.push(what.to_owned());
            }
        };
        note("start", self.start_and_idle(&mut figures).await);
        note("loads", self.loads(&mut figures).await);
        note("bind", self.bind(&mut figures).await);
        note("peer", self.peer(&mut figures).await);
        note("offer cycle", self.offer_cycle(&mut figures));
        print!("{}", rows::render(&figures));
        anyhow::ensure!(failures.is_empty(), "not measured: {}", failures.join(", "));
        Ok(())
    }

    /// Readiness of a first and a second start, and memory at rest.
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

    /// What needs no nodes.
    async fn loads(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let server =
            ServerProcess::start(&self.binary, directory.path(), "server", &self.store_flag()).await?;
        let target = Target::new(server.kubeconfig(), "bench", &[server.pid()])?;
        let result = self.loads_on(&target, "ours", figures).await;
        result.with_context(|| server.tail())?;
        server.stop().await
    }

    async fn loads_on(&self, target: &Target, whose: &str, figures: &mut Figures) -> anyhow::Result<()> {
        target.prepare().await?;
        let creates = Creates { pods: self.pods, connections: 32 };
        figures.line(whose, creates.run(target).await?);
        target.sweep().await?;
        let reads = Reads { pods: 1_000, connections: 32, seconds: 5 };
        figures.line(whose, reads.get(target).await?);
        target.sweep().await?;
        let lists = Reads { connections: 2, ..reads };
        figures.line(whose, lists.list(target).await?);
        target.sweep().await?;
        let fan_out = FanOut { watchers: 500, watchers_per_connection: 10, pods: 1_000, connections: 8 };
        figures.line(whose, fan_out.run(target).await?);
        target.sweep().await
    }

    /// Binding on hollow nodes, and memory with all of them and twice the Pods.
    async fn bind(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let nodes = self.nodes.to_string();
        let flags = [self.store_flag(), vec!["--hollow-nodes".to_owned(), nodes]].concat();
        let server = ServerProcess::start(&self.binary, directory.path(), "server", &flags).await?;
        let target = Target::new(server.kubeconfig(), "bench", &[server.pid()])?;
        let result = async {
            server::wait_for_nodes(&target, self.nodes).await?;
            target.prepare().await?;
            for first in [0, self.pods] {
                let bind = Bind { pods: self.pods, first, connections: 32, timeout_s: 300 };
                let line = bind.run(&target).await?;
                if first == 0 {
                    figures.line("ours", line);
                }
            }
            figures.set("loaded_mib", rounded(measure::rss_mib(&[server.pid()])?));
            Ok(())
        };
        let result: anyhow::Result<()> = result.await;
        result.with_context(|| server.tail())?;
        server.stop().await
    }

    async fn peer(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let Some(kubeconfig) = &self.peer_kubeconfig else { return Ok(()) };
        let target = Target::new(kubeconfig, "bench", &self.peer_pid)?;
        figures.set("peer_mib", rounded(measure::rss_mib(&self.peer_pid)?));
        self.loads_on(&target, "peer", figures).await?;
        if self.peer_binds {
            let bind = Bind { pods: self.pods, first: 0, connections: 32, timeout_s: 600 };
            figures.line("peer", bind.run(&target).await?);
            target.sweep().await?;
        }
        Ok(())
    }

    /// The allocator alone, in a process of its own.
    fn offer_cycle(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let output = std::process::Command::new(&self.offer_cycle)
            .output()
            .with_context(|| format!("{} cannot be run", self.offer_cycle.display()))?;
        anyhow::ensure!(output.status.success(), "it ended with {}", output.status);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        print!("{text}");
        figures.offer_cycle(&text)
    }

    fn store_flag(&self) -> Vec<String> {
        vec!["--store".to_owned(), self.store.clone()]
    }
}

/// A field of a load's line.
fn field(line: &Value, name: &str) -> Option<f64> {
    line.get(name).and_then(Value::as_f64)
}
