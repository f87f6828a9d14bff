//! `cargo xtask check`: type-checks the workspace.

use crate::{command, prerequisites};

/// Type-checks the whole workspace, tests and examples included.
pub fn run() -> anyhow::Result<()> {
    prerequisites::for_building()?;
    for targets in command::EVERY_TARGET {
        command::run(command::cargo(&["check", "--workspace"]).args(targets))?;
    }
    Ok(())
}
