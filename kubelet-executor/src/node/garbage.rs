//! Log directories of Pods that do not exist any more.

use std::{sync::Arc, time::Duration};

use crate::{node::pods::Pods, pod::shared::Shared};

const EVERY: Duration = Duration::from_secs(60);
/// A directory is kept this long after its last change, whatever the API says: the Pod may be newer than the answer.
const KEEP: Duration = Duration::from_secs(120);

/// Collects until the end of the executor.
pub(crate) async fn collect(shared: Arc<Shared>, pods: Arc<Pods>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let existing = match shared.api.pod_uids(&shared.config.node_name).await {
            Ok(existing) => existing,
            Err(error) => {
                tracing::debug!(%error, "logs not collected");
                continue;
            }
        };
        let here = pods.uids();
        for entry in std::fs::read_dir(shared.config.pods_dir()).into_iter().flatten().flatten() {
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
                tracing::warn!(%error, "logs not removed");
            }
        }
    }
}
