//! Programs on the official client libraries of Python and JavaScript, which `e2e/clients/install.sh` has installed. (No registry of
//! the tests has client-go; Helm and kubectl are built with it, and wait with its informers.)

use std::time::Duration;

use anyhow::ensure;
use e2e::{
    cluster::{Cluster, client, repository},
    program,
};

use crate::Test;

pub const TESTS: &[Test] = &[("python", python), ("javascript", javascript)];

/// How long a program may take.
const DEADLINE: Duration = Duration::from_secs(120);

fn python(cluster: &Cluster) -> anyhow::Result<()> {
    let mut command = cluster.command(client("python/bin/python"));
    command.arg(repository().join("e2e/clients/python/client.py")).arg(cluster.kubeconfig()).arg("python");
    let said = program::run(&mut command, DEADLINE)?.ok()?;
    ensure!(said.lines().eq(["objects", "kinds", "watches", "custom", "pods", "elections"]), "{said}");
    Ok(())
}

fn javascript(cluster: &Cluster) -> anyhow::Result<()> {
    let mut command = cluster.command("node");
    command.arg(repository().join("e2e/clients/node/client.mjs")).arg(cluster.kubeconfig()).arg("node");
    command.env("CLIENT", client("node"));
    let said = program::run(&mut command, DEADLINE)?.ok()?;
    ensure!(said.lines().eq(["objects", "informers", "custom", "pods", "elections"]), "{said}");
    Ok(())
}
