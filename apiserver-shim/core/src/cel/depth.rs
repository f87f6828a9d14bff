//! How deep the syntax tree of an expression may become, found before it is parsed: parser and evaluation recurse, and no
//! expression may end the process by its depth.

/// Brackets within brackets. The parser's generated code needs more than 50 KiB of stack for each in a debug build, and a
/// thread has 2 MiB.
const NESTING_MAX: usize = 24;
/// Nested calls of the evaluation, which a chain of operators or selections makes, too: some KiB of stack for each.
const DEPTH_MAX: usize = 100;

/// Whether an expression may be parsed.
pub(super) fn is_bounded(source: &str) -> bool {
    let mut scan = Scan { rest: source, levels: vec![0], deepest: 0 };
    while scan.step() {
        let depth = scan.levels.len() + scan.levels.iter().sum::<usize>();
        scan.deepest = scan.deepest.max(depth);
        if scan.levels.len() > NESTING_MAX || scan.deepest > DEPTH_MAX {
            return false;
        }
    }
    true
}

struct Scan<'a> {
    rest: &'a str,
    /// The operators and selections of the current operand, for each open bracket.
    levels: Vec<usize>,
    deepest: usize,
}

impl Scan<'_> {
    /// Reads one token; false at the end.
    fn step(&mut self) -> bool {
        let Some(c) = self.rest.chars().next() else { return false };
        let mut width = c.len_utf8();
        let count = |levels: &mut Vec<usize>| {
            if let Some(chain) = levels.last_mut() {
                *chain += 1;
            }
        };
        match c {
            '"' | '\'' => width = self.text(c),
            '/' if self.rest.starts_with("//") => {
                width = self.rest.find('\n').unwrap_or(self.rest.len());
            }
            '&' | '|' if self.rest.starts_with("&&") || self.rest.starts_with("||") => {
                // Chains of these are balanced by the parser.
                width = 2;
                self.reset();
            }
            ',' => self.reset(),
            '(' | '[' | '{' => {
                count(&mut self.levels);
                self.levels.push(0);
            }
            ')' | ']' | '}' if self.levels.len() > 1 => drop(self.levels.pop()),
            '+' | '-' | '*' | '/' | '%' | '!' | '<' | '>' | '=' | '?' | '.' => count(&mut self.levels),
            'i' if self.rest.starts_with("in ") => count(&mut self.levels),
            _ => {}
        }
        self.rest = &self.rest[width..];
        true
    }

    fn reset(&mut self) {
        if let Some(chain) = self.levels.last_mut() {
            *chain = 0;
        }
    }

    /// The width of a text. That of a raw one may be found shorter, which only counts more.
    fn text(&self, quote: char) -> usize {
        let triple = self.rest.get(1..3).is_some_and(|next| next.chars().all(|c| c == quote));
        let start = if triple { 3 } else { 1 };
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(start) {
            let ends = !escaped && c == quote;
            if ends && !triple {
                return at + 1;
            }
            if ends && self.rest[at..].chars().take(3).filter(|c| *c == quote).count() == 3 {
                return at + 3;
            }
            escaped = !escaped && c == '\\';
        }
        self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_bounded() {
        let cases = [
            ("(".repeat(25), false),
            ("(".repeat(20) + &")".repeat(20), true),
            ("1".to_owned() + &"+1".repeat(300), false),
            ("a".to_owned() + &".a".repeat(300), false),
            ("!".repeat(300) + "true", false),
            ("a".to_owned() + &" && a.b == 1".repeat(300), true),
            (format!("'{}'", "(".repeat(300)), true),
            (format!("\"\\\"{}\"", "(".repeat(300)), true),
            (format!("'''{}'''", "'(".repeat(300)), true),
            (format!("1 // {}", "(".repeat(300)), true),
            ("[".to_owned() + &"1,".repeat(1000) + "1]", true),
            ("true ? 1 : ".repeat(300) + "1", false),
        ];
        for (source, bounded) in cases {
            assert_eq!(is_bounded(&source), bounded, "{}", &source[..source.len().min(40)]);
        }
    }
}
