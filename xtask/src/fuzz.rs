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

/// A target and the feature of the fuzz crate that it needs.
struct Target {
    name: String,
    feature: Option<String>,
}

/// Runs one target, or lists all.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let targets = targets()?;
    let Some(name) = &arguments.name else {
        targets.iter().for_each(|target| println!("{}", target.name));
        return Ok(());
    };
    let Some(target) = targets.iter().find(|target| target.name == *name) else {
        bail!("there is no fuzz target '{name}'; `cargo xtask fuzz` lists them");
    };
    let corpus = format!("fuzz/corpus/{name}");
    fs::create_dir_all(&corpus).with_context(|| format!("cannot create {corpus}"))?;
    let mut fuzz = command::cargo(&["fuzz", "run", "--sanitizer", "none", "--no-default-features"]);
    if let Some(feature) = &target.feature {
        fuzz.args(["--features", feature]);
    }
    fuzz.args([name, &corpus]);
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

/// The `[[bin]]` entries of the fuzz crate.
fn targets() -> anyhow::Result<Vec<Target>> {
    let manifest = fs::read_to_string("fuzz/Cargo.toml").context("fuzz/Cargo.toml is missing")?;
    let quoted = |entry: &str, key: &str| {
        let line = entry.lines().find_map(|line| line.strip_prefix(key))?;
        line.split('"').nth(1).map(str::to_owned)
    };
    let bins = manifest.split("[[bin]]").skip(1);
    let target = |entry: &str| {
        let name = quoted(entry, "name = ")?;
        Some(Target { name, feature: quoted(entry, "required-features = ") })
    };
    Ok(bins.filter_map(target).collect())
}
