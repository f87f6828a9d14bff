//! Finds missing required fields: prost sets them to their defaults silently, but Mesos refuses the message and lists
//! them. Nearly all messages miss nothing: that is found out by tables of field numbers, and names are looked up only for the
//! messages of which something is missing.

use std::{collections::HashMap, sync::LazyLock};

use prost_reflect::{Cardinality, DescriptorPool, Kind, MessageDescriptor};

use crate::{
    codec,
    wirescan::{Malformed, RawValue, fields, scan},
};

/// How deep the check follows nested messages; deeper messages do not decode.
const DEPTH_MAX: usize = 100;

/// The paths of the missing fields, as protobuf prints them: `accept.operations[0].launch`.
pub fn missing(message: &MessageDescriptor, bytes: &[u8]) -> Result<Vec<String>, Malformed> {
    let mut paths = Vec::new();
    if let Some(of) = TABLES.by_name.get(message.full_name())
        && TABLES.is_complete(*of, bytes, DEPTH_MAX)?
    {
        return Ok(paths);
    }
    walk(message, bytes, "", DEPTH_MAX, &mut paths)?;
    Ok(paths)
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables::new(codec::descriptor_pool()));

/// The required fields of all messages, and the fields with messages, which may have required fields.
struct Tables {
    by_name: HashMap<String, usize>,
    messages: Vec<Table>,
}

#[derive(Default)]
struct Table {
    fields: Vec<Field>,
    /// A bit for each required field.
    required: u64,
}

struct Field {
    number: u32,
    /// Its bit, if it is required.
    bit: u64,
    /// The message that it contains.
    message: Option<usize>,
}

impl Tables {
    fn new(pool: &DescriptorPool) -> Tables {
        let by_name: HashMap<String, usize> = pool
            .all_messages()
            .enumerate()
            .map(|(at, message)| (message.full_name().to_owned(), at))
            .collect();
        let table = |message: MessageDescriptor| {
            let mut table = Table::default();
            for field in message.fields() {
                let required = field.cardinality() == Cardinality::Required;
                let bit = if required { 1 << table.required.count_ones() } else { 0 };
                let message = match field.kind() {
                    Kind::Message(inner) => by_name.get(inner.full_name()).copied(),
                    _ => None,
                };
                table.required |= bit;
                if required || message.is_some() {
                    table.fields.push(Field { number: field.number(), bit, message });
                }
            }
            table
        };
        let messages = pool.all_messages().map(table).collect();
        Tables { by_name, messages }
    }

    /// Whether nothing is missing.
    fn is_complete(&self, message: usize, bytes: &[u8], depth: usize) -> Result<bool, Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        let table = &self.messages[message];
        let mut found = 0;
        for raw in fields(bytes) {
            let raw = raw?;
            let Some(field) = table.fields.iter().find(|field| field.number == raw.number) else { continue };
            found |= field.bit;
            let Some(inner) = field.message else { continue };
            let RawValue::Bytes(content) = raw.value else { return Err(Malformed) };
            if !self.is_complete(inner, content, depth)? {
                return Ok(false);
            }
        }
        Ok(found == table.required)
    }
}

fn walk(
    message: &MessageDescriptor,
    bytes: &[u8],
    prefix: &str,
    depth: usize,
    paths: &mut Vec<String>,
) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let fields = scan(bytes)?;
    for field in message.fields() {
        let number = field.number();
        if field.cardinality() == Cardinality::Required && !fields.iter().any(|f| f.number == number) {
            paths.push(format!("{prefix}{}", field.name()));
        }
        let Kind::Message(inner) = field.kind() else { continue };
        for (index, raw) in fields.iter().filter(|f| f.number == number).enumerate() {
            let RawValue::Bytes(content) = raw.value else { return Err(Malformed) };
            let prefix = match field.is_list() || field.is_map() {
                true => format!("{prefix}{}[{index}].", field.name()),
                false => format!("{prefix}{}.", field.name()),
            };
            walk(&inner, content, &prefix, depth, paths)?;
        }
    }
    Ok(())
}
