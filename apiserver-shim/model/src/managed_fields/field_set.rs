//! A set of field paths as a tree. A path may be in the set without the paths above or below it: a member of a struct
//! is usually in the set only through what is below it.

use super::path::{BadElement, PathElement};
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Maximum depth of a parsed path; real ones stay below 20.
const DEPTH_MAX: usize = 64;

/// A set of paths: the elements that follow at one place, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSet {
    nodes: Vec<Node>,
}

/// An element and what is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub element: PathElement,
    /// Whether the path that ends here is in the set.
    pub member: bool,
    pub below: FieldSet,
}

/// The paths at and below one place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Subset {
    /// Whether the place itself is in the set.
    pub own: bool,
    pub below: FieldSet,
}

impl Subset {
    pub fn leaf() -> Subset {
        Subset { own: true, below: FieldSet::default() }
    }

    pub fn is_empty(&self) -> bool {
        !self.own && self.below.is_empty()
    }
}

/// Whether a path is in an encoded set, by what is encoded below it.
fn is_member(below: &Value) -> bool {
    below.as_object().is_some_and(|members| members.is_empty() || members.contains_key("."))
}

impl FieldSet {
    /// Whether the set has no path.
    pub fn is_empty(&self) -> bool {
        self.nodes.iter().all(|node| !node.member && node.below.is_empty())
    }

