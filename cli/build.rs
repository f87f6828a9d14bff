//! Gives the binary the commit and the date of its sources. A reproducible build sets `SOURCE_DATE_EPOCH`; outside a repository
//! `CATAMARAN_COMMIT` can name the commit.

use std::{path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-env-changed=CATAMARAN_COMMIT");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rerun-if-changed=build.rs");
    // The log of HEAD grows with each commit, checkout and reset.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
    let commit = std::env::var("CATAMARAN_COMMIT").ok().or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().or_else(|| git(&["log", "-1", "--format=%ct"]));
    let date = epoch.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    println!("cargo:rustc-env=CATAMARAN_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo:rustc-env=CATAMARAN_BUILD_EPOCH={date}");
    // As of the last run of this script: a change that is not committed does not run it.
    let modified = git(&["status", "--porcelain"]).is_some();
    println!("cargo:rustc-env=CATAMARAN_MODIFIED={}", if modified { "yes" } else { "no" });
}

/// The output of git, if it succeeds.
fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
