//! Manifests of the shape of well-known operators (`e2e/clients/manifests`): applied by client and by server, applied again without a
//! change, used, and deleted.

#[path = "manifests/large.rs"]
mod large;

use std::{collections::BTreeMap, path::PathBuf, sync::PoisonError, time::Duration};

use anyhow::{Context, ensure};
use e2e::{cluster::Cluster, program::wait_for};
use serde_json::Value;

use crate::{DISCOVERY, Test};

pub const TESTS: &[Test] = &[
    ("ingress_controller", |cluster| Manifest::of(cluster, "ingress-controller").run(INGRESS, &[])),
    ("certificates", |cluster| Manifest::of(cluster, "certificates").run(CERTIFICATES, CERTIFICATES_USE)),
    ("delivery", |cluster| Manifest::of(cluster, "delivery").run(DELIVERY, DELIVERY_USE)),
    ("monitoring", |cluster| Manifest::of(cluster, "monitoring").run(MONITORING, MONITORING_USE)),
    ("resource_metrics", |cluster| {
        let _unserved = DISCOVERY.write().unwrap_or_else(PoisonError::into_inner);
        Manifest::of(cluster, "resource-metrics").run(METRICS, METRICS_USE)
    }),
    ("databases", |cluster| Manifest::of(cluster, "databases").run(DATABASES, DATABASES_USE)),
    ("a_definition_with_a_whole_pod", large::a_definition_with_a_whole_pod),
];

/// A command of kubectl, without namespace, and what its output has. A line with `!` first must fail.
type Use = (&'static str, &'static str);

// What a second client-side apply calls "configured": the client sends the same patch each time, because the server fills in or leaves
// out something inside a list or map that the client compares as a whole, or because of the field's patch strategy (a replaced
// selector of budgets, the retained keys of a Deployment's strategy).
const INGRESS: &[&str] = &[
    "poddisruptionbudget.policy/controller",
    "validatingwebhookconfiguration.admissionregistration.k8s.io/ingress-admission",
    "deployment.apps/controller",
];
const CERTIFICATES: &[&str] = &[
    "customresourcedefinition.apiextensions.k8s.io/certificates.pki.example.com",
    "clusterrole.rbac.authorization.k8s.io/certificates-all",
    "validatingwebhookconfiguration.admissionregistration.k8s.io/certificates",
    "certificate.pki.example.com/shop",
];
const DELIVERY: &[&str] =
    &["networkpolicy.networking.k8s.io/controller", "application.delivery.example.com/shop"];
const MONITORING: &[&str] = &["collector.monitoring.example.com/main"];
const METRICS: &[&str] = &["deployment.apps/resource-metrics"];
const DATABASES: &[&str] = &[
    "mutatingwebhookconfiguration.admissionregistration.k8s.io/databases-mutating",
    "cluster.databases.example.com/main",
];

