//! Label selectors (text form in URLs, object form in specs) and field selectors. Parsing follows upstream's grammar
//! and error messages. Matching is a few comparisons per object and does not allocate.

mod fields;
mod lexer;

pub use fields::{FieldSelector, FieldTerm};

use crate::field::FieldError;
use crate::names;
use lexer::{Lexer, Token};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// The operator of a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Greater,
    Less,
}

/// A requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    /// The operator's values, sorted, without duplicates.
    pub values: Vec<String>,
}

/// A conjunction of requirements; the empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// Why a selector is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub(crate) String);

impl Requirement {
    /// Validates key and values.
    pub fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, SelectorError> {
        let wrong = |field: &str, shown: &str, detail: String| {
            Err(SelectorError(FieldError::invalid(field, shown, detail).to_string()))
        };
        let odd = names::qualified(key);
        if !odd.is_empty() {
            return wrong("<nil>", key, odd.join("; "));
        }
        if matches!(operator, Operator::Greater | Operator::Less) {
            for (i, value) in values.iter().enumerate() {
                if value.parse::<i64>().is_err() {
                    let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                    return wrong(&format!("values[{i}]"), value, detail.to_owned());
                }
            }
        }
        for (i, value) in values.iter().enumerate() {
            let odd = names::label_value(value);
            if !odd.is_empty() {
                return wrong(&format!("values[{i}][{key}]"), value, odd.join("; "));
            }
        }
        let mut values = values;
        values.sort();
        values.dedup();
        Ok(Requirement { key: key.to_owned(), operator, values })
    }

    /// Whether `labels` satisfy the requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let label = labels.get(&self.key);
        let listed = |value: &String| self.values.binary_search(value).is_ok();
        let compared = |by: fn(i64, i64) -> bool| {
            let number = label.and_then(|l| l.parse().ok());
            let bound = self.values.first().and_then(|v| v.parse().ok());
            number.zip(bound).is_some_and(|(n, b)| by(n, b))
        };
        match self.operator {
            Operator::In => label.is_some_and(listed),
            Operator::NotIn => !label.is_some_and(listed),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::Greater => compared(|n, b| n > b),
            Operator::Less => compared(|n, b| n < b),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requirement { key, values, .. } = self;
        match (self.operator, values.as_slice()) {
            (Operator::Exists, _) => f.write_str(key),
            (Operator::DoesNotExist, _) => write!(f, "!{key}"),
            (Operator::In, [one]) => write!(f, "{key}={one}"),
            (Operator::NotIn, [one]) => write!(f, "{key}!={one}"),
            (Operator::In, many) => write!(f, "{key} in ({})", many.join(",")),
            (Operator::NotIn, many) => write!(f, "{key} notin ({})", many.join(",")),
            (Operator::Greater, values) => write!(f, "{key}>{}", values.join(",")),
            (Operator::Less, values) => write!(f, "{key}<{}", values.join(",")),
        }
    }
}

impl LabelSelector {
    /// The selector that matches everything.
    pub const fn everything() -> Self {
        LabelSelector { requirements: Vec::new(), nothing: false }
    }

    /// The selector that matches nothing: the meaning of a null selector in a spec.
    pub const fn nothing() -> Self {
        LabelSelector { requirements: Vec::new(), nothing: true }
    }

    /// Whether it has no requirements.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// The requirements, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// A selector of these requirements.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        LabelSelector { requirements, nothing: false }
    }

    /// Parses the text form: `a=b,c in (d,e),!f,g>1`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser::new(text);
        parser.selector().map(Self::new)
    }

    /// Reads a `metav1.LabelSelector`. Null matches nothing, an empty one everything.
    pub fn from_value(value: &Value) -> Result<Self, SelectorError> {
        let Some(object) = value.as_object() else { return Ok(Self::nothing()) };
        let mut out = Vec::new();
        for (key, v) in object.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            out.push(Requirement::new(key, Operator::In, vec![v.as_str().unwrap_or("").to_owned()])?);
        }
        for expression in object.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |k: &str| expression.get(k).and_then(Value::as_str).unwrap_or("");
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!("\"{other}\" is not a valid label selector operator")));
                }
            };
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
            out.push(Requirement::new(text("key"), operator, values)?);
        }
        Ok(Self::new(out))
    }

    /// Whether `labels` satisfy every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            write!(f, "{}{requirement}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A recursive-descent parser of the text form. In the position of a value, `in` and `notin` are identifiers.
struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Parser { tokens: Lexer::new(text).collect(), at: 0 }
    }

    fn peek(&self, values: bool) -> (Token, &'a str) {
        let (token, text) = self.tokens.get(self.at).copied().unwrap_or((Token::End, ""));
        (if values && matches!(token, Token::In | Token::NotIn) { Token::Word } else { token }, text)
    }

    fn next(&mut self, values: bool) -> (Token, &'a str) {
        let found = self.peek(values);
        self.at += 1;
        found
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut out = Vec::new();
        loop {
            match self.peek(true) {
                (Token::Word | Token::Not, _) => {
                    let requirement = self.requirement();
                    out.push(
                        requirement
                            .map_err(|e| SelectorError(format!("unable to parse requirement: {}", e.0)))?,
                    );
                    match self.next(false) {
                        (Token::End, _) => return Ok(out),
                        (Token::Comma, _) => {
                            let (token, text) = self.peek(true);
                            if !matches!(token, Token::Word | Token::Not) {
                                return expected(text, "identifier after ','");
                            }
                        }
                        (_, text) => return expected(text, "',' or 'end of string'"),
                    }
                }
                (Token::End, _) => return Ok(out),
                (_, text) => return expected(text, "!, identifier, or 'end of string'"),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let negated = self.peek(false).0 == Token::Not;
        if negated {
            self.at += 1;
        }
        let (token, key) = self.next(true);
        if token != Token::Word {
            return expected(key, "identifier");
        }
        let odd = names::qualified(key);
        if !odd.is_empty() {
            return Err(SelectorError(FieldError::invalid("<nil>", key, odd.join("; ")).to_string()));
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        let operator = match self.peek(false) {
            (Token::End | Token::Comma, _) => return Requirement::new(key, Operator::Exists, Vec::new()),
            (Token::In, _) => Operator::In,
            (Token::NotIn, _) => Operator::NotIn,
            (Token::Equal | Token::DoubleEqual, _) => Operator::In,
            (Token::NotEqual, _) => Operator::NotIn,
            (Token::Greater, _) => Operator::Greater,
            (Token::Less, _) => Operator::Less,
            (_, text) => return expected(text, "in, notin, =, ==, !=, gt, lt"),
        };
        let set = matches!(self.next(false).0, Token::In | Token::NotIn);
        let values = if set { self.set()? } else { vec![self.exact()?] };
        Requirement::new(key, operator, values)
    }

    fn set(&mut self) -> Result<Vec<String>, SelectorError> {
        let (token, text) = self.next(true);
        if token != Token::Open {
            // As upstream, without a comma here.
            return Err(SelectorError(format!("found '{text}' expected: '('")));
        }
        let mut out = Vec::new();
        loop {
            match self.peek(true) {
                (Token::Word, text) => {
                    self.at += 1;
                    out.push(text.to_owned());
                    match self.next(true) {
                        (Token::Comma, _) if matches!(self.peek(true).0, Token::Close) => {
                            out.push(String::new());
                            self.at += 1;
                            return Ok(out);
                        }
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(out),
                        (_, text) => return expected(text, "',' or ')'"),
                    }
                }
                (Token::Comma, _) => {
                    self.at += 1;
                    out.push(String::new());
                    if self.peek(true).0 == Token::Close {
                        self.at += 1;
                        out.push(String::new());
                        return Ok(out);
                    }
                }
                (Token::Close, _) => {
                    self.at += 1;
                    out.push(String::new());
                    return Ok(out);
                }
                (_, text) => return expected(text, "',', ')' or identifier"),
            }
        }
    }

    fn exact(&mut self) -> Result<String, SelectorError> {
        match self.peek(true) {
            (Token::End | Token::Comma, _) => Ok(String::new()),
            (Token::Word, text) => {
                self.at += 1;
                Ok(text.to_owned())
            }
            (_, text) => expected(text, "identifier"),
        }
    }
}

fn expected<T>(found: &str, what: &str) -> Result<T, SelectorError> {
    Err(SelectorError(format!("found '{found}', expected: {what}")))
}

#[cfg(test)]
#[path = "selector/tests.rs"]
mod tests;
