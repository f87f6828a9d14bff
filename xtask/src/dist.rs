//! `cargo xtask dist`: builds the static binary and packs it for machines without Rust.

use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::{command, prerequisites};

/// Arguments of `dist`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Target of the binary, which must run on this machine
    #[arg(long, default_value_t = format!("{}-unknown-linux-musl", std::env::consts::ARCH))]
    target: String,
    /// Directory for the results, which has nothing else in it [default: dist in cargo's target directory]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Builds the binary, runs the crate `dist`, and lists the results.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let target = &arguments.target;
    if !target.starts_with(std::env::consts::ARCH) {
        bail!(
            "--target {target}: completions and manual pages are printed by the binary, so it must run on this machine"
        );
    }
    command::step("prerequisites", || {
        prerequisites::for_packaging()?;
        command::run(&mut command::program("rustup", &["target", "add", target]))
            .context("the standard library for the target is needed")
    })?;
    let epoch = source_date();
    let build = ["build", "--release", "--locked", "--package", "catamaran", "--target", target];
    command::step("the binary", || {
        let mut build = command::cargo(&build);
        // Nobody debugs with symbols of the static binary, and they are half of it.
        build.env("CARGO_PROFILE_RELEASE_STRIP", "symbols").env("SOURCE_DATE_EPOCH", &epoch);
        command::run(&mut build)
    })?;
    let directory = command::target_directory()?;
    let binary = directory.join(target).join("release/catamaran");
    let out = arguments.out.clone().unwrap_or_else(|| directory.join("dist"));
    command::step("packages", || {
        let mut pack = command::cargo(&["run", "--quiet", "--package", "dist", "--"]);
        pack.arg("--binary").arg(&binary).args(["--target", target]).arg("--out").arg(&out);
        command::run(pack.env("SOURCE_DATE_EPOCH", &epoch))
    })
}

/// The time of the commit, in seconds since 1970, or what `SOURCE_DATE_EPOCH` says.
fn source_date() -> String {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok();
    let committed = || {
        let output = command::program("git", &["log", "-1", "--format=%ct"]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    given.or_else(committed).unwrap_or_else(|| "0".to_owned())
}
