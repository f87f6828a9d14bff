//! The conformance suite: what upstream's conformance tests establish with the API alone, as tests of our own against one
//! server process with two hollow nodes. `conformance/titles.tsv` lists upstream's tests in our words, with those that
//! are left out and why.
//!
//! It has a `main` of its own because all tests share the server, which is stopped in order after the last of them.
//! `CATAMARAN_CONFORMANCE_STORE` chooses its store: `memory` (default), `embedded` or `etcd`.

#[path = "conformance/access.rs"]
mod access;
#[path = "conformance/client.rs"]
mod client;
#[path = "conformance/configuration.rs"]
mod configuration;
#[path = "conformance/custom_resources.rs"]
mod custom_resources;
#[path = "conformance/definitions.rs"]
mod definitions;
#[path = "conformance/discovery.rs"]
mod discovery;
#[path = "conformance/events.rs"]
mod events;
#[path = "conformance/kinds.rs"]
mod kinds;
#[path = "shared/kube_client.rs"]
mod kube_client;
#[path = "conformance/kubectl.rs"]
mod kubectl;
#[path = "conformance/lists.rs"]
mod lists;
#[path = "conformance/namespaces.rs"]
mod namespaces;
#[path = "conformance/network.rs"]
mod network;
#[path = "conformance/openapi.rs"]
mod openapi;
#[path = "conformance/operations.rs"]
mod operations;
#[path = "conformance/pods.rs"]
mod pods;
#[path = "conformance/policies.rs"]
mod policies;
#[path = "conformance/quotas.rs"]
mod quotas;
#[path = "conformance/titles.rs"]
mod titles;
#[path = "conformance/validation.rs"]
mod validation;
#[path = "conformance/volumes.rs"]
mod volumes;
#[path = "conformance/watches.rs"]
mod watches;
#[path = "conformance/workloads.rs"]
mod workloads;

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use anyhow::{anyhow, bail};
use client::{Api, DEADLINE};
use e2e::{cluster::Cluster, etcd::Etcd, program::wait_for};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

/// A test: its name and what it does.
type Test = (&'static str, fn(&Api) -> anyhow::Result<()>);

/// The tests by area. Those of [`kinds::KINDS`] are added.
const AREAS: &[(&str, &[Test])] = &[
    ("access", access::TESTS),
    ("configuration", configuration::TESTS),
    ("custom_resources", custom_resources::TESTS),
    ("discovery", discovery::TESTS),
    ("events", events::TESTS),
    ("kubectl", kubectl::TESTS),
    ("lists", lists::TESTS),
    ("namespaces", namespaces::TESTS),
    ("network", network::TESTS),
    ("openapi", openapi::TESTS),
    ("pods", pods::TESTS),
    ("policies", policies::TESTS),
    ("quotas", quotas::TESTS),
    ("validation", validation::TESTS),
    ("volumes", volumes::TESTS),
    ("watches", watches::TESTS),
    ("workloads", workloads::TESTS),
];

/// Most tests wait for controllers most of the time.
const THREADS: usize = 8;

/// The server under test. The first test starts it.
#[derive(Default)]
struct Server(OnceLock<Result<Running, String>>);

struct Running {
    api: Api,
    _etcd: Option<Etcd>,
}

impl Server {
    fn api(&self) -> anyhow::Result<&Api> {
        let started = self.0.get_or_init(|| start().map_err(|error| format!("{error:#}")));
        started.as_ref().map(|running| &running.api).map_err(|error| anyhow!("no server: {error}"))
    }

    /// Stops it; an error if that fails or leaves something on the machine.
    fn stop(self) -> anyhow::Result<()> {
        match self.0.into_inner() {
            Some(Ok(running)) => running.api.cluster.stop_and_assert_clean(),
            Some(Err(_)) | None => Ok(()),
        }
    }
}

fn start() -> anyhow::Result<Running> {
    let store = std::env::var("CATAMARAN_CONFORMANCE_STORE").unwrap_or_else(|_| "memory".to_owned());
    let etcd = match store.as_str() {
        "etcd" => Some(Etcd::start()?),
        "memory" | "embedded" => None,
        other => bail!("CATAMARAN_CONFORMANCE_STORE is memory, embedded or etcd, not {other}"),
    };
    let store = etcd.as_ref().map_or(store, |etcd| format!("etcd={}", etcd.endpoint));
    let api = Api::of(Cluster::server(&["--store", &store, "--hollow-nodes", "2"])?)?;
    let nodes = wait_for("both nodes", DEADLINE, || {
        let nodes = api.list("/api/v1/nodes")?;
        Ok((nodes.len() == 2).then_some(nodes))
    })?;
    for node in &nodes {
        api.change(&format!("/api/v1/nodes/{}", client::name(node)), without_hollow_taint)?;
    }
    Ok(Running { api, _etcd: etcd })
}

/// The tests' Pods tolerate nothing, and hollow nodes do all that these tests see of a node.
fn without_hollow_taint(node: &mut Value) {
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let kept: Vec<Value> =
        taints.into_iter().filter(|taint| taint["key"] != "catamaran.dev/hollow").collect();
    node["spec"]["taints"] = json!(kept);
}

/// A test with the server, unless it is left out.
fn trial(
    server: &Arc<Server>,
    name: String,
    test: impl FnOnce(&Api) -> anyhow::Result<()> + Send + 'static,
) -> Trial {
    let server = Arc::clone(server);
    let left_out = titles::left_out().contains_key(name.as_str());
    let run =
        move || -> Result<(), Failed> { test(server.api()?).map_err(|error| format!("{error:?}").into()) };
    Trial::test(name, run).with_ignored_flag(left_out)
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let server = Arc::new(Server::default());
    let mut trials = Vec::new();
    for (area, tests) in AREAS {
        for (name, test) in *tests {
            trials.push(trial(&server, format!("{area}::{name}"), *test));
        }
    }
    for kind in kinds::KINDS {
        let name = format!("operations::{}", kind.plural);
        trials.push(trial(&server, name, move |api| operations::run(api, kind)));
    }
    let names: Vec<String> = trials.iter().map(|trial| trial.name().to_owned()).collect();
    trials.push(Trial::test("every_title_has_a_test_or_a_reason", move || {
        titles::check(&names).map_err(|error| format!("{error:?}").into())
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    let server = Arc::into_inner(server).expect("invariant: the trials have ended, and no other holds it");
    if let Err(error) = server.stop() {
        eprintln!("the server under test: {error:?}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
