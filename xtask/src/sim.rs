//! `cargo xtask sim`: simulates a whole cluster in one thread on a virtual clock.

use crate::{command, prerequisites};

/// Arguments of `sim`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Replay this seed and print its event log
    seed: Option<u64>,
    /// Without a seed: run this many, from --first on
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed of a range
    #[arg(long, default_value_t = 0)]
    first: u64,
}

/// Runs the simulator's program.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    prerequisites::for_building()?;
    let mut cargo = command::cargo(&["run", "--quiet", "--release", "--package", "sim", "--"]);
    match arguments.seed {
        Some(seed) => cargo.args(["replay", &seed.to_string()]),
        None => cargo.args(["run", &arguments.first.to_string(), &arguments.seeds.to_string()]),
    };
    command::run(&mut cargo)
}
