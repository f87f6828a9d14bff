//! Iterates over the fields of an encoded message without its type, for the JSON printer and the check of required
//! fields.

/// A field as encoded.
pub(crate) struct RawField<'a> {
    pub(crate) number: u32,
    pub(crate) value: RawValue<'a>,
}

/// The value of a field, by wire type.
#[derive(Clone, Copy)]
pub(crate) enum RawValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Bytes that are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf")]
pub struct Malformed;

/// How deep a scan follows nested groups; our messages have none.
const GROUP_DEPTH_MAX: usize = 32;

/// The fields of a message, in their order on the wire. Groups are skipped.
pub(crate) fn scan(mut bytes: &[u8]) -> Result<Vec<RawField<'_>>, Malformed> {
    let mut fields = Vec::new();
    let mut groups: Vec<u32> = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let number = u32::try_from(key >> 3).map_err(|_| Malformed)?;
        let value = match key & 7 {
            0 => RawValue::Varint(varint(&mut bytes)?),
            1 => RawValue::Fixed64(u64::from_le_bytes(array(&mut bytes)?)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| Malformed)?;
                RawValue::Bytes(take(&mut bytes, length)?)
            }
            3 if groups.len() < GROUP_DEPTH_MAX => {
                groups.push(number);
                continue;
            }
            4 if groups.pop() == Some(number) => continue,
            5 => RawValue::Fixed32(u32::from_le_bytes(array(&mut bytes)?)),
            _ => return Err(Malformed),
        };
        if groups.is_empty() {
            fields.push(RawField { number, value });
        }
    }
    if groups.is_empty() { Ok(fields) } else { Err(Malformed) }
}

/// Reads a varint.
pub(crate) fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    if length > bytes.len() {
        return Err(Malformed);
    }
    let (head, rest) = bytes.split_at(length);
    *bytes = rest;
    Ok(head)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    take(bytes, N)?.try_into().map_err(|_| Malformed)
}
