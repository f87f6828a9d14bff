//! Makes JSON values of messages.
//!
//! The value is what Go's JSON encoding of the decoded object would be: zeros of fields with `omitempty` are left out, and so
//! are null members. Fields that the table does not have are skipped. `schema` checks the value as it checks a JSON body.

use super::table::{Arity, Field, Form, Kind, Message, MessageId, Table};
use super::wire::Reader;
use crate::base64;
use crate::time::Instant;
use serde_json::{Map, Value};

/// Nesting of the JSON that a message may make: that of a JSON body.
const DEPTH_MAX: usize = 127;

/// Why a message cannot be decoded, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum DecodeError {
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: negative length found during unmarshaling")]
    NegativeLength,
    #[error("proto: unexpected end of group")]
    UnexpectedEndOfGroup,
    #[error("proto: illegal wireType {0}")]
    IllegalWire(u64),
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WrongWire { wire: u64, field: String },
    #[error("proto: {message}: wiretype end group for non-group")]
    EndGroup { message: &'static str },
    #[error("proto: {message}: illegal tag {number} (wire type {tag})")]
    IllegalTag { message: &'static str, number: i32, tag: u64 },
    #[error("exceeded max depth")]
    Depth,
    /// JSON inside of the message is malformed.
    #[error("{0}")]
    Json(String),
    /// A time has a year that RFC 3339 cannot express.
    #[error("time is out of range")]
    Time,
}

/// Decodes a message into the object's members. `apiVersion` and `kind` are not part of a message.
pub fn decode(id: MessageId, message: &[u8]) -> Result<Map<String, Value>, DecodeError> {
    let mut members = Map::new();
    Decoder { table: Table::builtin() }.members(id, message, &mut members, 1)?;
    Ok(members)
}

/// Reads the tag of a field of `message`: number and wire type.
pub(super) fn tag(reader: &mut Reader<'_>, message: &'static str) -> Result<(u32, u64), DecodeError> {
    let tag = reader.varint()?;
    let (number, wire) = ((tag >> 3) as i32, tag & 7);
    if wire == 4 {
        return Err(DecodeError::EndGroup { message });
    }
    match u32::try_from(number) {
        Ok(number) if number > 0 => Ok((number, wire)),
        _ => Err(DecodeError::IllegalTag { message, number, tag }),
    }
}

struct Decoder {
    table: &'static Table,
}

impl Decoder {
    /// Adds the fields of a message to the members of an object.
    fn members(
        &self,
        id: MessageId,
        bytes: &[u8],
        into: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::Depth);
        }
        let message = self.table.at(id);
        let mut reader = Reader { rest: bytes };
        while !reader.is_empty() {
            let before = reader;
            let (number, wire) = tag(&mut reader, message.short_name())?;
            let Some(field) = message.field(number) else {
                reader = before;
                reader.skip()?;
                continue;
            };
            match field.arity {
                Arity::One => self.one(field, wire, &mut reader, into, depth)?,
                Arity::List => self.list(field, wire, &mut reader, into, depth)?,
                Arity::Map => self.map(message, field, wire, &mut reader, into, depth)?,
            }
        }
        Ok(())
    }

    fn one(
        &self,
        field: &Field,
        wire: u64,
        reader: &mut Reader<'_>,
        into: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        expect(field, wire)?;
        if let Kind::Message(id) = field.kind
            && self.table.at(id).form == Form::Object
        {
            let bytes = reader.bytes()?;
            if field.is_embedded() {
                return self.members(id, bytes, into, depth);
            }
            // A message that occurs twice is merged.
            let object = into.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            let object = object.as_object_mut().expect("invariant: the member was made by this function");
            return self.members(id, bytes, object, depth + 1);
        }
        let value = self.value(field.kind, reader, depth)?;
        let left_out = value.is_null() || (field.omitted && !field.pointer && is_zero(&value));
        match left_out {
            true => drop(into.remove(field.name)),
            false => drop(into.insert(field.name.to_owned(), value)),
        }
        Ok(())
    }

    fn list(
        &self,
        field: &Field,
        wire: u64,
        reader: &mut Reader<'_>,
        into: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        let list = into.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
        let list = list.as_array_mut().expect("invariant: the member was made by this function");
        let packed = wire == 2 && field.wire() as u64 != 2;
        if !packed {
            expect(field, wire)?;
            list.push(self.value(field.kind, reader, depth + 1)?);
            return Ok(());
        }
        let mut packed = Reader { rest: reader.bytes()? };
        while !packed.is_empty() {
            list.push(self.value(field.kind, &mut packed, depth + 1)?);
        }
        Ok(())
    }

    /// Reads one entry of a map: a message with the key under 1 and the value under 2.
    fn map(
        &self,
        message: &Message,
        field: &Field,
        wire: u64,
        reader: &mut Reader<'_>,
        into: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        expect(field, wire)?;
        let mut entry = Reader { rest: reader.bytes()? };
        let (mut key, mut value) = (String::new(), None);
        while !entry.is_empty() {
            let before = entry;
            match tag(&mut entry, message.short_name())?.0 {
                1 => key = text(entry.bytes()?),
                2 => value = Some(self.value(field.kind, &mut entry, depth + 1)?),
                _ => {
                    entry = before;
                    entry.skip()?;
                }
            }
        }
        let value = match value {
            Some(value) => value,
            None => self.absent(field.kind),
        };
        let map = into.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
        map.as_object_mut().expect("invariant: the member was made by this function").insert(key, value);
        Ok(())
    }

    fn value(&self, kind: Kind, reader: &mut Reader<'_>, depth: usize) -> Result<Value, DecodeError> {
        Ok(match kind {
            Kind::Text => text(reader.bytes()?).into(),
            Kind::Bool => (reader.varint()? != 0).into(),
            Kind::Int32 => (reader.varint()? as i32).into(),
            Kind::Int64 => (reader.varint()? as i64).into(),
            Kind::Double => f64::from_bits(reader.fixed64()?).into(),
            Kind::Bytes => base64::encode(reader.bytes()?).into(),
            Kind::Quantity => quantity(reader.bytes()?)?,
            Kind::Time => time(reader.bytes()?, false)?,
            Kind::MicroTime => time(reader.bytes()?, true)?,
            Kind::IntOrString => int_or_string(reader.bytes()?)?,
            Kind::Json => json(reader.bytes()?, depth)?,
            Kind::Message(id) => self.message(id, reader.bytes()?, depth)?,
        })
    }

    /// A message as a value of its own.
    fn message(&self, id: MessageId, bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
        let form = self.table.at(id).form;
        if form == Form::Object {
            let mut members = Map::new();
            self.members(id, bytes, &mut members, depth + 1)?;
            return Ok(Value::Object(members));
        }
        let (mut schema, mut others, mut allows) = (Value::Null, Vec::new(), false);
        let mut reader = Reader { rest: bytes };
        while !reader.is_empty() {
            let before = reader;
            let (number, _) = tag(&mut reader, self.table.at(id).short_name())?;
            match (form, number) {
                (Form::OrBool, 1) => allows = reader.varint()? != 0,
                (Form::Items, 1) | (Form::OrStrings, 2) => others.push(text(reader.bytes()?).into()),
                (Form::OrArray, 2) => {
                    let schema = Kind::Message(self.table.json_schema);
                    others.push(self.value(schema, &mut reader, depth + 1)?);
                }
                (Form::OrBool, 2) | (Form::OrArray | Form::OrStrings, 1) => {
                    schema = self.value(Kind::Message(self.table.json_schema), &mut reader, depth)?;
                }
                _ => {
                    reader = before;
                    reader.skip()?;
                }
            }
        }
        Ok(match form {
            Form::OrBool if schema.is_null() => allows.into(),
            Form::Items => others.into(),
            _ if others.is_empty() => schema,
            _ => others.into(),
        })
    }

    /// The value of a map's entry that has none.
    fn absent(&self, kind: Kind) -> Value {
        match kind {
            Kind::Text | Kind::Bytes => "".into(),
            Kind::Bool => false.into(),
            Kind::Int32 | Kind::Int64 | Kind::IntOrString | Kind::Double => 0.into(),
            Kind::Quantity => "0".into(),
            Kind::Time | Kind::MicroTime | Kind::Json => Value::Null,
            Kind::Message(id) => match self.table.at(id).form {
                Form::Object => Map::new().into(),
                Form::OrBool => false.into(),
                _ => Value::Null,
            },
        }
    }
}

