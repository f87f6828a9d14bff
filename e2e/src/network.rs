//! Network namespaces for hosts of a test: made, joined by a cable, cut, and taken down.

use std::process::Command;

use anyhow::bail;

/// Two hosts on one cable.
pub struct Network {
    /// Name of the first host's namespace; it has [`Network::FIRST`].
    pub first: String,
    /// Name of the second host's namespace; it has [`Network::SECOND`].
    pub second: String,
}

impl Network {
    /// The first host's address.
    pub const FIRST: &'static str = "10.199.77.1";
    /// The second host's address.
    pub const SECOND: &'static str = "10.199.77.2";

    /// Makes both hosts and the cable.
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
        // Masquerading of the Pods' network wants a default route.
        ip(&["-n", a, "route", "add", "default", "via", Self::SECOND])?;
        ip(&["-n", b, "route", "add", "default", "via", Self::FIRST])?;
        Ok(network)
    }

    /// Pulls the cable out: nothing passes, and nobody is told.
    pub fn cut(&self) -> anyhow::Result<()> {
        ip(&["-n", &self.second, "link", "set", "cable", "down"])
    }

    /// Puts the cable back.
    pub fn mend(&self) -> anyhow::Result<()> {
        ip(&["-n", &self.second, "link", "set", "cable", "up"])?;
        // The route went with the link.
        ip(&["-n", &self.second, "route", "replace", "default", "via", Self::FIRST])
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

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
