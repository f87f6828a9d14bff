//! Resolves paths in the schema tree.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, OnceLock};

use shim_model::schema::{Schema, StructId, Type};

use super::lookups::{Lookup, Segment};

/// The schema of the built-in kinds.
fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(Schema::builtin);
    &SCHEMA
}

/// The short names of all types with members.
pub fn types() -> Vec<String> {
    let mut names: Vec<String> = schema().structs().map(|(_, s)| s.short_name().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

/// Whether objects of this type are API objects: they have `apiVersion` and `kind`.
pub fn is_kind(ty: &str) -> bool {
    let member = |id: &StructId, name: &str| schema().at(*id).field(name).is_some();
    named(ty).iter().any(|id| member(id, "apiVersion") && member(id, "kind"))
}

/// Whether a path exists in a type of this short name.
pub fn resolves(ty: &str, lookup: &Lookup) -> bool {
    named(ty).iter().any(|id| exists(schema(), Type::Struct(*id), &lookup.0))
}

/// The types of a short name; a few names occur in several groups.
fn named(ty: &str) -> &'static [StructId] {
    static NAMES: OnceLock<BTreeMap<String, Vec<StructId>>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let mut names: BTreeMap<String, Vec<StructId>> = BTreeMap::new();
        schema().structs().for_each(|(id, s)| names.entry(s.short_name().to_owned()).or_default().push(id));
        names
    });
    names.get(ty).map_or(&[], Vec::as_slice)
}

fn exists(schema: &Schema, ty: Type, path: &[Segment]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    match (ty, first) {
        (Type::Any, _) => true,
        (Type::Struct(id), Segment::Name(name)) => {
            schema.at(id).field(name).is_some_and(|field| exists(schema, field.ty, rest))
        }
        (Type::Struct(id), Segment::Computed) => {
            schema.at(id).fields.iter().any(|field| exists(schema, field.ty, rest))
        }
        (Type::Map(item), _) | (Type::List(item), Segment::Computed) => {
            exists(schema, schema.item(item), rest)
        }
        _ => false,
    }
}
