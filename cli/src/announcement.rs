//! Announces the master in ZooKeeper, where frameworks with `zk://` look for it, as long as the server runs.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use anyhow::Context;
use kernel::server::MasterHandle;
use libmesos_core::{
    leader,
    master::{self, Master, ZooKeeperPath},
};
use tokio::task::JoinHandle;
use zookeeper::session::{Session, SessionError};

/// The pause after an ensemble could not be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// An announcement. It ends when this is dropped: the node disappears with its session, within ten seconds.
pub struct Announcement(JoinHandle<()>);

impl Drop for Announcement {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Parses the value of `--zk`.
pub fn parse(text: &str) -> Result<ZooKeeperPath, String> {
    match master::parse(text) {
        Ok(Master::ZooKeeper(path)) => Ok(path),
        _ => Err("expecting zk://[user:password@]host:port[,host:port…]/path".to_owned()),
    }
}

/// Starts the announcement. An ensemble that cannot be reached delays it, and not the server.
pub fn start(path: ZooKeeperPath, master: &MasterHandle) -> anyhow::Result<Announcement> {
    let info = master.info();
    let ip = info.ip.parse().context("the master's address is none")?;
    let address = SocketAddr::new(ip, info.port);
    let content = leader::announcement(info.id.as_str(), &info.hostname, address, &info.version);
    Ok(Announcement(tokio::spawn(async move {
        for attempt in 0_usize.. {
            let Err(error) = hold(&path, &content, attempt).await;
            tracing::warn!("announcing the master in ZooKeeper: {error}");
            tokio::time::sleep(PAUSE).await;
        }
    })))
}

/// Announces the master as long as the session lasts, again if somebody deletes the node.
async fn hold(path: &ZooKeeperPath, content: &[u8], attempt: usize) -> Result<Infallible, SessionError> {
    let mut session = Session::connect(&path.servers, attempt, path.digest.as_deref()).await?;
    loop {
        session.create_path(&path.path).await?;
        let prefix = format!("{}/{}", path.path, leader::LABEL);
        let node = session.create_ephemeral_sequential(&prefix, content).await?;
        tracing::info!("the master is announced in ZooKeeper as {node}");
        while session.children(&path.path).await?.iter().any(|child| node.ends_with(child.as_str())) {
            session.changed().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zookeeper_is_taken() {
        assert_eq!(parse("zk://a:2181,b/mesos").unwrap().servers, ["a:2181", "b:2181"]);
        for text in ["a:2181", "zk://a:2181", "file:///x", ""] {
            parse(text).unwrap_err();
        }
    }
}
