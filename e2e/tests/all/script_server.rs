//! A server of HTTPS on the first host of a network, written in Python, with a certificate of the cluster's authority.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;
use std::{fs, path::Path};

use anyhow::Context;
use e2e::{cluster::Cluster, network::Network};
use shim_pki::{Pki, ServerNames};

/// The server; it ends with the value.
pub struct ScriptServer {
    process: Child,
    /// The port that it has printed.
    pub port: u16,
    /// The authority of its certificate, in PEM and base64.
    pub ca_bundle: String,
}

impl ScriptServer {
    /// Starts a script of this directory, with the files of certificate and key and further arguments. It prints its port.
    pub fn start(
        cluster: &Cluster,
        network: &Network,
        script: &str,
        (dns_name, arguments): (&str, &[&str]),
    ) -> anyhow::Result<ScriptServer> {
        let pki = Pki::open_or_create(&cluster.data(), SystemTime::now())?;
        let names = ServerNames { dns: vec![dns_name.to_owned()], ..ServerNames::default() };
        let issued = pki.authority.issue_server(&names, SystemTime::now())?;
        let file = |extension: &str| cluster.directory().join(script).with_extension(extension);
        fs::write(file("crt"), &issued.certificate)?;
        fs::write(file("key"), &issued.key)?;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all").join(script);
        let mut process = Command::new("ip")
            .args(["netns", "exec", &network.first, "python3"])
            .args([path, file("crt"), file("key")])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("it has an output")?).read_line(&mut line)?;
        let ca_bundle = shim_model::base64::encode(pki.authority.certificate().as_bytes());
        Ok(ScriptServer {
            process,
            port: line.trim().parse().context("the server prints its port")?,
            ca_bundle,
        })
    }
}

impl Drop for ScriptServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
