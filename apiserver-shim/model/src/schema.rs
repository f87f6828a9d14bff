//! The types of kinds as a compact tree. Decoding, pruning, strategic merge and managed fields walk it.
//!
//! A [`Schema`] is a value with two sources. The schema of the built-in kinds is built once from `k8s-openapi`'s JSON
//! schemas, merge rules (`data/merge.tsv`) and encoding rules (`data/zero.tsv`); all built-in rows share it. A custom
//! resource has its own, built from its structural schema. The tree has no descriptions: `openapi` asks the source for
//! them ([`Schema::components`]).

mod applied_body;
mod build;
mod check;
pub mod decode;
mod duplicate_keys;
mod go_json;
mod go_text;
mod nesting_limit;
pub mod roots;
pub(crate) mod rules;
mod scheme;
mod strict_fields;
mod strict_json;
mod yaml_document;
mod yaml_scalar;

pub(crate) use rules::is_named;
pub(crate) use scheme::name as scheme_name;
pub(crate) use yaml_scalar::is_text as is_yaml_text;

pub use applied_body::{AppliedBody, decode_applied};
pub use build::SchemaError;
pub use check::{Issues, check, check_metadata};
pub use decode::{Decoded, Media, Strictness, check_patched, decode, decode_untyped, plain_json, plain_yaml};

use crate::protobuf::{self, MessageId};
use crate::resource::{GroupVersionKind, KindRef};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// Index of a struct in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StructId(pub(crate) u32);

/// Index of a list's or map's element type in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemId(pub(crate) u32);

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Type {
    Struct(StructId),
    List(ItemId),
    Map(ItemId),
    String,
    Bool,
    Int32,
    Int64,
    Float,
    IntOrString,
    Quantity,
    Time,
    MicroTime,
    /// Base64 text.
    Bytes,
    /// Any JSON: raw extensions, field sets.
    Any,
}

/// How managed fields and apply identify the elements of a list (`x-kubernetes-list-type`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ListKind {
    /// Atomic: replaced as a whole.
    #[default]
    Atomic,
    /// A set of scalars.
    Set,
    /// A map: objects with these members as keys.
    Map(Vec<String>),
}

/// How a strategic merge patch treats a field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PatchRule {
    /// Lists merge instead of being replaced.
    pub merge: bool,
    /// The merge key; empty for lists of scalars.
    pub merge_key: String,
    /// The patch may have `$retainKeys`.
    pub retain_keys: bool,
    /// Objects are replaced instead of merged.
    pub replace: bool,
}

/// The value that upstream's typed encoding writes for an unset member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DefaultValue {
    Null,
    Text,
    Number,
    False,
    Object,
}

impl DefaultValue {
    /// The JSON value.
    pub fn to_value(self) -> serde_json::Value {
        match self {
            DefaultValue::Null => serde_json::Value::Null,
            DefaultValue::Text => "".into(),
            DefaultValue::Number => 0.into(),
            DefaultValue::False => false.into(),
            DefaultValue::Object => serde_json::Value::Object(serde_json::Map::new()),
        }
    }
}

/// One member of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// JSON name.
    pub name: String,
    /// Type of its value.
    pub ty: Type,
    /// Required: written even if unset.
    pub required: bool,
    /// 0 and `false` are omitted (`omitempty`).
    pub omit_zero: bool,
    /// An empty string is written, an empty list kept.
    pub keep_empty: bool,
    /// An embedded struct: implicitly present in every value of the parent.
    pub embedded: bool,
    /// The value that is written if the member is unset.
    pub written_default: Option<DefaultValue>,
    /// How managed fields treat a list here.
    pub list: ListKind,
    /// A map or object here is atomic for managed fields.
    pub atomic: bool,
    /// An object here is not atomic, although its type is.
    pub granular: bool,
    /// The value that an absent member stands for where it is a key of a list's elements.
    pub key_default: Option<Value>,
    /// How a strategic merge patch treats it.
    pub patch: PatchRule,
}

