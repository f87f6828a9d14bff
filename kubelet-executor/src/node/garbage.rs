//! Removes log directories of Pods that no longer exist.

use std::{sync::Arc, time::Duration};

use crate::{node::pods::Pods, pod::context::NodeContext};

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
        for entry in std::fs::read_dir(context.config.pods_dir()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(uid) = name.rsplit('_').next() else { continue };
            let old = entry
                .metadata()
                .ok()
                .and_then(|m| m.modified().ok()?.elapsed().ok())
                .is_some_and(|age| age > KEEP);
            if !old || here.contains(uid) || existing.iter().any(|known| known == uid) {
                continue;
            }
            if let Err(error) = std::fs::remove_dir_all(entry.path()) {
                tracing::warn!(%error, "cannot remove logs");
            }
        }
    }
}
