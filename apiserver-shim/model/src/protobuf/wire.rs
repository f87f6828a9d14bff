//! The wire format of protobuf: varints, tags, and length-delimited fields.

use super::DecodeError;

/// How the value of a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// A number in base 128.
    Varint = 0,
    /// Eight bytes.
    Fixed64 = 1,
    /// A length and as many bytes.
    Bytes = 2,
}

/// Appends a number in base 128.
pub fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The number of bytes of a number in base 128.
pub(super) fn varint_length(number: u64) -> usize {
    (70 - (number | 1).leading_zeros() as usize) / 7
}

/// The length of a length-delimited field with so many bytes.
pub fn bytes_length(number: u32, bytes: usize) -> usize {
    varint_length(u64::from(number) << 3) + varint_length(bytes as u64) + bytes
}

/// Appends the tag of a field.
pub fn write_tag(out: &mut Vec<u8>, number: u32, wire: Wire) {
    write_varint(out, u64::from(number) << 3 | wire as u64);
}

/// Appends a length-delimited field.
pub fn write_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    write_tag(out, number, Wire::Bytes);
    write_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads fields from the beginning of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0;
        for at in 0..10 {
            let byte = *self.rest.get(at).ok_or(DecodeError::Truncated)?;
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(number);
            }
        }
        Err(DecodeError::Overflow)
    }

    /// The bytes of a length-delimited field.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = i64::try_from(self.varint()?).map_err(|_| DecodeError::NegativeLength)?;
        self.take(length as usize)
    }

    pub fn fixed64(&mut self) -> Result<u64, DecodeError> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| DecodeError::Truncated)?))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Skips the value of a field with its tag, which is still to be read. Groups are skipped with what they contain.
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        let mut open = 0u64;
        loop {
            let wire = self.varint()? & 7;
            match wire {
                0 => drop(self.varint()?),
                1 => drop(self.take(8)?),
                2 => drop(self.bytes()?),
                3 => open += 1,
                4 => open = open.checked_sub(1).ok_or(DecodeError::UnexpectedEndOfGroup)?,
                5 => drop(self.take(4)?),
                wire => return Err(DecodeError::IllegalWire(wire)),
            }
            if open == 0 {
                return Ok(());
            }
        }
    }
}
