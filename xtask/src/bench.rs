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
    // One selection: third-party crates get the features that `up` builds them with, and are not compiled once more. The
    // example alone would select fewer.
    let mut build = command::cargo(&["build", "--release", "--bins", "--example", "offer_cycle"]);
    command::run(
        build.args(["catamaran", "e2e", "kernel-core"].iter().flat_map(|name| ["--package", *name])),
    )?;
    let target = command::target_directory()?.join("release");
    let mut bench = std::process::Command::new(target.join("catamaran-bench"));
    bench.arg("table").arg("--binary").arg(target.join("catamaran"));
    bench.arg("--offer-cycle").arg(target.join("examples/offer_cycle")).args(&arguments.rest);
    command::run(&mut bench)
}
