//! Regular expressions in Go's syntax (RE2), as schemas and CEL have them, compiled by the `regex` crate. Where both
//! differ, the expression is rewritten: classes are those of ASCII, brackets and braces may stand for themselves, and
//! `\Q…\E` quotes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Bytes of a compiled expression. Go has no such bound; a repetition of repetitions may not take all memory.
const SIZE_MAX: usize = 10 << 20;

/// Why an expression is not one, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoRegexError {
    what: &'static str,
    part: String,
}

impl fmt::Display for GoRegexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error parsing regexp: {}", self.what)?;
        if self.part.is_empty() { Ok(()) } else { write!(f, ": `{}`", self.part) }
    }
}

impl std::error::Error for GoRegexError {}

/// Compiles an expression.
///
/// # Errors
/// It is not one.
pub fn compile(pattern: &str) -> Result<Regex, GoRegexError> {
    let rewritten = rewrite(pattern);
    let built = RegexBuilder::new(&rewritten).size_limit(SIZE_MAX).build();
    built.map_err(|error| match error {
        regex::Error::Syntax(_) => explain(pattern, &rewritten),
        _ => GoRegexError { what: "expression too large", part: String::new() },
    })
}

/// Small expressions that a thread keeps compiled, with their weights.
type Cache = BTreeMap<Box<str>, (u64, Regex)>;

/// How many expressions a thread keeps, and how heavy they are at most.
const CACHED_MAX: usize = 256;
/// See [`CACHED_MAX`].
const CACHED_WEIGHT_MAX: u64 = 1_000;

thread_local! {
    static CACHE: RefCell<Cache> = const { RefCell::new(Cache::new()) };
}

/// Compiles an expression that may be used again and again.
///
/// # Errors
/// It is not one.
pub fn compile_cached(pattern: &str) -> Result<Regex, GoRegexError> {
    CACHE.with_borrow_mut(|cache| {
        if let Some((_, regex)) = cache.get(pattern) {
            return Ok(regex.clone());
        }
        let regex = compile(pattern)?;
        let weight = parsed_weight(pattern);
        if weight <= CACHED_WEIGHT_MAX {
            if cache.len() >= CACHED_MAX {
                cache.clear();
            }
            cache.insert(pattern.into(), (weight, regex.clone()));
        }
        Ok(regex)
    })
}

/// What compiling an expression takes: its characters and ranges of characters, with all repetitions. Zero if it is none.
pub fn weight(pattern: &str) -> u64 {
    let known = CACHE.with_borrow(|cache| cache.get(pattern).map(|(weight, _)| *weight));
    known.unwrap_or_else(|| parsed_weight(pattern))
}

fn parsed_weight(pattern: &str) -> u64 {
    regex_syntax::Parser::new().parse(&rewrite(pattern)).map_or(0, |hir| weight_of(&hir))
}

/// See [`weight`]. The parser bounds the depth.
fn weight_of(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() as u64,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() as u64,
        HirKind::Repetition(repetition) => {
            let times = u64::from(repetition.max.unwrap_or(repetition.min + 1)).max(1);
            weight_of(&repetition.sub).saturating_mul(times)
        }
        HirKind::Capture(capture) => weight_of(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(weight_of).fold(0, u64::saturating_add)
        }
    }
}

fn explain(pattern: &str, rewritten: &str) -> GoRegexError {
    use regex_syntax::ast::ErrorKind as Kind;
    let Err(error) = regex_syntax::ast::parse::Parser::new().parse(rewritten) else {
        return GoRegexError { what: "invalid character class range", part: pattern.to_owned() };
    };
    let part = &rewritten[error.span().start.offset..error.span().end.offset];
    let from = &rewritten[error.span().start.offset..];
    let (what, part) = match error.kind() {
        Kind::ClassUnclosed => ("missing closing ]", from),
        Kind::GroupUnclosed => ("missing closing )", pattern),
        Kind::GroupUnopened => ("unexpected )", pattern),
        Kind::RepetitionMissing => {
            let end = from.chars().next().map_or(0, char::len_utf8);
            ("missing argument to repetition operator", &from[..end])
        }
        Kind::RepetitionCountInvalid | Kind::RepetitionCountUnclosed => ("invalid repeat count", part),
        Kind::EscapeUnexpectedEof => ("trailing backslash at end of expression", ""),
        Kind::EscapeUnrecognized | Kind::EscapeHexInvalid | Kind::EscapeHexInvalidDigit => {
            ("invalid escape sequence", part)
        }
        Kind::ClassRangeInvalid | Kind::ClassRangeLiteral => ("invalid character class range", part),
        Kind::GroupNameDuplicate { .. } => ("duplicate capture group name", part),
        Kind::GroupNameInvalid | Kind::GroupNameEmpty => ("invalid named capture", part),
        Kind::UnsupportedLookAround => ("invalid or unsupported Perl syntax", part),
        Kind::FlagUnrecognized | Kind::FlagUnexpectedEof => ("invalid or unsupported Perl syntax", from),
        Kind::UnsupportedBackreference => ("invalid escape sequence", part),
        _ => ("invalid or unsupported Perl syntax", part),
    };
    GoRegexError { what, part: part.to_owned() }
}

