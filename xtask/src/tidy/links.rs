//! Links of documents: each leads to a file that exists and to a heading in it. The user's guide is a book of mdBook, so
//! its summary lists each of its pages once, and its pages link to nothing outside of the book.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::Context;

use super::Finding;

/// The pages of the user's guide, as `docs/guide/book.toml` has them.
const BOOK: &str = "docs/guide/src";
const SUMMARY: &str = "SUMMARY.md";

/// Checks documents by their paths.
pub fn check(documents: &[PathBuf]) -> anyhow::Result<Vec<Finding>> {
    let mut texts = BTreeMap::new();
    for path in documents {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        texts.insert(path.clone(), text);
    }
    let mut findings = Vec::new();
    for (path, text) in &texts {
        for link in links(text) {
            findings.extend(broken(path, link, &texts, &|path| path.exists()));
        }
    }
    findings.extend(unlisted(&texts));
    Ok(findings)
}

/// The targets of the links to files, outside of code.
fn links(text: &str) -> Vec<&str> {
    let (mut found, mut fenced) = (Vec::new(), false);
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        for plain in line.split('`').step_by(2) {
            let targets = plain.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            found.extend(targets.map(|(target, _)| target).filter(|target| !target.contains("://")));
        }
    }
    found
}

/// What is wrong with a link.
fn broken(
    from: &Path,
    link: &str,
    texts: &BTreeMap<PathBuf, String>,
    exists: &dyn Fn(&Path) -> bool,
) -> Option<Finding> {
    let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
    let target = match file {
        "" => from.to_owned(),
        file => normal(&from.parent().unwrap_or(Path::new("")).join(file)),
    };
    let wrong = |why: &str| Some(Finding(format!("{}: the link `{link}` {why}", from.display())));
    if from.starts_with(BOOK) && !target.starts_with(BOOK) {
        return wrong("leads out of the book");
    }
    if !exists(&target) {
        return wrong("leads to no file");
    }
    let has = |heading: &str| texts.get(&target).is_some_and(|text| headings(text).any(|id| id == heading));
    heading.filter(|heading| !has(heading)).and_then(|_| wrong("leads to no heading"))
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(out.pop()),
            part => out.push(part),
        }
    }
    out
}

/// The ids of the headings, as GitHub and mdBook make them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let titles = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    titles.map(|title| {
        let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    })
}

/// Pages of the book that its summary does not list exactly once.
fn unlisted(texts: &BTreeMap<PathBuf, String>) -> Vec<Finding> {
    let summary = Path::new(BOOK).join(SUMMARY);
    let Some(listed) = texts.get(&summary).map(|text| links(text)) else { return Vec::new() };
    let pages = texts.keys().filter(|path| path.starts_with(BOOK) && **path != summary);
    let times = |page: &Path| listed.iter().filter(|link| Path::new(BOOK).join(link) == page).count();
    let wrong = pages.filter(|page| times(page) != 1);
    wrong.map(|page| Finding(format!("{}: list it once in {}", page.display(), summary.display()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[(&str, &str)]) -> BTreeMap<PathBuf, String> {
        all.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect()
    }

    #[test]
    fn links_are_found_outside_of_code() {
        let text = "[a](x.md) and [b](y.md#z)\n`[c](no.md)`\n```\n[d](no.md)\n```\n[e](https://example.com)";
        assert_eq!(links(text), ["x.md", "y.md#z"]);
    }

    #[test]
    fn links_lead_to_files_and_headings() {
        let texts = texts(&[
            ("docs/guide/src/a.md", "# What acts on `which` kind?\n"),
            ("docs/x.md", ""),
            ("README.md", ""),
        ]);
        let why = |from: &str, link: &str| {
            let finding = broken(Path::new(from), link, &texts, &|path| texts.contains_key(path));
            finding.map(|Finding(text)| text.split("` ").last().unwrap_or_default().to_owned())
        };
        assert_eq!(why("README.md", "docs/guide/src/a.md#what-acts-on-which-kind"), None);
        assert_eq!(why("docs/guide/src/a.md", "#what-acts-on-which-kind"), None);
        assert_eq!(why("docs/x.md", "../README.md"), None);
        assert_eq!(why("docs/x.md", "gone.md").as_deref(), Some("leads to no file"));
        assert_eq!(why("docs/x.md", "guide/src/a.md#gone").as_deref(), Some("leads to no heading"));
        assert_eq!(why("docs/guide/src/a.md", "../../x.md").as_deref(), Some("leads out of the book"));
    }

    #[test]
    fn the_summary_lists_each_page_once() {
        let texts = texts(&[
            ("docs/guide/src/SUMMARY.md", "- [A](a.md)\n- [A](a.md)\n- [B](b.md)\n"),
            ("docs/guide/src/a.md", ""),
            ("docs/guide/src/b.md", ""),
            ("docs/guide/src/c.md", ""),
        ]);
        let found: Vec<String> = unlisted(&texts).into_iter().map(|Finding(text)| text).collect();
        assert_eq!(
            found,
            [
                "docs/guide/src/a.md: list it once in docs/guide/src/SUMMARY.md",
                "docs/guide/src/c.md: list it once in docs/guide/src/SUMMARY.md"
            ]
        );
    }
}
