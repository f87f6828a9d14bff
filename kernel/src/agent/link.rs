//! Keeps a link to the master: dials, uses the link until it ends, and dials again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    agent_driver::{AgentQueue, AgentStopped},
    agent_link::{AgentLink, Dialer, dial_until_up},
};

/// The pause after a link ended. It doubles up to [`REDIAL_AFTER_MAX`] while links end soon: a master that closes every link, as after a
/// frame that it refuses, is not dialled in a tight loop.
const REDIAL_AFTER: Duration = Duration::from_millis(100);

/// The longest pause.
const REDIAL_AFTER_MAX: Duration = Duration::from_secs(10);

/// After a link that lived this long the pause is the shortest again.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// How long the last frames of a link may take: milliseconds, unless the master does not read.
const LAST_FRAMES_MAX: Duration = Duration::from_secs(1);

/// Dials forever, and passes the master's messages to the driver. Ends with the agent.
pub(super) async fn keep(queue: AgentQueue, dialer: Arc<dyn Dialer>) {
    let mut redial = Redial { pause: REDIAL_AFTER };
    loop {
        let link = dial_until_up(dialer.as_ref()).await;
        let up_at = Instant::now();
        if use_link(&queue, link).await.is_err() {
            return;
        }
        tracing::info!("the link to the master is down");
        tokio::time::sleep(redial.pause_after(up_at.elapsed())).await;
    }
}

struct Redial {
    pause: Duration,
}

impl Redial {
    /// The pause after a link that lived this long.
    fn pause_after(&mut self, lived: Duration) -> Duration {
        if lived >= SETTLED_AFTER {
            self.pause = REDIAL_AFTER;
        }
        let next = (self.pause * 2).min(REDIAL_AFTER_MAX);
        std::mem::replace(&mut self.pause, next)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_end_soon_are_dialled_with_a_growing_pause() {
        let mut redial = Redial { pause: REDIAL_AFTER };
        let mut pause = |lived_millis| redial.pause_after(Duration::from_millis(lived_millis)).as_millis();
        let soon: Vec<u128> = (0..9).map(|_| pause(5)).collect();
        assert_eq!(soon, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!([pause(9_999), pause(10_000), pause(5), pause(60_000)], [10_000, 100, 200, 100]);
    }
}