fn rewrite(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let width = c.len_utf8();
        match c {
            '\\' => {
                rest = escape(rest, &mut out);
                continue;
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                rest = &rest[1..];
                if let Some(after) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = after;
                }
                if let Some(after) = rest.strip_prefix(']') {
                    out.push_str("\\]");
                    rest = after;
                }
                continue;
            }
            '[' => match rest.find(":]").filter(|_| rest.starts_with("[:")) {
                Some(end) => {
                    out.push_str(&rest[..end + 2]);
                    rest = &rest[end + 2..];
                    continue;
                }
                None => out.push_str("\\["),
            },
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                let _ = write!(out, "\\{c}");
            }
            '{' if !in_class && !is_repetition(rest) => out.push_str("\\{"),
            _ => out.push(c),
        }
        rest = &rest[width..];
    }
    out
}

/// Copies one escape sequence and returns what follows.
fn escape<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let next = rest.chars().nth(1);
    let class = match next {
        Some('Q') => {
            let body = &rest[2..];
            let (quoted, after) = body.split_once("\\E").unwrap_or((body, ""));
            out.push_str(&regex::escape(quoted));
            return after;
        }
        Some('d') => "[0-9]",
        Some('D') => "[^0-9]",
        Some('s') => "[\\t\\n\\x0c\\r ]",
        Some('S') => "[^\\t\\n\\x0c\\r ]",
        Some('w') => "[0-9A-Za-z_]",
        Some('W') => "[^0-9A-Za-z_]",
        Some('b') => "(?-u:\\b)",
        _ => "",
    };
    let width = 1 + next.map_or(0, char::len_utf8);
    out.push_str(if class.is_empty() { &rest[..width] } else { class });
    &rest[width..]
}

/// Whether a text starts with `{n}`, `{n,}` or `{n,m}`; otherwise the brace stands for itself.
fn is_repetition(rest: &str) -> bool {
    let Some((inner, _)) = rest[1..].split_once('}') else { return false };
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_weigh_what_they_repeat() {
        let weights = ["abc", "[a-cx]{3}", "(a|b{2,4})*", "(", "(?:[a-c]{10}){20}"].map(weight);
        assert_eq!(weights, [3, 6, 5, 0, 200]);
        assert!(weight(r"(\pL{1,100}){1,8}") > 100_000);
        // The same, once it is kept.
        assert!(compile_cached("abc").unwrap().is_match("xabcx") && compile_cached("(").is_err());
        assert_eq!(weight("abc"), 3);
    }

    #[test]
    fn expressions_of_go_compile_as_go_reads_them() {
        let matches = [
            (r"^\w+$", "abc_1", true),
            (r"^\w+$", "ä", false),
            (r"^\d+$", "٣", false),
            (r"^[\w.-]+$", "a.b-c", true),
            (r"[[]", "[", true),
            (r"^[]a]+$", "]a", true),
            (r"^[^]a]+$", "bc", true),
            (r"^[[:alpha:]&&]+$", "a&", true),
            (r"a{", "a{", true),
            (r"^a{,2}$", "a{,2}", true),
            (r"^a{2,3}$", "aaa", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"\bfoo\b", "a foo b", true),
            (r"^(?:4[0-9]{12})$", "4111111111111", true),
            (r"(?i)^ABC\z", "abc", true),
        ];
        for (pattern, text, expected) in matches {
            let regex = compile(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(regex.is_match(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn errors_are_worded_as_in_go() {
        let cases = [
            ("(", "error parsing regexp: missing closing ): `(`"),
            ("a)", "error parsing regexp: unexpected ): `a)`"),
            ("[a", "error parsing regexp: missing closing ]: `[a`"),
            ("*a", "error parsing regexp: missing argument to repetition operator: `*`"),
            (r"\y", r"error parsing regexp: invalid escape sequence: `\y`"),
            ("[z-a]", "error parsing regexp: invalid character class range: `z-a`"),
            ("(?!a)", "error parsing regexp: invalid or unsupported Perl syntax: `(?!`"),
            ("a\\", "error parsing regexp: trailing backslash at end of expression"),
        ];
        for (pattern, expected) in cases {
            let error = compile(pattern).map(|_| ()).expect_err(pattern);
            assert_eq!(error.to_string(), expected);
        }
    }
}