const CERTIFICATES_USE: &[Use] = &[
    (
        "get cert shop -n certificates -o jsonpath={.spec.duration},{.spec.privateKey},{.spec.isCA}",
        r#"2160h,{"algorithm":"RSA","rotationPolicy":"Always","size":2048},false"#,
    ),
    ("get certs -n certificates -o wide", "NAME   READY   SECRET     ISSUER        STATUS   AGE"),
    ("get pki -A -o name", "clusterissuer.pki.example.com/self-signed"),
    ("get certs -A --field-selector spec.secretName=shop-tls -o name", "certificate.pki.example.com/shop"),
    ("!get certs -A --field-selector spec.commonName=x", "field label not supported: spec.commonName"),
    (
        "!get certificates.v1alpha2.pki.example.com -n certificates",
        "conversion webhook for pki.example.com/v1, Kind=Certificate failed",
    ),
    (
        "!patch cert shop -n certificates --type merge -p {\"spec\":{\"secretName\":\"b\"}}",
        "spec: Forbidden: the name of the Secret stays",
    ),
    (
        "!patch cert shop -n certificates --type merge -p {\"spec\":{\"privateKey\":{\"size\":1024}}}",
        "spec.privateKey.size: Invalid value: an RSA key has 2048 bits at least",
    ),
    (
        "!patch cert shop -n certificates --type merge -p {\"spec\":{\"dnsNames\":null,\"commonName\":null}}",
        "the certificate in shop-tls needs a name",
    ),
    (
        "!patch clusterissuer self-signed --type merge -p {\"spec\":{\"ca\":{\"secretName\":\"a\"}}}",
        "\"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
    ),
    (
        "!patch cert shop -n certificates --type merge -p {\"spec\":{\"ipAddresses\":[\"10.0.0.1\",\"10.0.0.1\"]}}",
        "spec.ipAddresses[1]: Duplicate value: \"10.0.0.1\"",
    ),
    ("auth can-i list certificates.pki.example.com --as jane --as-group view-group -n certificates", "no"),
    ("explain certificate.spec.privateKey.algorithm", "ENUM:\n    RSA\n    ECDSA\n    Ed25519\n"),
];
const DELIVERY_USE: &[Use] = &[
    ("get apps -n delivery", "NAME   SYNC STATUS   HEALTH STATUS"),
    (
        "get app shop -n delivery -o jsonpath={.spec.source.helm.valuesObject.nested.list}",
        r#"[1,"two",{"three":3}]"#,
    ),
    ("get app shop -n delivery -o jsonpath={.spec.source.kustomize.replicas[*].count}", "2 1"),
    ("patch app shop -n delivery --type merge -p {\"status\":{\"sync\":{\"status\":\"Synced\"}}}", "patched"),
    ("get app shop -n delivery -o jsonpath={.status.sync.status},{.metadata.generation}", "Synced,2"),
    ("patch app shop -n delivery --type json -p [{\"op\":\"remove\",\"path\":\"/operation\"}]", "patched"),
    (
        "patch app shop -n delivery --type merge -p {\"spec\":{\"unknown\":1}} --dry-run=server",
        "Warning: unknown field \"spec.unknown\"",
    ),
    ("auth can-i escalate clusterroles --as system:serviceaccount:delivery:controller", "yes"),
    ("auth can-i get /anything --as system:serviceaccount:delivery:controller", "yes"),
];
const MONITORING_USE: &[Use] = &[
    ("get collectors -n monitoring", "NAME   VERSION   DESIRED   READY   RECONCILED   AGE"),
    (
        "patch collector main -n monitoring --subresource status --type merge -p {\"status\":{\"shards\":1,\"availableReplicas\":2,\"selector\":\"app=x\"}}",
        "patched",
    ),
    (
        "get collector main -n monitoring --subresource scale -o jsonpath={.spec.replicas},{.status.replicas},{.status.selector}",
        "1,1,app=x",
    ),
    ("scale collector main -n monitoring --replicas=3", "collector.monitoring.example.com/main scaled"),
    ("get collector main -n monitoring -o jsonpath={.spec.shards},{.metadata.generation}", "3,2"),
    ("get collector main -n monitoring --no-headers", "main   v3.0.1   2     2"),
    (
        "!patch collector main -n monitoring --type merge -p {\"spec\":{\"retention\":\"two\"}}",
        "spec.retention: Invalid value: \"two\": spec.retention in body should match '^(0|",
    ),
    (
        "!patch collector main -n monitoring --type merge -p {\"spec\":{\"tsdb\":{\"compaction\":0.7}}}",
        "spec.tsdb.compaction: Invalid value: 0.7: spec.tsdb.compaction in body should be a multiple of 0.5",
    ),
    (
        "!patch collector main -n monitoring --type merge -p {\"spec\":{\"logLevel\":\"loud\"}}",
        "supported values: \"\", \"debug\", \"info\", \"warn\", \"error\"",
    ),
    (
        "!patch collector main -n monitoring --type merge -p {\"spec\":{\"replicas\":60}}",
        "spec: Invalid value: a hundred Pods at most",
    ),
    (
        "!patch collector main -n monitoring --type merge -p {\"status\":null,\"spec\":{\"remoteWrite\":[{\"url\":\"ftp://x\"}]}}",
        "spec.remoteWrite[0].url in body should match",
    ),
    (
        "autoscale collector main -n monitoring --max=4 --name=c --cpu=50% --dry-run=server",
        "horizontalpodautoscaler.autoscaling/c autoscaled (server dry run)",
    ),
];
const METRICS_USE: &[Use] = &[
    ("get apiservice v1beta1.metrics.k8s.io", "False (MissingEndpoints)"),
    ("!top nodes", "error: Metrics API not available"),
    ("auth can-i list pods.metrics.k8s.io --as x --as-group system:masters", "yes"),
    (
        "auth can-i create subjectaccessreviews.authorization.k8s.io --as system:serviceaccount:kube-system:resource-metrics",
        "yes",
    ),
    (
        "auth can-i get configmap/extension-apiserver-authentication -n kube-system --as system:serviceaccount:kube-system:resource-metrics",
        "yes",
    ),
    ("get clusterrole view -o jsonpath={.rules[*].apiGroups}", "metrics.k8s.io"),
    (
        "get --raw /api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
        "requestheader-client-ca-file",
    ),
    ("!get --raw /apis/metrics.k8s.io/v1beta1/nodes", "the server is currently unable to handle the request"),
];
const DATABASES_USE: &[Use] = &[
    ("get clusters.databases.example.com -n databases", "NAME   AGE"),
    (
        "get cluster main -n databases -o jsonpath={.spec.startDelay},{.spec.managed.roles[*].connectionLimit},{.spec.storage.resizeInUseVolumes}",
        "3600,-1 -1,true",
    ),
    ("scale cluster.databases.example.com main -n databases --current-replicas=3 --replicas=4", "scaled"),
    (
        "!patch cluster main -n databases --type merge -p {\"spec\":{\"minSyncReplicas\":3}}",
        "spec.minSyncReplicas: Invalid value: the minimum is above the maximum",
    ),
    (
        "!patch cluster main -n databases --type merge -p {\"spec\":{\"database\":\"b\"}}",
        "spec.database: Invalid value: \"b\": the name is immutable",
    ),
    (
        "!patch cluster main -n databases --type merge -p {\"spec\":{\"database\":null}}",
        "spec: Invalid value: the database stays",
    ),
    (
        "!patch cluster main -n databases --type merge -p {\"spec\":{\"storage\":{\"size\":\"0\"}}}",
        "spec.storage.size: Invalid value: \"0\": some storage",
    ),
    (
        "!patch cluster main -n databases --type merge -p {\"spec\":{\"managed\":{\"roles\":[{\"name\":\"postgres\"}]}}}",
        "spec.managed.roles: Forbidden: the role postgres is reserved",
    ),
    (
        "!patch cluster main -n databases --type merge -p {\"spec\":{\"bootstrap\":{\"recovery\":{}}}}",
        "spec.bootstrap: Too many: 2: must have at most 1 item",
    ),
    (
        "patch cluster main -n databases --subresource status --type merge -p {\"status\":{\"instancesStatus\":{\"healthy\":[\"main-1\"]},\"phase\":\"fine\"}}",
        "patched",
    ),
    (
        "get cluster main -n databases -o jsonpath={.status.instancesStatus.healthy[0]},{.metadata.generation}",
        "main-1,2",
    ),
];

