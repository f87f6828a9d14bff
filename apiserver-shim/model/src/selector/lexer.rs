//! Splits the text form of a label selector into tokens.

/// A token of a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Word,
    In,
    NotIn,
    Not,
    Equal,
    DoubleEqual,
    NotEqual,
    Greater,
    Less,
    Open,
    Close,
    Comma,
    Unknown,
    End,
}

pub(super) struct Lexer<'a> {
    text: &'a str,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Lexer { text }
    }
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

impl<'a> Iterator for Lexer<'a> {
    type Item = (Token, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        const SYMBOLS: [(&str, Token); 9] = [
            ("==", Token::DoubleEqual),
            ("!=", Token::NotEqual),
            ("=", Token::Equal),
            ("!", Token::Not),
            ("(", Token::Open),
            (")", Token::Close),
            (",", Token::Comma),
            (">", Token::Greater),
            ("<", Token::Less),
        ];
        self.text = self.text.trim_start_matches(is_space);
        let first = self.text.chars().next()?;
        let (length, token) = if is_symbol(first) {
            let symbol = SYMBOLS.iter().find(|(s, _)| self.text.starts_with(s));
            symbol.map_or((first.len_utf8(), Token::Unknown), |(s, t)| (s.len(), *t))
        } else {
            let length = self.text.find(|c| is_symbol(c) || is_space(c)).unwrap_or(self.text.len());
            match &self.text[..length] {
                "in" => (length, Token::In),
                "notin" => (length, Token::NotIn),
                _ => (length, Token::Word),
            }
        };
        let (piece, rest) = self.text.split_at(length);
        self.text = rest;
        Some((token, piece))
    }
}
