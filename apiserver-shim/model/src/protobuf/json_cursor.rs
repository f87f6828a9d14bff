//! Goes over encoded JSON without building values. What it reads was written by this server or by `serde_json`, so that it
//! checks as much as it needs to stay inside the text.

use super::Malformed;
use std::borrow::Cow;

/// A position in encoded JSON.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

/// A string as it is in the text, without its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawText<'a> {
    pub bytes: &'a [u8],
    pub escaped: bool,
}

impl<'a> RawText<'a> {
    /// The string's bytes.
    pub fn unescaped(self) -> Result<Cow<'a, [u8]>, Malformed> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.bytes));
        }
        let mut quoted = Vec::with_capacity(self.bytes.len() + 2);
        quoted.push(b'"');
        quoted.extend_from_slice(self.bytes);
        quoted.push(b'"');
        let text: String = serde_json::from_slice(&quoted).map_err(|_| Malformed)?;
        Ok(Cow::Owned(text.into_bytes()))
    }
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Cursor { text, at: 0 }
    }

    /// The first byte of the next token.
    pub fn peek(&mut self) -> Result<u8, Malformed> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(Malformed),
            }
        }
    }

    /// Reads a token of one byte.
    pub fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek()? != byte {
            return Err(Malformed);
        }
        self.at += 1;
        Ok(())
    }

    /// Whether an object or list goes on, after its opening bracket or after an element. Reads the comma or `close`.
    pub fn goes_on(&mut self, first: &mut bool, close: u8) -> Result<bool, Malformed> {
        let next = self.peek()?;
        let first = std::mem::replace(first, false);
        if next == close {
            self.at += 1;
            return Ok(false);
        }
        if !first {
            self.expect(b',')?;
        }
        Ok(true)
    }

    /// Reads the name of a member and the colon.
    pub fn name(&mut self) -> Result<RawText<'a>, Malformed> {
        let name = self.string()?;
        self.expect(b':')?;
        Ok(name)
    }

    pub fn string(&mut self) -> Result<RawText<'a>, Malformed> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += special(&self.text[self.at..]);
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(_) => {
                    escaped = true;
                    self.at = self.text.len().min(self.at + 2);
                }
                None => return Err(Malformed),
            }
        }
        let bytes = &self.text[start..self.at];
        self.at += 1;
        Ok(RawText { bytes, escaped })
    }

    /// Reads a number, `true`, `false` or `null`.
    pub fn word(&mut self) -> Result<&'a str, Malformed> {
        self.peek()?;
        let rest = &self.text[self.at..];
        let ends = |byte: &u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'+' | b'.');
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += length;
        match std::str::from_utf8(&rest[..length]) {
            Ok(word) if !word.is_empty() => Ok(word),
            _ => Err(Malformed),
        }
    }

    /// Reads a value of any type and returns its text.
    pub fn value(&mut self) -> Result<&'a [u8], Malformed> {
        self.peek()?;
        let start = self.at;
        let mut open = 0usize;
        loop {
            match self.peek()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    self.at += 1;
                    open += 1;
                }
                b'}' | b']' => {
                    self.at += 1;
                    open = open.checked_sub(1).ok_or(Malformed)?;
                }
                b',' | b':' if open > 0 => self.at += 1,
                _ => drop(self.word()?),
            }
            if open == 0 {
                return Ok(&self.text[start..self.at]);
            }
        }
    }
}

/// The offset of the first quote or backslash, or the length. Tests eight bytes at a time.
fn special(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // Sets the high bit of the first byte of `word` that equals `byte`; bytes after it may be false positives.
    let has = |word: u64, byte: u8| {
        let zeroed = word ^ (ONES * u64::from(byte));
        zeroed.wrapping_sub(ONES) & !zeroed & HIGHS
    };
    let (words, rest) = text.as_chunks();
    for (at, eight) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*eight);
        let found = has(word, b'"') | has(word, b'\\');
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let from = words.len() * 8;
    from + rest.iter().position(|b| matches!(b, b'"' | b'\\')).unwrap_or(rest.len())
}
