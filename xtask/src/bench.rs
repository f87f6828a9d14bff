//! `cargo xtask bench`: what an operation costs, beside what the machine allows.

use std::path::PathBuf;

use crate::{command, prerequisites};

/// Arguments of `bench`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Arguments for the bench program (see `cargo xtask bench --help-bench`)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds in release and runs the bench program.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    prerequisites::for_building()?;
    command::run(&mut command::cargo(&["build", "--release", "--package", "catamaran", "--package", "e2e"]))?;
    command::run(&mut command::cargo(&[
        "build",
        "--release",
        "--package",
        "kernel-core",
        "--example",
        "offer_cycle",
    ]))?;
    // Where cargo has put them: what is built elsewhere by wish of the environment is found there.
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| command::workspace_root().join("target"), PathBuf::from)
        .join("release");
    let mut bench = std::process::Command::new(target.join("catamaran-bench"));
    bench.arg("table").arg("--binary").arg(target.join("catamaran"));
    bench.arg("--offer-cycle").arg(target.join("examples/offer_cycle")).args(&arguments.rest);
    command::run(&mut bench)
}
