//! RecordIO: a sequence of `<decimal length>\n<bytes>`, the framing of every streaming response.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest length line: a u64 has at most twenty digits.
const LENGTH_DIGITS_MAX: usize = 20;

/// Encodes one record.
pub fn frame(record: &[u8]) -> Bytes {
    let length = record.len().to_string();
    let mut framed = BytesMut::with_capacity(length.len() + 1 + record.len());
    framed.put_slice(length.as_bytes());
    framed.put_u8(b'\n');
    framed.put_slice(record);
    framed.freeze()
}

/// A stream that is not RecordIO; it cannot be read further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum RecordError {
    /// The length line has other characters than digits, or too many.
    #[error("a record's length is not a decimal number")]
    Length,
    /// The record is longer than the reader allows.
    #[error("a record of {length} bytes exceeds the limit of {limit}")]
    TooLong { length: u64, limit: usize },
}

/// An incremental decoder: takes chunks of any size, returns complete records.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// The length of the current record, once read.
    expected: Option<usize>,
    limit: usize,
}

impl Decoder {
    /// A decoder that refuses records longer than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), expected: None, limit }
    }

    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete record; `None` while it is incomplete.
    pub fn next_record(&mut self) -> Result<Option<Bytes>, RecordError> {
        let expected = match self.expected {
            Some(expected) => expected,
            None => match self.take_length()? {
                Some(expected) => expected,
                None => return Ok(None),
            },
        };
        if self.buffer.len() < expected {
            self.expected = Some(expected);
            return Ok(None);
        }
        self.expected = None;
        Ok(Some(self.buffer.split_to(expected).freeze()))
    }

    fn take_length(&mut self) -> Result<Option<usize>, RecordError> {
        let window = &self.buffer[..self.buffer.len().min(LENGTH_DIGITS_MAX + 1)];
        let digits = match window.iter().position(|b| *b == b'\n') {
            Some(end) => &window[..end],
            None if window.len() > LENGTH_DIGITS_MAX => return Err(RecordError::Length),
            None if window.iter().all(u8::is_ascii_digit) => return Ok(None),
            None => return Err(RecordError::Length),
        };
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(RecordError::Length);
        }
        let text = std::str::from_utf8(digits).map_err(|_| RecordError::Length)?;
        let length: u64 = text.parse().map_err(|_| RecordError::Length)?;
        let skip = digits.len() + 1;
        match usize::try_from(length) {
            Ok(fits) if fits <= self.limit => {
                self.buffer.advance(skip);
                Ok(Some(fits))
            }
            _ => Err(RecordError::TooLong { length, limit: self.limit }),
        }
    }
}
