//! Values as YAML in the manner of upstream's writer: texts that a reader of YAML 1.1 would take for something else are
//! quoted, texts of many lines are blocks, members are in order with their numbers counted.

use std::cmp::Ordering;
use std::fmt::Write;

use serde_json::Value;

/// A value as a document.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(members) if !members.is_empty() => mapping(&mut out, value, 0),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, value, 0),
        // A block that is the whole document stands in too: at the margin a reader may take its lines for the next.
        scalar => {
            plain(&mut out, scalar, 2);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n(' ', depth));
}

/// The members, the first of which is written where the line stands.
fn mapping(out: &mut String, value: &Value, depth: usize) {
    let mut members: Vec<_> = value.as_object().into_iter().flatten().collect();
    members.sort_by(|a, b| natural(a.0, b.0));
    for (i, (name, member)) in members.into_iter().enumerate() {
        if i > 0 {
            indent(out, depth);
        }
        text(out, name, depth, false);
        out.push(':');
        match member {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                indent(out, depth + 2);
                mapping(out, member, depth + 2);
            }
            // A list stands under its name, not further in.
            Value::Array(inner) if !inner.is_empty() => {
                out.push('\n');
                indent(out, depth);
                sequence(out, member, depth);
            }
            scalar => {
                out.push(' ');
                plain(out, scalar, depth + 2);
                out.push('\n');
            }
        }
    }
}

fn sequence(out: &mut String, value: &Value, depth: usize) {
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        if i > 0 {
            indent(out, depth);
        }
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => mapping(out, item, depth + 2),
            Value::Array(inner) if !inner.is_empty() => sequence(out, item, depth + 2),
            scalar => {
                plain(out, scalar, depth + 2);
                out.push('\n');
            }
        }
    }
}

fn plain(out: &mut String, scalar: &Value, depth: usize) {
    match scalar {
        Value::String(content) => text(out, content, depth, true),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        other => _ = write!(out, "{other}"),
    }
}

/// A text in the simplest style in which it stays one. `depth` is where its further lines begin.
fn text(out: &mut String, content: &str, depth: usize, block: bool) {
    let odd = content.chars().any(|c| (c.is_control() && c != '\n') || is_unprintable(c));
    if block
        && content.contains('\n')
        && !odd
        && !content.starts_with([' ', '\n'])
        && !content.contains(" \n")
    {
        literal(out, content, depth);
    } else if odd || content.contains('\n') || is_ambiguous(content) {
        quoted(out, content);
    } else if needs_quotes(content) {
        _ = write!(out, "'{}'", content.replace('\'', "''"));
    } else {
        out.push_str(content);
    }
}

/// JSON's escapes are YAML's too, but JSON leaves bare what YAML forbids or takes for the end of a line.
fn quoted(out: &mut String, content: &str) {
    for c in Value::from(content).to_string().chars() {
        if is_unprintable(c) {
            _ = write!(out, "\\u{:04X}", u32::from(c));
        } else {
            out.push(c);
        }
    }
}

/// Of the characters that JSON does not escape, those that YAML does.
fn is_unprintable(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn literal(out: &mut String, content: &str, depth: usize) {
    let body = content.trim_end_matches('\n');
    out.push_str(match content.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    // The last line's end is the caller's to write.
    for line in content.strip_suffix('\n').unwrap_or(content).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, depth);
            out.push_str(line);
        }
    }
}

/// Whether a reader would take the bare text for null, a switch, a number or a time.
fn is_ambiguous(content: &str) -> bool {
    const WORDS: &[&str] = &["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "<<", "="];
    let lower = content.to_ascii_lowercase();
    let digits = lower.strip_prefix(['+', '-']).unwrap_or(&lower);
    let number = || {
        let bare = digits.replace('_', "");
        let radix = |prefix: &str, valid: fn(&u8) -> bool| {
            bare.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| valid(&b)))
        };
        let begins = bare.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        (begins && bare.bytes().any(|b| b.is_ascii_digit()) && bare.parse::<f64>().is_ok())
            || matches!(bare.as_str(), ".inf" | ".nan")
            || radix("0x", u8::is_ascii_hexdigit)
            || radix("0b", |b| matches!(b, b'0' | b'1'))
            || radix("0o", |b| (b'0'..=b'7').contains(b))
            || is_sexagesimal(&bare)
    };
    WORDS.contains(&lower.as_str()) || number() || is_time(content)
}

/// `1:30`: a number to base sixty in YAML 1.1.
fn is_sexagesimal(bare: &str) -> bool {
    let mut parts = bare.split(':');
    let whole = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    parts.next().is_some_and(whole) && bare.contains(':') && parts.all(|part| part.len() <= 2 && whole(part))
}

fn is_time(content: &str) -> bool {
    let bytes = content.as_bytes();
    let date = bytes.len() >= 10
        && bytes[..10].iter().enumerate().all(|(i, b)| match i {
            4 | 7 => *b == b'-',
            _ => b.is_ascii_digit(),
        });
    date && (bytes.len() == 10 || matches!(bytes[10], b'T' | b't' | b' ') && bytes.len() >= 16)
}

/// Whether the bare text would not end where it ends, or would begin something else.
fn needs_quotes(content: &str) -> bool {
    let mut chars = content.chars();
    let first = chars.next().unwrap_or(' ');
    let second = chars.next();
    let spaced = second.is_none_or(|c| c == ' ');
    let opens = matches!(
        first,
        '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
    ) || (matches!(first, '-' | '?' | ':') && spaced);
    let marks = content.starts_with("---") || content.starts_with("...");
    opens
        || marks
        || content != content.trim()
        || content.contains(": ")
        || content.ends_with(':')
        || content.contains(" #")
}

/// Order of names in which letters come before everything else and digits count as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(i) = a.iter().zip(&b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    let number = |text: &[char]| -> Option<(u64, usize)> {
        let digits: String = text[i..].iter().take_while(|c| c.is_ascii_digit()).collect();
        Some((digits.parse().ok()?, digits.len()))
    };
    match (a[i].is_alphabetic(), b[i].is_alphabetic()) {
        (true, true) => a[i].cmp(&b[i]),
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => match (number(&a), number(&b)) {
            (Some(x), Some(y)) => x.cmp(&y).then(a[i].cmp(&b[i])),
            _ => a[i].cmp(&b[i]),
        },
    }
}

#[cfg(test)]
mod tests;
