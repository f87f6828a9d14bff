//! `SHA256SUMS`, as sha256sum(1) reads it.

use std::{fs, path::Path};

use anyhow::Context;
use sha2::{Digest, Sha256};

use crate::tree;

/// Writes the checksums of all files, and returns a line about each.
pub fn write(directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut sums = String::new();
    let mut lines = Vec::new();
    for file in tree::files_below(directory)? {
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(directory).context("the files lie in the directory")?.display();
        let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        sums += &format!("{digest}  {name}\n");
        lines.push(format!("{:>9.1} MiB  {}", content.len() as f64 / 1024.0 / 1024.0, file.display()));
    }
    fs::write(directory.join("SHA256SUMS"), sums)?;
    Ok(lines)
}
