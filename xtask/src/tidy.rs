//! `cargo xtask tidy`: the habits that a program can check. Each rule is one function in `tidy/`; each finding says what
//! to do. A ratchet file may only shrink.

use anyhow::bail;

mod documents;
mod edges;
mod sources;

/// Something to mend: where, and what.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding(pub String);

/// Runs every rule over the repository.
pub fn run() -> anyhow::Result<()> {
    let files = sources::list()?;
    let mut findings = Vec::new();
    findings.extend(edges::check()?);
    findings.extend(sources::check(&files)?);
    findings.extend(documents::check(&files)?);
    findings.sort();
    for Finding(text) in &findings {
        println!("tidy: {text}");
    }
    if !findings.is_empty() {
        bail!("{} findings of tidy are to be mended", findings.len());
    }
    println!("tidy: {} source files, nothing to mend", files.len());
    Ok(())
}
