//! `cargo xtask`: one verb per task of this repository, the same locally and in CI.
//!
//! Each verb is one file.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod check;
mod command;
mod dist;
mod fuzz;
mod prerequisites;
mod privileges;
mod sim;
mod test;
mod tidy;
mod up;

/// Work on Catamaran.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what is missing, build, and start a whole cluster in one process (arguments go to `catamaran up`)
    Up(up::Arguments),
    /// Run everything that CI runs: tidy, formatting, lints, unit tests, simulator, end-to-end tests
    Test(test::Arguments),
    /// Type-check the whole workspace, tests included
    Check,
    /// Check the repository's rules: crate graph, file sizes, documents, vocabulary
    Tidy,
    /// Replay one seed of the simulator with its event log, or run a range of seeds
    Sim(sim::Arguments),
    /// Measure CPU per operation, rates and memory
    Bench(bench::Arguments),
    /// Build the static binary and pack it: archive, Debian package, OCI image, SBOM, checksums
    Dist(dist::Arguments),
    /// Fuzz one parser with cargo-fuzz (needs `cargo install cargo-fuzz`)
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    std::env::set_current_dir(command::workspace_root())?;
    match verb {
        Verb::Up(arguments) => up::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Check => check::run(),
        Verb::Tidy => tidy::run(),
        Verb::Sim(arguments) => sim::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Dist(arguments) => dist::run(&arguments),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
    }
}
