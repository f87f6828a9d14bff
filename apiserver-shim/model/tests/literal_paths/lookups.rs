//! Finds lookups of members in the tokens of a source file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    Name(String),
    /// A computed member, or an index of a list.
    Computed,
}

/// A path from some value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lookup(pub Vec<Segment>);

impl Lookup {
    /// The literal names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Name(name) => Some(name.as_str()),
            Segment::Computed => None,
        })
    }
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments = self.0.iter().map(|segment| match segment {
            Segment::Name(name) => name.as_str(),
            Segment::Computed => "*",
        });
        f.write_str(&segments.collect::<Vec<_>>().join("."))
    }
}

/// Functions of `shim_model::access` that take a path or a name.
const ACCESS: [&str; 14] = [
    "get",
    "text",
    "int",
    "flag",
    "list",
    "entries",
    "object_mut",
    "list_mut",
    "remove",
    "copy",
    "set_default",
    "set_if_zero",
    "texts",
    "bool",
];
/// Methods of values, maps and `access::Members` whose first argument is a member's name.
const METHODS: [&str; 10] =
    ["get", "get_mut", "text", "int", "flag", "list", "remove", "contains_key", "entry", "insert"];
/// Methods whose argument is a path with dots.
const FIELD_METHODS: [&str; 1] = ["field"];
/// Words before a bracket that is no index.
const KEYWORDS: [&str; 8] = ["in", "return", "else", "match", "if", "mut", "break", "move"];

/// The lookups of a source text.
pub fn lookups(source: &str) -> BTreeSet<Lookup> {
    let tokens: TokenStream = source.parse().unwrap_or_else(|error| panic!("{error}: {source}"));
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut constants = BTreeMap::new();
    find_constants(&tokens, &mut constants);
    let mut finder = Finder { constants, found: BTreeSet::new() };
    finder.visit(&tokens);
    finder.found
}

/// `const NAME: &str = "…";`
fn find_constants(tokens: &[TokenTree], found: &mut BTreeMap<String, String>) {
    for at in 0..tokens.len() {
        if is_word(tokens.get(at), "const")
            && let Some(TokenTree::Ident(name)) = tokens.get(at + 1)
        {
            let value = tokens[at..].iter().take(8).find_map(text_of);
            found.extend(value.map(|value| (name.to_string(), value)));
        }
        if let TokenTree::Group(group) = &tokens[at] {
            find_constants(&inner(group), found);
        }
    }
}

struct Finder {
    constants: BTreeMap<String, String>,
    found: BTreeSet<Lookup>,
}

impl Finder {
    fn visit(&mut self, tokens: &[TokenTree]) {
        for (at, token) in tokens.iter().enumerate() {
            let TokenTree::Group(group) = token else { continue };
            match group.delimiter() {
                Delimiter::Bracket if is_index(tokens, at) && !is_index(tokens, at.wrapping_sub(1)) => {
                    let chain = tokens[at..].iter().take_while(|t| is_group(t, Delimiter::Bracket));
                    self.add(chain.map(|t| self.index(t)).collect());
                }
                Delimiter::Parenthesis => self.call(tokens, at, group),
                _ => {}
            }
            self.visit(&inner(group));
        }
    }

    /// Adds a path. Leading computed segments are an index into some list, after which the path begins.
    fn add(&mut self, segments: Vec<Segment>) {
        let path: Vec<Segment> = segments.into_iter().skip_while(|s| *s == Segment::Computed).collect();
        // An empty text is no member: it is a value of a map or set of something else.
        if path.iter().any(|segment| matches!(segment, Segment::Name(name) if !name.is_empty())) {
            self.found.insert(Lookup(path));
        }
    }

    fn index(&self, token: &TokenTree) -> Segment {
        let TokenTree::Group(group) = token else { return Segment::Computed };
        self.segment(&inner(group))
    }

    fn segment(&self, tokens: &[TokenTree]) -> Segment {
        match tokens {
            [token @ TokenTree::Literal(_)] => text_of(token).map_or(Segment::Computed, Segment::Name),
            [TokenTree::Ident(name)] => {
                let value = self.constants.get(&name.to_string());
                value.map_or(Segment::Computed, |value| Segment::Name(value.clone()))
            }
            _ => Segment::Computed,
        }
    }