/// Waits until all definitions are served. kubectl fails where a new definition has no conditions yet.
fn established(cluster: &Cluster) -> anyhow::Result<()> {
    let wait = ["wait", "crd", "--all", "--for=condition=Established", "--timeout=10s"];
    wait_for("the definitions", Duration::from_secs(60), || cluster.kubectl(&wait).map(Some)).map(drop)
}

/// The manifest of an operator.
struct Manifest<'a> {
    cluster: &'a Cluster,
    path: String,
}

impl<'a> Manifest<'a> {
    fn of(cluster: &'a Cluster, name: &str) -> Self {
        let path: PathBuf = ["e2e/clients/manifests", &format!("{name}.yaml")].iter().collect();
        Self { cluster, path: path.to_string_lossy().into_owned() }
    }

    /// Applies, uses and deletes it, once by client and once by server.
    fn run(&self, configured: &[&str], uses: &[Use]) -> anyhow::Result<()> {
        self.install(&[])?;
        self.again(&[], configured).context("client-side apply")?;
        for (command, part) in uses {
            self.used(command, part)?;
        }
        self.delete()?;
        self.install(&["--server-side"])?;
        self.again(&["--server-side"], &[]).context("server-side apply")?;
        self.delete()
    }

    fn apply(&self, flags: &[&str]) -> anyhow::Result<String> {
        self.cluster.kubectl(&[&["apply", "-f", &self.path], flags].concat())
    }

