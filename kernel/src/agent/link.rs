//! Keeping a link to the master: dialled, used until it ends, dialled again.

use std::{sync::Arc, time::Duration};

use crate::{
    agent_driver::{AgentQueue, Gone},
    agent_link::{AgentLink, Dialer, dial_until_up},
};

/// The pause after a link that ended, so that a master that closes every link is not dialled without end.
const REDIAL_AFTER: Duration = Duration::from_millis(100);

/// Dials for ever, and carries what the master says to the driver. Ends with the agent.
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

async fn use_link(queue: &AgentQueue, mut link: AgentLink) -> Result<(), Gone> {
    let mut given_up = queue.link_up(link.outgoing).await?;
    loop {
        tokio::select! {
            message = link.incoming.recv() => match message {
                Some(message) => queue.master_said(message).await?,
                None => break,
            },
            // The driver dropped its end: the master is silent, or does not listen.
            _ = &mut given_up => break,
        }
    }
    queue.link_down().await
}
