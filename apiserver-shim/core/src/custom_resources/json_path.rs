//! JSONPath as kubectl and printer columns have it: members, indices and slices of lists, wildcards, recursive descent,
//! unions and filters that compare with a literal or another path.

use serde_json::Value;
use shim_model::access;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Member(String),
    /// All members below, at any depth, that have this name.
    Below(Option<String>),
    Every,
    Slice(Option<i64>, Option<i64>, i64),
    Index(i64),
    Union(Vec<JsonPath>),
    Filter(Operand, Option<(Comparison, Operand)>),
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(JsonPath),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Nodes that one path may find; further ones are dropped. A column shows one, and lists of objects have as many elements
/// as fit into the 3 MiB of an object.
const FOUND_MAX: usize = 65_536;

impl JsonPath {
    /// Parses a path such as `.status.conditions[?(@.type=="Ready")].status`; `None` if it is malformed.
    pub fn parse(text: &str) -> Option<JsonPath> {
        let mut parser = Parser { rest: text };
        let path = parser.path()?;
        parser.rest.is_empty().then_some(path)
    }

    /// What the path finds in a value.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.apply(value, &mut next);
                next.truncate(FOUND_MAX);
            }
            found = next;
        }
        found
    }

    /// The first value that the path finds.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.find(value).into_iter().next()
    }
}

/// A value as text: scalars as Go prints them, lists and objects as JSON.
pub fn print(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) if float != 0.0 && !(1e-4..1e21).contains(&float.abs()) => {
                let text = format!("{float:e}");
                let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let (sign, digits) = match exponent.strip_prefix('-') {
                    Some(digits) => ('-', digits),
                    None => ('+', exponent),
                };
                format!("{mantissa}e{sign}{digits:0>2}")
            }
            Some(float) => float.to_string(),
            None => number.to_string(),
        },
        other => other.to_string(),
    }
}

impl Step {
    fn apply<'a>(&self, value: &'a Value, out: &mut Vec<&'a Value>) {
        match (self, value) {
            (Step::Member(name), _) => out.extend(value.get(name)),
            (Step::Every, Value::Array(items)) => out.extend(items),
            (Step::Every, Value::Object(members)) => out.extend(members.values()),
            (Step::Index(at), Value::Array(items)) => {
                out.extend(position(*at, items.len()).and_then(|at| items.get(at)));
            }
            (Step::Slice(from, to, step), Value::Array(items)) => {
                let bound = |at: Option<i64>, default: usize| match at {
                    None => default,
                    Some(at) if at < 0 => items.len().saturating_sub(at.unsigned_abs() as usize),
                    Some(at) => (at as usize).min(items.len()),
                };
                let (from, to) = (bound(*from, 0), bound(*to, items.len()));
                let step = usize::try_from(*step).unwrap_or(1).max(1);
                out.extend(items.get(from..to).into_iter().flatten().step_by(step));
            }
            (Step::Below(name), _) => below(value, name.as_deref(), out),
            (Step::Union(paths), _) => paths.iter().for_each(|path| out.extend(path.find(value))),
            (Step::Filter(left, test), Value::Array(items)) => {
                out.extend(items.iter().filter(|item| holds(item, left, test.as_ref())));
            }
            (Step::Filter(left, test), Value::Object(_)) if holds(value, left, test.as_ref()) => {
                out.push(value);
            }
            _ => {}
        }
    }
}

fn position(at: i64, length: usize) -> Option<usize> {
    match at < 0 {
        true => length.checked_sub(at.unsigned_abs() as usize),
        false => usize::try_from(at).ok(),
    }
}

fn below<'a>(value: &'a Value, name: Option<&str>, out: &mut Vec<&'a Value>) {
    match name {
        Some(name) => out.extend(value.get(name)),
        None => out.push(value),
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| below(item, name, out)),
        Value::Object(members) => members.values().for_each(|member| below(member, name, out)),
        _ => {}
    }
}

fn holds(item: &Value, left: &Operand, test: Option<&(Comparison, Operand)>) -> bool {
    let Some((comparison, right)) = test else { return !left.values(item).is_empty() };
    let (left, right) = (left.values(item), right.values(item));
    let ([left, ..], [right, ..]) = (left.as_slice(), right.as_slice()) else { return false };
    let order = match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    };
    let Some(order) = order else { return *comparison == Comparison::NotEqual };
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

