//! The kinds that upstream's decoder knows in addition to those served here. Its error for a wrong kind differs from
//! that for an unknown kind.

use super::Schema;
use crate::resource::KindRef;

const TABLE: &str = include_str!("../../data/scheme.tsv");

/// Whether upstream has a type for this kind.
pub(crate) fn knows(schema: &Schema, group: &str, version: &str, kind: &str) -> bool {
    if schema.root(KindRef { group, version, kind }).is_some() {
        return true;
    }
    let group = if group.is_empty() { "core" } else { group };
    TABLE.lines().filter(|l| !l.starts_with('#')).any(|line| {
        let mut cells = line.split('\t');
        cells.next() == Some(group)
            && cells.next() == Some(version)
            && cells.next().is_some_and(|kinds| {
                kinds.split(' ').any(|known| known == kind || kind.strip_suffix("List") == Some(known))
            })
    })
}
