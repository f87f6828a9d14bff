//! Two network namespaces as hosts of a test, connected by a veth pair that can be taken down and up again.

use std::process::Command;

use anyhow::bail;

/// Two hosts that are connected by a veth pair.
pub struct Network {
    /// Namespace of the first host, with address [`Network::FIRST`].
    pub first: String,
    /// Namespace of the second host, with address [`Network::SECOND`].
    pub second: String,
}

impl Network {
    /// Address of the first host.
    pub const FIRST: &'static str = "10.199.77.1";
    /// Address of the second host.
    pub const SECOND: &'static str = "10.199.77.2";

    /// Creates both hosts and connects them.
    pub fn new() -> anyhow::Result<Self> {
        let id = std::process::id();
        let network = Self { first: format!("cm-e2e-a{id}"), second: format!("cm-e2e-b{id}") };
        let (a, b) = (&network.first, &network.second);
        ip(&["netns", "add", a])?;
        ip(&["netns", "add", b])?;
        ip(&["-n", a, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", b])?;
        for (namespace, address) in [(a, Self::FIRST), (b, Self::SECOND)] {
            ip(&["-n", namespace, "address", "add", &format!("{address}/24"), "dev", "cable"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", namespace, "link", "set", "cable", "up"])?;
        }
        // Masquerading of the Pod network needs a default route.
        ip(&["-n", a, "route", "add", "default", "via", Self::SECOND])?;
        ip(&["-n", b, "route", "add", "default", "via", Self::FIRST])?;
        Ok(network)
    }

    /// Routes the Pod addresses of each host, as the network of several machines does.
    pub fn route(&self, first: &str, second: &str) -> anyhow::Result<()> {
        ip(&["-n", &self.first, "route", "add", second, "via", Self::SECOND])?;
        ip(&["-n", &self.second, "route", "add", first, "via", Self::FIRST]).map(drop)
    }

    /// Removes all rules of the first host's tables whose names begin so, as other software may; the tables stay.
    pub fn flush_rules(&self, prefix: &str) -> anyhow::Result<()> {
        let flush = format!("case $name in {prefix}*) nft flush table $family $name; esac");
        let script = format!("nft list tables | while read -r _ family name; do {flush}; done");
        ip(&["netns", "exec", &self.first, "sh", "-ec", &script]).map(drop)
    }

    /// The rules of the first host's packet filter, with handles: a table that is made anew has another one.
    pub fn rules(&self) -> anyhow::Result<String> {
        ip(&["netns", "exec", &self.first, "nft", "--handle", "list", "ruleset"])
    }

    /// Disconnects the hosts; connections do not notice at once.
    pub fn cut(&self) -> anyhow::Result<()> {
        ip(&["-n", &self.second, "link", "set", "cable", "down"]).map(drop)
    }

    /// Connects the hosts again.
    pub fn restore(&self) -> anyhow::Result<()> {
        ip(&["-n", &self.second, "link", "set", "cable", "up"])?;
        // The link's routes were removed when it went down.
        ip(&["-n", &self.second, "route", "replace", "default", "via", Self::FIRST]).map(drop)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in [&self.first, &self.second] {
            if let Err(error) = ip(&["netns", "delete", namespace]) {
                eprintln!("{error:#}");
            }
        }
    }
}

/// Runs `ip`. Returns its output.
fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("ip").args(arguments).output()?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
