//! Rules for source files: a `//!` at the top, sizes, names, and markers of unfinished work.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::Context;

use super::Finding;

/// Maximum lines of a file; longer files are listed in the ratchet.
const FILE_LINES_MAX: usize = 500;
/// Maximum lines of a function, from `fn` to the closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// File names without meaning.
const VAGUE_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "manager"];
/// Known longer files and functions: `path lines` or `path::function lines`. They may only shrink.
const RATCHET: &str = "xtask/ratchet.txt";

/// A file of the repository.
pub struct Source {
    /// Path relative to the root.
    pub path: String,
    pub text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.contains("/tests/") || self.path.starts_with("e2e/")
    }
}

/// All Rust files that git tracks or would add.
pub fn list() -> anyhow::Result<Vec<Source>> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .output()
        .context("could not ask git for the files")?;
    let mut sources = Vec::new();
    for path in String::from_utf8_lossy(&listed.stdout).lines() {
        // A tracked file may be deleted in the work tree.
        if let Ok(text) = fs::read_to_string(path) {
            sources.push(Source { path: path.to_owned(), text });
        }
    }
    Ok(sources)
}

/// Checks all files.
pub fn check(sources: &[Source]) -> anyhow::Result<Vec<Finding>> {
    let mut ratchet = Ratchet::read();
    let mut findings = Vec::new();
    for source in sources {
        heading(source, &mut findings);
        name(source, &mut findings);
        unfinished(source, &mut findings);
        ratchet.measure(&source.path, source.text.lines().count(), FILE_LINES_MAX, &mut findings);
        if !source.is_test() {
            for (function, lines) in functions(&source.text) {
                ratchet.measure(
                    &format!("{}::{function}", source.path),
                    lines,
                    FUNCTION_LINES_MAX,
                    &mut findings,
                );
            }
        }
    }
    findings.extend(ratchet.stale());
    Ok(findings)
}

fn heading(source: &Source, findings: &mut Vec<Finding>) {
    if !source.text.lines().take(3).any(|line| line.starts_with("//!")) {
        findings.push(Finding(format!("{}: open it with `//!`: what it is and why it is here", source.path)));
    }
}

fn name(source: &Source, findings: &mut Vec<Finding>) {
    let parts = source.path.trim_end_matches(".rs").split('/');
    if let Some(vague) = parts.clone().find(|part| VAGUE_NAMES.contains(part)) {
        findings.push(Finding(format!("{}: '{vague}' says nothing; name the noun", source.path)));
    }
    if source.path.ends_with("/mod.rs") {
        findings.push(Finding(format!("{}: use `x.rs` beside `x/`, not `mod.rs`", source.path)));
    }
}

fn unfinished(source: &Source, findings: &mut Vec<Finding>) {
    if source.path.starts_with("xtask/src/tidy") {
        return;
    }
    for (index, line) in source.text.lines().enumerate() {
        for word in ["todo!(", "unimplemented!(", "FIXME", "XXX"] {
            if line.contains(word) {
                findings.push(Finding(format!("{}:{}: '{word}' is unfinished work", source.path, index + 1)));
            }
        }
        if line.contains("unbounded_channel") || line.contains("mpsc::unbounded") {
            findings.push(Finding(format!("{}:{}: every channel has a bound", source.path, index + 1)));
        }
    }
}

/// The functions of rustfmt-formatted source with their lengths: from the line with `fn` to the brace at the same
/// indent.
pub fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let Some(name) = function_name(trimmed) else { continue };
        let indent = line.len() - trimmed.len();
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|l| **l == closing);
        let ends_at_once = lines[start..]
            .iter()
            .position(|l| l.trim_end().ends_with(';') && l.len() - l.trim_start().len() == indent);
        if let Some(length) = end
            && ends_at_once.is_none_or(|at_once| at_once > length || line.contains('{'))
        {
            found.push((name.to_owned(), length + 1));
        }
    }
    found
}

fn function_name(trimmed: &str) -> Option<&str> {
    let mut rest = trimmed;
    for prefix in ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}

/// The ratchet. Listed files and functions may not grow; entries that are no longer needed are findings.
struct Ratchet {
    limits: BTreeMap<String, usize>,
    used: Vec<String>,
}

impl Ratchet {
    fn read() -> Self {
        let text = fs::read_to_string(RATCHET).unwrap_or_default();
        let limits = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(what, lines)| Some((what.to_owned(), lines.parse().ok()?)))
            .collect();
        Self { limits, used: Vec::new() }
    }

    fn measure(&mut self, what: &str, lines: usize, max: usize, findings: &mut Vec<Finding>) {
        if lines <= max {
            return;
        }
        match self.limits.get(what) {
            Some(limit) if lines <= *limit => self.used.push(what.to_owned()),
            Some(limit) => {
                self.used.push(what.to_owned());
                findings.push(Finding(format!("{what}: grew from {limit} to {lines} lines; split it")));
            }
            None => findings.push(Finding(format!("{what}: {lines} lines, at most {max}; split it"))),
        }
    }

    fn stale(&self) -> Vec<Finding> {
        self.limits
            .keys()
            .filter(|what| !self.used.contains(what))
            .map(|what| Finding(format!("{what}: fits now; take it off {RATCHET}")))
            .collect()
    }
}

#[cfg(test)]
mod tests;
