//! Checks a decoded value against its type in one walk: records and drops unknown members, drops members that a typed
//! encoding omits, makes quantities and times canonical, and words the first type mismatch like Go's JSON package.

use super::strict_json::Path;
use super::{DefaultValue, Field, ObjectType, Schema, Struct, Type};
use crate::protobuf;
use crate::quantity::Quantity;
use crate::time::Instant;
use serde_json::{Map, Value};

/// The findings of the walk.
#[derive(Debug, Default)]
pub struct Issues {
    /// Paths of unknown members.
    pub unknown: Vec<String>,
    /// The message for the first value of a wrong type.
    pub mismatch: Option<String>,
}

/// Checks and normalizes `value` as an object of a type.
pub fn check(ty: &ObjectType, value: &mut Value) -> Issues {
    let kind = ty.schema().at(ty.root());
    let mut walk = Walk { schema: ty.schema(), root: Some(kind), issues: Issues::default() };
    match value {
        Value::Object(members) => walk.members(kind, members, &Path::ROOT),
        Value::Null => *value = Value::Object(Map::new()),
        other => {
            walk.issues.mismatch = Some(format!(
                "json: cannot unmarshal {} into Go value of type v1.{}",
                go_kind(other),
                kind.short_name()
            ))
        }
    }
    walk.issues
}

/// Checks and normalizes the metadata of an object of a custom resource.
pub fn check_metadata(ty: &ObjectType, object: &mut Value) -> Issues {
    const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    let root = Path::ROOT;
    let mut walk = Walk { schema: ty.schema(), root: None, issues: Issues::default() };
    let owner = walk.schema.named(OBJECT_META).map(|id| walk.schema.at(id));
    let (Some(owner), Some(metadata)) = (owner, object.get_mut("metadata")) else { return walk.issues };
    match metadata {
        Value::Object(members) => walk.members(owner, members, &root.field("metadata")),
        Value::Null => *metadata = Value::Object(Map::new()),
        other => {
            let found = go_kind(other);
            walk.note(format!("json: cannot unmarshal {found} into Go value of type v1.ObjectMeta"));
        }
    }
    // Upstream decodes the metadata of these objects by itself.
    walk.issues.mismatch = walk.issues.mismatch.map(|why| why.replacen(".metadata.", ".", 1));
    walk.issues
}

/// Where a text in base64 continues after complete padding.
fn after_padding(text: &str) -> Option<usize> {
    let end = text.find('=')?.next_multiple_of(4);
    let padding = text.get(text.find('=')?..end)?;
    (text.len() > end && padding.len() <= 2 && padding.bytes().all(|b| b == b'=')).then_some(end)
}

struct Walk<'s> {
    schema: &'s Schema,
    /// What the paths begin with.
    root: Option<&'s Struct>,
    issues: Issues,
}

/// The struct and field for the message of a type mismatch.
#[derive(Clone, Copy)]
struct Place<'a> {
    owner: &'a Struct,
    path: &'a Path<'a>,
}

impl<'s> Walk<'s> {
    fn members(&mut self, owner: &'s Struct, members: &mut Map<String, Value>, path: &Path<'_>) {
        let mut dropped = Vec::new();
        for (name, value) in members.iter_mut() {
            let stays = match owner.field(name) {
                Some(field) => {
                    let path = path.field(name);
                    self.field(field, value, Place { owner, path: &path })
                }
                None => {
                    self.issues.unknown.push(path.field(name).to_string());
                    false
                }
            };
            if !stays {
                dropped.push(name.clone());
            }
        }
        dropped.iter().for_each(|name| drop(members.remove(name)));
        for (field, zero) in owner.defaults() {
            if !members.contains_key(&field.name) {
                let mut value = zero.to_value();
                if let (Type::Struct(id), Value::Object(inner)) = (field.ty, &mut value) {
                    self.members(self.schema.at(id), inner, path);
                }
                members.insert(field.name.clone(), value);
            }
        }
    }

    /// Whether the member is kept.
    fn field(&mut self, field: &Field, value: &mut Value, place: Place<'_>) -> bool {
        if value.is_null() {
            return false;
        }
        self.value(field.ty, value, place);
        let required = field.required && !field.omit_zero;
        match value {
            _ if field.ty == Type::Any => true,
            Value::String(s) if s.is_empty() => required || field.keep_empty || field.ty == Type::IntOrString,
            Value::Bool(false) => !field.omit_zero,
            Value::Number(n) => !(field.omit_zero && n.as_i64() == Some(0)),
            // An empty list of the object's managed fields is a request to reset them, so it is kept.
            Value::Array(items) if items.is_empty() => {
                let resets = || field.name == "managedFields" && place.path.go() == "metadata.managedFields";
                field.keep_empty || !is_nil(field) && (required || resets())
            }
            Value::Object(o) if o.is_empty() => {
                !matches!(field.ty, Type::Map(_)) || required && !is_nil(field)
            }
            _ => true,
        }
    }