    fn install(&self, flags: &[&str]) -> anyhow::Result<()> {
        let first = self.cluster.try_kubectl(&[&["apply", "-f", &self.path], flags].concat())?;
        // The first time its kinds are not known yet, or not served yet.
        let unknown = |line: &str| {
            let known = [
                "ensure CRDs are installed first",
                "no matches for kind",
                "could not find the requested resource",
            ];
            known.iter().any(|part| line.contains(part))
        };
        ensure!(first.status.success() || first.stderr.lines().all(unknown), "{first:?}");
        established(self.cluster)?;
        self.apply(flags).map(drop)
    }

    /// Versions by kind and name.
    fn versions(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let list = self.cluster.json(&["get", "-f", &self.path])?;
        let objects = list["items"].as_array().context("no list")?;
        let text = |object: &Value, path: &str| {
            object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let row = |object: &Value| {
            let key = format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"));
            (key, text(object, "/metadata/resourceVersion"))
        };
        Ok(objects.iter().map(row).collect())
    }

    /// A further apply writes nothing, and says so but for these objects.
    fn again(&self, flags: &[&str], configured: &[&str]) -> anyhow::Result<()> {
        let before = self.versions()?;
        let said = self.apply(flags)?;
        let after = self.versions()?;
        ensure!(before == after, "written again: {before:#?}, then {after:#?}");
        let others: Vec<&str> = said
            .lines()
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(_, what)| !matches!(*what, "unchanged" | "serverside-applied"))
            .map(|(name, _)| name)
            .collect();
        let sorted = |names: &[&str]| {
            names.iter().map(|name| (*name).to_owned()).collect::<std::collections::BTreeSet<_>>()
        };
        ensure!(sorted(&others) == sorted(configured), "{said}");
        Ok(())
    }

    fn used(&self, command: &str, part: &str) -> anyhow::Result<()> {
        let (fails, line) = match command.strip_prefix('!') {
            Some(line) => (true, line),
            None => (false, command),
        };
        let output = self.cluster.try_kubectl(&line.split(' ').collect::<Vec<_>>())?;
        // `auth can-i` fails with its answer.
        let ended = output.status.success() != fails || part == "no";
        let said = format!("{}{}", output.stdout, output.stderr);
        ensure!(ended && said.contains(part), "{line}\nexpected {part:?}\n{output:?}");
        Ok(())
    }

    fn delete(&self) -> anyhow::Result<()> {
        // What is in a namespace that is deleted first may be gone before its turn.
        let line = ["delete", "-f", &self.path, "--ignore-not-found", "--timeout=60s"];
        self.cluster.kubectl(&line)?;
        let left =
            self.cluster.try_kubectl(&["get", "-f", &self.path, "--ignore-not-found", "-o", "name"])?;
        ensure!(left.stdout.is_empty(), "{left:?}");
        Ok(())
    }
}
