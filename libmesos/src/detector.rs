//! Finds the leading master: the one that is named, or the one that leads in ZooKeeper.

use std::{convert::Infallible, sync::Arc, time::Duration};

use libmesos_core::{
    leader,
    machine::{Event, Machine},
    master::{Endpoint, Master, ZooKeeperPath},
};
use zookeeper::{
    codec::ServerError,
    session::{Session, SessionError},
};

use crate::driver::Shared;

/// The pause after an ensemble could not be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// Reports the leader, and each change.
pub(crate) async fn detect<M: Machine>(shared: Arc<Shared<M>>, master: Master, first: usize) {
    match master {
        Master::Direct(endpoint) => shared.step(Event::Leader(Some(endpoint))),
        Master::ZooKeeper(path) => {
            // Each attempt begins with another server.
            for attempt in 0_usize.. {
                let Err(error) = follow(&shared, &path, first.wrapping_add(attempt)).await;
                tracing::warn!("Detecting the leading master at {}: {error}", path.path);
                tokio::time::sleep(PAUSE).await;
            }
        }
        // Its content was read at the start.
        Master::File(_) => {}
    }
}

/// Follows the leader as long as the session lasts. A lost session says nothing of the leader, so the last one is kept.
async fn follow<M: Machine>(
    shared: &Shared<M>,
    path: &ZooKeeperPath,
    first: usize,
) -> Result<Infallible, SessionError> {
    let mut session = Session::connect(&path.servers, first, path.digest.as_deref()).await?;
    let mut known = None;
    loop {
        let leader = leader(&mut session, &path.path).await?;
        if known.as_ref() != Some(&leader) {
            match &leader {
                Some(leader) => tracing::info!("The leading master is {leader}"),
                None => tracing::info!("No master leads at {}", path.path),
            }
            shared.step(Event::Leader(leader.clone()));
            known = Some(leader);
        }
        session.changed().await?;
    }
}

/// The endpoint of the leader now. Watches tell of the next change of the answer.
async fn leader(session: &mut Session, path: &str) -> Result<Option<Endpoint>, SessionError> {
    loop {
        let children = match session.children(path).await {
            Err(SessionError::Server(ServerError::NoNode)) => {
                if session.exists(path).await? {
                    continue; // It has been created in between.
                }
                return Ok(None);
            }
            other => other?,
        };
        let Some(node) = leader::leading_node(children.iter().map(String::as_str)) else { return Ok(None) };
        match session.data(&format!("{path}/{node}")).await {
            // It has ended in between: look again.
            Err(SessionError::Server(ServerError::NoNode)) => {}
            content => return Ok(leader::endpoint(&content?)),
        }
    }
}
