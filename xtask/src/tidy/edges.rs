//! Crate dependencies: `model ← core ← shell ← cli`, and crates that no core may reach.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cargo_metadata::{CargoOpt, DependencyKind, MetadataCommand};

use super::Finding;

/// The allowed dependencies between our crates. A new one is a design change: add it here with the change that needs
/// it.
const EDGES: &[(&str, &[&str])] = &[
    ("store", &["exposition"]),
    ("transport", &[]),
    ("zookeeper", &[]),
    ("quantity", &[]),
    ("exposition", &[]),
    ("kernel-model", &[]),
    ("kernel-wire", &["kernel-model"]),
    ("kernel-core", &["kernel-model"]),
    ("kernel", &["exposition", "transport", "kernel-model", "kernel-wire", "kernel-core", "store"]),
    ("shim-model", &["quantity"]),
    ("shim-core", &["shim-model", "kernel-model"]),
    ("shim-pki", &["transport"]),
    (
        "apiserver-shim",
        &[
            "exposition",
            "transport",
            "shim-model",
            "shim-core",
            "shim-pki",
            "store",
            "kernel",
            "kernel-model",
        ],
    ),
    ("executor-core", &["quantity"]),
    ("cri", &[]),
    ("kubelet-executor", &["exposition", "transport", "executor-core", "cri", "kernel-model", "kernel-wire"]),
    ("libmesos-core", &["kernel-model"]),
    ("libmesos", &["transport", "zookeeper", "libmesos-core", "kernel-model", "kernel-wire"]),
    (
        "catamaran",
        &[
            "transport",
            "store",
            "kernel",
            "kernel-model",
            "kernel-core",
            "apiserver-shim",
            "shim-pki",
            "kubelet-executor",
            // What a master announces in ZooKeeper, and how.
            "libmesos-core",
            "zookeeper",
        ],
    ),
    (
        "sim",
        &[
            "kernel-model",
            "kernel-core",
            "kernel-wire",
            "libmesos-core",
            "shim-model",
            "shim-core",
            "executor-core",
        ],
    ),
    ("e2e", &["executor-core", "shim-pki"]),
    ("xtask", &[]),
    // The builder of OCI images.
    ("dist", &["kubelet-executor"]),
];

/// The pure crates; none may reach the crates of [`IMPURE`].
const PURE: &[&str] =
    &["quantity", "kernel-model", "kernel-core", "executor-core", "libmesos-core", "shim-core", "sim"];
const IMPURE: &[&str] =
    &["tokio", "hyper", "mio", "rand", "reqwest", "tonic", "rustls", "fjall", "kube-client", "async-std"];

/// Dependencies that are not followed. The runtime of the CEL parser names its tables by constant UUIDs; the random generator
/// of `uuid` comes from features that other crates need.
const CONSTANT_ONLY: &[(&str, &str)] = &[("antlr4rust", "uuid")];

/// Crates that only some crates may depend on, for compile time or separation.
const QUARANTINED: &[(&str, &[&str])] =
    &[("tonic", &["cri", "store"]), ("fjall", &["store"]), ("rcgen", &["shim-pki"])];

/// Checks all dependencies.
pub fn check() -> anyhow::Result<Vec<Finding>> {
    let metadata = MetadataCommand::new().features(CargoOpt::AllFeatures).exec()?;
    let ours: BTreeSet<&str> = metadata.workspace_packages().iter().map(|p| p.name.as_str()).collect();
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some(edges) = allowed.get(name) else {
            findings.push(Finding(format!("crate {name} is not in the table of xtask/src/tidy/edges.rs")));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            let to = dependency.name.as_str();
            if ours.contains(to) && !edges.contains(&to) {
                findings.push(Finding(format!(
                    "{name} depends on {to}: not an allowed edge (xtask/src/tidy/edges.rs)"
                )));
            }
            for (quarantined, users) in QUARANTINED {
                if to == *quarantined && !users.contains(&name) {
                    findings.push(Finding(format!("{name} depends on {to}, which only {users:?} may")));
                }
            }
        }
    }
    findings.extend(purity(&metadata));
    Ok(findings)
}

/// Follows normal dependencies from each pure crate.
fn purity(metadata: &cargo_metadata::Metadata) -> Vec<Finding> {
    let Some(resolve) = &metadata.resolve else { return Vec::new() };
    let names: BTreeMap<_, &str> = metadata.packages.iter().map(|p| (&p.id, p.name.as_str())).collect();
    let next: BTreeMap<_, Vec<_>> = resolve
        .nodes
        .iter()
        .map(|node| {
            let normal =
                |d: &&cargo_metadata::NodeDep| d.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal);
            let from = names.get(&node.id).copied().unwrap_or("");
            let followed = |d: &&cargo_metadata::NodeDep| {
                !CONSTANT_ONLY.iter().any(|(a, b)| *a == from && names.get(&d.pkg) == Some(b))
            };
            (&node.id, node.deps.iter().filter(normal).filter(followed).map(|d| &d.pkg).collect())
        })
        .collect();
    let mut findings = Vec::new();
    for package in metadata.packages.iter().filter(|p| PURE.contains(&p.name.as_str())) {
        let mut seen = BTreeSet::from([&package.id]);
        let mut queue = VecDeque::from([&package.id]);
        while let Some(id) = queue.pop_front() {
            for to in next.get(id).into_iter().flatten() {
                if seen.insert(to) {
                    queue.push_back(to);
                }
            }
        }
        for id in seen {
            if let Some(name) = names.get(id).filter(|name| IMPURE.contains(name)) {
                findings.push(Finding(format!("{} must stay pure but reaches {name}", package.name)));
            }
        }
    }
    findings
}
