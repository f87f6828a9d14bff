//! Rejects packets to virtual addresses: the cluster IPs of Services, which have no data path yet. The default gateway
//! would get them, and whoever answers there would get the Pods' requests.

use std::{
    io::{Error, ErrorKind, Result, Write},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use crate::{config::Config, machine::pod_network::network_name};

/// How often the configuration is compared with the rules: the agent's latest start may have written other ranges.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Keeps the rules until the process ends. [`remove`] takes them away.
pub(crate) async fn keep(config: Arc<Config>) {
    let mut ranges = config.virtual_ranges.clone();
    let mut set = false;
    let mut warned = false;
    loop {
        if !set {
            match apply(rules(&network_name(&config), &ranges)).await {
                Ok(()) => set = true,
                Err(error) if !warned => {
                    warned = true;
                    tracing::warn!(%error, "packets to Service addresses leave the machine: their rejection cannot be set up");
                }
                Err(_) => {}
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(newest) = config.newest().filter(|newest| newest.virtual_ranges != ranges) {
            ranges = newest.virtual_ranges;
            set = false;
        }
    }
}

/// Removes the rules.
pub(crate) async fn remove(config: &Config) {
    if let Err(error) = apply(no_rules(&network_name(config))).await {
        tracing::debug!(%error, "cannot remove the rules about Service addresses");
    }
}

/// Whether the table of the rules exists.
pub(crate) fn exist(config: &Config) -> bool {
    let mut command = Command::new("nft");
    command.args(["list", "table", "ip", &network_name(config)]).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A transaction that removes the table. An empty definition precedes the deletion: a table that does not exist cannot be
/// deleted.
fn no_rules(table: &str) -> String {
    format!("table ip {table} {{}}\ndelete table ip {table}\n")
}

/// A transaction that replaces the table.
fn rules(table: &str, ranges: &[String]) -> String {
    let mut transaction = no_rules(table);
    if ranges.is_empty() {
        return transaction;
    }
    let new = format!("ct state new ip daddr {{ {} }}", ranges.join(", "));
    // A reset ends a TCP client of this machine at once; an ICMP error only at its first retransmission.
    let rules = format!("{new} meta l4proto tcp reject with tcp reset; {new} reject;");
    let chain =
        |hook: &str| format!("chain {hook} {{ type filter hook {hook} priority 0; policy accept; {rules} }}");
    transaction += &format!("table ip {table} {{\n{}\n{}\n}}\n", chain("forward"), chain("output"));
    transaction
}

/// Applies a transaction.
async fn apply(rules: String) -> Result<()> {
    let applied = tokio::task::spawn_blocking(move || {
        let mut child = Command::new("nft")
            .args(["--file", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // nft may end before it has read everything; its own message is better.
            match stdin.write_all(rules.as_bytes()) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        let output = child.wait_with_output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    });
    applied.await.map_err(Error::other)?
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_rules_replace_those_of_other_ranges() {
        expect![[r#"
            table ip t {}
            delete table ip t
            table ip t {
            chain forward { type filter hook forward priority 0; policy accept; ct state new ip daddr { 10.96.0.0/12, 10.3.0.0/16 } meta l4proto tcp reject with tcp reset; ct state new ip daddr { 10.96.0.0/12, 10.3.0.0/16 } reject; }
            chain output { type filter hook output priority 0; policy accept; ct state new ip daddr { 10.96.0.0/12, 10.3.0.0/16 } meta l4proto tcp reject with tcp reset; ct state new ip daddr { 10.96.0.0/12, 10.3.0.0/16 } reject; }
            }
        "#]]
        .assert_eq(&rules("t", &["10.96.0.0/12".to_owned(), "10.3.0.0/16".to_owned()]));
        assert_eq!(rules("t", &[]), no_rules("t"));
    }
}
