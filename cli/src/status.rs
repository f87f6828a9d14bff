//! `catamaran status`: what runs on this machine, where it listens, and whether each part is healthy; nodes, frameworks and tasks of
//! the cluster.
//!
//! Exit codes are those of init scripts: 0 if everything is healthy, 1 if something is not, 3 if nothing runs.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use kubelet_executor::runtime::image_store::ImageStore;
use serde_json::{Value, json};
use transport::{
    client::{Client, ClientOptions},
    tls,
};

use crate::{
    arguments::verbs::StatusArguments,
    data_directory::{
        elsewhere,
        running::{self, RunningProcess},
    },
    mesos_client::MesosClient,
    node::NodeFiles,
    output, runtime,
};

/// How long a part may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The longest answer of a health check.
const HEALTH_BYTES_MAX: usize = 64 << 10;
const NOT_RUNNING: u8 = 3;

/// A part of the cluster on this machine.
struct Part {
    name: &'static str,
    address: String,
    /// What is wrong; `None` if it is healthy.
    problem: Option<String>,
}

/// `catamaran status`.
pub fn run(arguments: &StatusArguments) -> anyhow::Result<ExitCode> {
    let data = running::choose(arguments.node.data_dir.as_deref());
    let Some(process) = running::of(&data)? else {
        let state = if running::is_locked(&data) { "starting" } else { "not running" };
        let others = elsewhere::others(&data);
        arguments.node.output.print(
            || not_running(state, &data, &others),
            || json!({"running": false, "state": state, "dataDir": data, "otherDataDirs": others}),
        );
        return Ok(ExitCode::from(NOT_RUNNING));
    };
    let mut code = ExitCode::SUCCESS;
    runtime::block_on(async {
        let parts = parts(&process, &data).await;
        let cluster = match &process.api {
            Some(_) => cluster(&process).await,
            // An agent's machine need not reach the master's API.
            None => Value::Null,
        };
        if parts.iter().any(|part| part.problem.is_some()) {
            code = ExitCode::FAILURE;
        }
        arguments
            .node
            .output
            .print(|| text(&process, &data, &parts, &cluster), || json_of(&process, &data, &parts, &cluster));
        Ok(())
    })?;
    Ok(code)
}

fn not_running(state: &str, data: &Path, others: &[PathBuf]) -> String {
    let mut text = format!("catamaran is {state} ({})", data.display());
    for other in others {
        text += &format!("\nanother one runs here: catamaran status{}", elsewhere::argument(other));
    }
    text
}

async fn parts(process: &RunningProcess, data: &Path) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut add = |name, address: &str, checked: anyhow::Result<()>| {
        let problem = checked.err().map(|error| format!("{error:#}"));
        parts.push(Part { name, address: address.to_owned(), problem });
    };
    let client = MesosClient::new(Some(&process.credentials));
    if let Some(api) = &process.api {
        add("API server", api, bounded(api_health(api, data)).await);
        if let (Some(master), Ok(client)) = (&process.master, &client) {
            add("master", master, bounded(client.is_healthy(master)).await);
        }
    }
    if let (Some(agent), Ok(client)) = (&process.agent, &client) {
        let address = agent.to_string();
        add("agent", &address, bounded(agent_health(client, &address)).await);
        let files = NodeFiles::below(data);
        if let Ok(config) = files.read_config()
            && config.pod_cidr.is_some()
        {
            let store = ImageStore::connect(&config);
            let checked = bounded(async { Ok(store.await?) }).await;
            let socket =
                checked.as_ref().map(|store| store.socket().display().to_string()).unwrap_or_default();
            // It starts with the first Pod of the machine.
            let idle = checked.is_err() && !kubelet_executor::executor_runs(&config);
            let checked = if idle { Ok(()) } else { checked.map(drop) };
            add("container runtime", if idle { "(starts with the first Pod)" } else { &socket }, checked);
        }
    }
    parts
}

async fn bounded<T>(check: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(ANSWER_MAX, check).await.context("no answer")?
}

async fn api_health(api: &str, data: &Path) -> anyhow::Result<()> {
    let authority = tls::read_pem(&data.join("pki/ca.crt"))?;
    let config = tls::client_config(&authority, None, tls::ALPN_HTTP1)?;
    let client = Client::new(ClientOptions::with_tls(config));
    let request = Request::get(format!("{api}/readyz?verbose")).body(Full::new(Bytes::new()))?;
    let response = client.send(request).await?;
    let healthy = response.status().is_success();
    let body = Limited::new(response.into_body(), HEALTH_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    let failed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("[-]")).collect();
    anyhow::ensure!(healthy, "not ready: {}", failed.join(", "));
    Ok(())
}

