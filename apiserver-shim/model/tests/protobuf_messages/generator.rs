//! Objects of a type, made of a seed.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shim_model::schema::{ObjectType, Schema, StructId, Type};

use super::descriptor::Row;

/// Depth below which members are left out.
const DEPTH_MAX: usize = 7;
const TEXTS: &[&str] = &[
    "",
    "a",
    "name",
    "kube-system",
    "ü€😀",
    "with \"quotes\" and \\",
    "line\nbreak\t\u{1}",
    "long text of more than sixty-four bytes, so that it is not one of the short ones",
];
const QUANTITIES: &[&str] = &["0", "1", "100m", "1500m", "1Gi", "1e3", "0.5"];

/// Makes objects.
pub struct Generator<'a> {
    state: u64,
    schema: &'a Schema,
    rows: &'a BTreeMap<String, Row>,
}

impl<'a> Generator<'a> {
    pub fn new(seed: u64, schema: &'a Schema, rows: &'a BTreeMap<String, Row>) -> Self {
        Generator { state: seed, schema, rows }
    }

    /// A number below `limit` (splitmix64).
    fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len() as u64) as usize]
    }

    /// An object with `apiVersion` and `kind`.
    pub fn object(&mut self, ty: &ObjectType) -> Value {
        let mut object = self.members(ty.root(), 0);
        object.insert("apiVersion".into(), ty.kind().api_version().into());
        object.insert("kind".into(), ty.kind().kind.into());
        Value::Object(object)
    }

    fn members(&mut self, id: StructId, depth: usize) -> Map<String, Value> {
        let schema = self.schema;
        let ty = schema.at(id);
        let mut out = Map::new();
        for field in &ty.fields {
            // Deep members are rare, so that objects stay small. Required ones and quantities are there: their absence is a zero in
            // the message.
            let rare = depth > DEPTH_MAX || self.below(1 + depth as u64) > 1 || self.below(4) == 0;
            if rare && !field.required && field.ty != Type::Quantity || !self.is_member(&ty.name, &field.name)
            {
                continue;
            }
            // Unions that are no objects have a test of their own.
            let inner = match field.ty {
                Type::List(item) | Type::Map(item) => schema.item(item),
                single => single,
            };
            if inner == Type::Any && !self.is_raw(&ty.name, &field.name) {
                continue;
            }
            let value = self.value(field.ty, depth + 1);
            out.insert(field.name.clone(), value);
        }
        out
    }

    /// Whether a member is in the message: `apiVersion` and `kind` often are not.
    fn is_member(&self, ty: &str, field: &str) -> bool {
        let row = self.rows.get(super::short(ty));
        row.is_some_and(|row| row.members(self.rows).iter().any(|member| member.name == field))
    }

    fn is_raw(&self, ty: &str, field: &str) -> bool {
        let row = self.rows.get(super::short(ty));
        let members = row.map(|row| row.members(self.rows)).unwrap_or_default();
        members.iter().any(|m| m.name == field && matches!(m.kind.as_str(), "r" | "f"))
    }

    fn value(&mut self, ty: Type, depth: usize) -> Value {
        match ty {
            Type::Struct(id) => Value::Object(self.members(id, depth)),
            Type::List(item) => {
                let item = self.schema.item(item);
                // Empty lists and maps are absent in messages.
                (0..1 + self.below(2)).map(|_| self.value(item, depth)).collect()
            }
            Type::Map(item) => {
                let item = self.schema.item(item);
                let count = 1 + self.below(3);
                let entry = |at| (format!("{}{at}", self.pick(TEXTS)), self.value(item, depth));
                Value::Object((0..count).map(entry).collect())
            }
            Type::String => self.pick(TEXTS).into(),
            Type::Bool => (self.below(2) == 0).into(),
            Type::Int32 => [0, 1, -1, 127, 128, i32::MAX, i32::MIN][self.below(7) as usize].into(),
            Type::Int64 => [0, 1, -1, 300, i64::MAX, i64::MIN][self.below(6) as usize].into(),
            Type::Float => [0.0, 1.5, -2.25, 1e300][self.below(4) as usize].into(),
            Type::IntOrString => match self.below(2) {
                // A zero port is an absent one.
                0 => [80, -1][self.below(2) as usize].into(),
                _ => self.pick(&TEXTS[1..]).into(),
            },
            Type::Quantity => self.pick(QUANTITIES).into(),
            Type::Time => {
                self.pick(&["2026-11-29T10:00:01Z", "1969-12-31T23:59:59Z", "2024-02-29T00:00:00Z"]).into()
            }
            Type::MicroTime => {
                self.pick(&["2026-11-29T10:00:01.000001Z", "1960-01-01T00:00:00.500000Z"]).into()
            }
            Type::Bytes => self.pick(&["", "AA==", "AAECAwQ="]).into(),
            Type::Any => match self.below(3) {
                0 => json!({"f:a": {}, "list": [1, null, "x\u{7f}"]}),
                1 => json!({}),
                _ => json!({"nested": {"nested": {"text": self.pick(TEXTS)}}}),
            },
        }
    }
}
