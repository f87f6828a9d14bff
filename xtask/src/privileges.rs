//! Root for the commands that need it, through sudo if this process has another user.

use std::{path::Path, process::Command};

use anyhow::bail;

use crate::command;

/// Debian's path of sudo.
const SUDO: &str = "/usr/bin/sudo";
/// Where Debian has the programs of root.
const ROOT_TOOLS: &str = "/usr/local/sbin:/usr/sbin:/sbin";
/// The environment of a cluster and of its tests, which sudo would drop.
const KEPT: &str = "--preserve-env=CATAMARAN_LOG,CATAMARAN_LOG_FORMAT,CATAMARAN_BINARY,CATAMARAN_CLIENTS,CATAMARAN_FRAMEWORKS,CATAMARAN_FAULT_ROUNDS,CATAMARAN_CONFORMANCE_STORE,PROPTEST_RNG_SEED,RUST_BACKTRACE,UPDATE_EXPECT";

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that runs as root.
pub fn as_root(program: &str, arguments: &[&str]) -> anyhow::Result<Command> {
    if is_root() {
        return Ok(command::program(program, arguments));
    }
    if !Path::new(SUDO).exists() {
        let command = [&[program], arguments].concat().join(" ");
        bail!("`{command}` needs root, and there is no sudo: run this as root");
    }
    let mut sudo = command::program(SUDO, &[KEPT, "--", program]);
    sudo.args(arguments);
    Ok(sudo)
}

/// The setting with which cargo starts test programs as root; `None` if this process is root.
pub fn test_runner() -> anyhow::Result<Option<(String, String)>> {
    if is_root() {
        return Ok(None);
    }
    if !Path::new(SUDO).exists() {
        bail!(
            "the tests need root (containers, network namespaces), and there is no sudo: run this as root, or add --fast"
        );
    }
    // sudo has a path of its own, without the tools of this user, whose path may lack those of root.
    let own = |name: &str| std::env::var(name).unwrap_or_default();
    let tools =
        Path::new(&own("CARGO")).parent().map(|tools| tools.display().to_string()).unwrap_or_default();
    let cargo_home = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{}/.cargo", own("HOME")));
    let with_tools =
        format!("/usr/bin/env PATH={tools}:{}:{ROOT_TOOLS} CARGO_HOME={cargo_home}", own("PATH"));
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let variable = format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_"));
    Ok(Some((variable, format!("{SUDO} {KEPT} -- {with_tools}"))))
}

/// Says that a build as root leaves files that the user who called sudo cannot replace.
pub fn warn_of_sudo() {
    if is_root() && std::env::var("SUDO_UID").is_ok_and(|uid| uid != "0") {
        eprintln!(
            "warning: what this builds belongs to root; without sudo, `cargo xtask` asks for root where it must"
        );
    }
}
