//! Measures the node's disk, and the local storage of Pods with limits; evicts those that exceed them.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use executor_core::{
    Event as PodEvent,
    disk_pressure::{Share, Thresholds},
    eviction::{self, StorageUsage},
    spec,
};
use k8s_openapi::api::core::v1::Pod;

use crate::{
    node::pods::Pods,
    pod::{
        context::{self, NodeContext},
        paths::PodPaths,
    },
    runtime::labels,
};

/// How often usage is measured, as upstream.
const EVERY: Duration = Duration::from_secs(10);
/// Bytes per unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// The node has disk pressure for this long after its disk was almost full, as upstream.
const PRESSURE_TRANSITION: Duration = Duration::from_secs(300);

/// Runs until the executor ends.
pub(crate) async fn watch(context: Arc<NodeContext>, pods: Arc<Pods>) {
    let mut full_at: Option<Instant> = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let newest = context.config.newest();
        let thresholds = context::disk_thresholds(newest.as_ref().unwrap_or(&context.config));
        if is_almost_full(&context.config.root_dir, &thresholds) {
            full_at = Some(Instant::now());
        }
        report(&context, full_at.is_some_and(|at| at.elapsed() < PRESSURE_TRANSITION));
        let limited: Vec<Arc<Pod>> =
            pods.views().into_iter().map(|view| view.pod).filter(|pod| eviction::is_limited(pod)).collect();
        if limited.is_empty() {
            continue;
        }
        let layers = match writable_layers(&context).await {
            Ok(layers) => layers,
            Err(error) => {
                tracing::debug!(%error, "cannot read the containers' usage");
                continue;
            }
        };
        for pod in limited {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let usage = measure(&context, &pod, layers.get(&uid)).await;
            let Some(message) = usage.and_then(|usage| eviction::exceeded(&pod, &usage)) else { continue };
            if let Some(events) = pods.sender(&uid) {
                tracing::info!(pod_uid = uid, message, "evicting a pod");
                // A full queue is tried again with the next measurement.
                let _ = events.try_send(PodEvent::Evict { message, disruption: false });
            }
        }
    }
}

fn report(context: &NodeContext, pressure: bool) {
    let changed =
        context.disk_pressure.send_if_modified(|shown| std::mem::replace(shown, pressure) != pressure);
    let directory = context.config.root_dir.display();
    match (changed, pressure) {
        (true, true) => tracing::warn!(
            %directory,
            "the disk is almost full: no new pods are started here; make room, or lower --eviction-hard"
        ),
        (true, false) => tracing::info!(%directory, "the disk has room again: pods are started"),
        (false, _) => {}
    }
}

/// Whether the file system of a directory is almost full.
fn is_almost_full(dir: &Path, thresholds: &Thresholds) -> bool {
    rustix::fs::statvfs(dir).is_ok_and(|fs| {
        let bytes = |blocks: u64| blocks.saturating_mul(fs.f_frsize);
        let space = Share { available: bytes(fs.f_bavail), total: bytes(fs.f_blocks) };
        thresholds.are_passed(space, Share { available: fs.f_favail, total: fs.f_files })
    })
}

/// Bytes by container name.
type Layers = BTreeMap<String, i64>;

/// The writable layers of this node's containers, by the UID of their Pod.
async fn writable_layers(context: &NodeContext) -> Result<BTreeMap<String, Layers>, cri::Error> {
    let mut layers: BTreeMap<String, Layers> = BTreeMap::new();
    for stats in context.runtime.stats(&context.own_labels()).await? {
        let Some(attributes) = stats.attributes else { continue };
        let label = |key: &str| attributes.labels.get(key).cloned().unwrap_or_default();
        let used = stats.writable_layer.and_then(|layer| layer.used_bytes).map_or(0, |bytes| bytes.value);
        let used = i64::try_from(used).unwrap_or(i64::MAX);
        *layers
            .entry(label(labels::POD_UID))
            .or_default()
            .entry(label(labels::CONTAINER_NAME))
            .or_default() += used;
    }
    Ok(layers)
}

async fn measure(context: &NodeContext, pod: &Arc<Pod>, layers: Option<&Layers>) -> Option<StorageUsage> {
    let (pod, paths) = (pod.clone(), PodPaths::of(&context.config, pod));
    let layers = layers.cloned().unwrap_or_default();
    let usage = tokio::task::spawn_blocking(move || usage_of(&pod, &paths, &layers)).await;
    usage.inspect_err(|error| tracing::warn!(%error, "measuring a pod's storage panicked")).ok()
}

fn usage_of(pod: &Pod, paths: &PodPaths, layers: &Layers) -> StorageUsage {
    let on_disk = spec::spec(pod)
        .volumes
        .iter()
        .flatten()
        .filter(|volume| volume.empty_dir.as_ref().is_some_and(eviction::is_on_disk));
    let volumes = on_disk.map(|volume| (volume.name.clone(), disk_usage(&paths.volume(&volume.name))));
    let containers = spec::containers(pod).map(|(_, container)| {
        let layer = layers.get(&container.name).copied().unwrap_or(0);
        (container.name.clone(), layer + disk_usage(&paths.logs.join(&container.name)))
    });
    StorageUsage { volumes: volumes.collect(), containers: containers.collect() }
}

/// The disk space of a directory with everything in it, on its own file system. Files with several names count once.
/// What cannot be read counts nothing.
fn disk_usage(dir: &Path) -> i64 {
    let Ok(top) = dir.symlink_metadata() else { return 0 };
    let device = top.dev();
    let mut linked = BTreeSet::new();
    let mut blocks = top.blocks();
    let mut dirs: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.dev() != device
                || (metadata.nlink() > 1 && !metadata.is_dir() && !linked.insert(metadata.ino()))
            {
                continue;
            }
            blocks += metadata.blocks();
            if metadata.is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    i64::try_from(blocks * BLOCK_BYTES).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_usage_counts_blocks_once() {
        let dir = tempfile::tempdir().unwrap();
        let empty = disk_usage(dir.path());
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/f"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(dir.path().join("d/f"), dir.path().join("g")).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("l")).unwrap();
        let used = disk_usage(dir.path()) - empty;
        assert!((100_000..150_000).contains(&used), "{used}");
        assert_eq!(disk_usage(&dir.path().join("missing")), 0);
    }
}
