//! Texts in YAML: the simplest style that is read back as the same text.

use std::fmt::Write;

use super::indent;
use crate::schema::is_yaml_text;

/// Columns after which a line is broken at the next space.
const WIDTH: usize = 80;
/// Bytes of a name that may stand before its colon on one line; a longer one stands after a question mark. YAML's own limit is 1,024.
const SIMPLE_KEY_MAX: usize = 128;

/// Writes a text that may take several lines. `depth` indents the further ones.
pub(super) fn value(out: &mut String, content: &str, depth: usize) {
    let allowed = Allowed::of(content);
    match () {
        () if content.contains('\n') && allowed.literal => literal(out, content, depth),
        () if content.contains('\n') || is_ambiguous(content) => double_quoted(out, content, Some(depth)),
        () if allowed.plain => wrapped(out, content, Some(depth), false, String::push),
        () if allowed.single_quoted => single_quoted(out, content, Some(depth)),
        () => double_quoted(out, content, Some(depth)),
    }
}

/// Whether a member's name stands on one line before its colon.
pub(super) fn is_simple_key(name: &str) -> bool {
    name.len() <= SIMPLE_KEY_MAX && !name.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
}

/// Writes a member's name on one line.
pub(super) fn simple_key(out: &mut String, name: &str) {
    let allowed = Allowed::of(name);
    match () {
        () if is_ambiguous(name) => double_quoted(out, name, None),
        () if allowed.plain => out.push_str(name),
        () if allowed.single_quoted => single_quoted(out, name, None),
        () => double_quoted(out, name, None),
    }
}

/// The styles in which a text is read back unchanged; between double quotes each one is.
struct Allowed {
    plain: bool,
    single_quoted: bool,
    literal: bool,
}

impl Allowed {
    fn of(content: &str) -> Allowed {
        let special = content.contains(|c| c != '\n' && is_escaped(c)) || content.contains(" \n");
        Allowed {
            plain: !special
                && !content.contains('\n')
                && content == content.trim_matches(' ')
                && !is_syntax(content),
            single_quoted: !special && !content.contains("\n "),
            literal: !special && !content.ends_with(' '),
        }
    }
}

/// Characters that stand in no text without an escape. U+2028 and U+2029 could, but readers take them for line breaks.
fn is_escaped(c: char) -> bool {
    let printable =
        matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}';
    !printable || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether the text without quotes would be cut short or read as YAML syntax.
fn is_syntax(content: &str) -> bool {
    let mut chars = content.chars();
    let first = chars.next();
    let ends_word = chars.next().is_none_or(is_blank);
    let opens = match first {
        Some('?' | ':' | '-') => ends_word,
        Some(c) => "#,[]{}&*!|>'\"%@`".contains(c),
        None => false,
    };
    let marks_document = content.starts_with("---") || content.starts_with("...");
    let begins_value = |(at, _): (usize, &str)| content[at + 1..].chars().next().is_none_or(is_blank);
    let begins_comment = |(at, _): (usize, &str)| content[..at].ends_with(is_blank);
    opens
        || marks_document
        || content.match_indices(':').any(begins_value)
        || content.match_indices('#').any(begins_comment)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// Whether the text without quotes reads as null, a boolean, a number or a time, by YAML 1.1 or 1.2.
fn is_ambiguous(content: &str) -> bool {
    const WORDS: &[&str] = &["", "~", "null", "true", "false", ".nan", ".inf", "+.inf", "-.inf"];
    let is_word = || WORDS.iter().any(|word| word.eq_ignore_ascii_case(content));
    let begins_number = content.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    let is_number = || content.parse::<f64>().is_ok() || is_sexagesimal(content) || is_time(content);
    !is_yaml_text(content) || is_word() || (begins_number && is_number())
}

/// `1:30` is a number to base sixty in YAML 1.1: `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`.
fn is_sexagesimal(content: &str) -> bool {
    let content = content.strip_prefix(['+', '-']).unwrap_or(content);
    let (content, fraction) = content.split_once('.').unwrap_or((content, ""));
    let is_digit_or_separator = |b: u8| b.is_ascii_digit() || b == b'_';
    let mut parts = content.split(':');
    let first = parts.next().unwrap_or_default();
    let is_sixtieth = |part: &str| match part.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => matches!(tens, b'0'..=b'5') && ones.is_ascii_digit(),
        _ => false,
    };
    content.contains(':')
        && first.starts_with(|c: char| c.is_ascii_digit())
        && first.bytes().chain(fraction.bytes()).all(is_digit_or_separator)
        && parts.all(is_sixtieth)
}

