//! `catamaran-bench`: puts load on a Kubernetes API server, ours or another, and measures its cost.
//!
//! Each subcommand prints one JSON line: rates, client latencies and, with `--server-pid`, CPU of the server's processes
//! per operation, which is comparable between noisy machines. `table` starts its own servers and prints all figures
//! beside the targets and physical limits.

mod applying;
mod binding;
mod connection;
mod creating;
mod fan_out;
mod large;
mod launching;
mod measure;
mod offering;
mod patching;
mod reading;
mod scheduler_client;
mod sharing;
mod table;
mod target;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use target::Target;

#[derive(Parser)]
#[command(name = "catamaran-bench", about = "Load on a Kubernetes API server, and what it costs there")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Apply Deployments server-side without a change
    Applies(Load<applying::Applies>),
    /// Create Pods that no scheduler binds
    Creates(Load<creating::Creates>),
    /// Create Pods and wait until they are bound to nodes
    Bind(Load<binding::Bind>),
    /// Create Pods while many watches receive them
    Fanout(Load<fan_out::FanOut>),
    /// Get one Pod repeatedly
    Get(Load<reading::Reads>),
    /// List Pods repeatedly
    List(Load<reading::Reads>),
    /// List many Pods: all of them in both encodings, and none of them
    Large(Load<large::Large>),
    /// Frameworks that launch small tasks until all of them run
    Launches(launching::Launches),
    /// Frameworks that decline everything until each has seen every agent
    Offers(offering::Offers),
    /// Patch Pods repeatedly
    Patches(Load<patching::Patches>),
    /// Pods and tasks that share the agents at full rate
    Shares(Load<sharing::Shares>),
    /// Start servers, run all loads and print the results beside the targets
    Table(table::Table),
}

/// Arguments of every load, and those of one load.
#[derive(Args)]
struct Load<T: Args> {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    specific: T,
}

/// The server under load.
#[derive(Args, Clone)]
struct Server {
    /// Kubeconfig of the server
    #[arg(long, value_name = "PATH")]
    kubeconfig: PathBuf,
    /// Process ids of the server, for CPU and memory (for example API server and etcd)
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// Namespace of the load's objects
    #[arg(long, value_name = "NAME", default_value = "bench")]
    namespace: String,
    /// Keep the load's objects
    #[arg(long)]
    keep: bool,
}

impl Server {
    fn target(&self) -> anyhow::Result<Target> {
        Target::new(&self.kubeconfig, &self.namespace, &self.server_pid)
    }

    /// Runs a load in the namespace and deletes its objects afterwards.
    async fn run(&self, load: impl AsyncFnOnce(&Target) -> anyhow::Result<Value>) -> anyhow::Result<Value> {
        let target = self.target()?;
        target.prepare().await?;
        let result = load(&target).await;
        if !self.keep {
            target.sweep().await?;
        }
        result
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // Client and server share the cores: two threads generate more load than the server takes.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let line = match arguments.verb {
            Verb::Applies(load) => load.server.run(async |target| load.specific.run(target).await).await?,
            Verb::Creates(load) => load.server.run(async |target| load.specific.run(target).await).await?,
            Verb::Bind(load) => load.server.run(async |target| load.specific.run(target).await).await?,
            Verb::Fanout(load) => load.server.run(async |target| load.specific.run(target).await).await?,
            Verb::Get(load) => load.server.run(async |target| load.specific.get(target).await).await?,
            Verb::List(load) => load.server.run(async |target| load.specific.list(target).await).await?,
            Verb::Large(load) => load.server.run(async |target| load.specific.run(target).await).await?,
            Verb::Patches(load) => load.server.run(async |target| load.specific.run(target).await).await?,
            Verb::Launches(launches) => launches.run().await?,
            Verb::Offers(offers) => offers.run().await?,
            Verb::Shares(load) => load.server.run(async |target| load.specific.run(target).await).await?,
            Verb::Table(table) => return table.run().await,
        };
        println!("{line}");
        Ok(())
    })
}
