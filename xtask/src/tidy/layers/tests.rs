//! Tests of the import finder and the ratchet.

use std::collections::BTreeMap;

use super::{compare, imported_modules};

#[test]
fn imports_are_found_in_trees_paths_and_bodies() {
    let text = "\
//! See crate::documented.
use crate::{
    alpha,
    beta::{self, gamma::{A, B}},
    delta::C as D,
};
use crate::epsilon::E;

fn f() {
    // crate::commented::g();
    crate::zeta::g($crate::macros::h);
}
";
    let found: Vec<String> = imported_modules(text).into_iter().collect();
    assert_eq!(found, ["alpha", "beta", "delta", "epsilon", "zeta"]);
}

#[test]
fn the_ratchet_may_only_shrink() {
    let upward: BTreeMap<String, Vec<&str>> =
        [("src a b".to_owned(), vec!["src/a.rs", "src/a/x.rs"]), ("src a c".to_owned(), vec!["src/a.rs"])]
            .into();
    assert!(compare(&upward, "# comment\nsrc a b 2\nsrc a c 1\n").is_empty());
    let grown = compare(&upward, "src a b 1\nsrc a c 1\n");
    assert!(grown.len() == 1 && grown[0].0.contains("2 files import upwards, at most 1"), "{grown:?}");
    let stale = compare(&upward, "src a b 2\nsrc a c 1\nsrc b c 1\n");
    assert!(stale.len() == 1 && stale[0].0.contains("lower it"), "{stale:?}");
}
