//! Value, OpenAPI schema and protobuf message agree, for generated objects of every built-in kind: what is encoded from JSON
//! is decoded by a library that knows only a descriptor made of the table, and by our own decoder.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "protobuf_messages/descriptor.rs"]
mod descriptor;
#[path = "protobuf_messages/generator.rs"]
mod generator;

use std::sync::{Arc, LazyLock};

use descriptor::Descriptors;
use generator::Generator;
use proptest::prelude::*;
use serde_json::{Map, Value};
use shim_model::protobuf::{self, Encoder};
use shim_model::schema::{self, Media, ObjectType, Schema, Strictness, Type, roots};

static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(Schema::builtin);
static DESCRIPTORS: LazyLock<Descriptors> = LazyLock::new(Descriptors::read);

/// The name of a type in the table.
fn short(name: &str) -> &str {
    let at = name.rmatch_indices('.').nth(2).map_or(0, |(dot, _)| dot + 1);
    &name[at..]
}

fn kinds() -> Vec<ObjectType> {
    // ObjectMeta is no kind of its own.
    let roots = roots::all().filter(|root| root.kind.kind != "ObjectMeta");
    roots.filter_map(|root| SCHEMA.object_type(root.kind)).collect()
}

#[test]
fn every_field_of_the_schema_is_in_the_table() {
    let rows = &DESCRIPTORS.rows;
    let mut missing = Vec::new();
    for (_, ty) in SCHEMA.structs() {
        let Some(row) = rows.get(short(&ty.name)) else {
            missing.push(ty.name.clone());
            continue;
        };
        let members = row.members(rows);
        for field in ty.fields.iter().filter(|f| !matches!(f.name.as_str(), "apiVersion" | "kind")) {
            let found = members.iter().find(|m| m.name == field.name);
            let fits = found.is_some_and(|m| m.fits(field.ty));
            if !fits {
                missing.push(format!("{}.{} {:?} {found:?}", ty.name, field.name, field.ty));
            }
        }
    }
    // Objects have a kind, other structs with such members have them in their messages.
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Removes members that have the value that absent ones have in Go, and empty elements of objects.
fn without_zeros(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().map(|(key, member)| (key, without_zeros(member)));
            let zero = |v: &Value| match v {
                Value::Null | Value::Bool(false) => true,
                Value::String(text) => text.is_empty(),
                Value::Number(number) => number.as_f64() == Some(0.0),
                Value::Array(items) => items.is_empty(),
                Value::Object(members) => members.is_empty(),
                Value::Bool(true) => false,
            };
            Value::Object(members.filter(|(_, member)| !zero(member)).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(without_zeros).collect(),
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn json_and_protobuf_have_the_same_objects(seed in any::<u64>()) {
        for ty in kinds() {
            let mut generator = Generator::new(seed, &SCHEMA, &DESCRIPTORS.rows);
            let sent = generator.object(&ty);
            let decoded = schema::decode(sent.to_string().as_bytes(), Media::Json, &ty, Strictness::Strict);
            let object = decoded.map_err(|status| TestCaseError::fail(format!("{sent}\n{status}")))?.value;

            let mut encoder = Encoder::default();
            encoder.object(ty.message().unwrap(), object.to_string().as_bytes(), None).unwrap();
            let foreign = DESCRIPTORS.decode(short(ty.name()), encoder.bytes());
            let mut bare = object.clone();
            bare.as_object_mut().unwrap().retain(|key, _| key != "apiVersion" && key != "kind");
            prop_assert_eq!(without_zeros(foreign), without_zeros(bare), "{}", ty.name());

            let body = protobuf::encode_value(&object).unwrap();
            let again = schema::decode(&body, Media::Protobuf, &ty, Strictness::Strict);
            let again = again.map_err(|status| TestCaseError::fail(format!("{sent}\n{status}")))?.value;
            prop_assert_eq!(&again, &object, "{}", ty.name());
            // What is decoded is encoded to the same bytes.
            prop_assert_eq!(protobuf::encode_value(&again).unwrap(), body);
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(seed in any::<u64>(), cut in any::<prop::sample::Index>(), flip in any::<(prop::sample::Index, u8)>()) {
        for ty in kinds() {
            let Some(id) = ty.message() else { continue };
            let object = Generator::new(seed, &SCHEMA, &DESCRIPTORS.rows).object(&ty);
            let mut encoder = Encoder::default();
            encoder.object(id, object.to_string().as_bytes(), None).unwrap();
            let mut bytes = encoder.take();
            if bytes.is_empty() {
                continue;
            }
            let at = flip.0.index(bytes.len());
            bytes[at] = flip.1;
            bytes.truncate(cut.index(bytes.len()) + 1);
            if let Ok(decoded) = protobuf::decode(id, &bytes) {
                encoder.object(id, Value::Object(decoded).to_string().as_bytes(), None).unwrap();
            }
        }
    }
}

impl descriptor::Member {
    /// Whether a field of the schema has the type of the member.
    fn fits(&self, ty: Type) -> bool {
        let schema = &SCHEMA;
        let kind = self.kind.as_str();
        match ty {
            Type::List(item) => match self.arity {
                'l' => self.one().fits(schema.item(item)),
                // A message that is a list in JSON.
                _ => schema.item(item) == Type::String,
            },
            Type::Map(item) => self.arity == 'm' && self.one().fits(schema.item(item)),
            _ if self.arity != 'o' => false,
            Type::String => kind == "s",
            Type::Bool => kind == "b",
            Type::Int32 => kind == "i",
            Type::Int64 => kind == "l",
            Type::Float => kind == "d",
            Type::Bytes => kind == "y",
            Type::Quantity => kind == "q",
            Type::Time => kind == "t",
            Type::MicroTime => kind == "u",
            Type::IntOrString => kind == "o",
            Type::Any => matches!(kind, "r" | "f") || kind.len() > 1,
            Type::Struct(id) => self.message() == short(&schema.at(id).name),
        }
    }
}