impl Operand {
    fn values<'a>(&'a self, item: &'a Value) -> Vec<&'a Value> {
        match self {
            Operand::Path(path) => path.find(item),
            Operand::Literal(literal) => vec![literal],
        }
    }
}

struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn path(&mut self) -> Option<JsonPath> {
        let mut steps = Vec::new();
        self.eat("$");
        self.eat("@");
        loop {
            if self.eat("..") {
                let name = self.name();
                steps.push(Step::Below((!name.is_empty()).then_some(name)));
            } else if self.eat(".") {
                if self.eat("*") {
                    steps.push(Step::Every);
                    continue;
                }
                match self.name() {
                    // A dot alone is the value itself.
                    name if name.is_empty() => {}
                    name => steps.push(Step::Member(name)),
                }
            } else if self.eat("[") {
                steps.push(self.bracket()?);
            } else {
                return Some(JsonPath(steps));
            }
        }
    }

    /// A name; a backslash escapes the next character.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, escaped)| escaped)),
                '.' | '[' | ']' | ' ' | ')' | ',' | '=' | '!' | '<' | '>' | '{' | '}' => {
                    self.rest = &self.rest[at..];
                    return name;
                }
                c => name.push(c),
            }
        }
        self.rest = "";
        name
    }

    fn bracket(&mut self) -> Option<Step> {
        if self.eat("?(") {
            let step = self.filter()?;
            return (self.eat(")]")).then_some(step);
        }
        let inside = self.until_bracket()?;
        let parts: Vec<&str> = split_outside_quotes(inside);
        match parts.as_slice() {
            [single] => selector(single.trim()),
            several => {
                let paths = several.iter().map(|part| Some(JsonPath(vec![selector(part.trim())?])));
                Some(Step::Union(paths.collect::<Option<_>>()?))
            }
        }
    }

    /// The text up to the closing bracket, which may be in quotes.
    fn until_bracket(&mut self) -> Option<&'t str> {
        let mut quote = None;
        for (at, c) in self.rest.char_indices() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (None, '\'' | '"') => quote = Some(c),
                (None, ']') => {
                    let inside = &self.rest[..at];
                    self.rest = &self.rest[at + 1..];
                    return Some(inside);
                }
                _ => {}
            }
        }
        None
    }

    fn filter(&mut self) -> Option<Step> {
        let left = self.operand()?;
        self.rest = self.rest.trim_start();
        let comparisons = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        for (sign, comparison) in comparisons {
            if self.eat(sign) {
                let right = self.operand()?;
                self.rest = self.rest.trim_start();
                return Some(Step::Filter(left, Some((comparison, right))));
            }
        }
        Some(Step::Filter(left, None))
    }

    fn operand(&mut self) -> Option<Operand> {
        self.rest = self.rest.trim_start();
        if self.rest.starts_with(['@', '$', '.']) {
            return Some(Operand::Path(self.path()?));
        }
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            let inside = &self.rest[1..];
            let end = inside.find(quote)?;
            self.rest = &inside[end + 1..];
            return Some(Operand::Literal(inside[..end].into()));
        }
        let end = self.rest.find([')', ' ', '=', '!', '<', '>'])?;
        let word = &self.rest[..end];
        self.rest = &self.rest[end..];
        let literal: Value = serde_json::from_str(word).ok()?;
        Some(Operand::Literal(literal))
    }
}

fn split_outside_quotes(text: &str) -> Vec<&str> {
    let (mut parts, mut quote, mut from) = (Vec::new(), None, 0);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ',') => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// What one entry in brackets selects.
fn selector(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::Every);
    }
    for quote in ['\'', '"'] {
        if let Some(name) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return Some(Step::Member(name.to_owned()));
        }
    }
    if text.contains(':') {
        let number = |part: Option<&str>| match part.map(str::trim) {
            None | Some("") => Some(None),
            Some(number) => number.parse().ok().map(Some),
        };
        let mut parts = text.split(':');
        let (from, to) = (number(parts.next())?, number(parts.next())?);
        let step = number(parts.next())?.unwrap_or(1);
        return Some(Step::Slice(from, to, step));
    }
    text.parse().ok().map(Step::Index)
}

/// The text of a selectable field; empty if it is absent.
pub(super) fn text_at(object: &Value, path: &[String]) -> String {
    let steps: Vec<&str> = path.iter().map(String::as_str).collect();
    match access::get(object, &steps) {
        None | Some(Value::Null) => String::new(),
        Some(value) => print(value),
    }
}

#[cfg(test)]
#[path = "json_path/tests.rs"]
mod tests;
