//! Removes the kernel's entries of UDP flows that lead to no endpoint any more.

use std::io::{Error, ErrorKind, Result};

use executor_core::services::{
    ctnetlink::{self, UdpEntry},
    stale_flows::UdpBackends,
};

use super::netfilter::Netfilter;

/// Removes the stale entries. Returns their number.
///
/// # Errors
/// The kernel refuses, as without the rights of root, or has no connection tracking.
pub(crate) async fn remove_stale(backends: UdpBackends) -> Result<usize> {
    tokio::task::spawn_blocking(move || remove(&backends)).await.map_err(Error::other)?
}

fn remove(backends: &UdpBackends) -> Result<usize> {
    let netfilter = Netfilter::open()?;
    let mut stale: Vec<UdpEntry> = Vec::new();
    netfilter.ask(&ctnetlink::list(), |kind, attributes| {
        let entry = (kind == ctnetlink::NEW).then(|| ctnetlink::entry(attributes)).flatten();
        stale.extend(entry.filter(|entry| backends.is_stale(&entry.flow)));
    })?;
    let mut removed = 0;
    for entry in &stale {
        match netfilter.ask(&ctnetlink::delete(entry), |_, _| {}) {
            Ok(()) => removed += 1,
            // It has ended meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    //! A client and two endpoints in a network of their own, with the kernel's connection tracking; needs root.

    use std::{
        io::Write,
        net::{Ipv4Addr, UdpSocket},
        process::{Command, Stdio},
        time::Duration,
    };

    use executor_core::services::routes::{Endpoint, Protocol, Route};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const SERVICE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    const INNER: &str = "machine::conntrack::tests::in_a_network_of_its_own";

    #[test]
    fn a_flow_leaves_an_endpoint_that_is_gone() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let this = std::env::current_exe().unwrap();
        let ran = Command::new("unshare")
            .arg("--net")
            .arg(this)
            .args(["--exact", INNER, "--ignored"])
            .output()
            .unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    }

    fn run(program: &str, arguments: &[&str], input: &str) {
        let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{program} {arguments:?}");
    }

    /// Makes an endpoint that of the Service.
    fn lead_to(port: u16) {
        let rules = format!(
            "add table ip t\ndelete table ip t\ntable ip t {{\n chain o {{\n  type nat hook output priority -100\n  \
             ip daddr {SERVICE} udp dport 9000 dnat to 127.0.0.1:{port}\n }}\n}}\n"
        );
        run("nft", &["--file", "-"], &rules);
    }

    #[test]
    #[ignore = "the other test starts it, in a network of its own"]
    fn in_a_network_of_its_own() {
        run("ip", &["link", "set", "lo", "up"], "");
        run("ip", &["address", "add", &format!("{SERVICE}/32"), "dev", "lo"], "");
        let servers = [9001, 9002].map(|port| {
            let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
            server.set_read_timeout(Some(TIMEOUT)).unwrap();
            server
        });
        let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let reaches = |server: &UdpSocket, sent: u8| {
            client.send_to(&[sent], (SERVICE, 9000)).unwrap();
            let mut received = [0];
            server.recv_from(&mut received).unwrap();
            assert_eq!(received, [sent]);
        };
        lead_to(9001);
        reaches(&servers[0], 1);
        lead_to(9002);
        // The kernel remembers the flow, whatever the rules say.
        reaches(&servers[0], 2);
        let route = Route {
            name: "ns/echo/udp/".to_owned(),
            protocol: Protocol::Udp,
            cluster_ip: SERVICE,
            external: Vec::new(),
            balancers: Vec::new(),
            sources: Vec::new(),
            port: 9000,
            node_port: None,
            affinity_seconds: None,
            endpoints: Vec::new(),
            serving: vec![Endpoint { address: Ipv4Addr::LOCALHOST, port: 9002 }],
            local_endpoints: Vec::new(),
            internal_local: false,
            external_local: false,
        };
        let backends = UdpBackends::of(&[route]);
        assert_eq!(remove(&backends).unwrap(), 1);
        reaches(&servers[1], 3);
        assert_eq!(remove(&backends).unwrap(), 0, "a flow to a serving endpoint stays");
        reaches(&servers[1], 4);
    }
}