/// An object type with named members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Struct {
    /// Full name, such as `io.k8s.api.core.v1.PodSpec`.
    pub name: String,
    /// Atomic for managed fields wherever it occurs.
    pub atomic: bool,
    /// Whether it may have other members too, whose types are unknown (`x-kubernetes-preserve-unknown-fields`).
    pub open: bool,
    /// Members, sorted by name.
    pub fields: Vec<Field>,
    /// The prefix of each member's name, in the same order: scanned instead of the names, because the prefixes are
    /// adjacent in memory.
    heads: Vec<u64>,
    /// Indexes of the members that are written even if unset.
    defaults: Vec<(usize, DefaultValue)>,
}

/// The first eight bytes of a name as a number, which sorts as the names do.
fn head(name: &str) -> u64 {
    let name = name.as_bytes();
    match name.first_chunk() {
        Some(eight) => u64::from_be_bytes(*eight),
        None => (0..8).fold(0, |head, i| head << 8 | u64::from(name.get(i).copied().unwrap_or(0))),
    }
}

impl Struct {
    fn empty(name: &str) -> Self {
        Struct {
            name: name.to_owned(),
            atomic: false,
            open: false,
            fields: Vec::new(),
            heads: Vec::new(),
            defaults: Vec::new(),
        }
    }

    fn set_fields(&mut self, mut fields: Vec<Field>) {
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        self.heads = fields.iter().map(|f| head(&f.name)).collect();
        self.defaults =
            fields.iter().enumerate().filter_map(|(i, f)| Some((i, f.written_default?))).collect();
        self.fields = fields;
    }

    /// The member called `name`.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let head = head(name);
        let from = self.heads.partition_point(|h| *h < head);
        let alike = self.heads[from..].iter().take_while(|h| **h == head);
        self.fields[from..].iter().zip(alike).map(|(field, _)| field).find(|field| field.name == name)
    }

    /// The members that are written even if unset.
    pub fn defaults(&self) -> impl Iterator<Item = (&Field, DefaultValue)> {
        self.defaults.iter().map(|(at, zero)| (&self.fields[*at], *zero))
    }

    /// The last part of the full name: `PodSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }
}

/// The tree: all structs and element types.
#[derive(Debug, Default)]
pub struct Schema {
    structs: Vec<Struct>,
    items: Vec<Type>,
    /// The kinds whose objects have a type here, sorted.
    roots: Vec<(GroupVersionKind, StructId)>,
    source: Source,
}

/// Where the JSON schemas come from that a tree was built of.
#[derive(Debug, Default)]
enum Source {
    /// `k8s-openapi`: they are generated on each request, because they are large and rarely needed.
    #[default]
    BuiltIn,
    /// The components of one custom resource, by full name.
    Structural(Map<String, Value>),
}

impl Schema {
    /// The struct with this index.
    pub fn at(&self, id: StructId) -> &Struct {
        &self.structs[id.0 as usize]
    }

    /// Every struct with its index.
    pub fn structs(&self) -> impl Iterator<Item = (StructId, &Struct)> {
        self.structs.iter().enumerate().map(|(at, s)| (StructId(at as u32), s))
    }

    /// The element type with this index.
    pub fn item(&self, id: ItemId) -> Type {
        self.items[id.0 as usize]
    }

    /// The type of objects of a kind.
    pub fn root(&self, kind: KindRef<'_>) -> Option<StructId> {
        self.roots.binary_search_by(|(k, _)| k.as_ref().cmp(&kind)).ok().map(|i| self.roots[i].1)
    }

