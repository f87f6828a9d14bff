//! Objects are JSON values, so a misspelt member reads as absent. This test resolves every literal path in the sources in the
//! schema of the kinds that the file declares in `literal_paths/kinds.tsv`, and fails on a path that does not exist.
//!
//! A lookup is an index chain (`object["metadata"]["uid"]`), a path of `access` or `Change::Put`
//! (`access::text(pod, &["spec", "nodeName"])`), a member name passed to a method (`get("items")`), or a field path
//! (`field("status.phase")`). A segment that is not a literal matches any member. The sources are read as tokens, so that
//! lookups inside macros count too.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "literal_paths/lookups.rs"]
mod lookups;
#[path = "literal_paths/resolve.rs"]
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use lookups::{Lookup, lookups};
use resolve::resolves;

/// The sources that read objects.
const ROOTS: [&str; 6] = [
    "apiserver-shim/model/src",
    "apiserver-shim/core/src",
    "apiserver-shim/src",
    "kubelet-executor/core/src",
    "kubelet-executor/src",
    "cli/src",
];

/// Distinct paths per file, summed, at least (911 as of this writing): a scanner that finds nothing must not pass.
const LOOKUPS_MIN: usize = 800;

/// What a file declares: the types at which its paths begin, and names that are no members of objects (labels, headers,
/// members of other documents).
#[derive(Debug, Default)]
struct Declaration {
    types: BTreeSet<String>,
    others: BTreeSet<String>,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn table() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/literal_paths/kinds.tsv")
}

/// `file <tab> types <tab> other names`, each separated by spaces.
fn declarations() -> BTreeMap<String, Declaration> {
    let text = fs::read_to_string(table()).unwrap_or_default();
    let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |line: &str| {
        let mut columns = line.split('\t');
        let mut words =
            || columns.next().unwrap_or("").split(' ').filter(|w| !w.is_empty()).map(str::to_owned);
        let file = words().collect::<String>();
        let (types, others) = (words().collect(), words().collect());
        (file, Declaration { types, others })
    };
    rows.map(row).collect()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" && name != "testing.rs" {
            found.push(path);
        }
    }
}

/// The lookups of each file, by its path in the workspace.
fn all_lookups() -> BTreeMap<String, BTreeSet<Lookup>> {
    let workspace = workspace();
    let mut files = Vec::new();
    ROOTS.iter().for_each(|root| sources(&workspace.join(root), &mut files));
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(&workspace).unwrap().to_string_lossy().into_owned();
        (name, lookups(&text))
    };
    files.iter().map(read).filter(|(_, lookups)| !lookups.is_empty()).collect()
}

fn unresolved(lookup: &Lookup, declared: &Declaration) -> bool {
    let other = lookup.names().all(|name| declared.others.contains(name));
    !other && !declared.types.iter().any(|ty| resolves(ty, lookup))
}

#[test]
#[allow(clippy::disallowed_methods)] // as expect-test's, the environment asks for a rewrite of the table
fn every_literal_path_exists_in_the_schema() {
    let (lookups, declarations) = (all_lookups(), declarations());
    if std::env::var("UPDATE_EXPECT").is_ok() {
        return fs::write(table(), proposal(&lookups, &declarations)).unwrap();
    }
    let count: usize = lookups.values().map(BTreeSet::len).sum();
    assert!(count >= LOOKUPS_MIN, "only {count} lookups found");
    let mut wrong = Vec::new();
    for (file, lookups) in &lookups {
        let none = Declaration::default();
        let declared = declarations.get(file).unwrap_or(&none);
        let missing = lookups.iter().filter(|lookup| unresolved(lookup, declared));
        wrong.extend(missing.map(|lookup| format!("{file}: {lookup} is in none of {:?}", declared.types)));
        let unused = |ty: &&String| !lookups.iter().any(|lookup| resolves(ty, lookup));
        wrong.extend(
            declared.types.iter().filter(unused).map(|ty| format!("{file}: declares {ty} for no path")),
        );
    }
    let gone = declarations.keys().filter(|file| !lookups.contains_key(*file));
    wrong.extend(gone.map(|file| format!("{file}: is declared and has no lookup")));
    assert!(
        wrong.is_empty(),
        "{}\nA new kind of object: add its type to tests/literal_paths/kinds.tsv, or run with UPDATE_EXPECT=1 and review.",
        wrong.join("\n")
    );
}

