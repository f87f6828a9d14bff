//! A reader of the table of its own, which makes a descriptor for an independent library of it.

use std::collections::BTreeMap;

use base64::Engine as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, ReflectMessage as _, Value as Field};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MessageOptions,
};
use serde_json::{Map, Value, json};
use shim_model::time::Instant;

const TABLE: &str = include_str!("../../data/protobuf.tsv");

/// A member of a message's JSON object.
#[derive(Debug, Clone)]
pub struct Member {
    pub name: String,
    pub number: i32,
    /// `o` one, `l` list, `m` map.
    pub arity: char,
    pub kind: String,
    /// The message that it is a field of.
    pub owner: String,
}

impl Member {
    pub fn one(&self) -> Member {
        Member { arity: 'o', ..self.clone() }
    }

    /// The name of the member's message.
    pub fn message(&self) -> String {
        match self.kind.contains('.') {
            true => self.kind.clone(),
            false => format!("{}.{}", self.owner.rsplit_once('.').unwrap().0, self.kind),
        }
    }
}

/// A row of the table.
pub struct Row {
    /// The word in place of members, for messages that are no JSON objects.
    pub form: Option<String>,
    pub fields: Vec<Member>,
}

impl Row {
    /// The members of the JSON object, those of embedded messages included.
    pub fn members(&self, rows: &BTreeMap<String, Row>) -> Vec<Member> {
        let inner = |field: &Member| match field.name.as_str() {
            "+" => rows[&field.message()].members(rows),
            _ => vec![field.clone()],
        };
        self.fields.iter().flat_map(inner).collect()
    }
}

/// The table and the descriptors.
pub struct Descriptors {
    pub rows: BTreeMap<String, Row>,
    pool: DescriptorPool,
}

fn row(name: &str, cells: &str) -> Row {
    if !cells.contains('=') {
        return Row { form: Some(cells.to_owned()).filter(|word| !word.is_empty()), fields: Vec::new() };
    }
    let fields = cells.split(' ').map(|cell| {
        let (json, rest) = cell.split_once('=').unwrap();
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let ty = rest[digits.len()..].trim_end_matches(['?', '!']);
        let arity = if ty.starts_with("[]") {
            'l'
        } else if ty.starts_with("{}") {
            'm'
        } else {
            'o'
        };
        Member {
            name: json.split('/').next().unwrap().to_owned(),
            number: digits.parse().unwrap(),
            arity,
            kind: ty.trim_start_matches(['[', ']', '{', '}', '*']).to_owned(),
            owner: name.to_owned(),
        }
    });
    Row { form: None, fields: fields.collect() }
}

