//! A real etcd on loopback with its own directory, killed when dropped.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Attempts: ports are chosen before etcd binds them, so another process may take them.
const ATTEMPTS: u32 = 5;

/// The start timeout on a slow, busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);

pub struct EtcdProcess {
    child: Child,
    client: SocketAddr,
    peer: SocketAddr,
    directory: TempDir,
}

impl EtcdProcess {
    pub async fn start() -> EtcdProcess {
        for _ in 0..ATTEMPTS {
            let directory = tempfile::tempdir().unwrap();
            let (client, peer) = (free_address(), free_address());
            let child = spawn(&directory, client, peer);
            let mut etcd = EtcdProcess { child, client, peer, directory };
            if etcd.becomes_healthy().await {
                return etcd;
            }
        }
        panic!("etcd did not become healthy in {ATTEMPTS} attempts");
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.client)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Restarts it with the same data and ports.
    pub async fn restart(&mut self) {
        self.child = spawn(&self.directory, self.client, self.peer);
        assert!(self.becomes_healthy().await, "etcd comes back on its own data");
    }

    async fn becomes_healthy(&mut self) -> bool {
        let healthy = async {
            while !healthy(self.client).await {
                if self.child.try_wait().unwrap().is_some() {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            true
        };
        tokio::time::timeout(START_TIMEOUT, healthy).await.unwrap_or(false)
    }
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &TempDir, client: SocketAddr, peer: SocketAddr) -> Child {
    let etcd = Command::new("etcd")
        .arg("--data-dir")
        .arg(directory.path())
        .arg(format!("--listen-client-urls=http://{client}"))
        .arg(format!("--advertise-client-urls=http://{client}"))
        .arg(format!("--listen-peer-urls=http://{peer}"))
        .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
        .arg(format!("--initial-cluster=default=http://{peer}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    etcd.unwrap_or_else(|error| {
        panic!("etcd cannot be started ({error}): install it with `apt-get install etcd-server` (xtask test does)")
    })
}

/// A free address that no other test of this process was given: of two etcds with the same port one does not start, and
/// would seem healthy because the other answers.
fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    loop {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if GIVEN.lock().unwrap().insert(address) {
            return address;
        }
    }
}

async fn healthy(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.contains("\"health\":\"true\""))
    };
    ask.await.unwrap_or(false)
}
