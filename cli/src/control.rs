//! The control socket in the data directory of a server: hands a consistent snapshot of the store to `catamaran backup`.
//!
//! Only the user of the process can connect: the socket's mode says so.

use std::{
    fs::Permissions,
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use store::{ListRequest, Store};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinHandle,
};

use crate::backup::snapshot;

/// The name of the socket.
const SOCKET: &str = "control.sock";
/// The request for a snapshot. A peer that sends something else gets nothing.
const SNAPSHOT: &[u8] = b"snapshot\n";
/// Connections at a time: each holds references to the whole store.
const CONNECTIONS_MAX: usize = 2;
/// How long a peer may take for its request, and for each part of the answer that it reads.
const PEER_MAX: Duration = Duration::from_secs(60);
/// Bytes per write.
const CHUNK: usize = 256 << 10;

/// A server of the socket. Dropping it removes the socket.
pub struct ControlSocket {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The path of the socket through an open directory: the path of a socket has at most 107 bytes.
fn short(directory: &std::fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}

/// Listens in a data directory that this process has locked.
pub fn listen(data: &Path, store: Arc<dyn Store>) -> anyhow::Result<ControlSocket> {
    let path = data.join(SOCKET);
    let listen = || -> io::Result<UnixListener> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let directory = std::fs::File::open(data)?;
        let listener = UnixListener::bind(short(&directory))?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    let listener = listen().with_context(|| format!("cannot listen on {}", path.display()))?;
    let task = tokio::spawn(async move {
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((peer, _)) => {
                    let store = Arc::clone(&store);
                    tokio::spawn(async move {
                        if let Err(error) = serve(peer, &*store).await {
                            tracing::warn!(%error, "a snapshot of the store was not delivered");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket does not accept");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    });
    Ok(ControlSocket { path, task })
}

async fn serve(mut peer: UnixStream, store: &dyn Store) -> anyhow::Result<()> {
    let mut request = [0; SNAPSHOT.len()];
    tokio::time::timeout(PEER_MAX, peer.read_exact(&mut request)).await??;
    if request != SNAPSHOT {
        return Ok(());
    }
    // One listing is of one revision. Its values are shared with the store.
    let listing = store.list(ListRequest::prefix("")).await?;
    let mut buffer = Vec::with_capacity(CHUNK);
    snapshot::write_head(&mut buffer, listing.revision, listing.kvs.len());
    for kv in &listing.kvs {
        snapshot::write_entry(&mut buffer, kv);
        if buffer.len() >= CHUNK {
            tokio::time::timeout(PEER_MAX, peer.write_all(&buffer)).await??;
            buffer.clear();
        }
    }
    tokio::time::timeout(PEER_MAX, peer.write_all(&buffer)).await??;
    Ok(())
}

/// A snapshot of the store of the server that runs in this data directory.
pub async fn snapshot_of_running(data: &Path) -> anyhow::Result<Vec<u8>> {
    let ask = async {
        let directory = std::fs::File::open(data)?;
        let mut peer = UnixStream::connect(short(&directory)).await?;
        peer.write_all(SNAPSHOT).await?;
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).await?;
        io::Result::Ok(bytes)
    };
    let socket = data.join(SOCKET);
    let owner = std::fs::metadata(&socket).map(|metadata| metadata.uid());
    ask.await.with_context(|| match owner {
        Ok(uid) => {
            format!("the server does not answer at {} (its user has the number {uid})", socket.display())
        }
        Err(_) => format!("no server listens at {}", socket.display()),
    })
}
