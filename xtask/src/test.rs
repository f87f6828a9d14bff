//! `cargo xtask test`: everything that CI runs, in the order in which it fails soonest.

use anyhow::bail;

use crate::{
    command::{self, Count},
    prerequisites, tidy,
};

/// Arguments of `test`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Leave out the end-to-end tests (they need root, containers and a few minutes)
    #[arg(long)]
    fast: bool,
    /// Only the end-to-end tests whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// What the property tests draw their cases from. One tree, one answer; a plain `cargo test` draws anew each time
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs every check; the last line counts the tests.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    command::step("prerequisites", prerequisites::for_testing)?;
    let mut count = Count::default();
    if arguments.only.is_none() {
        command::step("tidy", tidy::run)?;
        command::step("formatting", || command::run(&mut command::cargo(&["fmt", "--all", "--check"])))?;
        command::step("lints", || {
            let lints = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
            command::run(&mut command::cargo(&lints))
        })?;
        command::step("unit and integration tests", || {
            let tests = ["test", "--workspace", "--exclude", "e2e", "--no-fail-fast"];
            let mut tests = command::cargo(&tests);
            // A failing property says which case of the seed it was, and the least case like it.
            tests.env("PROPTEST_RNG_SEED", arguments.seed.to_string());
            println!("property tests draw from seed {0} (PROPTEST_RNG_SEED={0})", arguments.seed);
            command::run_counting(&mut tests, &mut count)
        })?;
    }
    if !arguments.fast {
        command::step("the binary", || {
            command::run(&mut command::cargo(&["build", "--package", "catamaran"]))
        })?;
        command::step("end-to-end tests", || end_to_end(arguments.only.as_deref(), &mut count))?;
    }
    println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.ignored);
    if count.failed > 0 {
        bail!("{} tests failed; their output is above", count.failed);
    }
    Ok(())
}

fn end_to_end(only: Option<&str>, count: &mut Count) -> anyhow::Result<()> {
    let mut tests = command::cargo(&["test", "--package", "e2e", "--no-fail-fast", "--", "--test-threads=1"]);
    // One cluster at a time: the tests share the machine's ports, bridges and two cores.
    tests.arg("--nocapture").args(only);
    tests.env("RUST_BACKTRACE", "0").env("CATAMARAN_CLIENTS", prerequisites::clients_directory());
    tests.env("CATAMARAN_FRAMEWORKS", prerequisites::frameworks_directory());
    tests.env("CATAMARAN_BINARY", command::target_directory()?.join("debug/catamaran"));
    command::run_counting(&mut tests, count)
}
