//! The life of a release with the real Helm 4: a chart with most built-in kinds, a definition with an instance, hooks and a test.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};
use e2e::{
    cluster::{Cluster, client},
    program::{self, Output},
};
use serde_json::Value;

use crate::Test;

pub const TESTS: &[Test] =
    &[("life_of_a_release", life_of_a_release), ("a_failing_release", a_failing_release)];

const CHART: &str = "e2e/clients/chart";

/// Kinds of the chart in a namespace, and those outside.
const NAMESPACED: &str = "deployments,statefulsets,daemonsets,jobs,cronjobs,services,ingresses,networkpolicies,configmaps,secrets,\
    serviceaccounts,roles,rolebindings,horizontalpodautoscalers,poddisruptionbudgets,persistentvolumeclaims,limitranges,\
    resourcequotas,widgets";
const GLOBAL: &str = "clusterroles,clusterrolebindings,persistentvolumes,priorityclasses,validatingadmissionpolicies,\
    validatingadmissionpolicybindings";

/// Kinds whose status follows the number of Pods, sooner or later.
const FOLLOW: &[&str] = &["PodDisruptionBudget", "HorizontalPodAutoscaler"];

/// Values that the server refuses: by a schema, a rule in one, a policy, and its own validation.
const REFUSED: &[(&str, &str)] = &[
    ("replicas=200", "spec.size in body should be less than or equal to 100"),
    ("replicas=60", "large widgets are green"),
    ("replicas=12", "no widget has size 13"),
    ("resources.requests.cpu=-1", "must be greater than or equal to 0"),
];

/// A release: its name is that of its objects.
struct Release<'a> {
    cluster: &'a Cluster,
    name: &'a str,
    namespace: &'a str,
}

impl Release<'_> {
    fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut helm = self.cluster.command(client("helm"));
        helm.arg("--kubeconfig").arg(self.cluster.kubeconfig());
        let home = self.cluster.directory().join("helm");
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(variable, &home);
        }
        helm.args(["--namespace", self.namespace]).args(arguments).current_dir(e2e::cluster::repository());
        program::run(&mut helm, Duration::from_secs(180))
    }

    fn helm(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run(arguments)?.ok().with_context(|| format!("helm {}", arguments.join(" ")))
    }

    fn upgrade(&self, more: &[&str]) -> anyhow::Result<String> {
        let line = ["upgrade", self.name, CHART, "--wait", "--timeout", "120s"];
        self.helm(&[&line, more].concat())
    }

    /// The versions of the release's objects, by kind and name.
    fn versions(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let selector = format!("app.kubernetes.io/instance={}", self.name);
        let mut versions = BTreeMap::new();
        for kinds in [NAMESPACED, GLOBAL] {
            let list = self.cluster.json(&["--namespace", self.namespace, "get", kinds, "-l", &selector])?;
            for object in list["items"].as_array().into_iter().flatten() {
                let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
                let key = format!("{}/{}", text("/kind"), text("/metadata/name"));
                if !FOLLOW.contains(&text("/kind")) {
                    versions.insert(key, text("/metadata/resourceVersion").to_owned());
                }
            }
        }
        Ok(versions)
    }

    /// A field of a custom resource of the release.
    fn size(&self) -> anyhow::Result<String> {
        let line = ["--namespace", self.namespace, "get", "widget", self.name, "-o", "jsonpath={.spec.size}"];
        self.cluster.kubectl(&line)
    }

    /// The log of a hook's Job.
    fn log(&self, hook: &str) -> anyhow::Result<String> {
        let job = format!("job/{}-{hook}", self.name);
        self.cluster.kubectl(&["--namespace", self.namespace, "logs", &job])
    }
}

fn life_of_a_release(cluster: &Cluster) -> anyhow::Result<()> {
    let release = Release { cluster, name: "one", namespace: "shop" };
    install(&release)?;
    nothing_changes(&release)?;
    upgrade(&release)?;
    test(&release)?;
    dry_run(&release)?;
    rollback(&release)?;
    uninstall(&release)
}

fn install(release: &Release) -> anyhow::Result<()> {
    let line = ["install", release.name, CHART, "--create-namespace", "--wait", "--timeout", "120s"];
    let said = release.helm(&line)?;
    for part in ["STATUS: deployed", "REVISION: 1", "one greets with ahoy."] {
        ensure!(said.contains(part), "no {part:?} in {said}");
    }
    ensure!(release.log("pre-install")? == "hook pre-install of one 1\n");
    ensure!(release.size()? == "3");
    // `--wait` has waited for the Deployment.
    let ready = "jsonpath={.status.readyReplicas}/{.status.observedGeneration}";
    let deployment = release.cluster.kubectl(&["-n", "shop", "get", "deployment", "one-web", "-o", ready])?;
    ensure!(deployment == "2/1", "{deployment}");
    ensure!(release.versions()?.len() == 24, "{:?}", release.versions()?);
    let managers = "jsonpath={.metadata.managedFields[?(@.operation=='Apply')].manager}";
    let manager = release.cluster.kubectl(&["-n", "shop", "get", "configmap", "one", "-o", managers])?;
    ensure!(manager == "helm", "{manager}");
    Ok(())
}

/// An upgrade without a change writes no object.
fn nothing_changes(release: &Release) -> anyhow::Result<()> {
    let before = release.versions()?;
    release.upgrade(&[])?;
    let after = release.versions()?;
    ensure!(before == after, "before: {before:#?}\nafter: {after:#?}");
    Ok(())
}

