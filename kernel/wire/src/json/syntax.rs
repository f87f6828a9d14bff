//! Parses JSON text with the grammar and the error texts of a genuine Mesos master (picojson behind stout's `JSON::parse`).
//!
//! The grammar is a little wider than the standard's (`01`, `1.`, `-.5` are numbers). An error quotes the rest of the line
//! that follows the last character that was read.

use serde_json::{Map, Number, Value};

use super::JsonError;

/// How deep arrays and objects nest: Mesos' limit. It also bounds the recursion of everything that walks a value.
const DEPTH_MAX: usize = 200;

/// White space around values, and at the end of a text.
const WHITESPACE: [u8; 4] = *b" \t\n\r";

/// Parses a text that is one value.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let mut reader = Reader { text, next: 0 };
    let value = reader.value(DEPTH_MAX).map_err(|failure| JsonError(failure.describe(text)))?;
    // After a number one more character has been read.
    let read = match value {
        Value::Number(_) => (reader.next + 1).min(text.len()),
        _ => reader.next,
    };
    let visible = text.iter().rposition(|c| !WHITESPACE.contains(c)).map_or(0, |last| last + 1);
    if read == visible {
        return Ok(value);
    }
    let trailing = String::from_utf8_lossy(text.get(read..visible).unwrap_or_default());
    Err(JsonError(format!("Parsed JSON included non-whitespace trailing characters: {trailing}")))
}

/// Where the text stops to be JSON.
enum Failure {
    /// The character at this position does not fit; the quotation begins with it.
    At(usize),
    /// The character before this position does not fit; the quotation begins after it.
    After(usize),
    /// The value is valid JSON that Mesos cannot represent.
    Unrepresentable(&'static str),
}

impl Failure {
    fn describe(&self, text: &[u8]) -> String {
        // A line is counted when the first character of the next one is read.
        let (from, read) = match *self {
            Failure::At(position) => (position, (position + 1).min(text.len())),
            Failure::After(position) => (position, position),
            Failure::Unrepresentable(why) => return why.to_owned(),
        };
        let before = &text[..read.saturating_sub(1)];
        let line = 1 + before.iter().filter(|c| **c == b'\n').count();
        let rest = text[from..].iter().copied().take_while(|c| *c != b'\n').filter(|c| *c >= b' ');
        let rest: Vec<u8> = rest.collect();
        format!("syntax error at line {line} near: {}", String::from_utf8_lossy(&rest))
    }
}

struct Reader<'a> {
    text: &'a [u8],
    /// The position of the next character.
    next: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.next).copied()
    }

    fn skip_whitespace(&mut self) {
        while self.peek().is_some_and(|c| WHITESPACE.contains(&c)) {
            self.next += 1;
        }
    }

    /// Reads this character if it is the next one, after white space.
    fn has(&mut self, wanted: u8) -> bool {
        self.skip_whitespace();
        let found = self.peek() == Some(wanted);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Failure> {
        if self.has(wanted) { Ok(()) } else { Err(Failure::At(self.next)) }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Failure> {
        self.skip_whitespace();
        match self.peek() {
            Some(b'n') => self.literal(b"null", Value::Null),
            Some(b'f') => self.literal(b"false", Value::Bool(false)),
            Some(b't') => self.literal(b"true", Value::Bool(true)),
            Some(b'"') => {
                self.next += 1;
                self.string().map(Value::String)
            }
            Some(b'[') => {
                self.next += 1;
                self.array(depth)
            }
            Some(b'{') => {
                self.next += 1;
                self.object(depth)
            }
            Some(b'0'..=b'9' | b'-') => self.number(),
            _ => Err(Failure::At(self.next)),
        }
    }

    fn literal(&mut self, name: &[u8], value: Value) -> Result<Value, Failure> {
        for wanted in name {
            if self.peek() != Some(*wanted) {
                return Err(Failure::At(self.next));
            }
            self.next += 1;
        }
        Ok(value)
    }

    fn array(&mut self, depth: usize) -> Result<Value, Failure> {
        let depth = depth.checked_sub(1).ok_or(Failure::After(self.next))?;
        let mut items = Vec::new();
        if self.has(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            if !self.has(b',') {
                self.expect(b']')?;
                return Ok(Value::Array(items));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Failure> {
        let depth = depth.checked_sub(1).ok_or(Failure::After(self.next))?;
        let mut members = Map::new();
        if self.has(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.expect(b'"')?;
            let name = self.string()?;
            self.expect(b':')?;
            members.insert(name, self.value(depth)?);
            if !self.has(b',') {
                self.expect(b'}')?;
                return Ok(Value::Object(members));
            }
        }
    }

    fn number(&mut self) -> Result<Value, Failure> {
        let rest = &self.text[self.next..];
        let length = rest
            .iter()
            .position(|c| !matches!(c, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        let digits = std::str::from_utf8(&rest[..length]).unwrap_or_default();
        self.next += length;
        if let Ok(integer) = digits.parse::<i64>() {
            return Ok(integer.into());
        }
        // Mesos makes a double of these, which loses the last digits of an unsigned integer.
        if let Ok(integer) = digits.parse::<u64>() {
            return Ok(integer.into());
        }
        let double: f64 = digits.parse().map_err(|_| Failure::At(self.next))?;
        Number::from_f64(double).map(Value::Number).ok_or(Failure::Unrepresentable("Value out of range"))
    }

    /// The rest of a string, after its opening quote.
    fn string(&mut self) -> Result<String, Failure> {
        let mut content = Vec::new();
        loop {
            match self.peek() {
                None | Some(..b' ') => return Err(Failure::At(self.next)),
                Some(b'"') => {
                    self.next += 1;
                    return String::from_utf8(content)
                        .map_err(|_| Failure::Unrepresentable("A string is not valid UTF-8"));
                }
                Some(b'\\') => {
                    self.next += 1;
                    self.escape(&mut content)?;
                }
                Some(other) => {
                    self.next += 1;
                    content.push(other);
                }
            }
        }
    }

    fn escape(&mut self, content: &mut Vec<u8>) -> Result<(), Failure> {
        let letter = self.peek().ok_or(Failure::At(self.next))?;
        self.next += 1;
        content.push(match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = self.unicode()?;
                content.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(Failure::After(self.next)),
        });
        Ok(())
    }

    fn unicode(&mut self) -> Result<char, Failure> {
        let high = self.quad()?;
        if !(0xd800..=0xdbff).contains(&high) {
            // `None` is the second half of a surrogate pair.
            return char::from_u32(high).ok_or(Failure::After(self.next));
        }
        for wanted in *b"\\u" {
            if self.peek() != Some(wanted) {
                return Err(Failure::At(self.next));
            }
            self.next += 1;
        }
        let low = self.quad()?;
        if !(0xdc00..=0xdfff).contains(&low) {
            return Err(Failure::After(self.next));
        }
        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        char::from_u32(code).ok_or(Failure::After(self.next))
    }

    fn quad(&mut self) -> Result<u32, Failure> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|c| char::from(c).to_digit(16));
            code = code * 16 + digit.ok_or(Failure::At(self.next))?;
            self.next += 1;
        }
        Ok(code)
    }
}
