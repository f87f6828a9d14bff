//! Reads the embedded tables of merge and encoding rules. A test checks both against the schema. They name types
//! without the common prefix.

use super::{ListKind, PatchRule};
use crate::protobuf;
use std::collections::BTreeMap;

const MERGE: &str = include_str!("../../data/merge.tsv");
const ZERO: &str = include_str!("../../data/zero.tsv");
const NAMED: &str = include_str!("../../data/named.tsv");

/// The rules of a field, or of a type.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rule {
    pub patch: PatchRule,
    pub list: Option<ListKind>,
    pub atomic: bool,
    pub granular: bool,
    pub key_default: Option<String>,
    pub omit_zero: bool,
    pub keep_empty: bool,
    pub embedded: bool,
    pub always: bool,
    pub null: bool,
}

/// Rules by short type name and field; `-` is the type itself.
#[derive(Debug, Default)]
pub(crate) struct Rules(pub BTreeMap<(String, String), Rule>);

impl Rules {
    pub(crate) fn embedded() -> Self {
        let mut rules = Rules::default();
        for [ty, field, words] in rows(MERGE) {
            let rule = rules.0.entry((ty.to_owned(), field.to_owned())).or_default();
            words.split(' ').for_each(|word| merge_word(rule, word));
        }
        for [ty, word, fields] in rows(ZERO) {
            for field in fields.split(' ').filter(|f| !f.is_empty()) {
                let rule = rules.0.entry((ty.to_owned(), field.to_owned())).or_default();
                match word {
                    "omit" => rule.omit_zero = true,
                    "keep" => rule.keep_empty = true,
                    "always" => rule.always = true,
                    "null" => rule.null = true,
                    _ => rule.embedded = true,
                }
            }
        }
        rules
    }

    pub(crate) fn of(&self, full_type: &str, field: &str) -> Rule {
        self.0.get(&(short(full_type), field.to_owned())).cloned().unwrap_or_default()
    }
}

/// The name of the Go type of a field, or of its elements, if it is a named text or number.
pub(crate) fn named_type(full_type: &str, field: &str) -> Option<&'static str> {
    let outer = short(full_type);
    let inner = protobuf::embedded(&outer, field).pop().map(|(_, ty)| ty);
    let wanted = inner.unwrap_or(outer);
    rows(NAMED).find(|[ty, name, _]| *ty == wanted && *name == field).map(|[_, _, named]| named)
}

/// Whether a Go type is a named text or number.
pub(crate) fn is_named(go_type: &str) -> bool {
    rows(NAMED).any(|[_, _, named]| named == go_type)
}

/// The type's name in the tables.
pub(crate) fn short(full: &str) -> String {
    const PREFIXES: [&str; 4] = [
        "io.k8s.api.",
        "io.k8s.apimachinery.pkg.apis.",
        "io.k8s.apiextensions-apiserver.pkg.apis.",
        "io.k8s.kube-aggregator.pkg.apis.",
    ];
    PREFIXES.iter().find_map(|prefix| full.strip_prefix(prefix)).unwrap_or(full).to_owned()
}

fn rows(table: &'static str) -> impl Iterator<Item = [&'static str; 3]> {
    table.lines().filter(|l| !l.starts_with('#')).filter_map(|line| {
        let mut cells = line.split('\t');
        Some([cells.next()?, cells.next()?, cells.next()?])
    })
}

fn merge_word(rule: &mut Rule, word: &str) {
    match word.split_once('=') {
        Some(("merge", key)) => {
            rule.patch.merge = true;
            rule.patch.merge_key = key.to_owned();
        }
        Some(("default", text)) => rule.key_default = Some(text.to_owned()),
        Some(("map", keys)) => rule.list = Some(ListKind::Map(keys.split(',').map(str::to_owned).collect())),
        _ => match word {
            "merge" => rule.patch.merge = true,
            "retain-keys" => rule.patch.retain_keys = true,
            "replace" => rule.patch.replace = true,
            "set" => rule.list = Some(ListKind::Set),
            "atomic" => rule.atomic = true,
            "granular" => rule.granular = true,
            _ => {}
        },
    }
}
