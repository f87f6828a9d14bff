//! Keeps a link to the master: dials, uses the link until it ends, and dials again.

use std::{sync::Arc, time::Duration};

use crate::{
    agent_driver::{AgentQueue, AgentStopped},
    agent_link::{AgentLink, Dialer, dial_until_up},
};

/// The pause after a link ended, so that a master that closes every link is not dialled in a tight loop.
const REDIAL_AFTER: Duration = Duration::from_millis(100);

/// How long the last frames of a link may take: milliseconds, unless the master does not read.
const LAST_FRAMES_MAX: Duration = Duration::from_secs(1);

/// Dials forever, and passes the master's messages to the driver. Ends with the agent.
pub(super) async fn keep(queue: AgentQueue, dialer: Arc<dyn Dialer>) {
    loop {
        let link = dial_until_up(dialer.as_ref()).await;
        if use_link(&queue, link).await.is_err() {
            return;
        }
        tracing::info!("the link to the master is down");
        tokio::time::sleep(REDIAL_AFTER).await;
    }
}

async fn use_link(queue: &AgentQueue, mut link: AgentLink) -> Result<(), AgentStopped> {
    let mut given_up = queue.link_up(link.outgoing).await?;
    loop {
        tokio::select! {
            message = link.incoming.recv() => match message {
                Some(message) => queue.master_message(message).await?,
                None => break,
            },
            // The driver dropped the link: the master is silent or does not read, or the agent has stopped. Its last frames are
            // still written.
            _ = &mut given_up => {
                let ended = async { while link.incoming.recv().await.is_some() {} };
                let _ = tokio::time::timeout(LAST_FRAMES_MAX, ended).await;
                break;
            }
        }
    }
    queue.link_down().await
}