    /// Parses `fieldsV1`; `None` if it is malformed.
    pub fn parse(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(FieldSet::default()),
            _ => Self::parse_at(value, 0).map(|subset| subset.below),
        }
    }

    fn parse_at(value: &Value, depth: usize) -> Option<Subset> {
        if value.is_null() {
            return Some(Subset::leaf());
        }
        let object = value.as_object().filter(|_| depth < DEPTH_MAX)?;
        let mut out = Subset::default();
        out.below.nodes.reserve_exact(object.len());
        for (key, inner) in object {
            if key == "." {
                out.own = true;
                continue;
            }
            let element = match PathElement::parse(key) {
                Ok(element) => element,
                Err(BadElement::Unknown) => continue,
                Err(BadElement::Malformed) => return None,
            };
            let inner = Self::parse_at(inner, depth + 1)?;
            out.below.put(element, inner);
        }
        // An object without paths stands for the path itself.
        out.own |= out.below.nodes.is_empty();
        Some(out)
    }

    /// Whether `fieldsV1` encodes this set.
    pub fn is_encoded_as(&self, fields: &Value) -> bool {
        self.is_below(false, fields, &mut String::new())
    }

    /// Whether an object encodes what is below a place, which may itself be in the set. `name` is a buffer.
    fn is_below(&self, own: bool, fields: &Value, name: &mut String) -> bool {
        let Some(members) = fields.as_object() else { return false };
        let mut count = 0;
        for node in self.nodes.iter().filter(|node| node.member || !node.below.is_empty()) {
            count += 1;
            name.clear();
            match &node.element {
                PathElement::Field(field) => {
                    name.push_str("f:");
                    name.push_str(field);
                }
                other => name.push_str(&other.encode()),
            }
            let below = members.get(name.as_str());
            if !below.is_some_and(|below| node.below.is_below(node.member, below, name)) {
                return false;
            }
        }
        // A place with further paths below it has a mark of its own.
        let is_marked = members.get(".").is_some_and(|mark| *mark == Value::Object(Map::new()));
        match own && count > 0 {
            true => is_marked && members.len() == count + 1,
            false => members.len() == count,
        }
    }

    /// Encodes as `fieldsV1`.
    pub fn to_value(&self) -> Value {
        Value::Object(self.members())
    }

    fn members(&self) -> Map<String, Value> {
        let mut out = Map::new();
        for node in &self.nodes {
            let mut inner = node.below.members();
            if node.member && !inner.is_empty() {
                inner.insert(".".to_owned(), Value::Object(Map::new()));
            }
            if node.member || !inner.is_empty() {
                out.insert(node.element.encode(), Value::Object(inner));
            }
        }
        out
    }

    /// Adds `subset` below `element`, unless it is empty.
    pub(super) fn put(&mut self, element: PathElement, subset: Subset) {
        if subset.is_empty() {
            return;
        }
        let node = Node { element, member: subset.own, below: subset.below };
        // Elements mostly arrive in order.
        if self.nodes.last().is_none_or(|last| last.element < node.element) {
            self.nodes.push(node);
            return;
        }
        match self.find(&node.element) {
            Ok(at) => {
                self.nodes[at].member |= node.member;
                let below = std::mem::take(&mut self.nodes[at].below);
                self.nodes[at].below = below.union(&node.below);
            }
            Err(at) => self.nodes.insert(at, node),
        }
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[PathElement]) {
        let Some((first, rest)) = path.split_first() else { return };
        let mut subset = Subset { own: rest.is_empty(), ..Subset::default() };
        subset.below.insert(rest);
        self.put(first.clone(), subset);
    }

    fn find(&self, element: &PathElement) -> Result<usize, usize> {
        self.nodes.binary_search_by(|node| node.element.cmp(element))
    }

    pub(super) fn node(&self, element: &PathElement) -> Option<&Node> {
        self.find(element).ok().map(|at| &self.nodes[at])
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A set of these nodes, which are sorted; those without paths are dropped.
    pub(super) fn of(nodes: impl IntoIterator<Item = Node>) -> FieldSet {
        let nodes = nodes.into_iter().filter(|node| node.member || !node.below.is_empty()).collect();
        FieldSet { nodes }
    }

    /// Whether the path is in the set.
    pub fn has(&self, path: &[PathElement]) -> bool {
        match path.split_first() {
            None => false,
            Some((last, [])) => self.node(last).is_some_and(|node| node.member),
            Some((first, rest)) => self.node(first).is_some_and(|node| node.below.has(rest)),
        }
    }

    /// The paths in either set.
    pub fn union(&self, other: &FieldSet) -> FieldSet {
        Self::of(self.joined(other).map(|(mine, theirs)| match (mine, theirs) {
            (Some(mine), Some(theirs)) => Node {
                element: mine.element.clone(),
                member: mine.member || theirs.member,
                below: mine.below.union(&theirs.below),
            },
            (Some(only), None) | (None, Some(only)) => only.clone(),
            (None, None) => unreachable!("invariant: a pair has a side"),
        }))
    }

    /// The paths in both sets.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        Self::of(self.joined(other).filter_map(|(mine, theirs)| {
            let (mine, theirs) = (mine?, theirs?);
            Some(Node {
                element: mine.element.clone(),
                member: mine.member && theirs.member,
                below: mine.below.intersection(&theirs.below),
            })
        }))
    }

    /// The paths that are not in `other`.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        if other.nodes.is_empty() {
            return self.clone();
        }
        Self::of(self.joined(other).filter_map(|(mine, theirs)| {
            let mine = mine?;
            let Some(theirs) = theirs else { return Some(mine.clone()) };
            Some(Node {
                element: mine.element.clone(),
                member: mine.member && !theirs.member,
                below: mine.below.difference(&theirs.below),
            })
        }))
    }

    /// The paths that are not in `other` and not below one that is.
    pub fn recursive_difference(&self, other: &FieldSet) -> FieldSet {
        Self::of(self.joined(other).filter_map(|(mine, theirs)| {
            let mine = mine?;
            match theirs {
                None => Some(mine.clone()),
                Some(theirs) if theirs.member => None,
                Some(theirs) => Some(Node {
                    element: mine.element.clone(),
                    member: mine.member,
                    below: mine.below.recursive_difference(&theirs.below),
                }),
            }
        }))
    }

    /// Pairs the nodes of two sets by their elements, in order.
    fn joined<'a>(
        &'a self,
        other: &'a FieldSet,
    ) -> impl Iterator<Item = (Option<&'a Node>, Option<&'a Node>)> {
        let (mut mine, mut theirs) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        std::iter::from_fn(move || {
            let order = match (mine.peek(), theirs.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.element.cmp(&b.element),
            };
            Some((mine.next_if(|_| order.is_le()), theirs.next_if(|_| order.is_ge())))
        })
    }

    /// Whether an encoded set has every path of this one.
    pub(super) fn is_within(&self, encoded: &Value) -> bool {
        self.nodes.iter().all(|node| match encoded.get(node.element.encode()) {
            Some(found) => (!node.member || is_member(found)) && node.below.is_within(found),
            None => !node.member && node.below.is_empty(),
        })
    }

    /// Whether an encoded set has a path of this one.
    pub(super) fn meets(&self, encoded: &Value) -> bool {
        self.nodes.iter().any(|node| {
            let found = encoded.get(node.element.encode());
            found.is_some_and(|found| node.member && is_member(found) || node.below.meets(found))
        })
    }

    /// The paths in upstream's order: at each place first those that end there, then those below.
    pub fn paths(&self) -> Vec<Vec<PathElement>> {
        let mut out = Vec::new();
        self.collect_paths(&mut Vec::new(), &mut out);
        out
    }

    fn collect_paths(&self, prefix: &mut Vec<PathElement>, out: &mut Vec<Vec<PathElement>>) {
        for node in self.nodes.iter().filter(|node| node.member) {
            out.push(prefix.iter().chain([&node.element]).cloned().collect());
        }
        for node in &self.nodes {
            prefix.push(node.element.clone());
            node.below.collect_paths(prefix, out);
            prefix.pop();
        }
    }

    /// Removes the path of members and all paths below it.
    pub fn remove(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let found = self.nodes.binary_search_by(|node| match &node.element {
            PathElement::Field(name) => name.as_str().cmp(first),
            _ => Ordering::Greater,
        });
        let Ok(at) = found else { return };
        match rest {
            [] => drop(self.nodes.remove(at)),
            rest => {
                self.nodes[at].below.remove(rest);
                if self.nodes[at].below.nodes.is_empty() && !self.nodes[at].member {
                    self.nodes.remove(at);
                }
            }
        }
    }

    /// Removes the path of one member, but not those below it.
    pub fn disown(&mut self, name: &str) {
        if let Some(node) =
            self.nodes.iter_mut().find(|n| matches!(&n.element, PathElement::Field(f) if f == name))
        {
            node.member = false;
        }
    }
}
