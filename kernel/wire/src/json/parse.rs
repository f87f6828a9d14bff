//! Encodes a JSON value as a message.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::syntax;
use crate::{
    required,
    wirewrite::{put_bytes, put_fixed32, put_fixed64, put_varint},
};

/// Base64 as Mesos reads it: padding and the last bits are not checked.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Text that is no JSON, or a JSON value that does not match the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(pub(super) String);

impl JsonError {
    /// An error with this text.
    pub fn custom(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Encodes the value; every required field must be set.
pub fn encode_value(message: &MessageDescriptor, value: &Value) -> Result<Vec<u8>, JsonError> {
    let Value::Object(object) = value else {
        return Err(JsonError::custom("Expecting a JSON object"));
    };
    let mut out = Vec::new();
    encode_message(message, object, &mut out)?;
    match required::missing(message, &out) {
        Ok(missing) if missing.is_empty() => Ok(out),
        Ok(missing) => Err(JsonError(format!("Missing required fields: {}", missing.join(", ")))),
        Err(_) => Err(JsonError::custom("the message is nested too deeply")),
    }
}

fn encode_message(
    message: &MessageDescriptor,
    object: &Map<String, Value>,
    out: &mut Vec<u8>,
) -> Result<(), JsonError> {
    for (name, value) in object {
        let Some(field) = message.get_field_by_name(name) else { continue };
        encode_member(&field, value, out)?;
    }
    Ok(())
}

/// Encodes a member as Mesos reads it: null sets nothing, wherever it stands; a repeated field takes a single value like an
/// array of one, and arrays in arrays like one array.
fn encode_member(field: &FieldDescriptor, value: &Value, out: &mut Vec<u8>) -> Result<(), JsonError> {
    match value {
        Value::Null => Ok(()),
        Value::Array(items) if field.is_list() || field.is_map() => {
            items.iter().try_for_each(|item| encode_member(field, item, out))
        }
        Value::Object(entries) if field.is_map() => encode_map(field, entries, out),
        value => encode_field(field, &field.kind(), field.number(), value, out),
    }
}

fn encode_map(
    field: &FieldDescriptor,
    entries: &Map<String, Value>,
    out: &mut Vec<u8>,
) -> Result<(), JsonError> {
    let Kind::Message(entry) = field.kind() else { return Ok(()) };
    let (key_kind, value_field) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field());
    for (key, value) in entries {
        let mut content = Vec::new();
        encode_field(field, &key_kind, 1, &Value::String(key.clone()), &mut content)?;
        encode_member(&value_field, value, &mut content)?;
        put_bytes(field.number(), &content, out);
    }
    Ok(())
}

fn encode_field(
    field: &FieldDescriptor,
    kind: &Kind,
    number: u32,
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<(), JsonError> {
    match (kind, value) {
        (Kind::Message(inner), Value::Object(object)) => {
            let mut content = Vec::new();
            encode_message(inner, object, &mut content)?;
            put_bytes(number, &content, out);
        }
        (Kind::String, Value::String(text)) => put_bytes(number, text.as_bytes(), out),
        (Kind::Bytes, Value::String(text)) => {
            put_bytes(number, &decode_base64(text, field)?, out);
        }
        (Kind::Enum(names), Value::String(text)) => match names.get_value_by_name(text) {
            Some(value) => put_varint(number, value.number() as i64 as u64, out),
            None if field.cardinality() == Cardinality::Required => {
                return Err(JsonError(format!("Failed to find enum for '{text}'")));
            }
            None => {}
        },
        (Kind::Bool, Value::Bool(flag)) => put_varint(number, u64::from(*flag), out),
        (Kind::Bool, Value::String(text)) => {
            let flag = coerce(text, "boolean", field, Value::as_bool)?;
            put_varint(number, u64::from(flag), out);
        }
        (Kind::Message(_) | Kind::String | Kind::Bytes | Kind::Enum(_) | Kind::Bool, value) => {
            return Err(unexpected(type_name(value), field));
        }
        (kind, value) => encode_number(field, kind, number, value, out)?,
    }
    Ok(())
}

fn encode_number(
    field: &FieldDescriptor,
    kind: &Kind,
    number: u32,
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<(), JsonError> {
    let is_double = matches!(kind, Kind::Double | Kind::Float);
    let amount = match value {
        Value::Number(amount) => JsonNumber::of(amount),
        Value::String(text) if is_double && text == "Infinity" => Some(JsonNumber::Double(f64::INFINITY)),
        Value::String(text) if is_double && text == "-Infinity" => {
            Some(JsonNumber::Double(f64::NEG_INFINITY))
        }
        Value::String(text) => {
            let amount = coerce(text, "number", field, |value| value.as_number().cloned())?;
            JsonNumber::of(&amount)
        }
        custom => return Err(unexpected(type_name(custom), field)),
    };
    let refuse = || JsonError(format!("Failed to parse the number in field '{}'", field.name()));
    let amount = amount.ok_or_else(refuse)?;
    match kind {
        Kind::Double => put_fixed64(number, amount.as_f64().to_bits(), out),
        Kind::Float => put_fixed32(number, (amount.as_f64() as f32).to_bits(), out),
        _ => put_integer(kind, number, amount.as_integer().ok_or_else(refuse)?, out),
    }
    Ok(())
}

/// The value of this type that a text consists of.
fn coerce<T>(
    text: &str,
    name: &str,
    field: &FieldDescriptor,
    of_type: impl Fn(&Value) -> Option<T>,
) -> Result<T, JsonError> {
    let parsed = syntax::parse(text.as_bytes());
    let parsed = parsed
        .and_then(|value| of_type(&value).ok_or_else(|| JsonError::custom("Unexpected JSON type parsed")));
    parsed.map_err(|why| {
        JsonError(format!("Failed to parse '{text}' as a JSON {name} for field '{}': {why}", field.name()))
    })
}

/// Decodes base64: white space is skipped, and the text ends with the first padding character.
fn decode_base64(text: &str, field: &FieldDescriptor) -> Result<Vec<u8>, JsonError> {
    let refuse =
        |why: String| JsonError(format!("Failed to base64 decode bytes field '{}': {why}", field.name()));
    let content = text.split('=').next().unwrap_or_default();
    let bytes = content.bytes().filter(|c| !matches!(c, b' ' | b'\t'..=b'\r'));
    let mut symbols: Vec<u8> = bytes.collect();
    if let Some(bad) = symbols.iter().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, b'+' | b'/')) {
        let shown = String::from_utf8_lossy(std::slice::from_ref(bad)).into_owned();
        return Err(refuse(format!("Invalid character '{shown}'")));
    }
    // A single symbol of a group has too few bits for a byte.
    if symbols.len() % 4 == 1 {
        symbols.pop();
    }
    BASE64.decode(symbols).map_err(|error| refuse(error.to_string()))
}

/// A number, as written.
#[derive(Clone, Copy)]
enum JsonNumber {
    Integer(i128),
    Double(f64),
}

impl JsonNumber {
    fn of(number: &serde_json::Number) -> Option<Self> {
        number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from))
            .map(JsonNumber::Integer)
            .or_else(|| number.as_f64().map(JsonNumber::Double))
    }

    fn as_f64(self) -> f64 {
        match self {
            JsonNumber::Integer(integer) => integer as f64,
            JsonNumber::Double(double) => double,
        }
    }

    /// Truncates toward zero; `None` if a double does not fit in 64 bits. Mesos casts an integer to the field's type, so
    /// its lowest bits are taken.
    fn as_integer(self) -> Option<i128> {
        match self {
            JsonNumber::Integer(integer) => Some(integer),
            JsonNumber::Double(double) => {
                let fits = (-(2f64.powi(63))..2f64.powi(64)).contains(&double);
                fits.then_some(double as i128)
            }
        }
    }
}

/// Encodes the lowest bits, as many as the field's type has.
fn put_integer(kind: &Kind, number: u32, amount: i128, out: &mut Vec<u8>) {
    match kind {
        Kind::Sint32 | Kind::Sint64 => {
            let amount = if *kind == Kind::Sint32 { i64::from(amount as i32) } else { amount as i64 };
            put_varint(number, ((amount << 1) ^ (amount >> 63)) as u64, out);
        }
        Kind::Int32 => put_varint(number, i64::from(amount as i32) as u64, out),
        Kind::Uint32 => put_varint(number, u64::from(amount as u32), out),
        Kind::Fixed32 | Kind::Sfixed32 => put_fixed32(number, amount as u32, out),
        Kind::Fixed64 | Kind::Sfixed64 => put_fixed64(number, amount as u64, out),
        _ => put_varint(number, amount as u64, out),
    }
}

fn unexpected(found: &str, field: &FieldDescriptor) -> JsonError {
    JsonError(format!("Not expecting a JSON {found} for field '{}'", field.name()))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
