//! The kinds that upstream's decoder knows in addition to those served here. Its error for a wrong kind differs from
//! that for an unknown kind.

use super::Schema;
use crate::resource::KindRef;

const TABLE: &str = include_str!("../../data/scheme.tsv");

/// The name of the registry of types that upstream decodes a group's objects with: where it is declared.
pub(crate) fn name(group: &str) -> &'static str {
    match group {
        "apiextensions.k8s.io" => "k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55",
        "apiregistration.k8s.io" => "k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28",
        _ => "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30",
    }
}

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
