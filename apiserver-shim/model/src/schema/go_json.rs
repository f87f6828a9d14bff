//! The error message of Go's JSON package for invalid JSON. It runs only after the parser has refused the text, so it
//! may be slow. It does not recurse, so deep nesting is harmless.

/// The message, or `None` if Go accepts the text (too deep for our parser, or numbers out of range).
pub(crate) fn complaint(text: &[u8]) -> Option<String> {
    Scanner { text, at: 0, open: Vec::new() }.document().err()
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    /// Expected closing brackets.
    open: Vec<u8>,
}

/// The expected next token.
enum Next {
    Value,
    /// A value or the end of an empty list.
    ValueOrEnd,
    /// A member's name or the end of an empty object.
    NameOrEnd,
    Name,
    /// A comma or a closing bracket.
    After,
}

const END: &str = "unexpected end of JSON input";

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), String> {
        let mut next = Next::Value;
        loop {
            self.space();
            if matches!(next, Next::After) && self.open.is_empty() {
                return match self.text.get(self.at) {
                    None => Ok(()),
                    Some(_) => Err(self.unexpected("after top-level value")),
                };
            }
            next = match next {
                Next::Value => self.value()?,
                Next::ValueOrEnd if self.peek()? == b']' => self.close(),
                Next::ValueOrEnd => self.value()?,
                Next::NameOrEnd if self.peek()? == b'}' => self.close(),
                Next::NameOrEnd | Next::Name => self.name()?,
                Next::After => self.after()?,
            };
        }
    }

    fn space(&mut self) {
        while self.text.get(self.at).is_some_and(|b| b" \t\r\n".contains(b)) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Result<u8, String> {
        self.text.get(self.at).copied().ok_or_else(|| END.to_owned())
    }

    fn unexpected(&self, context: &str) -> String {
        let Some(rest) = self.text.get(self.at..).filter(|r| !r.is_empty()) else { return END.to_owned() };
        let shown = match rest[0] {
            b'\'' => r"'\''".to_owned(),
            b'"' => "'\"'".to_owned(),
            b'\t' => r"'\t'".to_owned(),
            b'\n' => r"'\n'".to_owned(),
            b'\r' => r"'\r'".to_owned(),
            b if b < 0x20 => format!("'\\x{b:02x}'"),
            b if b < 0x7f => format!("'{}'", b as char),
            b => format!("'{}'", char::from(b)),
        };
        format!("invalid character {shown} {context}")
    }

    fn close(&mut self) -> Next {
        self.open.pop();
        self.at += 1;
        Next::After
    }

    fn value(&mut self) -> Result<Next, String> {
        match self.peek()? {
            b'{' => {
                self.open.push(b'}');
                self.at += 1;
                Ok(Next::NameOrEnd)
            }
            b'[' => {
                self.open.push(b']');
                self.at += 1;
                Ok(Next::ValueOrEnd)
            }
            b'"' => self.string().map(|()| Next::After),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'-' | b'0'..=b'9' => self.number().map(|()| Next::After),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn literal(&mut self, word: &str) -> Result<Next, String> {
        for wanted in word.bytes().skip(1) {
            self.at += 1;
            if self.peek()? != wanted {
                return Err(self.unexpected(&format!("in literal {word} (expecting '{}')", wanted as char)));
            }
        }
        self.at += 1;
        Ok(Next::After)
    }

    fn digits(&mut self, context: &str) -> Result<(), String> {
        if !self.peek()?.is_ascii_digit() {
            return Err(self.unexpected(context));
        }
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.text.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    match self.peek()? {
                        b'u' => {
                            for _ in 0..4 {
                                self.at += 1;
                                if !self.peek()?.is_ascii_hexdigit() {
                                    return Err(self.unexpected("in \\u hexadecimal character escape"));
                                }
                            }
                        }
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        other => {
                            return Err(format!("invalid escape sequence `\\{}` in string", other as char));
                        }
                    }
                    self.at += 1;
                }
                b if b < 0x20 => return Err(self.unexpected("in string")),
                _ => self.at += 1,
            }
        }
    }

    fn name(&mut self) -> Result<Next, String> {
        if self.peek()? != b'"' {
            return Err(self.unexpected("looking for beginning of object key string"));
        }
        self.string()?;
        self.space();
        if self.peek()? != b':' {
            return Err(self.unexpected("after object key"));
        }
        self.at += 1;
        Ok(Next::Value)
    }

    fn after(&mut self) -> Result<Next, String> {
        let found = self.peek()?;
        let closing = *self.open.last().expect("the document loop ends when nothing is open");
        if found == closing {
            return Ok(self.close());
        }
        let object = closing == b'}';
        if found == b',' {
            self.at += 1;
            return Ok(if object { Next::Name } else { Next::Value });
        }
        Err(self.unexpected(if object { "after object key:value pair" } else { "after array element" }))
    }
}
