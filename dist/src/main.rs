//! Packs a built binary for machines without Rust: archive, Debian package, OCI image, SBOM, checksums. `cargo xtask dist` builds
//! the binary and runs this.
//!
//! It is a crate of its own so that `cargo xtask up` does not wait for what only packaging needs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
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
    /// Directory for the results: empty, or with those of an earlier run, which are replaced
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

/// Removes the results of an earlier run. A directory with anything else in it may be somebody's.
fn fresh_directory(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let entries: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    if let Some(foreign) = entries.iter().find(|entry| !is_result(entry)) {
        bail!("{} is no result of an earlier run: give an empty directory for --out", foreign.display());
    }
    for entry in entries {
        let removed = if entry.is_dir() { fs::remove_dir_all(&entry) } else { fs::remove_file(&entry) };
        removed.with_context(|| format!("cannot remove {}", entry.display()))?;
    }
    Ok(())
}

fn is_result(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    matches!(name, "SHA256SUMS" | "install.sh" | "staging")
        || name.starts_with("catamaran-")
        || name.starts_with("catamaran_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_files_of_others_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let results = ["SHA256SUMS", "catamaran_0.0.9_amd64.deb"].map(|name| directory.path().join(name));
        for result in &results {
            fs::write(result, "").unwrap();
        }
        let foreign = directory.path().join("thesis.tex");
        fs::write(&foreign, "").unwrap();
        assert!(fresh_directory(directory.path()).is_err());
        assert!(results.iter().all(|result| result.exists()));
        fs::remove_file(&foreign).unwrap();
        fresh_directory(directory.path()).unwrap();
        assert!(results.iter().all(|result| !result.exists()));
    }
}
