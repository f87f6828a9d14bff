//! `cargo xtask fuzz`: fuzzes one parser with cargo-fuzz, starting from the seeds in `fuzz/seeds`.
//!
//! cargo-fuzz runs without a sanitizer, since there is no unsafe code to check; so the stable toolchain suffices.

use std::{fs, path::Path};

use anyhow::{Context, bail};

use crate::command;

/// The longest input, in bytes: parsers of these sizes show their defects with small inputs.
const INPUT_BYTES_MAX: u32 = 4096;
/// Seconds after which one input counts as a hang.
const INPUT_SECONDS_MAX: u32 = 10;

/// Arguments of `fuzz`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the target; without one, the targets are listed
    name: Option<String>,
    /// How long to fuzz
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
}

/// Runs one target, or lists all.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let targets = targets()?;
    let Some(name) = &arguments.name else {
        targets.iter().for_each(|target| println!("{target}"));
        return Ok(());
    };
    if !targets.contains(name) {
        bail!("there is no fuzz target '{name}'; `cargo xtask fuzz` lists them");
    }
    let corpus = format!("fuzz/corpus/{name}");
    fs::create_dir_all(&corpus).with_context(|| format!("cannot create {corpus}"))?;
    let mut fuzz = command::cargo(&["fuzz", "run", "--sanitizer", "none", name, &corpus]);
    let seeds = format!("fuzz/seeds/{name}");
    if Path::new(&seeds).is_dir() {
        fuzz.arg(seeds);
    }
    fuzz.arg("--");
    fuzz.arg(format!("-max_total_time={}", arguments.seconds));
    fuzz.arg(format!("-max_len={INPUT_BYTES_MAX}")).arg(format!("-timeout={INPUT_SECONDS_MAX}"));
    command::run(&mut fuzz)
        .context("the target failed, or cargo-fuzz is missing (`cargo install cargo-fuzz`)")
}

/// The names of the `[[bin]]` entries of the fuzz crate.
fn targets() -> anyhow::Result<Vec<String>> {
    let manifest = fs::read_to_string("fuzz/Cargo.toml").context("fuzz/Cargo.toml is missing")?;
    let name = |entry: &str| {
        let line = entry.lines().find_map(|line| line.strip_prefix("name = "))?;
        line.split('"').nth(1).map(str::to_owned)
    };
    Ok(manifest.split("[[bin]]").skip(1).filter_map(name).collect())
}
