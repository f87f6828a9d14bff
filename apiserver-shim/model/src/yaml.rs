//! Writes JSON values as YAML like upstream's encoder: strings that YAML 1.1 reads as another type are quoted, strings
//! of several lines are block scalars, members are in natural order.

use std::cmp::Ordering;
use std::fmt::Write;

use serde_json::Value;

/// Writes a value as a document.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(members) if !members.is_empty() => mapping(&mut out, value, 0),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, value, 0),
        // A block scalar at the top level is indented as well: an unindented line may read as a document marker.
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

/// Writes the members; the first one continues the current line.
fn mapping(out: &mut String, value: &Value, depth: usize) {
    let mut members: Vec<_> = value.as_object().into_iter().flatten().collect();
    sort_tolerant(&mut members, |a, b| natural(a.0, b.0));
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
            // A list is not indented below its name.
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

/// Columns after which a text is broken at the next space.
const WIDTH: usize = 80;

/// Writes a text, broken at spaces once a line is long, as upstream's encoder does. `depth` indents the further lines.
fn folded(out: &mut String, content: &str, depth: usize) {
    let mut column = out.len() - out.rfind('\n').map_or(0, |at| at + 1);
    let mut after_space = false;
    let chars: Vec<char> = content.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let is_space = *c == ' ';
        let is_inner = at > 0 && chars.get(at + 1).is_some_and(|next| *next != ' ');
        if is_space && !after_space && column > WIDTH && is_inner {
            out.push('\n');
            indent(out, depth);
            column = depth;
        } else {
            out.push(*c);
            column += 1;
        }
        after_space = is_space;
    }
}

/// Writes a string in the simplest style that is read back as the same string. `depth` indents its further lines.
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
        out.push('\'');
        let content = content.replace('\'', "''");
        if block {
            folded(out, &content, depth)
        } else {
            out.push_str(&content)
        }
        out.push('\'');
    } else if block {
        folded(out, content, depth);
    } else {
        out.push_str(content);
    }
}

/// Writes a double-quoted string. JSON's escapes are valid in YAML, but YAML requires more characters to be escaped.
fn quoted(out: &mut String, content: &str) {
    for c in Value::from(content).to_string().chars() {
        if is_unprintable(c) {
            _ = write!(out, "\\u{:04X}", u32::from(c));
        } else {
            out.push(c);
        }
    }
}

/// Characters that YAML requires to be escaped and JSON does not.
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
    // The caller writes the last line break.
    for line in content.strip_suffix('\n').unwrap_or(content).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, depth);
            out.push_str(line);
        }
    }
}

/// Whether the unquoted string reads as null, a boolean, a number or a time.
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

/// `1:30` is a number to base sixty in YAML 1.1.
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

/// Whether the unquoted string would be cut short or read as YAML syntax.
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

/// Natural order of names: letters sort after other characters, digits compare as numbers.
///
/// This is the order of upstream's encoder, and not a total order: `1x` < `2` < `12` < `1x`.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(i) = a.iter().zip(&b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    match (a[i].is_alphabetic(), b[i].is_alphabetic()) {
        (true, true) => return a[i].cmp(&b[i]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A zero within a number counts as a digit of it, a leading zero does not.
    let mut common = a[..i].iter().rev().take_while(|c| c.is_ascii_digit());
    let within = (a[i] == '0' || b[i] == '0') && common.any(|digit| *digit != '0');
    let number = |text: &[char]| {
        let digits = text[i..].iter().map_while(|c| c.to_digit(10));
        digits.fold((i64::from(within), i), |(number, end), digit| {
            (number.wrapping_mul(10).wrapping_add(i64::from(digit)), end + 1)
        })
    };
    number(&a).cmp(&number(&b)).then(a[i].cmp(&b[i]))
}

/// Sorts by merging, in O(n log n). `slice::sort_by` may panic if the order is not total, this does not.
fn sort_tolerant<T: Copy>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    let mut width = 1;
    while width < items.len() {
        for pair in items.chunks_mut(2 * width).filter(|pair| pair.len() > width) {
            let (left, right) = pair.split_at(width);
            let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
            let merged: Vec<T> = std::iter::from_fn(|| match (left.peek(), right.peek()) {
                (Some(l), Some(r)) if compare(l, r).is_gt() => right.next().copied(),
                (Some(_), _) => left.next().copied(),
                (None, _) => right.next().copied(),
            })
            .collect();
            pair.copy_from_slice(&merged);
        }
        width *= 2;
    }
}

#[cfg(test)]
mod tests;