    fn call(&mut self, tokens: &[TokenTree], at: usize, group: &Group) {
        let before = |n: usize| at.checked_sub(n).and_then(|at| tokens.get(at));
        let Some(TokenTree::Ident(function)) = before(1) else { return };
        let function = function.to_string();
        let arguments = split(&inner(group));
        let is_method = is_punct(before(2), '.');
        let first = arguments.first().and_then(|argument| text_of(argument.first()?));
        if is_method && FIELD_METHODS.contains(&function.as_str()) {
            let path = first.iter().flat_map(|path| path.split('.'));
            self.add(path.map(|name| Segment::Name(name.to_owned())).collect());
        } else if is_method && METHODS.contains(&function.as_str()) {
            self.add(first.into_iter().map(Segment::Name).collect());
        } else if is_access(tokens, at) && ACCESS.contains(&function.as_str()) {
            let base = arguments.first().map(|base| self.trailing_chain(base)).unwrap_or_default();
            for argument in &arguments[1.min(arguments.len())..] {
                if let Some(path) = self.path(argument) {
                    self.add(base.iter().cloned().chain(path).collect());
                } else if let (Some(name), true) = (text_of(&argument[0]), function.starts_with("set_")) {
                    self.add(base.iter().cloned().chain([Segment::Name(name)]).collect());
                    break;
                }
            }
        } else if function == "Put"
            && let Some(path) = arguments.first().and_then(|argument| self.path(argument))
        {
            self.add(path);
        }
    }

    /// `&["a", B, c]`
    fn path(&self, argument: &[TokenTree]) -> Option<Vec<Segment>> {
        match argument {
            [TokenTree::Punct(and), TokenTree::Group(list)]
                if and.as_char() == '&' && list.delimiter() == Delimiter::Bracket =>
            {
                Some(split(&inner(list)).iter().map(|element| self.segment(element)).collect())
            }
            _ => None,
        }
    }

    /// The index chain at the end of `&object["spec"]`.
    fn trailing_chain(&self, argument: &[TokenTree]) -> Vec<Segment> {
        let from =
            argument.iter().rposition(|token| !is_group(token, Delimiter::Bracket)).map_or(0, |at| at + 1);
        if from == 0 || !matches!(argument[from - 1], TokenTree::Ident(_)) {
            return Vec::new();
        }
        argument[from..].iter().map(|token| self.index(token)).collect()
    }
}

/// Whether the bracket at `at` follows an expression.
fn is_index(tokens: &[TokenTree], at: usize) -> bool {
    if !tokens.get(at).is_some_and(|token| is_group(token, Delimiter::Bracket)) {
        return false;
    }
    match at.checked_sub(1).and_then(|before| tokens.get(before)) {
        Some(TokenTree::Ident(word)) => !KEYWORDS.contains(&word.to_string().as_str()),
        Some(TokenTree::Group(group)) => group.delimiter() != Delimiter::Brace,
        Some(TokenTree::Punct(punct)) => punct.as_char() == '?',
        _ => false,
    }
}

/// Whether the call at `at` is `access::function(…)`.
fn is_access(tokens: &[TokenTree], at: usize) -> bool {
    at >= 4 && is_punct(tokens.get(at - 2), ':') && is_word(tokens.get(at - 4), "access")
}

fn is_word(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == word)
}

fn is_punct(token: Option<&TokenTree>, punct: char) -> bool {
    matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == punct)
}

fn is_group(token: &TokenTree, delimiter: Delimiter) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == delimiter)
}

fn inner(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

/// The text of a plain string literal.
fn text_of(token: &TokenTree) -> Option<String> {
    let TokenTree::Literal(literal) = token else { return None };
    let text = literal.to_string();
    let text = text.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then(|| text.to_owned())
}

/// Arguments or elements, without empty ones.
fn split(tokens: &[TokenTree]) -> Vec<Vec<TokenTree>> {
    let parts = tokens.split(|token| is_punct(Some(token), ','));
    parts.filter(|part| !part.is_empty()).map(<[TokenTree]>::to_vec).collect()
}
