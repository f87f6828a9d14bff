//! Packages that a new machine needs: detected by their files, installed with apt-get on Debian.

use std::path::Path;

use anyhow::bail;

use crate::{command, privileges};

/// A required package.
struct Prerequisite {
    /// Name of the Debian package.
    package: &'static str,
    /// Any of these files shows that it is installed.
    files: &'static [&'static str],
}

const BUILD: &[Prerequisite] = &[Prerequisite { package: "gcc", files: &["/usr/bin/cc"] }];

const RUN: &[Prerequisite] = &[
    Prerequisite { package: "containerd", files: &["/usr/bin/containerd", "/usr/local/bin/containerd"] },
    Prerequisite { package: "runc", files: &["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc"] },
    Prerequisite {
        package: "containernetworking-plugins",
        files: &["/usr/lib/cni/bridge", "/opt/cni/bin/bridge"],
    },
    Prerequisite { package: "iptables", files: &["/usr/sbin/iptables"] },
    Prerequisite { package: "nftables", files: &["/usr/sbin/nft", "/sbin/nft"] },
    Prerequisite { package: "busybox-static", files: &["/bin/busybox", "/usr/bin/busybox"] },
];

const TEST: &[Prerequisite] = &[
    // A command of the user's guide.
    Prerequisite { package: "curl", files: &["/usr/bin/curl"] },
    Prerequisite { package: "iproute2", files: &["/usr/sbin/ip", "/sbin/ip", "/bin/ip"] },
    Prerequisite { package: "etcd-server", files: &["/usr/bin/etcd", "/usr/local/bin/etcd"] },
    Prerequisite { package: "docker-registry", files: &["/usr/bin/docker-registry"] },
    Prerequisite {
        package: "python3-venv",
        files: &["/usr/lib/python3.11/ensurepip", "/usr/lib/python3/dist-packages/virtualenv"],
    },
    Prerequisite { package: "python3-pip", files: &["/usr/bin/pip3", "/usr/local/bin/pip3"] },
    // For Spark, and for programs that are run from their source.
    Prerequisite {
        package: "openjdk-17-jdk-headless",
        files: &["/usr/bin/javac", "/usr/lib/jvm/java-17-openjdk-amd64/bin/javac"],
    },
    Prerequisite { package: "openssl", files: &["/usr/bin/openssl"] },
    Prerequisite { package: "nodejs", files: &["/usr/bin/node", "/usr/local/bin/node"] },
    Prerequisite { package: "npm", files: &["/usr/bin/npm", "/usr/local/bin/npm"] },
    // Masters that are found in it.
    Prerequisite { package: "zookeeper", files: &["/usr/share/java/zookeeper.jar"] },
];

const PACKAGE: &[Prerequisite] = &[
    Prerequisite { package: "musl-tools", files: &["/usr/bin/musl-gcc"] },
    Prerequisite { package: "dpkg", files: &["/usr/bin/dpkg-deb"] },
];

/// Installs what building needs.
pub fn for_building() -> anyhow::Result<()> {
    install(&[BUILD])
}

/// Installs what `dist` needs.
pub fn for_packaging() -> anyhow::Result<()> {
    install(&[BUILD, PACKAGE])
}

/// Installs what building and running need.
pub fn for_running() -> anyhow::Result<()> {
    install(&[BUILD, RUN])
}

/// Installs what the tests need in addition, including clients and frameworks.
pub fn for_testing() -> anyhow::Result<()> {
    install(&[BUILD, RUN, TEST])?;
    let clients = clients_directory();
    command::run(&mut command::program("python3", &["e2e/clients/fetch.py", &clients]))?;
    command::run(&mut command::program("sh", &["e2e/clients/install.sh", &clients]))?;
    let frameworks = frameworks_directory();
    command::run(&mut command::program("bash", &["e2e/frameworks/install.sh", &frameworks, "--with-spark"]))
}

/// Directory of the tests' kubectl and helm, and of the client libraries.
pub fn clients_directory() -> String {
    directory("clients")
}

/// Directory of the tests' Mesos frameworks.
pub fn frameworks_directory() -> String {
    directory("frameworks")
}

fn directory(name: &str) -> String {
    let root = std::env::var("CATAMARAN_TEST_CACHE").unwrap_or_else(|_| "target/test-clients".to_owned());
    let root = std::path::absolute(&root).unwrap_or_else(|_| root.into());
    root.join(name).to_string_lossy().into_owned()
}

fn install(groups: &[&[Prerequisite]]) -> anyhow::Result<()> {
    let missing: Vec<&str> = groups
        .iter()
        .flat_map(|group| group.iter())
        .filter(|p| !p.files.iter().any(|file| Path::new(file).exists()))
        .map(|p| p.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = missing.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("missing: {wanted} (Debian's names). Install them and run this again");
    }
    println!("installing from Debian: {wanted}");
    command::run(&mut privileges::as_root("apt-get", &["update", "-qq"])?)?;
    let mut arguments = vec!["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq"];
    arguments.push("--no-install-recommends");
    arguments.extend(missing);
    command::run(&mut privileges::as_root("env", &arguments)?)
}
