//! A real etcd on loopback for one test.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;

use crate::{cluster::free_address, program::wait_for};

/// A running etcd. Dropping it kills it.
pub struct Etcd {
    process: Child,
    _directory: tempfile::TempDir,
    /// Client URL for `--store etcd=…`.
    pub endpoint: String,
}

impl Etcd {
    /// Starts etcd with an empty data directory.
    pub fn start() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("cm-etcd-").tempdir_in("/tmp")?;
        let client = free_address()?;
        let peer = free_address()?;
        let endpoint = format!("http://{client}");
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(directory.path())
            .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
            .args(["--listen-peer-urls", &format!("http://{peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("could not start etcd; install Debian's etcd-server")?;
        let etcd = Self { process, _directory: directory, endpoint };
        wait_for("etcd to answer", Duration::from_secs(20), || {
            Ok(std::net::TcpStream::connect(&client).is_ok().then_some(()))
        })?;
        Ok(etcd)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It has no children, so killing it is enough.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
