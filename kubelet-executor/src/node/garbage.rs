//! Removes logs and volumes of Pods that no longer exist.

use std::{
    fs::DirEntry,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    node::pods::Pods,
    pod::{context::NodeContext, paths::PodPaths, volumes},
};

const EVERY: Duration = Duration::from_secs(60);
/// A directory is kept for this long after its last change: the Pod may be newer than the API's answer.
const KEEP: Duration = Duration::from_secs(120);

/// Runs until the executor ends.
pub(crate) async fn collect(context: Arc<NodeContext>, pods: Arc<Pods>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let existing = match context.api.pod_uids(&context.config.node_name).await {
            Ok(existing) => existing,
            Err(error) => {
                tracing::debug!(%error, "log garbage collection failed");
                continue;
            }
        };
        let here = pods.uids();
        let exists = |uid: &str| here.contains(uid) || existing.iter().any(|known| known == uid);
        for (dir, uid) in old_entries(&context.config.pods_dir()) {
            let uid = uid.rsplit('_').next().unwrap_or_default();
            if !exists(uid)
                && let Err(error) = std::fs::remove_dir_all(&dir)
            {
                tracing::warn!(%error, "cannot remove logs");
            }
        }
        // Volumes outlive a stop of the node, and their Pod may be deleted meanwhile.
        for (dir, uid) in old_entries(&context.config.volumes_dir()) {
            let paths = PodPaths { logs: PathBuf::new(), volumes: dir };
            if exists(&uid) {
                continue;
            }
            volumes::images::remove(&context, &paths).await;
            if let Err(error) = volumes::remove(&paths) {
                tracing::warn!(%error, "cannot remove volumes");
            }
        }
    }
}

/// The entries of a directory that have not changed for a while, with their names.
fn old_entries(dir: &Path) -> Vec<(PathBuf, String)> {
    let is_old = |entry: &DirEntry| {
        let modified = entry.metadata().ok().and_then(|metadata| metadata.modified().ok()?.elapsed().ok());
        modified.is_some_and(|age| age > KEEP)
    };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().filter(is_old);
    entries.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned())).collect()
}