fn upgrade(release: &Release) -> anyhow::Result<()> {
    let before = release.versions()?;
    let said = release.upgrade(&["--set", "replicas=3", "--set", "greeting=hello"])?;
    ensure!(said.contains("REVISION: 3") && said.contains("one greets with hello."), "{said}");
    ensure!(release.size()? == "4");
    let after = release.versions()?;
    let changed: Vec<&str> = before
        .iter()
        .filter(|(key, version)| after.get(*key) != Some(version))
        .map(|(key, _)| &key[..])
        .collect();
    ensure!(changed == ["ConfigMap/one", "Deployment/one-web", "Widget/one"], "{changed:?}");
    let gone = release.cluster.try_kubectl(&["-n", "shop", "get", "job", "one-post-upgrade"])?;
    ensure!(gone.stderr.contains("NotFound"), "a hook that has succeeded stays: {gone:?}");
    let history: Value = serde_json::from_str(&release.helm(&["history", release.name, "-o", "json"])?)?;
    let states: Vec<&str> =
        history.as_array().into_iter().flatten().filter_map(|revision| revision["status"].as_str()).collect();
    ensure!(states == ["superseded", "superseded", "deployed"], "{history}");
    Ok(())
}

fn test(release: &Release) -> anyhow::Result<()> {
    let said = release.helm(&["test", release.name, "--logs"])?;
    ensure!(said.contains("Phase:          Succeeded") && said.contains("the test sees hello"), "{said}");
    Ok(())
}

fn dry_run(release: &Release) -> anyhow::Result<()> {
    let before = release.versions()?;
    let said = release.upgrade(&["--set", "greeting=hallo", "--dry-run=server"])?;
    ensure!(said.contains("greeting: \"hallo\"") && said.contains("kind: Widget"), "{said}");
    ensure!(release.versions()? == before, "a dry run writes nothing");
    for (values, message) in REFUSED {
        let rendered = release.helm(&["template", release.name, CHART, "--no-hooks", "--set", values])?;
        let file = release.cluster.directory().join("rendered.yaml");
        std::fs::write(&file, rendered)?;
        let file = file.to_string_lossy();
        let line =
            ["--namespace", release.namespace, "apply", "--server-side", "--dry-run=server", "-f", &file];
        let refused = release.cluster.try_kubectl(&[&line[..], &["--field-manager", "helm"]].concat())?;
        ensure!(!refused.status.success() && refused.stderr.contains(message), "{values}: {refused:?}");
    }
    let after = release.versions()?;
    ensure!(after == before, "a refused dry run writes nothing; before {before:#?}, then {after:#?}");
    Ok(())
}

fn rollback(release: &Release) -> anyhow::Result<()> {
    release.helm(&["rollback", release.name, "1", "--wait", "--timeout", "120s"])?;
    ensure!(release.size()? == "3");
    let history = release.helm(&["history", release.name])?;
    ensure!(history.contains("Rollback to 1"), "{history}");
    let replicas = "jsonpath={.status.readyReplicas}";
    let deployment =
        release.cluster.kubectl(&["-n", "shop", "get", "deployment", "one-web", "-o", replicas])?;
    ensure!(deployment == "2", "{deployment}");
    Ok(())
}

fn uninstall(release: &Release) -> anyhow::Result<()> {
    release.helm(&["uninstall", release.name, "--wait", "--timeout", "120s"])?;
    let left = release.versions()?;
    ensure!(left.is_empty(), "{left:?}");
    let secrets = release.cluster.kubectl(&["-n", "shop", "get", "secrets", "-o", "name"])?;
    ensure!(secrets.is_empty(), "the releases stay: {secrets}");
    release.cluster.kubectl(&["delete", "namespace", "shop"])?;
    release.cluster.kubectl(&["delete", "crd", "widgets.shop.example.com"]).map(drop)
}

/// A release whose Pods never become ready: `--wait` says so, and `--rollback-on-failure` goes back.
fn a_failing_release(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = "broken";
    let directory = tempfile::tempdir()?;
    let chart = directory.path().join("small");
    std::fs::create_dir_all(chart.join("templates"))?;
    std::fs::write(chart.join("Chart.yaml"), "{apiVersion: v2, name: small, version: 1.0.0}")?;
    std::fs::write(
        chart.join("templates/pod.yaml"),
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: two}\nspec:\n  selector: {matchLabels: {app: two}}\n  \
         template:\n    metadata: {labels: {app: two}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      containers:\n      \
         - {name: c, image: \"localhost/catamaran/example-web:{{ .Values.tag | default 1 }}\", imagePullPolicy: Never}\n",
    )?;
    let chart = chart.to_string_lossy();
    let release = Release { cluster, name: "two", namespace };
    release.helm(&["install", "two", &chart, "--create-namespace", "--wait", "--timeout", "60s"])?;
    let line = ["upgrade", "two", &chart, "--set", "tag=none", "--rollback-on-failure", "--timeout", "6s"];
    let failed = release.run(&line)?;
    ensure!(!failed.status.success() && failed.stderr.contains("two"), "{failed:?}");
    let history = release.helm(&["history", "two"])?;
    ensure!(history.contains("Rollback to 1") && history.contains("failed"), "{history}");
    release.helm(&["uninstall", "two", "--wait"])?;
    cluster.kubectl(&["delete", "namespace", namespace]).map(drop)
}
