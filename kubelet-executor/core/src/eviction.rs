//! Local storage: whether a Pod uses more than its limits allow. Such a Pod is evicted, with upstream's messages.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, EmptyDirVolumeSource, Pod},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::{resources::units, spec};

/// The resource that limits logs, writable layers and volumes on disk.
const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
/// Pods of this priority and above are never evicted, as upstream.
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// The local storage that a Pod uses, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageUsage {
    /// By name, the emptyDir volumes on disk.
    pub volumes: BTreeMap<String, i64>,
    /// By name, logs and writable layers.
    pub containers: BTreeMap<String, i64>,
}

/// Whether the Pod has limits of local storage, so that its usage has to be measured.
pub fn is_limited(pod: &Pod) -> bool {
    let volumes = spec::spec(pod).volumes.iter().flatten();
    volumes.filter_map(|volume| volume.empty_dir.as_ref()).any(|source| size_limit(source).is_some())
        || spec::containers(pod).any(|(_, container)| storage_limit(container).is_some())
}

/// Whether a volume's files are on the node's disk.
pub fn is_on_disk(source: &EmptyDirVolumeSource) -> bool {
    source.medium.as_deref().is_none_or(str::is_empty)
}

/// The limit of an emptyDir on disk; the kernel enforces that of one in memory.
fn size_limit(source: &EmptyDirVolumeSource) -> Option<i64> {
    let limit = source.size_limit.as_ref().and_then(units);
    limit.filter(|limit| *limit > 0 && is_on_disk(source))
}

fn storage_limit(container: &Container) -> Option<i64> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    limits.get(EPHEMERAL_STORAGE).and_then(units)
}

fn shown(quantity: &Quantity) -> String {
    quantity::Quantity::canonical(&quantity.0).unwrap_or_else(|_| quantity.0.clone())
}

/// The message of the first exceeded limit.
pub fn exceeded(pod: &Pod, usage: &StorageUsage) -> Option<String> {
    let pod_spec = spec::spec(pod);
    if pod_spec.priority.is_some_and(|priority| priority >= CRITICAL_PRIORITY) {
        return None;
    }
    for volume in pod_spec.volumes.iter().flatten() {
        let Some(source) = &volume.empty_dir else { continue };
        let used = usage.volumes.get(&volume.name).copied().unwrap_or(0);
        if let (Some(limit), Some(quantity)) = (size_limit(source), &source.size_limit)
            && used > limit
        {
            let (name, limit) = (&volume.name, shown(quantity));
            return Some(format!("Usage of EmptyDir volume \"{name}\" exceeds the limit \"{limit}\". "));
        }
    }
    let of_containers: Vec<Option<i64>> = pod_spec.containers.iter().map(storage_limit).collect();
    if of_containers.iter().any(Option::is_some) {
        let limit: i64 = of_containers.into_iter().flatten().sum();
        let used: i64 = usage.volumes.values().chain(usage.containers.values()).sum();
        if used > limit {
            let limit = sum_shown(pod);
            return Some(format!(
                "Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "
            ));
        }
    }
    pod_spec.containers.iter().find_map(|container| {
        let limit = storage_limit(container).filter(|limit| *limit > 0)?;
        let used = usage.containers.get(&container.name).copied().unwrap_or(0);
        let quantity = container.resources.as_ref()?.limits.as_ref()?.get(EPHEMERAL_STORAGE)?;
        (used > limit).then(|| {
            let (name, limit) = (&container.name, shown(quantity));
            format!("Container {name} exceeded its local ephemeral storage limit \"{limit}\". ")
        })
    })
}

/// The sum of the containers' limits, in the format of the first.
fn sum_shown(pod: &Pod) -> String {
    let containers = spec::spec(pod).containers.iter();
    let limits = containers.filter_map(|container| {
        let quantity = container.resources.as_ref()?.limits.as_ref()?.get(EPHEMERAL_STORAGE)?;
        quantity.0.parse::<quantity::Quantity>().ok()
    });
    limits.reduce(quantity::Quantity::plus).map(|sum| sum.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn exceeded_limits_of_local_storage() {
        let pod = |limits: [&str; 2], priority: i32| -> Pod {
            let container = |name: &str, limit: &str| match limit {
                "" => json!({ "name": name }),
                limit => json!({ "name": name, "resources": { "limits": { "ephemeral-storage": limit } } }),
            };
            serde_json::from_value(json!({ "spec": {
                "priority": priority,
                "containers": [container("a", limits[0]), container("b", limits[1])],
                "volumes": [
                    { "name": "cache", "emptyDir": { "sizeLimit": "1Mi" } },
                    { "name": "shm", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } },
                    { "name": "free", "emptyDir": {} },
                ],
            } }))
            .unwrap()
        };
        const MIB: i64 = 1 << 20;
        let used = |volumes: &[(&str, i64)], containers: &[(&str, i64)]| {
            let map =
                |pairs: &[(&str, i64)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
            StorageUsage { volumes: map(volumes), containers: map(containers) }
        };
        let volume = "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Mi\". ";
        let whole = "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ";
        let container = "Container a exceeded its local ephemeral storage limit \"2Mi\". ";
        let table = [
            (
                pod(["", ""], 0),
                used(&[("cache", MIB), ("shm", 9 * MIB), ("free", 9 * MIB)], &[("a", 9 * MIB)]),
                "",
            ),
            (pod(["", ""], 0), used(&[("cache", MIB + 1)], &[]), volume),
            (pod(["2Mi", "3Mi"], 0), used(&[("free", 3 * MIB)], &[("b", 2 * MIB + 1)]), whole),
            (pod(["2Mi", "3Mi"], 0), used(&[], &[("a", 3 * MIB)]), container),
            (pod(["2Mi", "3Mi"], 0), used(&[], &[("a", 2 * MIB), ("b", 3 * MIB)]), ""),
            (pod(["2Mi", ""], CRITICAL_PRIORITY), used(&[("cache", 9 * MIB)], &[]), ""),
        ];
        for (pod, usage, expected) in table {
            assert_eq!(exceeded(&pod, &usage).unwrap_or_default(), expected, "{usage:?}");
        }
        assert!(is_limited(&pod(["", ""], 0)));
        let plain = json!({ "spec": { "containers": [{ "name": "a" }], "volumes": [{ "name": "v", "emptyDir": {} }] } });
        assert!(!is_limited(&serde_json::from_value(plain).unwrap()));
    }
}
