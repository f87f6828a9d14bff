//! Packs a built binary for machines without Rust: archive, Debian package, OCI image, SBOM, checksums. `cargo xtask dist` builds
//! the binary and runs this.
//!
//! It is a crate of its own so that `cargo xtask up` does not wait for what only packaging needs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Parser;

mod archive;
mod checksums;
mod debian;
mod sbom;
mod tree;

/// Pack a built binary.
#[derive(Parser)]
struct Arguments {
    /// The binary, for the machine that this runs on
    #[arg(long)]
    binary: PathBuf,
    /// The target that it was built for, as x86_64-unknown-linux-musl
    #[arg(long)]
    target: String,
    /// Directory for the results
    #[arg(long)]
    out: PathBuf,
}

/// What all packages need to know.
pub struct Release {
    version: String,
    /// As in Rust's target names, `x86_64`.
    architecture: String,
    /// The time of all files in the packages, in seconds since 1970.
    epoch: u64,
}

impl Release {
    /// The name of the archive, and of the folder in it.
    fn name(&self) -> String {
        format!("catamaran-{}-{}-linux", self.version, self.architecture)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let metadata = sbom::metadata(&arguments.target)?;
    let release = Release {
        version: sbom::version(&metadata)?,
        architecture: arguments.target.split('-').next().unwrap_or_default().to_owned(),
        epoch: std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok()).unwrap_or(0),
    };
    fresh_directory(&arguments.out)?;
    let staging = arguments.out.join("staging");
    tree::build(&staging, &arguments.binary)?;
    let named = |suffix: &str| arguments.out.join(format!("{}{suffix}", release.name()));
    archive::pack(&staging, &release, &named(".tar.gz"))?;
    debian::pack(&staging, &release, &arguments.out)?;
    let image = format!("localhost/catamaran/catamaran:{}", release.version);
    let binary = fs::read(staging.join("usr/bin/catamaran"))?;
    let packed = kubelet_executor::runtime::images::build_program_image(&image, "catamaran", &binary)?;
    fs::write(named("-image.tar"), packed)?;
    fs::write(named(".cdx.json"), sbom::render(&metadata)?)?;
    fs::copy("packaging/install.sh", arguments.out.join("install.sh")).context("packaging/install.sh")?;
    fs::remove_dir_all(&staging)?;
    for line in checksums::write(&arguments.out)? {
        println!("{line}");
    }
    Ok(())
}

/// Removes the results of an earlier run.
fn fresh_directory(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
        _ => {}
    }
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}
