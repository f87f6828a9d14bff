//! The errors of an expression and their text, as upstream's `common.Errors` has them.

use super::CompileError;

/// Errors that are reported; further ones are only counted.
pub(super) const ERRORS_MAX: usize = 100;
/// Bytes of a line that is shown with an error.
const SNIPPET_MAX: usize = 16_384;
/// Bytes of all lines that are shown. Upstream has no such bound, and says a line a hundred times.
const SNIPPETS_MAX: usize = 64 << 10;

/// Where an error is.
#[derive(Clone, Copy, Debug)]
enum At {
    /// An offset in bytes.
    Offset(u32),
    /// A line and a column, from one.
    Place(usize, usize),
}

/// The errors that were found in an expression.
#[derive(Debug, Default)]
pub(super) struct Errors {
    listed: Vec<(At, String)>,
    count: usize,
}

impl Errors {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds an error at an offset in bytes.
    pub(super) fn push(&mut self, at: u32, message: String) {
        self.add(At::Offset(at), message);
    }

    /// Adds an error at a line and a column, from one.
    pub(super) fn push_at(&mut self, (line, column): (usize, usize), message: String) {
        self.add(At::Place(line, column), message);
    }

    fn add(&mut self, at: At, message: String) {
        self.count += 1;
        if self.count <= ERRORS_MAX {
            self.listed.push((at, message));
        }
    }

    /// Puts the errors in the order of their offsets.
    pub(super) fn sort(&mut self) {
        self.listed.sort_by_key(|(at, _)| match at {
            At::Offset(offset) => (*offset as usize, 0),
            At::Place(line, column) => (*line, *column),
        });
    }

    /// All of them as one.
    pub(super) fn of(&self, source: &str) -> CompileError {
        let mut snippets = SNIPPETS_MAX;
        let mut texts: Vec<String> = Vec::new();
        for (at, message) in &self.listed {
            let (line, column) = match *at {
                At::Offset(offset) => place(source, offset),
                At::Place(line, column) => (line, column),
            };
            let shown = snippet(source, line, column).filter(|shown| shown.len() <= snippets);
            snippets -= shown.as_ref().map_or(0, String::len);
            texts.push(format!("ERROR: <input>:{line}:{column}: {message}{}", shown.unwrap_or_default()));
        }
        if self.count > ERRORS_MAX {
            texts.push(format!("{} more errors were truncated", self.count - ERRORS_MAX));
        }
        CompileError::plain(texts.join("\n"))
    }
}

impl Extend<(u32, String)> for Errors {
    fn extend<T: IntoIterator<Item = (u32, String)>>(&mut self, errors: T) {
        errors.into_iter().for_each(|(at, message)| self.push(at, message));
    }
}

/// The line and column of an offset in bytes.
fn place(source: &str, at: u32) -> (usize, usize) {
    let (mut line, mut column) = (1, 1);
    for (_, c) in source.char_indices().take_while(|(offset, _)| *offset < at as usize) {
        (line, column) = if c == '\n' { (line + 1, 1) } else { (line, column + 1) };
    }
    (line, column)
}

/// A line with a mark below a column, unless it is too long.
fn snippet(source: &str, line: usize, column: usize) -> Option<String> {
    let text = source.split('\n').nth(line.saturating_sub(1)).unwrap_or("");
    if text.len() > SNIPPET_MAX {
        return None;
    }
    // Wide marks stand below wide characters, as upstream has them.
    let is_wide = |c: char| c.len_utf8() > 1;
    let mut chars = text.chars();
    let before = chars.by_ref().take(column.saturating_sub(1)).map(is_wide);
    let mut marks: String = before.map(|wide| if wide { '\u{ff0e}' } else { '.' }).collect();
    let missing = column.saturating_sub(1 + text.chars().count());
    marks.push_str(&".".repeat(missing));
    marks.push(if chars.next().is_some_and(is_wide) { '\u{ff3e}' } else { '^' });
    Some(format!("\n | {}\n | {marks}", text.replace('\t', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &str, count: u32) -> String {
        let mut errors = Errors::default();
        (0..count).for_each(|at| errors.push(at, "wrong".to_owned()));
        errors.of(source).to_string()
    }

    #[test]
    fn errors_past_the_hundredth_are_counted() {
        let all = text("a\nb", 100);
        assert_eq!(all.matches("wrong").count(), 100);
        assert!(!all.contains("truncated"));
        assert!(text("a", 101).ends_with("\n1 more errors were truncated"));
        assert!(text("a", 5_000).ends_with("\n4900 more errors were truncated"));
    }

    #[test]
    fn long_lines_are_not_shown() {
        let line = "a".repeat(SNIPPET_MAX);
        assert_eq!(text(&line, 1), format!("ERROR: <input>:1:1: wrong\n | {line}\n | ^"));
        assert_eq!(text(&format!("{line}a"), 1), "ERROR: <input>:1:1: wrong");
        // The first ones show their line, and all of them say what is wrong.
        let many = text(&"a".repeat(8_000), 200);
        assert!(many.len() < SNIPPETS_MAX + 10_000, "{}", many.len());
        assert!(many.starts_with("ERROR: <input>:1:1: wrong\n | aaa"));
        assert_eq!(many.matches("wrong").count(), 100);
    }
}
