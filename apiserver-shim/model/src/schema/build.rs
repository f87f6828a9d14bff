//! Builds the compact tree from JSON schemas.

use super::rules::Rules;
use super::{DefaultValue, Field, ItemId, ListKind, Schema, Struct, StructId, Type, roots};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

struct Builder {
    definitions: Map<String, Value>,
    rules: Rules,
    schema: Schema,
    known: BTreeMap<String, StructId>,
}

pub(super) fn build() -> Schema {
    let definitions = roots::definitions(|_| true, false);
    let mut builder =
        Builder { definitions, rules: Rules::embedded(), schema: Schema::default(), known: BTreeMap::new() };
    for root in roots::ROOTS {
        if let Type::Struct(id) = builder.named((root.name)().as_str()) {
            builder.schema.roots.push((root.kind, id));
        }
    }
    builder.schema.roots.sort_by_key(|(kind, _)| *kind);
    builder.schema
}

impl Builder {
    fn named(&mut self, name: &str) -> Type {
        match name.rsplit_once(".pkg.").map_or("", |(_, short)| short) {
            "api.resource.Quantity" => return Type::Quantity,
            "util.intstr.IntOrString" => return Type::IntOrString,
            "apis.meta.v1.Time" => return Type::Time,
            "apis.meta.v1.MicroTime" => return Type::MicroTime,
            "runtime.RawExtension" | "apis.meta.v1.FieldsV1" | "apis.meta.v1.Patch" => return Type::Any,
            _ => {}
        }
        if let Some(id) = self.known.get(name) {
            return Type::Struct(*id);
        }
        let Some(definition) = self.definitions.remove(name) else { return Type::Any };
        let id = StructId(self.schema.structs.len() as u32);
        self.known.insert(name.to_owned(), id);
        self.schema.structs.push(Struct::empty(name));
        let required: Vec<&str> =
            definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut fields = Vec::new();
        for (field, schema) in definition["properties"].as_object().into_iter().flatten() {
            let ty = self.of(schema);
            fields.push(self.field(name, field, ty, required.contains(&field.as_str())));
        }
        let at = &mut self.schema.structs[id.0 as usize];
        at.set_fields(fields);
        at.atomic = self.rules.of(name, "-").atomic;
        Type::Struct(id)
    }

    fn field(&self, owner: &str, name: &str, ty: Type, required: bool) -> Field {
        let rule = self.rules.of(owner, name);
        let struct_meta = name == "metadata" && matches!(ty, Type::Struct(_));
        Field {
            name: name.to_owned(),
            ty,
            required,
            omit_zero: rule.omit_zero,
            keep_empty: rule.keep_empty,
            embedded: rule.embedded || struct_meta || (required && !matches!(ty, Type::String)),
            written_default: written_default(ty, required, rule.always, rule.embedded),
            list: rule.list.unwrap_or(ListKind::Atomic),
            atomic: rule.atomic,
            patch: rule.patch,
        }
    }

    fn of(&mut self, schema: &Value) -> Type {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or(reference).to_owned();
            return self.named(&name);
        }
        if schema["x-kubernetes-int-or-string"] == true {
            return Type::IntOrString;
        }
        let format = schema["format"].as_str().unwrap_or("");
        match schema["type"].as_str().unwrap_or("") {
            "string" if format == "byte" => Type::Bytes,
            "string" => Type::String,
            "boolean" => Type::Bool,
            "integer" if format == "int64" => Type::Int64,
            "integer" => Type::Int32,
            "number" => Type::Float,
            "array" => {
                let item = self.of(&schema["items"]);
                Type::List(self.item(item))
            }
            "object" if schema["additionalProperties"].is_object() => {
                let item = self.of(&schema["additionalProperties"]);
                Type::Map(self.item(item))
            }
            _ => Type::Any,
        }
    }

    fn item(&mut self, ty: Type) -> ItemId {
        let items = &mut self.schema.items;
        let at = items.iter().position(|t| *t == ty).unwrap_or_else(|| {
            items.push(ty);
            items.len() - 1
        });
        ItemId(at as u32)
    }
}

fn written_default(ty: Type, required: bool, always: bool, embedded: bool) -> Option<DefaultValue> {
    match ty {
        Type::Struct(_) if embedded => Some(DefaultValue::Object),
        Type::Time | Type::MicroTime if always => Some(DefaultValue::Null),
        Type::String if always || required => Some(DefaultValue::Text),
        Type::Bool if required => Some(DefaultValue::False),
        Type::Int32 | Type::Int64 if always || required => Some(DefaultValue::Number),
        _ => None,
    }
}
