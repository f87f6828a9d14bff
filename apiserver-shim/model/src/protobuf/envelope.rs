//! The envelope of a body: four magic bytes and a message with the kind of the object and the object's own message.

use super::wire::{Reader, write_bytes, write_tag, write_varint};
use super::{DecodeError, Wire};

/// The magic bytes that bodies begin with. The last one is the style of the encoding, of which there is one.
const MAGIC: &[u8; 4] = b"k8s\0";
/// What follows the object: its content encoding and content type, both empty.
pub const TAIL: [u8; 4] = [0x1a, 0, 0x22, 0];

/// What comes before the object: the magic bytes, apiVersion and kind, and the length of the object.
pub fn head(api_version: &str, kind: &str, length: u64) -> Vec<u8> {
    let mut ty = Vec::with_capacity(api_version.len() + kind.len() + 8);
    write_bytes(&mut ty, 1, api_version.as_bytes());
    write_bytes(&mut ty, 2, kind.as_bytes());
    let mut out = Vec::with_capacity(ty.len() + 24);
    out.extend_from_slice(MAGIC);
    write_bytes(&mut out, 1, &ty);
    write_tag(&mut out, 2, Wire::Bytes);
    write_varint(&mut out, length);
    out
}

/// An object in its envelope.
pub(super) fn wrap(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let mut out = head(api_version, kind, object.len() as u64);
    out.extend_from_slice(object);
    out.extend_from_slice(&TAIL);
    out
}

/// The parts of an envelope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Empty if the client leaves it to the path of the request.
    pub api_version: String,
    /// Empty if the client leaves it to the path of the request.
    pub kind: String,
    /// The object's message.
    pub raw: &'a [u8],
}

/// Opens an envelope. The error says why there is none, in upstream's words.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, String> {
    let message = match body.strip_prefix(MAGIC) {
        None if body.is_empty() => return Err("empty data".to_owned()),
        None => {
            return Err(
                "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
                    .to_owned(),
            );
        }
        Some([]) => return Err("empty body".to_owned()),
        Some(message) => message,
    };
    parts(message).map_err(|e| e.to_string())
}

fn parts(message: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    const FIELDS: [&str; 5] = ["", "TypeMeta", "Raw", "ContentEncoding", "ContentType"];
    let mut envelope = Envelope::default();
    let mut reader = Reader { rest: message };
    while !reader.is_empty() {
        match field(&mut reader, "Unknown", &FIELDS)? {
            Some((1, bytes)) => kind(bytes, &mut envelope)?,
            Some((2, bytes)) => envelope.raw = bytes,
            _ => {}
        }
    }
    Ok(envelope)
}

fn kind(message: &[u8], envelope: &mut Envelope<'_>) -> Result<(), DecodeError> {
    const FIELDS: [&str; 3] = ["", "APIVersion", "Kind"];
    let mut reader = Reader { rest: message };
    while !reader.is_empty() {
        match field(&mut reader, "TypeMeta", &FIELDS)? {
            Some((1, text)) => envelope.api_version = String::from_utf8_lossy(text).into_owned(),
            Some((2, text)) => envelope.kind = String::from_utf8_lossy(text).into_owned(),
            _ => {}
        }
    }
    Ok(())
}

/// The next field of a message whose known fields are all length-delimited; `None` for an unknown one.
fn field<'a>(
    reader: &mut Reader<'a>,
    message: &'static str,
    known: &[&'static str],
) -> Result<Option<(usize, &'a [u8])>, DecodeError> {
    let before = *reader;
    let (number, wire) = super::decode::tag(reader, message)?;
    match known.get(number as usize) {
        Some(_) if wire == 2 => Ok(Some((number as usize, reader.bytes()?))),
        Some(name) => Err(DecodeError::WrongWire { wire, field: (*name).to_owned() }),
        None => {
            *reader = before;
            reader.skip().map(|()| None)
        }
    }
}
