//! `catamaran-bench`: load on a Kubernetes API server, ours or another, and what it costs there.
//!
//! Each subcommand prints one JSON line: wall rates, client latencies and, with `--server-pid`, CPU of
//! the server's processes per operation, which is what can be compared between noisy machines.
//! `table` starts servers of its own and prints everything beside the targets and the limits.

mod binding;
mod connection;
mod creating;
mod fan_out;
mod kubeconfig;
mod measure;
mod reading;
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
    /// Create Pods that nobody schedules
    Creates(Load<creating::Creates>),
    /// Create Pods and wait until they are bound to nodes
    Bind(Load<binding::Bind>),
    /// Create Pods while many watches are open on them
    Fanout(Load<fan_out::FanOut>),
    /// Read one Pod again and again
    Get(Load<reading::Reads>),
    /// List Pods again and again
    List(Load<reading::Reads>),
    /// Start servers, run everything and print it beside the targets
    Table(table::Table),
}

/// What every load needs, and what only this one needs.
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
    /// How to reach the server
    #[arg(long, value_name = "PATH")]
    kubeconfig: PathBuf,
    /// Its processes, for their CPU and memory (an API server and its etcd, say)
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// Where the load's objects live
    #[arg(long, value_name = "NAME", default_value = "bench")]
    namespace: String,
    /// Leave the load's objects behind
    #[arg(long)]
    keep: bool,
}

impl Server {
    fn target(&self) -> anyhow::Result<Target> {
        Target::new(&self.kubeconfig, &self.namespace, &self.server_pid)
    }

    /// Runs a load in the namespace and sweeps up after it.
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
    // The server's cores are ours too: two threads suffice for what it can take.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let line = match arguments.verb {
            Verb::Creates(load) => load.server.run(async |target| load.specific.run(target).await).await?,
            Verb::Bind(load) => load.server.run(async |target| load.specific.run(target).await).await?,
            Verb::Fanout(load) => load.server.run(async |target| load.specific.run(target).await).await?,
            Verb::Get(load) => load.server.run(async |target| load.specific.get(target).await).await?,
            Verb::List(load) => load.server.run(async |target| load.specific.list(target).await).await?,
            Verb::Table(table) => return table.run().await,
        };
        println!("{line}");
        Ok(())
    })
}
