//! Writes messages from encoded JSON, in one pass over the text.
//!
//! Upstream writes the fields of a message in the order of their numbers, and fields that are no pointers in Go even if they
//! are zero. The members of the JSON come in another order. So the fields of a message are first written as they come, and
//! their places noted ([`Piece`]); then they are put in order, and what is absent is added.

use super::json_cursor::{Cursor, RawText};
use super::table::{Arity, Field, Form, Kind, Message, MessageId, Step, Table};
use super::wire::{Wire, varint_length, write_bytes, write_tag, write_varint};
use crate::time::Instant;
use std::ops::Range;

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed JSON")]
pub struct Malformed;

/// Depth to which messages may contain messages: that of JSON in `serde_json`.
const DEPTH_MAX: usize = 128;
/// Seconds since 1970 of Go's zero time, the first second of the year 1.
const ZERO_TIME: i64 = -62_135_596_800;

/// A written field: its leaf and its bytes.
#[derive(Debug, Clone, Copy)]
struct Piece {
    leaf: u16,
    start: usize,
    end: usize,
}

/// A written entry of a map: its bytes, and where its key is.
#[derive(Debug, Clone)]
struct Entry {
    bytes: Range<usize>,
    key: Range<usize>,
}

/// Writes messages into one buffer, which is reused.
#[derive(Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
    pieces: Vec<Piece>,
    entries: Vec<Entry>,
    scratch: Vec<u8>,
    /// The resourceVersion to insert into the metadata of the object.
    version: Option<u64>,
    depth: usize,
}

impl Encoder {
    /// The bytes written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Takes the bytes written so far.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Forgets the bytes written so far and keeps the buffer.
    pub fn clear(&mut self) {
        self.out.clear();
    }

    /// Appends the message of an object. `json` is the object; with `version`, it lacks its resourceVersion, which is added.
    /// Members that the message does not have are left out.
    pub fn object(&mut self, id: MessageId, json: &[u8], version: Option<u64>) -> Result<(), Malformed> {
        self.pieces.clear();
        self.entries.clear();
        (self.version, self.depth) = (version, 0);
        self.message(&mut Cursor::new(json), id)
    }

