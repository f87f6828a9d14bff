//! Real clients against one cluster: Helm, kubectl, and programs on the official libraries of other languages. What they install,
//! apply and print is in `e2e/clients` and `docs/kubectl`.
//!
//! It has a `main` of its own because all tests share the cluster: a machine with containers and two hollow nodes. Each test has
//! namespaces of its own.

#[path = "clients/helm.rs"]
mod helm;
#[path = "shared/kube_client.rs"]
mod kube_client;
#[path = "clients/kube_rs.rs"]
mod kube_rs;
#[path = "clients/kubectl.rs"]
mod kubectl;
#[path = "clients/manifests.rs"]
mod manifests;
#[path = "clients/programs.rs"]
mod programs;

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock, RwLock},
};

use anyhow::anyhow;
use e2e::cluster::Cluster;
use libtest_mimic::{Arguments, Failed, Trial};

/// A test: its name and what it does.
type Test = (&'static str, fn(&Cluster) -> anyhow::Result<()>);

/// The tests by client.
const CLIENTS: &[(&str, &[Test])] = &[
    ("helm", helm::TESTS),
    ("manifests", manifests::TESTS),
    ("kubectl", kubectl::TESTS),
    ("kube_rs", kube_rs::TESTS),
    ("programs", programs::TESTS),
];

/// Written while a group is registered that nothing serves, which discovery reports to each client.
static DISCOVERY: RwLock<()> = RwLock::new(());

/// The tests mostly wait, but for containers, which take a core.
const THREADS: usize = 3;

/// The cluster under test. The first test starts it.
#[derive(Default)]
struct Shared(OnceLock<Result<Cluster, String>>);

impl Shared {
    fn cluster(&self) -> anyhow::Result<&Cluster> {
        let start = || Cluster::up(&["--store", "memory", "--example-images", "--hollow-nodes", "2"]);
        let started = self.0.get_or_init(|| start().map_err(|error| format!("{error:#}")));
        started.as_ref().map_err(|error| anyhow!("no cluster: {error}"))
    }

    /// Stops it; an error if that fails or leaves something on the machine.
    fn stop(self) -> anyhow::Result<()> {
        match self.0.into_inner() {
            Some(Ok(cluster)) => cluster.stop_and_assert_clean(),
            Some(Err(_)) | None => Ok(()),
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let shared = Arc::new(Shared::default());
    let mut trials = Vec::new();
    for (client, tests) in CLIENTS {
        for (name, test) in *tests {
            let shared = Arc::clone(&shared);
            let run = move || -> Result<(), Failed> {
                let tested = shared.cluster().and_then(test);
                tested.map_err(|error| format!("{error:?}").into())
            };
            trials.push(Trial::test(format!("{client}::{name}"), run));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let shared = Arc::into_inner(shared).expect("invariant: the trials have ended, and no other holds it");
    if let Err(error) = shared.stop() {
        eprintln!("the cluster under test: {error:?}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
