//! `cargo xtask bench`: CPU per operation, rates and memory, beside the machine's limits.

use crate::{command, prerequisites};

/// Arguments of `bench`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Arguments for the bench program (see `cargo xtask bench -- --help`)
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
    let target = command::target_directory()?.join("release");
    let mut bench = std::process::Command::new(target.join("catamaran-bench"));
    bench.arg("table").arg("--binary").arg(target.join("catamaran"));
    bench.arg("--offer-cycle").arg(target.join("examples/offer_cycle")).args(&arguments.rest);
    command::run(&mut bench)
}
