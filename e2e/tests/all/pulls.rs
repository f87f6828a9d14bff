//! Image pulls: an image built here, served by Debian's docker-registry on loopback, pulled by the container runtime.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use e2e::{
    cluster::{Cluster, free_address},
    program::wait_for,
};

/// A registry on loopback with its files in a temporary directory.
pub struct Registry {
    process: Child,
    pub address: String,
    _directory: tempfile::TempDir,
}

impl Registry {
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with("", "")
    }

    /// A registry whose only user is `u` with the password `p`.
    pub fn with_password() -> anyhow::Result<Self> {
        let users = "u:$2b$05$abcdefghijklmnopqrstuuqwWMzKt5N8p.u2GX5MuH1t19BMWuLOW\n";
        Self::start_with("auth:\n  htpasswd:\n    realm: test\n    path: ", users)
    }

    /// `access` is a part of the configuration that ends with the path of the file of users.
    fn start_with(access: &str, users: &str) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("cm-registry-").tempdir_in("/tmp")?;
        let address = free_address()?;
        let config = directory.path().join("config.yml");
        let root = directory.path().join("data");
        let file = directory.path().join("users");
        fs::write(&file, users)?;
        let access = if access.is_empty() { String::new() } else { format!("{access}{}\n", file.display()) };
        fs::write(
            &config,
            format!(
                "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n{access}",
                root.display()
            ),
        )?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let registry = Self { process, address, _directory: directory };
        wait_for("the registry to answer", Duration::from_secs(20), || {
            Ok(std::net::TcpStream::connect(&registry.address).is_ok().then_some(()))
        })?;
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn an_image_is_pulled_from_a_registry() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let image = format!("{}/probe:1", registry.address);
    let cluster = Cluster::up(&["--example-images"])?;
    // `ctr` pushes the imported image under another name.
    cluster.kubectl(&["run", "warm", "--image=localhost/catamaran/example-web:1", "--", "sleep", "600"])?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/warm", "--timeout=60s"])?;
    let socket = find_socket(&cluster)?;
    for arguments in [
        vec!["images", "tag", "localhost/catamaran/example-web:1", &image],
        vec!["images", "push", "--plain-http", &image],
        vec!["images", "rm", &image],
    ] {
        let status =
            Command::new("ctr").args(["--address", &socket, "-n", "k8s.io"]).args(&arguments).status()?;
        assert!(status.success(), "ctr {arguments:?}: {status}");
    }
    cluster.kubectl(&[
        "run",
        "pulled",
        "--image",
        &image,
        "--image-pull-policy=Always",
        "--",
        "sleep",
        "600",
    ])?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/pulled", "--timeout=60s"])?;
    cluster.kubectl(&["run", "wrong", "--image", &format!("{}/nothing:1", registry.address)])?;
    wait_for("the reason why the other image cannot be pulled", Duration::from_secs(60), || {
        let pods = cluster.kubectl(&["get", "pod", "wrong"])?;
        Ok((pods.contains("ErrImagePull") || pods.contains("ImagePullBackOff")).then_some(()))
    })?;
    wait_for("the Events", Duration::from_secs(20), || {
        let events = cluster.kubectl(&["get", "events"])?;
        Ok((events.contains("Pulled") && events.contains("Failed")).then_some(()))
    })?;
    cluster.stop_and_assert_clean()
}

/// The socket of the cluster's private containerd.
pub fn find_socket(cluster: &Cluster) -> anyhow::Result<String> {
    let listed = Command::new("find").arg(cluster.directory()).args(["-name", "containerd.sock"]).output()?;
    let text = String::from_utf8_lossy(&listed.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