/// Whether the text is a date, or a date and a time: `2001-12-14`, `2001-12-14T21:59:43.1Z`, `2001-12-14 21:59:43`.
fn is_time(content: &str) -> bool {
    let (date, time) = match content.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (content, None),
    };
    let zoned = !content.contains(' ');
    is_date(date) && time.is_none_or(|time| is_time_of_day(time, zoned))
}

fn is_date(date: &str) -> bool {
    let [year, month, day] = date.split('-').collect::<Vec<_>>()[..] else { return false };
    let Some(year) = number(year, 4..=4) else { return false };
    let (Some(month), Some(day)) = (number(month, 1..=2), number(day, 1..=2)) else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (1..=12).contains(&month) && (1..=days).contains(&day)
}

fn is_time_of_day(time: &str, zoned: bool) -> bool {
    let end = time.find(['Z', '+', '-']).filter(|_| zoned).unwrap_or(time.len());
    let (time, zone) = time.split_at(end);
    let (time, fraction) = match time.split_once(['.', ',']) {
        Some((time, fraction)) => (time, Some(fraction)),
        None => (time, None),
    };
    let [hour, minute, second] = time.split(':').collect::<Vec<_>>()[..] else { return false };
    let below = |part, end| number(part, 1..=2).is_some_and(|n| n < end);
    below(hour, 24)
        && below(minute, 60)
        && below(second, 60)
        && fraction
            .is_none_or(|fraction| !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit()))
        && (if zoned { is_zone(zone) } else { zone.is_empty() })
}

/// `Z`, `+01:00`.
fn is_zone(zone: &str) -> bool {
    let part = |part, max| number(part, 2..=2).is_some_and(|n| n <= max);
    let offset = zone.strip_prefix(['+', '-']).and_then(|offset| offset.split_once(':'));
    zone == "Z" || offset.is_some_and(|(hours, minutes)| part(hours, 24) && part(minutes, 60))
}

/// A number of so many decimal digits.
fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let valid = digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| text.parse().ok()).flatten()
}

fn single_quoted(out: &mut String, content: &str, depth: Option<usize>) {
    out.push('\'');
    wrapped(out, content, depth, false, |out, c| match c {
        '\'' => out.push_str("''"),
        c => out.push(c),
    });
    out.push('\'');
}

fn double_quoted(out: &mut String, content: &str, depth: Option<usize>) {
    out.push('"');
    wrapped(out, content, depth, true, |out, c| match c {
        '\0' => out.push_str("\\0"),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\x0b' => out.push_str("\\v"),
        '\x0c' => out.push_str("\\f"),
        '\r' => out.push_str("\\r"),
        '\x1b' => out.push_str("\\e"),
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{85}' => out.push_str("\\N"),
        '\u{2028}' => out.push_str("\\L"),
        '\u{2029}' => out.push_str("\\P"),
        c if !is_escaped(c) => out.push(c),
        c => {
            let code = u32::from(c);
            _ = match code {
                0..=0xff => write!(out, "\\x{code:02X}"),
                0x100..=0xffff => write!(out, "\\u{code:04X}"),
                _ => write!(out, "\\U{code:08X}"),
            };
        }
    });
    out.push('"');
}

/// Writes a text character by character. With a depth, long lines are broken at spaces, and the further lines have so many spaces before
/// them. A break stands for one space; only if `escapes` can it be followed by others.
fn wrapped(
    out: &mut String,
    content: &str,
    depth: Option<usize>,
    escapes: bool,
    mut put: impl FnMut(&mut String, char),
) {
    let line = out.rfind('\n').map_or(0, |at| at + 1);
    let mut column = out[line..].chars().count();
    let mut after_space = false;
    let mut chars = content.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let breaks = c == ' '
            && !after_space
            && column > WIDTH
            && at > 0
            && next.is_some_and(|next| escapes || next != ' ');
        after_space = c == ' ';
        match depth {
            Some(depth) if breaks => {
                out.push('\n');
                indent(out, depth);
                column = depth;
                if next == Some(' ') {
                    out.push('\\');
                    column += 1;
                }
            }
            _ => {
                let start = out.len();
                put(out, c);
                column += out[start..].chars().count();
            }
        }
    }
}

/// Writes a text as indented lines. The caller writes the last line break.
fn literal(out: &mut String, content: &str, depth: usize) {
    out.push('|');
    // The indentation cannot be told from the first line then.
    if content.starts_with([' ', '\n']) {
        out.push('2');
    }
    let body = content.trim_end_matches('\n');
    out.push_str(match content.len() - body.len() {
        0 => "-",
        1 if !body.is_empty() => "",
        _ => "+",
    });
    for line in content.strip_suffix('\n').unwrap_or(content).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, depth);
            out.push_str(line);
        }
    }
}