    fn value(&mut self, ty: Type, value: &mut Value, place: Place<'_>) {
        match (ty, &mut *value) {
            (Type::Struct(id), Value::Object(members)) => {
                self.members(self.schema.at(id), members, place.path)
            }
            (Type::List(item), Value::Array(values)) => {
                let item = self.schema.item(item);
                for (i, element) in values.iter_mut().enumerate() {
                    let path = place.path.index(i);
                    self.element(item, element, Place { path: &path, ..place });
                }
            }
            (Type::Map(item), Value::Object(members)) => {
                let item = self.schema.item(item);
                for (key, element) in members.iter_mut() {
                    let path = place.path.key(key);
                    self.element(item, element, Place { path: &path, ..place });
                }
            }
            (Type::Any, _) | (Type::String, Value::String(_)) | (Type::Bool, Value::Bool(_)) => {}
            (Type::Float, Value::Number(_)) => {}
            (Type::Int64, Value::Number(n)) if n.is_i64() => {}
            (Type::Int32 | Type::IntOrString, Value::Number(n))
                if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {}
            (Type::IntOrString, Value::String(_)) => {}
            (Type::Quantity, Value::String(text)) => self.quantity(text),
            // A quantity parses the text of any value itself.
            (Type::Quantity, Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                self.quantity(&mut "?".to_owned());
            }
            (Type::Quantity, Value::Number(n)) => {
                let mut text = n.to_string();
                self.quantity(&mut text);
                *value = Value::String(text);
            }
            (Type::Bytes, Value::String(text)) => self.bytes(text),
            (Type::Bytes, Value::Array(numbers)) => {
                if let Some(bytes) = self.numbered_bytes(numbers, place) {
                    *value = Value::String(crate::base64::encode(&bytes));
                }
            }
            (Type::Time, Value::String(text)) => self.time(text, false),
            (Type::MicroTime, Value::String(text)) => self.time(text, true),
            (_, found) => self.mismatch(ty, found, place),
        }
    }

    fn element(&mut self, ty: Type, value: &mut Value, place: Place<'_>) {
        if value.is_null() {
            *value = zero(ty);
            if let (Type::Struct(id), Value::Object(members)) = (ty, value) {
                self.members(self.schema.at(id), members, place.path);
            }
        } else {
            self.value(ty, value, place);
        }
    }

    fn quantity(&mut self, text: &mut String) {
        match Quantity::canonical(text) {
            Ok(canonical) => {
                if canonical != *text {
                    *text = canonical;
                }
            }
            Err(e) => self.note(e.to_string()),
        }
    }

    fn time(&mut self, text: &mut String, micro: bool) {
        match Instant::parse(text) {
            // Go's layout demands the six digits.
            Some(_) if micro && micros(text).is_some() => {
                let (found, wanted) = micros(text).unwrap_or_default();
                self.note(format!(
                    "parsing time \"{text}\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"{found}\" as \"{wanted}\""
                ));
            }
            Some(at) => *text = if micro { at.to_rfc3339_micro() } else { at.to_rfc3339() },
            None => {
                let layout =
                    if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
                self.note(format!(
                    "parsing time \"{text}\" as \"{layout}\": cannot parse \"{text}\" as \"2006\""
                ));
            }
        }
    }

    fn bytes(&mut self, text: &str) {
        use base64::Engine as _;
        if let Err(e) = base64::engine::general_purpose::STANDARD.decode(text) {
            let at = match e {
                // As upstream, what follows the padding is wrong, not the padding.
                base64::DecodeError::InvalidByte(at, b'=') => after_padding(text).unwrap_or(at),
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                _ => text.len() / 4 * 4,
            };
            self.note(format!("illegal base64 data at input byte {at}"));
        }
    }

    /// The bytes of a list of numbers, which Go accepts in place of base64.
    fn numbered_bytes(&mut self, numbers: &[Value], place: Place<'_>) -> Option<Vec<u8>> {
        let byte = |number: &Value| match number {
            Value::Null => Some(0),
            number => number.as_u64().and_then(|n| u8::try_from(n).ok()),
        };
        let wrong = numbers.iter().find(|number| byte(number).is_none());
        if let Some(found) = wrong {
            let kind = if found.is_number() {
                format!("number {}", digits(found))
            } else {
                go_kind(found).to_owned()
            };
            let (owner, path) = (place.owner.short_name(), self.with_embedded(&place.path.go()));
            self.note(format!(
                "json: cannot unmarshal {kind} into Go struct field {owner}.{path} of type uint8"
            ));
            return None;
        }
        Some(numbers.iter().filter_map(byte).collect())
    }