async fn agent_health(client: &MesosClient, agent: &str) -> anyhow::Result<()> {
    let state = client.get(agent, "/state").await?;
    let registered = state["id"].as_str().is_some_and(|id| !id.is_empty());
    anyhow::ensure!(registered, "not registered with the master");
    Ok(())
}

/// Nodes and frameworks, as the master knows them.
async fn cluster(process: &RunningProcess) -> Value {
    let ask = async {
        let master = process.master.as_deref().context("no master")?;
        MesosClient::new(Some(&process.credentials))?.get(master, "/state").await
    };
    let state = match bounded(ask).await {
        Ok(state) => state,
        Err(error) => return json!({"problem": format!("{error:#}")}),
    };
    let list = |key: &str| state[key].as_array().cloned().unwrap_or_default();
    let nodes = list("slaves").into_iter().map(|agent| {
        json!({
            "name": agent["hostname"], "active": agent["active"], "resources": agent["resources"],
            "used": agent["used_resources"],
        })
    });
    let frameworks = list("frameworks").into_iter().map(|framework| {
        let tasks = framework["tasks"].as_array().cloned().unwrap_or_default();
        let running = tasks.iter().filter(|task| task["state"] == "TASK_RUNNING").count();
        json!({
            "name": framework["name"], "id": framework["id"], "active": framework["active"], "tasks": tasks.len(),
            "running": running,
        })
    });
    json!({"nodes": nodes.collect::<Vec<_>>(), "frameworks": frameworks.collect::<Vec<_>>()})
}

fn json_of(process: &RunningProcess, data: &Path, parts: &[Part], cluster: &Value) -> Value {
    let parts = parts.iter().map(|part| {
        json!({
            "name": part.name, "address": part.address, "healthy": part.problem.is_none(), "problem": part.problem,
        })
    });
    json!({
        "running": true, "process": process, "dataDir": data, "parts": parts.collect::<Vec<_>>(), "cluster": cluster,
    })
}

fn text(process: &RunningProcess, data: &Path, parts: &[Part], cluster: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let RunningProcess { verb, version, pid, started_at, .. } = process;
    let mut text = format!(
        "catamaran {verb} {version} runs since {} (process {pid}, data in {})\n\n",
        age(now.saturating_sub(*started_at)),
        data.display()
    );
    let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![row(["PART", "ADDRESS", "HEALTH"])];
    for part in parts {
        rows.push(row([part.name, &part.address, part.problem.as_deref().unwrap_or("ok")]));
    }
    text.push_str(&output::table(&rows));
    if let Some(problem) = cluster["problem"].as_str() {
        text.push_str(&format!("\nthe cluster's state cannot be read: {problem}\n"));
    }
    if let Some(nodes) = cluster["nodes"].as_array() {
        let mut rows = vec![["NODE", "STATE", "CPUS", "MEMORY (MiB)"].map(str::to_owned).to_vec()];
        for node in nodes {
            let amount = |kind: &str, name: &str| node[kind][name].as_f64().unwrap_or(0.0);
            let share =
                |name| format!("{} of {}", round(amount("used", name)), round(amount("resources", name)));
            let state = if node["active"] == true { "active" } else { "inactive" };
            let name = node["name"].as_str().unwrap_or_default();
            rows.push(vec![name.to_owned(), state.to_owned(), share("cpus"), share("mem")]);
        }
        text.push_str(&format!("\n{}", output::table(&rows)));
    }
    if let Some(frameworks) = cluster["frameworks"].as_array() {
        let mut rows = vec![["FRAMEWORK", "STATE", "TASKS", "RUNNING"].map(str::to_owned).to_vec()];
        for framework in frameworks {
            let state = if framework["active"] == true { "active" } else { "disconnected" };
            let name = framework["name"].as_str().unwrap_or_default();
            let number = |key: &str| framework[key].as_u64().unwrap_or(0).to_string();
            rows.push(vec![name.to_owned(), state.to_owned(), number("tasks"), number("running")]);
        }
        text.push_str(&format!("\n{}", output::table(&rows)));
    }
    text
}

/// A number with at most two decimals.
fn round(amount: f64) -> String {
    let text = format!("{amount:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A time in the largest two units.
fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_amounts_are_short() {
        assert_eq!([5, 65, 7300, 100_000].map(age), ["5 s", "1 min", "2 h 1 min", "1 d 3 h"]);
        assert_eq!([0.0, 1.5, 0.125, 4.0].map(round), ["0", "1.5", "0.12", "4"]);
    }
}