    fn message(&mut self, cursor: &mut Cursor<'_>, id: MessageId) -> Result<(), Malformed> {
        let table = Table::builtin();
        let message = table.at(id);
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Malformed);
        }
        match message.form {
            Form::Object => self.members(cursor, message)?,
            _ => self.union(cursor, message.form, table.json_schema)?,
        }
        self.depth -= 1;
        Ok(())
    }

    /// Writes the members of an object as the fields of a message.
    fn members(&mut self, cursor: &mut Cursor<'_>, message: &'static Message) -> Result<(), Malformed> {
        let (start, first) = (self.out.len(), self.pieces.len());
        if cursor.peek()? != b'{' {
            cursor.value()?;
            self.out.extend_from_slice(&message.zero);
            return Ok(());
        }
        cursor.expect(b'{')?;
        if message.name == "meta.v1.ObjectMeta"
            && let Some(leaf) = message.leaf(b"resourceVersion", &mut 0)
            && let Some(version) = self.version.take()
        {
            let number = message.leaves[leaf as usize].field.number;
            write_bytes(&mut self.out, number, version.to_string().as_bytes());
            self.pieces.push(Piece { leaf, start, end: self.out.len() });
        }
        let (mut begin, mut from) = (true, 0);
        while cursor.goes_on(&mut begin, b'}')? {
            let name = cursor.name()?;
            let Some(leaf) = message.leaf(name.bytes, &mut from) else {
                cursor.value()?;
                continue;
            };
            let start = self.out.len();
            self.field(cursor, &message.leaves[leaf as usize].field)?;
            let end = self.out.len();
            if end > start {
                self.pieces.push(Piece { leaf, start, end });
            }
        }
        self.put_in_order(message, start, first);
        Ok(())
    }

    /// Puts the fields from `start` in order, and adds those that are always written.
    fn put_in_order(&mut self, message: &Message, start: usize, first: usize) {
        let pieces = &mut self.pieces[first..];
        pieces.sort_unstable_by_key(|piece| piece.leaf);
        self.scratch.clear();
        let mut pieces = pieces.iter().peekable();
        assemble(message, &message.steps, &mut pieces, &self.out, &mut self.scratch);
        self.out.truncate(start);
        self.out.extend_from_slice(&self.scratch);
        self.pieces.truncate(first);
    }

    fn field(&mut self, cursor: &mut Cursor<'_>, field: &Field) -> Result<(), Malformed> {
        let next = cursor.peek()?;
        match field.arity {
            _ if next == b'n' => drop(cursor.value()?),
            Arity::One => drop(self.value(cursor, field.number, field.kind)?),
            Arity::List if next == b'[' => self.list(cursor, field.number, field.kind)?,
            Arity::Map if next == b'{' => self.map(cursor, field)?,
            _ => drop(cursor.value()?),
        }
        Ok(())
    }

    fn list(&mut self, cursor: &mut Cursor<'_>, number: u32, kind: Kind) -> Result<(), Malformed> {
        cursor.expect(b'[')?;
        let mut begin = true;
        while cursor.goes_on(&mut begin, b']')? {
            if !self.value(cursor, number, kind)? {
                Table::builtin().write_zero(&mut self.out, number, kind);
            }
        }
        Ok(())
    }

    /// Writes the entries of a map, sorted by their keys.
    fn map(&mut self, cursor: &mut Cursor<'_>, field: &Field) -> Result<(), Malformed> {
        cursor.expect(b'{')?;
        let (start, first) = (self.out.len(), self.entries.len());
        let (mut begin, mut sorted) = (true, true);
        while cursor.goes_on(&mut begin, b'}')? {
            let name = cursor.name()?.unescaped()?;
            let entry = self.out.len();
            let mark = self.open(field.number);
            write_bytes(&mut self.out, 1, &name);
            let before_close = self.out.len();
            if !self.value(cursor, 2, field.kind)? && field.kind != Kind::Bytes {
                Table::builtin().write_zero(&mut self.out, 2, field.kind);
            }
            let shift = self.close(mark);
            let end = before_close + shift;
            let key = end - name.len()..end;
            let last = self.entries[first..].last();
            sorted &= last.is_none_or(|last| self.out[last.key.clone()] <= self.out[key.clone()]);
            self.entries.push(Entry { bytes: entry..self.out.len(), key });
        }
        if !sorted {
            let mut entries = self.entries[first..].to_vec();
            entries.sort_by(|a, b| self.out[a.key.clone()].cmp(&self.out[b.key.clone()]));
            let ordered: Vec<u8> = entries.iter().flat_map(|e| &self.out[e.bytes.clone()]).copied().collect();
            self.out.truncate(start);
            self.out.extend_from_slice(&ordered);
        }
        self.entries.truncate(first);
        Ok(())
    }

    /// Writes a value. `false` if it is null or of another type than the field, which writes nothing.
    fn value(&mut self, cursor: &mut Cursor<'_>, number: u32, kind: Kind) -> Result<bool, Malformed> {
        let next = cursor.peek()?;
        match kind {
            Kind::Message(id) if next != b'n' => {
                let mark = self.open(number);
                self.message(cursor, id)?;
                self.close(mark);
            }
            Kind::Json if next != b'n' => {
                let mark = self.open(number);
                write_bytes(&mut self.out, 1, cursor.value()?);
                self.close(mark);
            }
            Kind::Text if next == b'"' => write_bytes(&mut self.out, number, &cursor.string()?.unescaped()?),
            Kind::Bool if matches!(next, b't' | b'f') => {
                write_tag(&mut self.out, number, Wire::Varint);
                self.out.push(u8::from(cursor.word()? == "true"));
            }
            Kind::Int32 | Kind::Int64 if next == b'-' || next.is_ascii_digit() => {
                write_tag(&mut self.out, number, Wire::Varint);
                write_varint(&mut self.out, integer(cursor.word()?));
            }
            Kind::Double if next == b'-' || next.is_ascii_digit() => {
                write_tag(&mut self.out, number, Wire::Fixed64);
                let double: f64 = cursor.word()?.parse().unwrap_or_default();
                self.out.extend_from_slice(&double.to_le_bytes());
            }
            Kind::IntOrString if next == b'"' || next == b'-' || next.is_ascii_digit() => {
                let mark = self.open(number);
                let (text, int) = match next {
                    b'"' => (Some(cursor.string()?.unescaped()?), 0),
                    _ => (None, integer(cursor.word()?)),
                };
                self.out.extend_from_slice(&[0x08, u8::from(text.is_some()), 0x10]);
                write_varint(&mut self.out, int);
                write_bytes(&mut self.out, 3, &text.unwrap_or_default());
                self.close(mark);
            }
            Kind::Quantity if next == b'-' || next.is_ascii_digit() => {
                let mark = self.open(number);
                write_bytes(&mut self.out, 1, cursor.word()?.as_bytes());
                self.close(mark);
            }
            Kind::Quantity | Kind::Time | Kind::MicroTime | Kind::Bytes if next == b'"' => {
                let text = cursor.string()?;
                let mark = self.open(number);
                self.text(text, kind)?;
                self.close(mark);
            }
            _ => {
                cursor.value()?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the message of a value that is a string in JSON only.
    fn text(&mut self, text: RawText<'_>, kind: Kind) -> Result<(), Malformed> {
        let text = text.unescaped()?;
        match kind {
            Kind::Bytes => self.out.extend(crate::base64::decode_bytes(&text).unwrap_or_default()),
            Kind::Quantity => write_bytes(&mut self.out, 1, &text),
            _ => {
                let micros = kind == Kind::MicroTime;
                let Some((seconds, nanos)) = time(&text, micros).filter(|(at, _)| *at != ZERO_TIME) else {
                    return Ok(());
                };
                self.out.push(0x08);
                write_varint(&mut self.out, seconds as u64);
                self.out.push(0x10);
                write_varint(&mut self.out, nanos);
            }
        }
        Ok(())
    }

    /// Writes a message whose JSON is no object, or only sometimes.
    fn union(&mut self, cursor: &mut Cursor<'_>, form: Form, schema: MessageId) -> Result<(), Malformed> {
        const SCHEMA: u32 = 1;
        let next = cursor.peek()?;
        match (form, next) {
            (Form::Items, b'[') => self.list(cursor, 1, Kind::Text)?,
            (Form::OrBool, b'{') => {
                self.out.extend_from_slice(&[0x08, 1]);
                self.value(cursor, 2, Kind::Message(schema))?;
            }
            (Form::OrBool, _) => {
                let allows = cursor.value()? == b"true";
                self.out.extend_from_slice(&[0x08, u8::from(allows)]);
            }
            (Form::OrArray, b'[') => self.list(cursor, 2, Kind::Message(schema))?,
            (Form::OrStrings, b'[') => self.list(cursor, 2, Kind::Text)?,
            (Form::OrArray | Form::OrStrings, b'{') => {
                self.value(cursor, SCHEMA, Kind::Message(schema))?;
            }
            _ => drop(cursor.value()?),
        }
        Ok(())
    }

    /// Begins a length-delimited field. Most are short, so that there is room for a length of one byte.
    fn open(&mut self, number: u32) -> usize {
        write_tag(&mut self.out, number, Wire::Bytes);
        self.out.push(0);
        self.out.len()
    }

    /// Ends the field that `open` began; returns by how much its bytes moved to make room for the length.
    fn close(&mut self, mark: usize) -> usize {
        let end = self.out.len();
        let length = (end - mark) as u64;
        let more = varint_length(length) - 1;
        if more == 0 {
            self.out[mark - 1] = length as u8;
            return 0;
        }
        self.out.resize(end + more, 0);
        self.out.copy_within(mark..end, mark + more);
        put_varint(&mut self.out[mark - 1..mark + more], length);
        more
    }
}

/// Appends the fields of a message in order: `pieces` of `from`, and zeros for those that are always written.
fn assemble<'p>(
    message: &Message,
    steps: &[Step],
    pieces: &mut std::iter::Peekable<impl Iterator<Item = &'p Piece>>,
    from: &[u8],
    out: &mut Vec<u8>,
) {
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        at += 1;
        match step {
            Step::Leaf(leaf) => {
                let mut found = false;
                while let Some(piece) = pieces.next_if(|piece| piece.leaf == *leaf) {
                    out.extend_from_slice(&from[piece.start..piece.end]);
                    found = true;
                }
                if !found {
                    out.extend_from_slice(&message.leaves[*leaf as usize].zero);
                }
            }
            Step::Embedded { number, steps: inner } => {
                write_tag(out, *number, Wire::Bytes);
                let mark = out.len();
                assemble(message, &steps[at..at + inner], pieces, from, out);
                let length = (out.len() - mark) as u64;
                let end = out.len();
                out.resize(end + varint_length(length), 0);
                out.copy_within(mark..end, mark + varint_length(length));
                put_varint(&mut out[mark..mark + varint_length(length)], length);
                at += inner;
            }
        }
    }
}

