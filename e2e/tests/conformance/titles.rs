//! The list of upstream's tests and what became of each.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;

/// One row for each upstream test that needs the API alone: our name of it, the release since which it belongs to
/// conformance, and the reason if it is left out here.
const TITLES: &str = include_str!("titles.tsv");

/// How many conformance tests of Kubernetes 1.37 need the API alone.
const COUNT: usize = 141;

/// The reasons of those that are left out, by name. If there is a test, it is ignored, and runs with `--ignored`.
pub fn left_out() -> BTreeMap<&'static str, &'static str> {
    rows().filter(|(_, _, reason)| !reason.is_empty()).map(|(name, _, reason)| (name, reason)).collect()
}

fn rows() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    TITLES.lines().filter(|row| !row.starts_with('#')).map(|row| {
        let mut columns = row.splitn(3, '\t');
        let mut next = || columns.next().unwrap_or_default();
        (next(), next(), next())
    })
}

/// Fails unless each title has a test or a reason, and each test a title.
pub fn check(tests: &[String]) -> anyhow::Result<()> {
    let mut tests: BTreeSet<&str> = tests.iter().map(String::as_str).collect();
    let mut names = BTreeSet::new();
    let mut faults = Vec::new();
    for (name, since, reason) in rows() {
        let minor = since.strip_prefix("v1.").and_then(|minor| minor.parse::<u32>().ok());
        if minor.is_none_or(|minor| minor > 37) {
            faults.push(format!("{name}: no such release: {since:?}"));
        }
        if !names.insert(name) {
            faults.push(format!("twice: {name}"));
        }
        if !tests.remove(name) && reason.is_empty() {
            faults.push(format!("neither a test nor a reason: {name}"));
        }
    }
    faults.extend(tests.into_iter().map(|name| format!("a test without a title: {name}")));
    ensure!(faults.is_empty(), "{faults:#?}");
    ensure!(names.len() == COUNT, "{} titles instead of {COUNT}", names.len());
    Ok(())
}
