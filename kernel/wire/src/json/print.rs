//! Prints an encoded message as JSON.

use base64::{Engine, engine::general_purpose::STANDARD};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, Value};

use crate::wirescan::{Malformed, RawField, RawValue, scan};

/// Prints an encoded message.
pub fn print(message: &MessageDescriptor, bytes: &[u8]) -> Result<String, Malformed> {
    let mut out = String::with_capacity(bytes.len() * 3);
    print_message(message, bytes, &mut out)?;
    Ok(out)
}

fn print_message(message: &MessageDescriptor, bytes: &[u8], out: &mut String) -> Result<(), Malformed> {
    let fields = scan(bytes)?;
    out.push('{');
    let mut first = true;
    for field in message.fields() {
        let number = field.number();
        let mut present = fields.iter().filter(|f| f.number == number).peekable();
        if present.peek().is_none() {
            if let Some(default) = printed_default(&field) {
                print_key(field.name(), &mut first, out);
                print_default(&field, &default, out);
            }
            continue;
        }
        if field.is_map() {
            print_key(field.name(), &mut first, out);
            print_map(&field, present, out)?;
        } else if field.is_list() {
            print_key(field.name(), &mut first, out);
            print_list(&field, present, out)?;
        } else if let Some(raw) = present.last() {
            let mut text = String::new();
            if print_value(&field.kind(), raw.value, &mut text)? {
                print_key(field.name(), &mut first, out);
                out.push_str(&text);
            }
        }
    }
    out.push('}');
    Ok(())
}

/// The printed default of an unset field: a declared one, unless the field is deprecated.
fn printed_default(field: &FieldDescriptor) -> Option<Value> {
    let proto = field.field_descriptor_proto();
    proto.default_value.as_ref()?;
    let deprecated = proto.options.as_ref().is_some_and(|options| options.deprecated());
    (!deprecated).then(|| field.default_value())
}

fn print_default(field: &FieldDescriptor, default: &Value, out: &mut String) {
    match (default, field.kind()) {
        (Value::Bool(flag), _) => out.push_str(if *flag { "true" } else { "false" }),
        (Value::F64(number), _) => print_double(*number, out),
        (Value::F32(number), _) => print_double(f64::from(*number), out),
        (Value::I32(number), _) => out.push_str(&number.to_string()),
        (Value::I64(number), _) => out.push_str(&number.to_string()),
        (Value::U32(number), _) => out.push_str(&number.to_string()),
        (Value::U64(number), _) => out.push_str(&number.to_string()),
        (Value::String(text), _) => print_string(text, out),
        (Value::EnumNumber(number), Kind::Enum(kind)) => {
            print_string(kind.get_value(*number).as_ref().map_or("", |v| v.name()), out);
        }
        _ => out.push_str("null"),
    }
}

fn print_list<'a>(
    field: &FieldDescriptor,
    present: impl Iterator<Item = &'a RawField<'a>>,
    out: &mut String,
) -> Result<(), Malformed> {
    out.push('[');
    let mut first = true;
    for raw in present {
        let start = out.len();
        if !first {
            out.push(',');
        }
        match print_value(&field.kind(), raw.value, out)? {
            true => first = false,
            false => out.truncate(start),
        }
    }
    out.push(']');
    Ok(())
}

fn print_map<'a>(
    field: &FieldDescriptor,
    present: impl Iterator<Item = &'a RawField<'a>>,
    out: &mut String,
) -> Result<(), Malformed> {
    let Kind::Message(entry) = field.kind() else { return Err(Malformed) };
    let (key_field, value_field) = (entry.map_entry_key_field(), entry.map_entry_value_field());
    out.push('{');
    for (index, raw) in present.enumerate() {
        if index > 0 {
            out.push(',');
        }
        let RawValue::Bytes(bytes) = raw.value else { return Err(Malformed) };
        let fields = scan(bytes)?;
        let find = |number| fields.iter().rev().find(|f| f.number == number).map(|f| f.value);
        let mut key = String::new();
        print_value(&key_field.kind(), find(1).unwrap_or(RawValue::Bytes(b"")), &mut key)?;
        match key.starts_with('"') {
            true => out.push_str(&key),
            false => print_string(&key, out),
        }
        out.push(':');
        if !print_value(&value_field.kind(), find(2).unwrap_or(RawValue::Bytes(b"")), out)? {
            out.push_str("null");
        }
    }
    out.push('}');
    Ok(())
}

fn print_key(name: &str, first: &mut bool, out: &mut String) {
    if !*first {
        out.push(',');
    }
    *first = false;
    out.push('"');
    out.push_str(name);
    out.push_str("\":");
}

/// Returns false if nothing was printed: the enum does not know the number.
fn print_value(kind: &Kind, raw: RawValue<'_>, out: &mut String) -> Result<bool, Malformed> {
    match (kind, raw) {
        (Kind::Message(inner), RawValue::Bytes(bytes)) => print_message(inner, bytes, out)?,
        (Kind::String, RawValue::Bytes(bytes)) => print_string(&String::from_utf8_lossy(bytes), out),
        (Kind::Bytes, RawValue::Bytes(bytes)) => {
            out.push('"');
            STANDARD.encode_string(bytes, out);
            out.push('"');
        }
        (Kind::Bool, RawValue::Varint(number)) => out.push_str(if number != 0 { "true" } else { "false" }),
        (Kind::Enum(names), RawValue::Varint(number)) => match names.get_value(number as i32) {
            Some(value) => print_string(value.name(), out),
            None => return Ok(false),
        },
        (Kind::Int32 | Kind::Int64, RawValue::Varint(number)) => out.push_str(&(number as i64).to_string()),
        (Kind::Uint32 | Kind::Uint64, RawValue::Varint(number)) => out.push_str(&number.to_string()),
        (Kind::Sint32 | Kind::Sint64, RawValue::Varint(number)) => {
            out.push_str(&(((number >> 1) as i64) ^ -((number & 1) as i64)).to_string());
        }
        (Kind::Double, RawValue::Fixed64(bits)) => print_double(f64::from_bits(bits), out),
        (Kind::Float, RawValue::Fixed32(bits)) => print_double(f64::from(f32::from_bits(bits)), out),
        (Kind::Fixed64, RawValue::Fixed64(number)) => out.push_str(&number.to_string()),
        (Kind::Sfixed64, RawValue::Fixed64(number)) => out.push_str(&(number as i64).to_string()),
        (Kind::Fixed32, RawValue::Fixed32(number)) => out.push_str(&number.to_string()),
        (Kind::Sfixed32, RawValue::Fixed32(number)) => out.push_str(&(number as i32).to_string()),
        _ => return Ok(false),
    }
    Ok(true)
}

fn print_double(number: f64, out: &mut String) {
    if number.is_nan() {
        return out.push_str("\"NaN\"");
    }
    if number.is_infinite() {
        return out.push_str(if number > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    }
    let text = format!("{number:?}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => {
            out.push_str(mantissa);
            out.push_str(".0e");
            out.push_str(exponent);
        }
        _ => out.push_str(&text),
    }
}

/// Escapes all non-ASCII characters: some clients count a record's length in characters.
fn print_string(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(char),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}