/// Writes a number into exactly as many bytes as it takes.
fn put_varint(bytes: &mut [u8], mut number: u64) {
    let last = bytes.len() - 1;
    for byte in &mut bytes[..last] {
        *byte = number as u8 | 0x80;
        number >>= 7;
    }
    bytes[last] = number as u8;
}

/// An integer as a varint has it; numbers with a fraction are not integers of this API.
fn integer(word: &str) -> u64 {
    word.parse::<i64>().unwrap_or_default() as u64
}

/// Seconds since 1970, and nanoseconds in whole microseconds, of a time in JSON.
fn time(text: &[u8], micros: bool) -> Option<(i64, u64)> {
    if let Some(seconds) = plain_seconds(text) {
        return Some((seconds, 0));
    }
    let at = Instant::parse(std::str::from_utf8(text).ok()?)?;
    let part = at.0.rem_euclid(1_000_000) as u64 * 1000;
    Some((at.seconds(), if micros { part } else { 0 }))
}

/// Seconds since 1970 of a time of the form `2006-01-02T15:04:05Z`, which nearly all have.
fn plain_seconds(text: &[u8]) -> Option<i64> {
    let text: &[u8; 20] = text.try_into().ok()?;
    if (text[4], text[7], text[10], text[13], text[16], text[19]) != (b'-', b'-', b'T', b':', b':', b'Z') {
        return None;
    }
    let number = |range: Range<usize>| {
        text[range].iter().try_fold(0i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=28).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        // The ends of months and leap seconds are for the slow way.
        return None;
    }
    // Days since 1970 in the Gregorian calendar; years begin in March, so that leap days are last.
    let year = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}
