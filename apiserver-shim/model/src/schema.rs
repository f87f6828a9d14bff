//! Every field of every served kind as one compact tree of types, built once from `k8s-openapi`'s JSON schemas and our
//! tables of merge rules (`data/merge.tsv`) and encoding rules (`data/zero.tsv`). Decoding, pruning, strategic merge and
//! field ownership all walk this tree; descriptions are left to `openapi`, which needs them rarely.

mod build;
mod check;
pub mod decode;
mod go_json;
mod go_text;
mod nesting_limit;
pub mod roots;
mod rules;
mod scheme;
mod strict_json;

pub use check::{Issues, check};
pub use decode::{Decoded, Media, Strictness, decode, plain_json, plain_yaml};

use crate::resource::KindRef;
use std::sync::OnceLock;

/// Index of a struct in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StructId(pub(crate) u32);

/// Index of a list's or map's element type in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemId(pub(crate) u32);

/// What a value may be.
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

/// How the elements of a list are told apart by ownership and apply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ListKind {
    /// One value, replaced as a whole.
    #[default]
    Atomic,
    /// Scalars, each on its own.
    Set,
    /// Objects told apart by these members.
    Map(Vec<String>),
}

/// How a strategic merge patch treats a field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PatchRule {
    /// Lists merge instead of being replaced.
    pub merge: bool,
    /// The member that identifies an element; empty for lists of scalars.
    pub merge_key: String,
    /// The patch may say which members to keep.
    pub retain_keys: bool,
    /// Objects are replaced instead of merged.
    pub replace: bool,
}

/// What a typed encoding writes for a member that nobody set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Zero {
    Null,
    Text,
    Number,
    False,
    Object,
}

impl Zero {
    /// As a value.
    pub fn to_value(self) -> serde_json::Value {
        match self {
            Zero::Null => serde_json::Value::Null,
            Zero::Text => "".into(),
            Zero::Number => 0.into(),
            Zero::False => false.into(),
            Zero::Object => serde_json::Value::Object(serde_json::Map::new()),
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
    /// Must be written even when zero.
    pub required: bool,
    /// A zero number or `false` is left out when written.
    pub omit_zero: bool,
    /// An empty text is written.
    pub keep_empty: bool,
    /// Present in every value of the parent, even if nothing was said.
    pub embedded: bool,
    /// Written with this value when nothing was said.
    pub written_zero: Option<Zero>,
    /// How ownership treats a list here.
    pub list: ListKind,
    /// A map or object here is owned as a whole.
    pub atomic: bool,
    /// How a strategic merge patch treats it.
    pub patch: PatchRule,
}

/// An object type with named members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Struct {
    /// Full name, such as `io.k8s.api.core.v1.PodSpec`.
    pub name: String,
    /// Owned as a whole wherever it occurs.
    pub atomic: bool,
    /// Members, sorted by name.
    pub fields: Vec<Field>,
    /// The head of each one's name, in the same order: looked through in their stead, for they lie side by side.
    heads: Vec<u64>,
    /// Which of them are written even when nobody set them: few, in few structs.
    zeroes: Vec<(usize, Zero)>,
}

/// The first eight bytes of a name as a number: ordered as names are.
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
            fields: Vec::new(),
            heads: Vec::new(),
            zeroes: Vec::new(),
        }
    }

    fn set_fields(&mut self, mut fields: Vec<Field>) {
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        self.heads = fields.iter().map(|f| head(&f.name)).collect();
        self.zeroes = fields.iter().enumerate().filter_map(|(i, f)| Some((i, f.written_zero?))).collect();
        self.fields = fields;
    }

    /// The member called `name`.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let head = head(name);
        let from = self.heads.partition_point(|h| *h < head);
        let alike = self.heads[from..].iter().take_while(|h| **h == head);
        self.fields[from..].iter().zip(alike).map(|(field, _)| field).find(|field| field.name == name)
    }

    /// Members that are written even when nobody set them.
    pub fn zeroes(&self) -> impl Iterator<Item = (&Field, Zero)> {
        self.zeroes.iter().map(|(at, zero)| (&self.fields[*at], *zero))
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
    /// Group, version, kind of each root, sorted.
    roots: Vec<(KindRef<'static>, StructId)>,
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
        self.roots.binary_search_by(|(k, _)| k.cmp(&kind)).ok().map(|i| self.roots[i].1)
    }

    /// A struct by its full name.
    pub fn named(&self, name: &str) -> Option<StructId> {
        self.structs.iter().position(|s| s.name == name).map(|i| StructId(i as u32))
    }
}

/// The tree of everything served, built at the first call (a few milliseconds) and shared from then on.
pub fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(build::build)
}

#[cfg(test)]
#[path = "schema/tests.rs"]
mod tests;
