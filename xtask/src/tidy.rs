//! `cargo xtask tidy`: the rules of this repository that a program can check. Each file in `tidy/` is one group of rules;
//! each finding says what to do. A ratchet file may only shrink.

use anyhow::bail;

mod documents;
mod edges;
mod layers;
mod links;
mod sources;
mod vocabulary;

/// A broken rule: where, and what to do.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding(pub String);

/// Runs every rule over the repository.
pub fn run() -> anyhow::Result<()> {
    let files = sources::list()?;
    let mut findings = Vec::new();
    findings.extend(edges::check()?);
    findings.extend(sources::check(&files)?);
    findings.extend(layers::check(&files));
    findings.extend(documents::check(&files)?);
    findings.extend(vocabulary::check(&files)?);
    findings.sort();
    for Finding(text) in &findings {
        println!("tidy: {text}");
    }
    if !findings.is_empty() {
        bail!("tidy has {} findings", findings.len());
    }
    println!("tidy: {} source files, no findings", files.len());
    Ok(())
}