fn expect(field: &Field, wire: u64) -> Result<(), DecodeError> {
    match wire == field.wire() as u64 {
        true => Ok(()),
        false => Err(DecodeError::WrongWire { wire, field: field.go_name() }),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Bool(bool) => !bool,
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The last value of each field below 4 of a message of strings and numbers.
fn small<'a>(
    bytes: &'a [u8],
    message: &'static str,
    names: [&str; 4],
) -> Result<[(u64, &'a [u8]); 4], DecodeError> {
    let mut fields = [(0, &b""[..]); 4];
    let mut reader = Reader { rest: bytes };
    while !reader.is_empty() {
        let before = reader;
        let (number, wire) = tag(&mut reader, message)?;
        let known = names.get(number as usize).filter(|name| !name.is_empty());
        match (known, wire) {
            (Some(_), 0) => fields[number as usize] = (reader.varint()?, b""),
            (Some(_), 2) => fields[number as usize] = (0, reader.bytes()?),
            (Some(field), wire) => return Err(DecodeError::WrongWire { wire, field: (*field).to_owned() }),
            (None, _) => {
                reader = before;
                reader.skip()?;
            }
        }
    }
    Ok(fields)
}

/// A quantity as it was written; the schema check makes it canonical.
fn quantity(bytes: &[u8]) -> Result<Value, DecodeError> {
    if bytes.is_empty() {
        return Ok("0".into());
    }
    let fields = small(bytes, "Quantity", ["", "String_", "", ""])?;
    Ok(text(fields[1].1).into())
}

fn time(bytes: &[u8], micros: bool) -> Result<Value, DecodeError> {
    /// Seconds since 1970 of the first second of the year 1, which is Go's zero time, and of the year 10000.
    const YEARS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let fields = small(bytes, "Timestamp", ["", "Seconds", "Nanos", ""])?;
    let (seconds, nanos) = (fields[1].0 as i64, fields[2].0 as i32);
    if seconds == YEARS.start {
        return Ok(Value::Null);
    }
    if !YEARS.contains(&seconds) {
        return Err(DecodeError::Time);
    }
    let at = Instant::from_seconds(seconds);
    Ok(match micros {
        true => Instant(at.0 + i64::from(nanos / 1000)).to_rfc3339_micro().into(),
        false => at.to_rfc3339().into(),
    })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, DecodeError> {
    let fields = small(bytes, "IntOrString", ["", "Type", "IntVal", "StrVal"])?;
    Ok(match fields[1].0 {
        0 => (fields[2].0 as i32).into(),
        _ => text(fields[3].1).into(),
    })
}

/// JSON inside of a message.
fn json(bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    let fields = small(bytes, "RawExtension", ["", "Raw", "", ""])?;
    if fields[1].1.is_empty() {
        return Ok(Value::Null);
    }
    let value = crate::schema::plain_json(fields[1].1).map_err(DecodeError::Json)?;
    match depth + nesting(&value) > DEPTH_MAX {
        true => Err(DecodeError::Depth),
        false => Ok(value),
    }
}

fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nesting).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(nesting).max().unwrap_or(0),
        _ => 0,
    }
}
