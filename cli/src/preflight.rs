//! Checks before anything is changed: user, free ports, installed programs; and facts about the system.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
};

use anyhow::{Context, bail};

use crate::progress::Progress;

/// Fails unless the process runs as root, which containers, mounts and control groups need.
pub fn need_root(verb: &str) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("catamaran {verb} needs root for containers and networks; run it with sudo");
    }
    Ok(())
}

/// Fails unless each address can be bound. Port 0 is skipped.
pub fn need_ports(addresses: &[(&str, SocketAddr)]) -> anyhow::Result<()> {
    for (flag, address) in addresses {
        if address.port() == 0 {
            continue;
        }
        TcpListener::bind(address).map(drop).with_context(|| {
            format!("cannot listen on {address}; stop the program that uses it, or set another address with {flag}")
        })?;
    }
    Ok(())
}

/// A server of this process, for [`tell_listeners`].
pub struct Listener {
    /// What listens.
    pub name: &'static str,
    /// Where.
    pub ip: IpAddr,
    /// `None` for a port that is chosen when it starts.
    pub port: Option<u16>,
}

impl Listener {
    /// A server at a known address.
    pub fn at(name: &'static str, address: SocketAddr) -> Self {
        Self { name, ip: address.ip(), port: Some(address.port()) }
    }
}

/// Prints which servers machines other than this one can reach.
pub fn tell_listeners(listeners: &[Listener], progress: &Progress) {
    for Listener { name, ip, port } in listeners.iter().filter(|l| !l.ip.is_loopback()) {
        let address = port.map_or_else(|| ip.to_string(), |port| SocketAddr::new(*ip, port).to_string());
        progress.note(&format!("reachable from other machines: {name} on {address}"));
    }
}

/// Debian packages that running Pods needs, each with files of which any shows that it is installed.
const RUNTIME: &[(&str, &[&str])] = &[
    ("containerd", &["/usr/bin/containerd", "/usr/local/bin/containerd"]),
    ("runc", &["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc", "/usr/local/bin/runc"]),
    ("containernetworking-plugins", &["/usr/lib/cni/bridge", "/opt/cni/bin/bridge"]),
    ("iptables", &["/usr/sbin/iptables", "/sbin/iptables"]),
    ("nftables", &["/usr/sbin/nft", "/sbin/nft"]),
    ("busybox-static", &["/bin/busybox", "/usr/bin/busybox"]),
];

/// The Debian packages missing to run Pods, separated by spaces; `None` if none is missing.
pub fn missing_packages() -> Option<String> {
    let missing: Vec<&str> = RUNTIME
        .iter()
        .filter(|(_, files)| !files.iter().any(|file| Path::new(file).exists()))
        .map(|(package, _)| *package)
        .collect();
    (!missing.is_empty()).then(|| missing.join(" "))
}

/// The address to advertise for a listening address.
pub fn advertised(listen: SocketAddr) -> IpAddr {
    match listen.ip() {
        ip if ip.is_unspecified() => address_of_this_machine(),
        ip => ip,
    }
}

/// The source address that this machine uses for outgoing traffic; loopback if it has no route. Sends nothing.
fn address_of_this_machine() -> IpAddr {
    let probe = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    };
    probe().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

/// Facts for `kubectl get nodes -o wide`, as agent attributes. Unknown ones are left out.
pub fn system_facts() -> Vec<(&'static str, String)> {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os_image =
        release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).map(|name| name.trim_matches('"'));
    let line = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let facts = [
        ("os-image", os_image.map(str::to_owned)),
        ("kernel-version", Some(rustix::system::uname().release().to_string_lossy().into_owned())),
        ("machine-id", line("/etc/machine-id")),
        ("boot-id", line("/proc/sys/kernel/random/boot_id")),
        ("container-runtime", containerd_version()),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value.filter(|v| !v.is_empty())?))).collect()
}

/// The containerd version from dpkg's database. Running `containerd --version` costs more than the rest of the start-up.
fn containerd_version() -> Option<String> {
    let status = std::fs::read_to_string("/var/lib/dpkg/status").ok()?;
    let entry = status.split("\n\n").find(|entry| entry.starts_with("Package: containerd\n"))?;
    let version = entry.lines().find_map(|line| line.strip_prefix("Version: "))?;
    let version = version.split(['~', '+', '-']).next()?;
    Some(format!("containerd://{version}"))
}
