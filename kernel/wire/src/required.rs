//! Finds missing required fields: prost sets them to their defaults silently, but Mesos refuses the message and lists
//! them.

use prost_reflect::{Cardinality, Kind, MessageDescriptor};

use crate::wirescan::{Malformed, RawValue, scan};

/// How deep the check follows nested messages; deeper messages do not decode.
const DEPTH_MAX: usize = 100;

/// The paths of the missing fields, as protobuf prints them: `accept.operations[0].launch`.
pub fn missing(message: &MessageDescriptor, bytes: &[u8]) -> Result<Vec<String>, Malformed> {
    let mut paths = Vec::new();
    walk(message, bytes, "", DEPTH_MAX, &mut paths)?;
    Ok(paths)
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
