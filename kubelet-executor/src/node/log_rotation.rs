//! Log rotation: renames files that are too large and removes the oldest.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::pods::Pods;
use crate::pod::{context::NodeContext, logs::files, paths};

const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// A live file beyond this size is rotated.
const FILE_BYTES_MAX: u64 = 10 << 20;
/// Files per instance: the live one and the rotated ones.
const FILES_MAX: usize = 5;
/// Instances per container whose logs are kept: the newest and the one before.
const ATTEMPTS_MAX: usize = 2;

/// Runs until the executor ends.
pub(crate) async fn rotate(context: Arc<NodeContext>, pods: Arc<Pods>) {
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        for view in pods.views() {
            let metadata = &view.pod.metadata;
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            let (namespace, name, uid) =
                (text(&metadata.namespace), text(&metadata.name), text(&metadata.uid));
            let dir = paths::logs(&context.config, &namespace, &name, &uid);
            for (container, id) in &view.running {
                if let Err(error) = rotate_container(&context, &dir.join(container), id).await {
                    tracing::warn!(pod = name, container, %error, "cannot rotate log");
                }
            }
        }
    }
}

async fn rotate_container(context: &NodeContext, dir: &Path, id: &str) -> std::io::Result<()> {
    let attempts = files::attempts(dir);
    let Some(newest) = attempts.last() else { return Ok(()) };
    for old in &attempts[..attempts.len().saturating_sub(ATTEMPTS_MAX)] {
        for file in files::rotated(dir, *old) {
            std::fs::remove_file(file)?;
        }
        std::fs::remove_file(files::live(dir, *old))?;
    }
    let live = files::live(dir, *newest);
    if live.metadata()?.len() <= FILE_BYTES_MAX {
        return Ok(());
    }
    let aside = dir.join(format!("{newest}.log.{}", Timestamp::now().strftime("%Y%m%d-%H%M%S%3f")));
    std::fs::rename(&live, &aside)?;
    if let Err(error) = context.runtime.reopen_log(id).await {
        // The runtime still writes to its open file, so restore the name.
        std::fs::rename(&aside, &live)?;
        return Err(std::io::Error::other(error));
    }
    let rotated = files::rotated(dir, *newest);
    for old in &rotated[..rotated.len().saturating_sub(FILES_MAX - 1)] {
        std::fs::remove_file(old)?;
    }
    Ok(())
}
