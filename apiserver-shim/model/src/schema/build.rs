//! Builds the compact tree from JSON schemas.

use super::rules::{Rule, Rules};
use super::{
    DefaultValue, Field, ItemId, ListKind, PatchRule, Schema, Source, Struct, StructId, Type, roots,
};
use crate::resource::KindRef;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Why a structural schema is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The schema does not describe objects.
    #[error("the schema of a kind must have the type \"object\"")]
    NotAnObject,
}

/// The full name of the type of every object's metadata.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

struct Builder {
    definitions: Map<String, Value>,
    rules: Rules,
    schema: Schema,
    known: BTreeMap<String, StructId>,
    /// The definition whose rules are in its own `x-kubernetes-` extensions, and not in our tables.
    structural: String,
}

impl Builder {
    fn new(definitions: Map<String, Value>) -> Self {
        Builder {
            definitions,
            rules: Rules::embedded(),
            schema: Schema::default(),
            known: BTreeMap::new(),
            structural: String::new(),
        }
    }
}

pub(super) fn builtin() -> Schema {
    let mut builder = Builder::new(roots::definitions(|_| true, false));
    for root in roots::all() {
        if let Type::Struct(id) = builder.named((root.name)().as_str()) {
            builder.schema.roots.push((root.kind.to_owned(), id));
        }
    }
    builder.schema.roots.sort_by(|(a, _), (b, _)| a.cmp(b));
    builder.schema
}

pub(super) fn structural(kind: KindRef<'_>, mut definition: Value) -> Result<Schema, SchemaError> {
    if definition["type"] != "object" {
        return Err(SchemaError::NotAnObject);
    }
    let name = full_name(kind);
    let properties = crate::access::object_mut(&mut definition, &["properties"]);
    for text in ["apiVersion", "kind"] {
        properties.entry(text).or_insert_with(|| json!({"type": "string"}));
    }
    let reference = format!("#/components/schemas/{OBJECT_META}");
    properties.insert(
        "metadata".to_owned(),
        json!({"$ref": reference, "description": "Standard object metadata."}),
    );
    let metadata = |root: &roots::Root| root.kind.kind == "ObjectMeta";
    let mut components = roots::definitions(metadata, true);
    components.insert(name.clone(), definition.clone());
    let mut definitions = roots::definitions(metadata, false);
    definitions.insert(name.clone(), definition);
    let mut builder = Builder { structural: name.clone(), ..Builder::new(definitions) };
    let Type::Struct(id) = builder.named(&name) else { return Err(SchemaError::NotAnObject) };
    builder.schema.roots.push((kind.to_owned(), id));
    builder.schema.source = Source::Structural(components);
    Ok(builder.schema)
}

/// The full name of a custom resource's type, as upstream forms it: the group's labels in reverse, version, kind.
fn full_name(kind: KindRef<'_>) -> String {
    let labels: Vec<&str> = kind.group.split('.').rev().collect();
    format!("{}.{}.{}", labels.join("."), kind.version, kind.kind)
}

impl Builder {
    fn named(&mut self, name: &str) -> Type {
        match name.rsplit_once(".pkg.").map_or("", |(_, short)| short) {
            "api.resource.Quantity" => return Type::Quantity,
            "util.intstr.IntOrString" => return Type::IntOrString,
            "apis.meta.v1.Time" => return Type::Time,
            "apis.meta.v1.MicroTime" => return Type::MicroTime,
            "runtime.RawExtension" | "apis.meta.v1.FieldsV1" | "apis.meta.v1.Patch" => return Type::Any,
            // JSON, and unions of a schema with something else.
            other if other.starts_with("apis.apiextensions.v1.JSON") && !other.ends_with("SchemaProps") => {
                return Type::Any;
            }
            _ => {}
        }
        if let Some(id) = self.known.get(name) {
            return Type::Struct(*id);
        }
        let Some(definition) = self.definitions.remove(name) else { return Type::Any };
        let id = StructId(self.schema.structs.len() as u32);
        self.known.insert(name.to_owned(), id);
        self.fill(name, &definition, name == self.structural)
    }

