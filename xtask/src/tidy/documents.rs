//! Rules for documents: every invariant names a test, every path exists, every crate is on the code map, every decision page
//! has its four parts, lines are not too long, manifests inherit from the workspace.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{Finding, links, sources::Source};

/// Checks ARCHITECTURE.md, docs/decisions and the manifests.
pub fn check(sources: &[Source]) -> anyhow::Result<Vec<Finding>> {
    let map = fs::read_to_string("ARCHITECTURE.md").context("ARCHITECTURE.md is missing")?;
    let mut findings = Vec::new();
    invariants(&map, sources, &mut findings);
    paths("ARCHITECTURE.md", &map, sources, &mut findings);
    let documents = documents()?;
    findings.extend(links::check(&documents)?);
    for path in documents {
        long_lines(&path.display().to_string(), &fs::read_to_string(&path)?, &mut findings);
    }
    manifests(&map, &mut findings)?;
    decisions(sources, &mut findings)?;
    Ok(findings)
}

/// Each item of ARCHITECTURE.md that begins with `- **INV-nn**` must name an existing test function.
fn invariants(map: &str, sources: &[Source], findings: &mut Vec<Finding>) {
    for item in map.split("\n- ").skip(1) {
        let item = item.split("\n\n").next().unwrap_or_default();
        let Some(rest) = item.strip_prefix("**INV-") else { continue };
        let number = rest.split('*').next().unwrap_or_default();
        let tests: Vec<&str> =
            rest.split('`').skip(1).step_by(2).filter(|name| is_identifier(name)).collect();
        let exists = |name: &&&str| sources.iter().any(|s| s.text.contains(&format!("fn {name}(")));
        if tests.iter().find(exists).is_none() {
            findings.push(Finding(format!(
                "ARCHITECTURE.md: INV-{number} names no test that exists (as `test_name`)"
            )));
        }
    }
}

/// Each path in backticks must exist: one that ends in `.rs` as the end of a source file's path, one that begins with a
/// folder of the workspace as it is.
fn paths(document: &str, text: &str, sources: &[Source], findings: &mut Vec<Finding>) {
    for token in text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)) {
        let is_source = token.ends_with(".rs") && token.contains('/') && !token.contains("NAME");
        let exists = if is_source {
            sources.iter().any(|s| s.path == token || s.path.ends_with(&format!("/{token}")))
        } else {
            let first = token.split('/').next().unwrap_or_default();
            first == token || !Path::new(first).is_dir() || Path::new(token).exists()
        };
        if !exists {
            findings.push(Finding(format!("{document}: the path `{token}` does not exist")));
        }
    }
}

/// The longest line of a document, as of a source file.
const LINE_CHARS_MAX: usize = 140;

/// The documents at the root and below `docs`.
fn documents() -> anyhow::Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::from("docs")]);
    let is_document = |path: &Path| path.extension().is_some_and(|extension| extension == "md");
    for entry in fs::read_dir(".")? {
        found.push(PathBuf::from(entry?.file_name()));
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("{} is missing", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.retain(|path| is_document(path));
    found.sort();
    Ok(found)
}

/// Lines that are too long, other than rows of tables and what is fenced, which cannot be broken.
fn long_lines(document: &str, text: &str, findings: &mut Vec<Finding>) {
    let mut fenced = false;
    for (at, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        let length = line.chars().count();
        if length > LINE_CHARS_MAX && !fenced && !line.starts_with('|') {
            let number = at + 1;
            findings.push(Finding(format!(
                "{document}:{number}: {length} characters, more than {LINE_CHARS_MAX}"
            )));
        }
    }
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn manifests(map: &str, findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        if !map.contains(&format!("`{name}`")) {
            findings.push(Finding(format!("ARCHITECTURE.md: crate `{name}` is not on the code map")));
        }
        let text = fs::read_to_string(&package.manifest_path)?;
        if !text.contains("[lints]\nworkspace = true") {
            findings.push(Finding(format!("{}: take the lints from the workspace", package.manifest_path)));
        }
        let mut in_dependencies = false;
        for line in text.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && line.contains('=') && !line.contains("workspace = true") {
                findings
                    .push(Finding(format!("{}: `{line}`: versions live at the root", package.manifest_path)));
            }
        }
    }
    Ok(())
}

fn decisions(sources: &[Source], findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    for entry in fs::read_dir(Path::new("docs/decisions")).context("docs/decisions is missing")? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        paths(&path.display().to_string(), &text, sources, findings);
        for part in ["## Context", "## Choice", "## Consequence", "## What would change it"] {
            if !text.contains(part) {
                findings.push(Finding(format!("{}: has no '{part}'", path.display())));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_found_outside_of_tables_and_fences() {
        let long = "x".repeat(LINE_CHARS_MAX + 1);
        let text =
            format!("{long}\n| {long} |\n```\n{long}\n```\n- {long}\n{}\n", "ä".repeat(LINE_CHARS_MAX));
        let mut findings = Vec::new();
        long_lines("X.md", &text, &mut findings);
        let found: Vec<&str> = findings.iter().map(|finding| finding.0.as_str()).collect();
        assert_eq!(found, ["X.md:1: 141 characters, more than 140", "X.md:6: 143 characters, more than 140"]);
    }

    #[test]
    fn an_invariant_names_its_test_on_any_of_its_lines() {
        let sources = [Source { path: "a.rs".to_owned(), text: "fn holds() {}".to_owned() }];
        let map = "x\n- **INV-01** a\n  b. `holds`\n- **INV-02** c. `gone`\n\n`holds`\n";
        let mut findings = Vec::new();
        invariants(map, &sources, &mut findings);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].0.contains("INV-02"), "{}", findings[0].0);
    }

    #[test]
    fn paths_that_do_not_exist_are_found() {
        let sources = [Source { path: "a/src/b.rs".to_owned(), text: String::new() }];
        let mut findings = Vec::new();
        paths("X.md", "`src/b.rs` `src/c.rs` `pods/binding` `src/tidy` `src/gone`", &sources, &mut findings);
        let found: Vec<&str> = findings.iter().map(|finding| finding.0.as_str()).collect();
        assert_eq!(
            found,
            ["X.md: the path `src/c.rs` does not exist", "X.md: the path `src/gone` does not exist"]
        );
    }
}
