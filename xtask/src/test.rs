//! `cargo xtask test`: everything that CI runs, fast checks first.

use anyhow::bail;

use crate::{
    command::{self, Count},
    prerequisites, privileges, tidy,
};

/// The test target of the end-to-end tests.
const END_TO_END: &str = "end_to_end";
/// The test target of the conformance suite.
const CONFORMANCE: &str = "conformance";
/// The test target of the real clients.
const CLIENTS: &str = "clients";

/// Arguments of `test`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Leave out the end-to-end tests, the real clients and the conformance suite (they need root, containers and a few minutes)
    #[arg(long)]
    fast: bool,
    /// Run only the end-to-end, client and conformance tests whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Seed of the property tests; a plain `cargo test` uses a new one each time
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
            for targets in command::EVERY_TARGET {
                let mut lints = command::cargo(&["clippy", "--workspace"]);
                command::run(lints.args(targets).args(["--", "--deny", "warnings"]))?;
            }
            Ok(())
        })?;
        command::step("unit and integration tests", || {
            let mut tests = command::cargo(&["test", "--workspace", "--no-fail-fast"]);
            // A failing property prints the seed and the minimal failing case.
            tests.env("PROPTEST_RNG_SEED", arguments.seed.to_string());
            // Some tests make namespaces and control groups; with --fast they are skipped unless this is root.
            tests.envs(if arguments.fast { None } else { privileges::test_runner()? });
            println!("seed of the property tests: {0} (PROPTEST_RNG_SEED={0})", arguments.seed);
            command::run_counting(&mut tests, &mut count)
        })?;
    }
    if !arguments.fast {
        // The whole workspace is selected everywhere: another selection has other features of third-party crates, and
        // builds them once more.
        command::step("the binary", || {
            let tests = ["--test", END_TO_END, "--test", CONFORMANCE, "--test", CLIENTS];
            let build =
                [["build", "--workspace", "--lib", "--bin", "catamaran"].as_slice(), tests.as_slice()]
                    .concat();
            command::run(&mut command::cargo(&build))
        })?;
        // One cluster at a time: the tests share cores, and some have deadlines.
        let (only, one_by_one) = (arguments.only.as_deref(), Some("--test-threads=1"));
        command::step("end-to-end tests", || black_box(END_TO_END, one_by_one, only, &mut count))?;
        // These share one cluster each and mostly wait.
        command::step("real clients", || black_box(CLIENTS, None, only, &mut count))?;
        command::step("conformance suite", || black_box(CONFORMANCE, None, only, &mut count))?;
    }
    println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.ignored);
    if count.failed > 0 {
        bail!("{} tests failed; their output is above", count.failed);
    }
    Ok(())
}

fn black_box(
    target: &str,
    threads: Option<&str>,
    only: Option<&str>,
    count: &mut Count,
) -> anyhow::Result<()> {
    let mut tests = command::cargo(&["test", "--workspace", "--test", target, "--", "--nocapture"]);
    tests.args(threads).args(only);
    tests.envs(privileges::test_runner()?);
    tests.env("RUST_BACKTRACE", "0").env("CATAMARAN_CLIENTS", prerequisites::clients_directory());
    tests.env("CATAMARAN_FRAMEWORKS", prerequisites::frameworks_directory());
    tests.env("CATAMARAN_BINARY", command::target_directory()?.join("debug/catamaran"));
    command::run_counting(&mut tests, count)
}
