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
pub(crate) fn scan(bytes: &[u8]) -> Result<Vec<RawField<'_>>, Malformed> {
    fields(bytes).collect()
}

/// The same one by one; nothing follows an error.
pub(crate) fn fields(bytes: &[u8]) -> Fields<'_> {
    Fields { bytes, groups: Vec::new() }
}

/// See [`fields`].
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    /// The open groups.
    groups: Vec<u32>,
}

impl<'a> Fields<'a> {
    /// The next field outside of groups; `None` at the end.
    fn field(&mut self) -> Result<Option<RawField<'a>>, Malformed> {
        while !self.bytes.is_empty() {
            let key = varint(&mut self.bytes)?;
            let number = u32::try_from(key >> 3).map_err(|_| Malformed)?;
            let value = match key & 7 {
                0 => RawValue::Varint(varint(&mut self.bytes)?),
                1 => RawValue::Fixed64(u64::from_le_bytes(array(&mut self.bytes)?)),
                2 => {
                    let length = usize::try_from(varint(&mut self.bytes)?).map_err(|_| Malformed)?;
                    RawValue::Bytes(take(&mut self.bytes, length)?)
                }
                3 if self.groups.len() < GROUP_DEPTH_MAX => {
                    self.groups.push(number);
                    continue;
                }
                4 if self.groups.pop() == Some(number) => continue,
                5 => RawValue::Fixed32(u32::from_le_bytes(array(&mut self.bytes)?)),
                _ => return Err(Malformed),
            };
            if self.groups.is_empty() {
                return Ok(Some(RawField { number, value }));
            }
        }
        if self.groups.is_empty() { Ok(None) } else { Err(Malformed) }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<RawField<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.field();
        if field.is_err() {
            (self.bytes, self.groups) = (&[], Vec::new());
        }
        field.transpose()
    }
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
