//! Texts in quotation marks as upstream's messages print them, with Go's `%q` (`strconv.Quote`).

use std::fmt::{self, Write};

/// Prints a text as Go's `%q` does: in quotation marks, with escapes for quotation marks, backslashes and what cannot be printed.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match short_escape(c) {
                Some(escape) => f.write_str(escape)?,
                None if is_printable(c) => f.write_char(c)?,
                None if c.is_ascii() => write!(f, "\\x{:02x}", u32::from(c))?,
                None if u32::from(c) > 0xffff => write!(f, "\\U{:08x}", u32::from(c))?,
                None => write!(f, "\\u{:04x}", u32::from(c))?,
            }
        }
        f.write_char('"')
    }
}

/// A text as Go's `%q` prints it.
pub fn go_quote(text: &str) -> String {
    Quoted(text).to_string()
}

/// A list of texts as Go's `%q` prints it: `["a" "b"]`.
pub fn go_quote_list<S: AsRef<str>>(texts: &[S]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| go_quote(text.as_ref())).collect();
    format!("[{}]", texts.join(" "))
}

/// The escapes that have a letter in Go.
pub fn short_escape(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{b}' => "\\v",
        '\\' => "\\\\",
        '"' => "\\\"",
        _ => return None,
    })
}

/// Whether Go's `strconv.IsPrint` holds: letters, marks, numbers, punctuation, symbols and the space of ASCII.
fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        _ if c.is_ascii() => false,
        // Rust's `escape_debug` of texts draws the same line; it escapes a mark only at the start of a text.
        _ => !format!("a{c}").escape_debug().to_string().contains("\\u{"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_in_go() {
        // From strconv.Quote of Go 1.26.
        for (text, quoted) in [
            ("web", r#""web""#),
            ("a\"\\\n\u{1}\u{7f}é", r#""a\"\\\n\x01\x7fé""#),
            ("\u{7}\u{8}\u{b}\u{c}\r\t", r#""\a\b\v\f\r\t""#),
            ("\u{85}\u{a0}\u{200b}\u{2028}\u{feff}", r#""\u0085\u00a0\u200b\u2028\ufeff""#),
            ("e\u{301} 😀 \u{e000}\u{10ffff}", "\"e\u{301} 😀 \\ue000\\U0010ffff\""),
            ("'<&>", r#""'<&>""#),
        ] {
            assert_eq!(go_quote(text), quoted);
        }
        assert_eq!(go_quote_list(&["a".to_owned(), "b c".to_owned()]), r#"["a" "b c"]"#);
    }
}
