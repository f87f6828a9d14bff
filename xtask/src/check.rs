//! `cargo xtask check`: type-checks the workspace.

use crate::{command, prerequisites};

/// Type-checks the whole workspace, tests and examples included.
pub fn run() -> anyhow::Result<()> {
    prerequisites::for_building()?;
    command::run(&mut command::cargo(&["check", "--workspace", "--all-targets"]))
}