    /// The kind whose objects are structs of this name.
    pub fn kind_of(&self, name: &str) -> Option<KindRef<'_>> {
        let found = self.roots.iter().find(|(_, id)| self.at(*id).name == name);
        found.map(|(kind, _)| kind.as_ref())
    }

    /// The type of the objects of a kind.
    pub fn object_type(self: &Arc<Self>, kind: KindRef<'_>) -> Option<ObjectType> {
        let (schema, root) = (self.clone(), self.root(kind)?);
        let message =
            if self.is_structural() { None } else { protobuf::message_of_type(&self.at(root).name) };
        Some(ObjectType { schema, root, kind: kind.to_owned(), message, coercion: None })
    }

    /// The schema of the built-in kinds. Building it takes some milliseconds.
    pub fn builtin() -> Arc<Schema> {
        Arc::new(build::builtin())
    }

    /// The schema of a custom resource: `definition` is the OpenAPI v3 schema of its objects, in the structural form that
    /// CustomResourceDefinitions have. `metadata` gets the type that all objects have.
    pub fn structural(kind: KindRef<'_>, definition: Value) -> Result<Arc<Schema>, SchemaError> {
        build::structural(kind, definition).map(Arc::new)
    }

    /// Whether this is the schema of a custom resource.
    pub fn is_structural(&self) -> bool {
        matches!(self.source, Source::Structural(_))
    }

    /// The JSON schemas of these kinds, of all that they refer to, and of DeleteOptions, by full name.
    pub fn components(&self, kinds: &[KindRef<'_>]) -> Map<String, Value> {
        let options = |kind: &KindRef<'_>| kind.kind == "DeleteOptions";
        match &self.source {
            Source::BuiltIn => roots::definitions(|r| kinds.contains(&r.kind) || options(&r.kind), true),
            Source::Structural(components) => {
                let mut all = roots::definitions(|r| options(&r.kind), true);
                all.extend(components.iter().map(|(name, schema)| (name.clone(), schema.clone())));
                all
            }
        }
    }

    /// A struct by its full name.
    pub fn named(&self, name: &str) -> Option<StructId> {
        self.structs.iter().position(|s| s.name == name).map(|i| StructId(i as u32))
    }
}

/// How the members of custom resources are decoded: their schema lives elsewhere.
pub trait Coercion: Send + Sync {
    /// Removes what the schema does not allow, and returns the paths of the removed fields. Values of a wrong type stay:
    /// validation refuses them. The error is about embedded metadata that cannot be read.
    fn coerce(&self, object: &mut Value) -> Result<Vec<String>, String>;
}

/// The type of the objects of one kind: a schema and the kind's root in it. Clones share the schema.
#[derive(Clone)]
pub struct ObjectType {
    schema: Arc<Schema>,
    root: StructId,
    kind: GroupVersionKind,
    message: Option<MessageId>,
    coercion: Option<Arc<dyn Coercion>>,
}

impl ObjectType {
    /// The same type, whose objects are decoded by `coercion`.
    #[must_use]
    pub fn coerced_by(self, coercion: Arc<dyn Coercion>) -> ObjectType {
        ObjectType { coercion: Some(coercion), ..self }
    }

    /// What decodes the objects of a custom resource.
    pub fn coercion(&self) -> Option<&dyn Coercion> {
        self.coercion.as_deref()
    }

    /// The schema that the type is part of.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Whether two types are part of the same schema.
    pub fn shares_schema(&self, other: &ObjectType) -> bool {
        Arc::ptr_eq(&self.schema, &other.schema)
    }

    /// The type of the objects of another kind in the same schema.
    pub fn of_kind(&self, kind: KindRef<'_>) -> Option<ObjectType> {
        self.schema.object_type(kind)
    }

    /// Where the type is in its schema.
    pub fn root(&self) -> StructId {
        self.root
    }

    /// Group, version and kind.
    pub fn kind(&self) -> KindRef<'_> {
        self.kind.as_ref()
    }

    /// The type's protobuf message; custom resources have none.
    pub fn message(&self) -> Option<MessageId> {
        self.message
    }

    /// The full name of the type, such as `io.k8s.api.core.v1.Pod`.
    pub fn name(&self) -> &str {
        &self.schema.at(self.root).name
    }
}

impl fmt::Debug for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Built-in types for tests, built once.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use std::sync::LazyLock;

    static BUILTIN: LazyLock<Arc<Schema>> = LazyLock::new(Schema::builtin);

    pub(crate) fn schema() -> &'static Arc<Schema> {
        &BUILTIN
    }

    pub(crate) fn object_type(group: &str, version: &str, kind: &str) -> ObjectType {
        BUILTIN.object_type(KindRef { group, version, kind }).expect("the kind has a type")
    }
}

#[cfg(test)]
#[path = "schema/tests.rs"]
mod tests;
