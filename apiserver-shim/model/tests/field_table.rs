//! `docs/fields.md` has a row for each field of the specs of Pods, Services and some workloads, and for nothing else.

use std::collections::{BTreeMap, BTreeSet};

use shim_model::schema::{Schema, StructId, Type};

const TABLE: &str = include_str!("../../../docs/fields.md");
const STATES: [&str; 3] = ["honoured", "refused", "ignored"];

const SPECS: [&str; 5] = [
    "core.v1.PodSpec",
    "core.v1.ServiceSpec",
    "batch.v1.JobSpec",
    "batch.v1.CronJobSpec",
    "core.v1.ReplicationControllerSpec",
];

/// The rows of the document by type and field.
fn rows() -> BTreeMap<(String, String), String> {
    let (mut rows, mut section) = (BTreeMap::new(), String::new());
    for line in TABLE.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            section = name.to_owned();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(field) = cells.get(1).and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`')) else {
            continue;
        };
        let (state, how) = (cells[2], cells[3]);
        assert!(STATES.contains(&state), "{section}.{field}: {state}");
        assert!(state == "honoured" || !how.is_empty(), "{section}.{field}: {state} how?");
        let double = rows.insert((section.clone(), field.to_owned()), state.to_owned());
        assert!(double.is_none(), "{section}.{field} has two rows");
    }
    rows
}

/// The type of a field, or of its elements.
fn below(schema: &Schema, ty: Type) -> Option<StructId> {
    match ty {
        Type::Struct(id) => Some(id),
        Type::List(item) | Type::Map(item) => below(schema, schema.item(item)),
        _ => None,
    }
}

#[test]
fn every_field_of_a_documented_spec_has_a_row() {
    let (schema, rows) = (Schema::builtin(), rows());
    let root = |name: &str| schema.named(&format!("io.k8s.api.{name}")).expect("the type exists");
    let mut open: Vec<StructId> = SPECS.iter().map(|name| root(name)).collect();
    let (mut known, mut missing) = (BTreeSet::new(), Vec::new());
    while let Some(id) = open.pop() {
        let ty = schema.at(id);
        // Metadata is the same for all kinds.
        if ty.short_name() == "ObjectMeta" || known.iter().any(|(name, _)| name == ty.short_name()) {
            continue;
        }
        for field in &ty.fields {
            let key = (ty.short_name().to_owned(), field.name.clone());
            match rows.get(&key).map(String::as_str) {
                None => missing.push(format!("{}.{}", key.0, key.1)),
                Some("honoured") => open.extend(below(&schema, field.ty)),
                Some(_) => {}
            }
            known.insert(key);
        }
    }
    assert!(missing.is_empty(), "docs/fields.md lacks rows: {missing:#?}");
    let stale: Vec<_> = rows.keys().filter(|key| !known.contains(*key)).collect();
    assert!(stale.is_empty(), "docs/fields.md has rows without fields: {stale:#?}");
}