/// Misspelt members, members of the wrong level, and members of lists are found in each form of lookup.
#[test]
fn a_misspelt_path_is_found() {
    let declared = Declaration { types: ["Pod".to_owned()].into(), others: BTreeSet::new() };
    let wrong = |source: &str| {
        let found = lookups(source);
        assert_eq!(found.len(), 1, "{source}: {found:?}");
        found.iter().any(|lookup| unresolved(lookup, &declared))
    };
    for (right, misspelt) in [
        (r#"object["metadata"]["uid"]"#, r#"object["metadata"]["uuid"]"#),
        (r#"access::text(pod, &["spec", "nodeName"])"#, r#"access::text(pod, &["spec", "nodename"])"#),
        (r#"access::text(pod, &["spec", "nodeName"])"#, r#"access::text(pod, &["status", "nodeName"])"#),
        (r#"pod["spec"]["containers"][0]["image"]"#, r#"pod["spec"]["containers"]["image"]"#),
        (r#"Change::Put(&["status", "phase"], x)"#, r#"Change::Put(&["status", "fase"], x)"#),
        (r#"object.field("spec.nodeName")"#, r#"object.field("spec.node")"#),
        (r#"pod.get("spec")"#, r#"pod.get("specs")"#),
        (r#"assert!(pod["status"]["phase"] == x)"#, r#"assert!(pod["status"]["phases"] == x)"#),
        (r#"access::get(pod, &["metadata", key])"#, r#"access::get(pod, &["metdata", key])"#),
        (r#"pod["metadata"]["labels"]["any/key"]"#, r#"pod["metadata"]["label"]["any/key"]"#),
    ] {
        assert!(!wrong(right), "{right}");
        assert!(wrong(misspelt), "{misspelt}");
    }
}

/// The table for the sources as they are: what is declared and used, and for the rest the types that resolve most paths.
fn proposal(
    lookups: &BTreeMap<String, BTreeSet<Lookup>>,
    declarations: &BTreeMap<String, Declaration>,
) -> String {
    let mut text = "# Where the literal paths of each file begin. See tests/literal_paths.rs.\n\
                    # file\ttypes\tnames that are no members of objects\n"
        .to_owned();
    let all = resolve::types();
    for (file, lookups) in lookups {
        let before = declarations.get(file);
        let mut declared = Declaration::default();
        if let Some(before) = before {
            let used = |ty: &&String| lookups.iter().any(|lookup| resolves(ty, lookup));
            declared.types.extend(before.types.iter().filter(used).cloned());
            declared.others.clone_from(&before.others);
        }
        loop {
            let left: Vec<&Lookup> = lookups.iter().filter(|lookup| unresolved(lookup, &declared)).collect();
            let resolved = |ty: &String| left.iter().filter(|lookup| resolves(ty, lookup)).count();
            // Kinds first: they are the shorter declaration.
            let rank = |ty: &&String| (resolved(ty), resolve::is_kind(ty), std::cmp::Reverse(ty.len()));
            match all.iter().max_by_key(rank).filter(|ty| resolved(ty) > 0) {
                Some(best) => declared.types.insert(best.clone()),
                None => {
                    declared.others.extend(left.iter().flat_map(|l| l.names()).map(str::to_owned));
                    break;
                }
            };
        }
        let names = lookups.iter().flat_map(Lookup::names).collect::<BTreeSet<_>>();
        declared.others.retain(|name| names.contains(name.as_str()));
        let words = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        text += &format!("{file}\t{}\t{}\n", words(&declared.types), words(&declared.others));
    }
    text
}
