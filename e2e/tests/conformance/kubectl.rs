//! What kubectl shows of a server, and its proxy.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    process::{Child, Stdio},
};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::{Test, client::Api, kinds::pod_spec};

pub const TESTS: &[Test] = &[
    ("api_versions", api_versions),
    ("cluster_info", cluster_info),
    ("diff_of_a_deployment", diff_of_a_deployment),
    ("version", version),
    ("proxy_on_a_unix_socket", proxy_on_a_unix_socket),
    ("proxy_on_any_port", proxy_on_any_port),
];

fn api_versions(api: &Api) -> anyhow::Result<()> {
    let printed = api.kubectl(&["api-versions"])?;
    ensure!(printed.lines().any(|line| line == "v1"), "{printed}");
    Ok(())
}

fn cluster_info(api: &Api) -> anyhow::Result<()> {
    let printed = api.kubectl(&["cluster-info"])?;
    ensure!(printed.contains("Kubernetes control plane") && printed.contains("is running at"), "{printed}");
    ensure!(printed.contains(api.cluster.api_address()), "{printed}");
    Ok(())
}

fn version(api: &Api) -> anyhow::Result<()> {
    let printed = api.kubectl(&["version"])?;
    for side in ["Client Version: v1.", "Server Version: v1."] {
        let (_, minor) = printed.split_once(side).with_context(|| format!("no {side:?}: {printed}"))?;
        ensure!(minor.starts_with(|digit: char| digit.is_ascii_digit()), "{printed}");
    }
    Ok(())
}

fn diff_of_a_deployment(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("diff")?;
    let deployment = |image: &str| {
        let mut spec = pod_spec();
        spec["restartPolicy"] = json!("Always");
        spec["containers"][0]["image"] = json!(image);
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "one"},
            "spec": {
                "replicas": 0, "selector": {"matchLabels": {"app": "one"}},
                "template": {"metadata": {"labels": {"app": "one"}}, "spec": spec},
            },
        })
    };
    let file = |image: &str| -> anyhow::Result<tempfile::NamedTempFile> {
        let mut file = tempfile::Builder::new().suffix(".json").tempfile()?;
        file.write_all(deployment(image).to_string().as_bytes())?;
        Ok(file)
    };
    let (live, declared) = (file("registry.example.com/first:1")?, file("registry.example.com/second:2")?);
    let run = |verb: &str, file: &tempfile::NamedTempFile| {
        api.cluster.try_kubectl(&["--namespace", &namespace.name, verb, "-f", &file.path().to_string_lossy()])
    };
    run("create", &live)?.ok()?;
    let same = run("diff", &live)?;
    ensure!(same.status.success() && same.stdout.is_empty(), "{same:?}");
    let different = run("diff", &declared)?;
    ensure!(different.status.code() == Some(1), "{different:?}");
    for (sign, image) in [('-', "registry.example.com/first:1"), ('+', "registry.example.com/second:2")] {
        let ending = format!("image: {image}");
        let found = different.stdout.lines().any(|line| line.starts_with(sign) && line.ends_with(&ending));
        ensure!(found, "no line {sign}{ending}: {different:?}");
    }
    Ok(())
}

/// A running `kubectl proxy` with the first line that it printed; dropping it ends it.
struct Proxy(Child, String);

impl Proxy {
    fn start(api: &Api, argument: &str) -> anyhow::Result<Self> {
        let mut command = api.cluster.kubectl_command(&["proxy", argument]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = child.stdout.take().context("standard output is piped")?;
        let mut proxy = Proxy(child, String::new());
        BufReader::new(output).read_line(&mut proxy.1)?;
        Ok(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lists_versions(mut stream: impl Read + Write) -> anyhow::Result<()> {
    stream.write_all(b"GET /api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"versions\""), "{answer}");
    Ok(())
}

fn proxy_on_a_unix_socket(api: &Api) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("proxy");
    let proxy = Proxy::start(api, &format!("--unix-socket={}", socket.display()))?;
    ensure!(proxy.1.contains("Starting to serve"), "{}", proxy.1);
    lists_versions(UnixStream::connect(&socket)?)
}

fn proxy_on_any_port(api: &Api) -> anyhow::Result<()> {
    let proxy = Proxy::start(api, "--port=0")?;
    let (_, address) = proxy.1.trim_end().rsplit_once(' ').with_context(|| proxy.1.clone())?;
    lists_versions(std::net::TcpStream::connect(address).with_context(|| proxy.1.clone())?)
}