impl Descriptors {
    pub fn read() -> Descriptors {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).map(|l| l.split_once('\t').unwrap());
        let rows: BTreeMap<String, Row> =
            lines.map(|(name, cells)| (name.to_owned(), row(name, cells))).collect();
        let mut messages: Vec<DescriptorProto> =
            rows.iter().map(|(name, row)| message(name, &row.fields)).collect();
        let plain = |name: &str, kinds: &[&str]| {
            let member = |(at, kind): (usize, &&str)| Member {
                name: format!("f{at}"),
                number: at as i32 + 1,
                arity: if kind.ends_with('s') && kind.len() == 2 { 'l' } else { 'o' },
                kind: kind[..1].to_owned(),
                owner: name.to_owned(),
            };
            message(name, &kinds.iter().enumerate().map(member).collect::<Vec<_>>())
        };
        messages.extend([
            plain("special.quantity", &["s"]),
            plain("special.time", &["l", "i"]),
            plain("special.union", &["l", "i", "s"]),
            plain("special.raw", &["y"]),
        ]);
        messages.retain(|m| !m.name().ends_with("items"));
        let items = rows.iter().filter(|(_, row)| row.form.as_deref() == Some("items"));
        for (name, _) in items {
            messages.retain(|m| m.name() != mangled(name));
            messages.push(plain(name, &["ss"]));
        }
        let file = FileDescriptorProto {
            name: Some("k8s.proto".to_owned()),
            message_type: messages,
            ..FileDescriptorProto::default()
        };
        let pool = DescriptorPool::from_file_descriptor_set(FileDescriptorSet { file: vec![file] }).unwrap();
        Descriptors { rows, pool }
    }

    /// Decodes a message and prints it as JSON by the table.
    pub fn decode(&self, name: &str, bytes: &[u8]) -> Value {
        let descriptor = self.pool.get_message_by_name(&mangled(name)).unwrap();
        let message = DynamicMessage::decode(descriptor, bytes).unwrap();
        assert_eq!(message.unknown_fields().count(), 0, "{name}");
        let mut out = Map::new();
        self.print(name, &message, &mut out);
        Value::Object(out)
    }

    fn print(&self, name: &str, message: &DynamicMessage, out: &mut Map<String, Value>) {
        for member in &self.rows[name].fields {
            let field = message.descriptor().get_field(member.number as u32).unwrap();
            if !message.has_field(&field) {
                continue;
            }
            let value = message.get_field(&field);
            match &*value {
                Field::Message(inner) if member.name == "+" => self.print(&member.message(), inner, out),
                Field::List(items) => {
                    let items: Vec<Value> = items.iter().map(|item| self.value(member, item)).collect();
                    out.insert(member.name.clone(), items.into());
                }
                Field::Map(entries) => {
                    let entry = |(key, value): (MapKey, Field)| match key {
                        MapKey::String(key) => (key, self.value(member, &value)),
                        other => panic!("{other:?}"),
                    };
                    out.insert(
                        member.name.clone(),
                        Value::Object(entries.clone().into_iter().map(entry).collect()),
                    );
                }
                value => drop(out.insert(member.name.clone(), self.value(member, value))),
            }
        }
    }

    fn value(&self, member: &Member, field: &Field) -> Value {
        let parts = |message: &Field, number: u32| {
            message.as_message().and_then(|m| m.get_field_by_number(number).map(|v| v.into_owned())).unwrap()
        };
        match member.kind.as_str() {
            "s" => field.as_str().unwrap().into(),
            "b" => field.as_bool().unwrap().into(),
            "i" => field.as_i32().unwrap().into(),
            "l" => field.as_i64().unwrap().into(),
            "d" => field.as_f64().unwrap().into(),
            "y" => base64::engine::general_purpose::STANDARD.encode(field.as_bytes().unwrap()).into(),
            "q" => parts(field, 1).as_str().unwrap().into(),
            "r" | "f" => serde_json::from_slice(parts(field, 1).as_bytes().unwrap()).unwrap_or(Value::Null),
            "o" => match parts(field, 1).as_i64() {
                Some(0) => parts(field, 2).as_i32().unwrap().into(),
                _ => parts(field, 3).as_str().unwrap().into(),
            },
            "t" | "u" if field.as_message().unwrap().fields().count() == 0 => Value::Null,
            "t" => Instant::from_seconds(parts(field, 1).as_i64().unwrap()).to_rfc3339().into(),
            "u" => {
                let micros = i64::from(parts(field, 2).as_i32().unwrap()) / 1000;
                Instant(parts(field, 1).as_i64().unwrap() * 1_000_000 + micros).to_rfc3339_micro().into()
            }
            _ if self.rows[&member.message()].form.as_deref() == Some("items") => {
                let texts = parts(field, 1);
                json!(texts.as_list().unwrap().iter().map(|t| t.as_str().unwrap()).collect::<Vec<_>>())
            }
            _ => {
                let mut out = Map::new();
                self.print(&member.message(), field.as_message().unwrap(), &mut out);
                Value::Object(out)
            }
        }
    }
}

fn mangled(name: &str) -> String {
    name.replace(['.', '-'], "_")
}

fn message(name: &str, members: &[Member]) -> DescriptorProto {
    let mut out = DescriptorProto { name: Some(mangled(name)), ..DescriptorProto::default() };
    for member in members {
        let mut field = FieldDescriptorProto {
            name: Some(format!("f{}", member.number)),
            number: Some(member.number),
            ..FieldDescriptorProto::default()
        };
        field.set_label(if member.arity == 'o' { Label::Optional } else { Label::Repeated });
        set_type(&mut field, member);
        if member.arity == 'm' {
            let entry = format!("F{}Entry", member.number);
            let mut key = FieldDescriptorProto {
                name: Some("key".to_owned()),
                number: Some(1),
                ..FieldDescriptorProto::default()
            };
            key.set_label(Label::Optional);
            key.set_type(Type::String);
            let mut value =
                FieldDescriptorProto { name: Some("value".to_owned()), number: Some(2), ..field.clone() };
            value.set_label(Label::Optional);
            out.nested_type.push(DescriptorProto {
                name: Some(entry.clone()),
                field: vec![key, value],
                options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
                ..DescriptorProto::default()
            });
            field.set_type(Type::Message);
            field.type_name = Some(format!(".{}.{entry}", mangled(name)));
        }
        out.field.push(field);
    }
    out
}

fn set_type(field: &mut FieldDescriptorProto, member: &Member) {
    let special = match member.kind.as_str() {
        "s" => return field.set_type(Type::String),
        "b" => return field.set_type(Type::Bool),
        "i" => return field.set_type(Type::Int32),
        "l" => return field.set_type(Type::Int64),
        "d" => return field.set_type(Type::Double),
        "y" => return field.set_type(Type::Bytes),
        "q" => "special.quantity".to_owned(),
        "t" | "u" => "special.time".to_owned(),
        "o" => "special.union".to_owned(),
        "r" | "f" => "special.raw".to_owned(),
        _ => member.message(),
    };
    field.set_type(Type::Message);
    field.type_name = Some(format!(".{}", mangled(&special)));
}