    fn mismatch(&mut self, ty: Type, found: &Value, place: Place<'_>) {
        if self.issues.mismatch.is_none() {
            // The number is printed only if its size or fraction is the reason.
            let number = matches!(ty, Type::Int32 | Type::Int64 | Type::IntOrString) && found.is_number();
            let kind = if number { format!("number {}", digits(found)) } else { go_kind(found) };
            let (owner, path) = (place.owner.short_name(), place.path.go());
            let field = path.rsplit('.').next().unwrap_or("").to_owned();
            let field = field.as_str();
            let path = self.with_embedded(&path);
            let ty = match (ty, super::rules::named_type(&place.owner.name, field)) {
                (Type::String | Type::Int32 | Type::Int64, Some(named)) => named.to_owned(),
                (Type::List(_), Some(named)) => format!("[]{named}"),
                (Type::Map(item), _) if self.schema.item(item) == Type::Quantity => {
                    let claimed = place.owner.name.contains(".resource.");
                    if claimed { "map[v1.QualifiedName]resource.Quantity" } else { "v1.ResourceList" }
                        .to_owned()
                }
                (ty, _) => go_type(self.schema, ty),
            };
            self.note(format!(
                "json: cannot unmarshal {kind} into Go struct field {owner}.{path} of type {ty}"
            ));
        }
    }

    /// A path with the embedded structs that its fields belong to, as Go's errors have it.
    fn with_embedded(&self, path: &str) -> String {
        let mut at = self.root;
        let mut out: Vec<&str> = Vec::new();
        for name in path.split('.') {
            if let Some(owner) = at {
                let structs = protobuf::embedded(&super::rules::short(&owner.name), name);
                out.extend(structs.into_iter().map(|(go_name, _)| go_name));
                at = owner.field(name).and_then(|field| self.struct_of(field.ty));
            }
            out.push(name);
        }
        out.join(".")
    }

    /// The struct of a value or of its elements.
    fn struct_of(&self, ty: Type) -> Option<&'s Struct> {
        match ty {
            Type::Struct(id) => Some(self.schema.at(id)),
            Type::List(item) | Type::Map(item) => self.struct_of(self.schema.item(item)),
            _ => None,
        }
    }

    fn note(&mut self, text: String) {
        self.issues.mismatch.get_or_insert(text);
    }
}

/// Whether an empty list or map is stored as none at all, which is written as null.
fn is_nil(field: &Field) -> bool {
    field.written_default == Some(DefaultValue::Null)
}

/// The value that Go has in place of a null element.
fn zero(ty: Type) -> Value {
    match ty {
        Type::Struct(_) | Type::Map(_) => Value::Object(Map::new()),
        Type::String | Type::Bytes => Value::String(String::new()),
        Type::Bool => Value::Bool(false),
        Type::Int32 | Type::Int64 | Type::Float | Type::IntOrString => 0.into(),
        Type::Quantity => Value::String("0".to_owned()),
        Type::List(_) | Type::Time | Type::MicroTime | Type::Any => Value::Null,
    }
}

/// A number as it was probably written: one beyond 64 bits is kept as a float.
fn digits(number: &Value) -> String {
    /// Clients write larger ones with an exponent.
    const WRITTEN_OUT: f64 = 1e40;
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < WRITTEN_OUT => {
            float.to_string()
        }
        _ => number.to_string(),
    }
}

fn go_kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

fn go_type(schema: &Schema, ty: Type) -> String {
    match ty {
        Type::Struct(id) => {
            let mut parts = schema.at(id).name.rsplit('.');
            let (name, version) = (parts.next().unwrap_or(""), parts.next().unwrap_or("v1"));
            format!("{version}.{name}")
        }
        Type::List(item) => format!("[]{}", go_type(schema, schema.item(item))),
        Type::Map(item) => format!("map[string]{}", go_type(schema, schema.item(item))),
        Type::String | Type::Quantity => "string".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Int32 | Type::IntOrString => "int32".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Float => "float64".to_owned(),
        Type::Bytes => "[]uint8".to_owned(),
        Type::Time | Type::MicroTime => "string".to_owned(),
        Type::Any => "interface {}".to_owned(),
    }
}

/// What a time has instead of six digits after its seconds, and what is wanted there.
fn micros(text: &str) -> Option<(&str, &'static str)> {
    const SECONDS: usize = "2006-01-02T15:04:05".len();
    let rest = text.get(SECONDS..).unwrap_or("");
    match rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count()) {
        6 => None,
        7.. => Some((rest.get(7..).unwrap_or(""), "Z07:00")),
        _ => Some((rest, ".000000")),
    }
}