    /// Adds the struct of a definition.
    fn fill(&mut self, name: &str, definition: &Value, structural: bool) -> Type {
        let id = StructId(self.schema.structs.len() as u32);
        self.schema.structs.push(Struct::empty(name));
        let required: Vec<&str> =
            definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut fields = Vec::new();
        let embedded = if structural { self.embedded_fields(definition) } else { Map::new() };
        let properties = definition["properties"].as_object().into_iter().flatten();
        let own = properties.filter(|(field, _)| !embedded.contains_key(*field));
        for (field, schema) in own.chain(&embedded) {
            let inline = if structural { format!("{name}.{field}") } else { String::new() };
            let ty = self.of(schema, &inline);
            fields.push(match structural {
                true => structural_field(field, ty, schema, name == self.structural),
                false => self.field(name, field, ty, required.contains(&field.as_str())),
            });
        }
        let at = &mut self.schema.structs[id.0 as usize];
        at.set_fields(fields);
        at.open = structural && definition["x-kubernetes-preserve-unknown-fields"] == true;
        at.atomic = match structural {
            true => definition["x-kubernetes-map-type"] == "atomic",
            false => self.rules.of(name, "-").atomic,
        };
        Type::Struct(id)
    }

    /// The members that every embedded resource has.
    fn embedded_fields(&self, definition: &Value) -> Map<String, Value> {
        let mut fields = Map::new();
        if definition["x-kubernetes-embedded-resource"] == true {
            fields.insert("apiVersion".to_owned(), json!({"type": "string"}));
            fields.insert("kind".to_owned(), json!({"type": "string"}));
            let reference = format!("#/components/schemas/{OBJECT_META}");
            fields.insert("metadata".to_owned(), json!({"$ref": reference}));
        }
        fields
    }

    fn field(&self, owner: &str, name: &str, ty: Type, required: bool) -> Field {
        let rule = self.rules.of(owner, name);
        let struct_meta = name == "metadata" && matches!(ty, Type::Struct(_));
        let written = written_default(ty, required, &rule);
        let left_out = rule.omit_zero && matches!(ty, Type::List(_) | Type::Map(_));
        let implicit =
            written.map(DefaultValue::to_value).filter(|value| value.is_string() || value.is_number());
        Field {
            name: name.to_owned(),
            ty,
            required,
            omit_zero: rule.omit_zero,
            keep_empty: rule.keep_empty,
            embedded: rule.embedded || struct_meta || (required && !left_out && !matches!(ty, Type::String)),
            written_default: written,
            list: rule.list.unwrap_or(ListKind::Atomic),
            atomic: rule.atomic,
            granular: rule.granular,
            key_default: rule.key_default.map(Value::String).or(implicit),
            patch: rule.patch,
        }
    }

    /// The type of a schema. `inline` is the name of the struct that it becomes if it lists properties of its own, which
    /// only structural schemas do; it is empty elsewhere.
    fn of(&mut self, schema: &Value, inline: &str) -> Type {
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
            "integer" if format == "int64" || (!inline.is_empty() && format != "int32") => Type::Int64,
            "integer" => Type::Int32,
            "number" => Type::Float,
            "array" => {
                let item = self.of(&schema["items"], inline);
                Type::List(self.item(item))
            }
            "object"
                if !inline.is_empty()
                    && (schema["properties"].is_object()
                        || schema["x-kubernetes-embedded-resource"] == true) =>
            {
                self.fill(inline, schema, true)
            }
            _ if schema["x-kubernetes-preserve-unknown-fields"] == true => Type::Any,
            "object" if schema["additionalProperties"].is_object() => {
                let item = self.of(&schema["additionalProperties"], inline);
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

/// A field of a structural schema. Custom resources keep what was sent: empty values stay, and none is added.
fn structural_field(name: &str, ty: Type, schema: &Value, of_resource: bool) -> Field {
    let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
    let list = match schema["x-kubernetes-list-type"].as_str() {
        Some("map") => ListKind::Map(keys.filter_map(|k| k.as_str().map(str::to_owned)).collect()),
        Some("set") => ListKind::Set,
        Some(_) | None => ListKind::Atomic,
    };
    let metadata = of_resource && name == "metadata";
    Field {
        name: name.to_owned(),
        ty,
        required: true,
        omit_zero: false,
        keep_empty: true,
        embedded: metadata,
        written_default: metadata.then_some(DefaultValue::Object),
        list,
        atomic: schema["x-kubernetes-map-type"] == "atomic",
        granular: false,
        key_default: schema.get("default").cloned(),
        patch: PatchRule::default(),
    }
}

fn written_default(ty: Type, required: bool, rule: &Rule) -> Option<DefaultValue> {
    let written = (rule.always || required) && !rule.omit_zero;
    match ty {
        _ if rule.null => Some(DefaultValue::Null),
        Type::Struct(_) if rule.embedded => Some(DefaultValue::Object),
        Type::Time | Type::MicroTime if rule.always => Some(DefaultValue::Null),
        Type::List(_) | Type::Map(_) if written => Some(DefaultValue::Null),
        Type::String if written => Some(DefaultValue::Text),
        Type::Bool if required => Some(DefaultValue::False),
        Type::Int32 | Type::Int64 if written => Some(DefaultValue::Number),
        _ => None,
    }
}
