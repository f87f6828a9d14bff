//! The most that an evaluation can cost, estimated from the sizes of the values: what upstream demands of the rules of
//! CustomResourceDefinitions. Macros are estimated as what they stand for.

mod calls;
mod range;

use std::collections::BTreeMap;

use super::node::{Each, EachKind, Kind, Node};
use super::sizes::Sizes;
use super::types::Type;
use super::value::Literal;
use range::Range;

const LIST_COST: Range = Range::fixed(10);
const MAP_COST: Range = Range::fixed(30);
const OBJECT_COST: Range = Range::fixed(40);
const IDENTIFIER_COST: Range = Range::fixed(1);

/// The cost at most.
pub(super) fn estimate(node: &Node, types: &[Type], sizes: &Sizes) -> u64 {
    let mut estimator = Estimator {
        types,
        sizes,
        locals: Vec::new(),
        computed: BTreeMap::new(),
        entries: BTreeMap::new(),
        paths: BTreeMap::new(),
    };
    estimator.node(node).most
}

/// The way from a variable to a value.
type Steps = Vec<Step>;

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// A variable or member.
    Name(String),
    Items,
    Keys,
    Values,
}

/// The sizes of the keys and elements of a list or map.
#[derive(Clone, Copy)]
struct EntrySize {
    key: Range,
    value: Range,
}

impl EntrySize {
    fn union(self, other: EntrySize) -> EntrySize {
        EntrySize { key: self.key.union(other.key), value: self.value.union(other.value) }
    }
}

/// A variable of a macro.
struct LocalVar {
    steps: Steps,
    size: Option<Range>,
    entry: Option<EntrySize>,
}

struct Estimator<'a> {
    types: &'a [Type],
    sizes: &'a Sizes,
    locals: Vec<LocalVar>,
    /// The sizes of results, by the numbers of nodes.
    computed: BTreeMap<u32, Range>,
    entries: BTreeMap<u32, EntrySize>,
    paths: BTreeMap<u32, Steps>,
}

impl Estimator<'_> {
    fn ty(&self, node: &Node) -> &Type {
        self.types.get(node.id as usize).unwrap_or(&Type::Dyn)
    }

    fn node(&mut self, node: &Node) -> Range {
        match &node.kind {
            Kind::Const(_) | Kind::Unknown(_) => Range::ZERO,
            Kind::Var(_) | Kind::Composed(_) | Kind::TypeName(_) => {
                // Where it begins does not count: all variables have the same sizes.
                self.paths.insert(node.id, vec![Step::Name(String::new())]);
                IDENTIFIER_COST
            }
            Kind::Local(_) => IDENTIFIER_COST,
            Kind::Select { of, field, test, optional } => self.select(node, of, field, (*test, *optional)),
            Kind::Call { function, target, args } => self.call(node, function, target.as_deref(), args),
            Kind::And(pair) | Kind::Or(pair) => {
                let (left, right) = (self.node(&pair.0), self.node(&pair.1));
                Range { least: left.least, most: left.add(right).most }
            }
            Kind::If(parts) => {
                let (test, yes, no) = (self.node(&parts.0), self.node(&parts.1), self.node(&parts.2));
                let size = self.size_or_any(&parts.1).union(self.size_or_any(&parts.2));
                if let (Some(a), Some(b)) = (self.entry(&parts.1), self.entry(&parts.2)) {
                    self.entries.insert(node.id, a.union(b));
                }
                self.computed.insert(node.id, size);
                test.add(yes.union(no))
            }
            Kind::List(items, _) => {
                let costs: Vec<Range> = items.iter().map(|item| self.node(item)).collect();
                let value = self.union_of(items.iter());
                self.entries.insert(node.id, EntrySize { key: Range::fixed(1), value });
                costs.into_iter().fold(LIST_COST, Range::add)
            }
            Kind::Map(entries) => {
                let mut cost = MAP_COST;
                for entry in entries {
                    cost = cost.add(self.node(&entry.key)).add(self.node(&entry.value));
                }
                let key = self.union_of(entries.iter().map(|entry| &entry.key));
                let value = self.union_of(entries.iter().map(|entry| &entry.value));
                self.entries.insert(node.id, EntrySize { key, value });
                cost
            }
            Kind::Object(_, fields) => {
                fields.iter().fold(OBJECT_COST, |cost, field| cost.add(self.node(&field.value)))
            }
            Kind::Each(each) => self.each(node, each),
            Kind::OptMap { of, body, .. } => self.opt_map(of, body),
        }
    }

    /// The sizes of elements together; none are of no size.
    fn union_of<'n>(&self, nodes: impl Iterator<Item = &'n Node>) -> Range {
        nodes.map(|node| self.size_or_any(node)).reduce(Range::union).unwrap_or(Range::ZERO)
    }

    fn select(&mut self, node: &Node, of: &Node, field: &str, (test, optional): (bool, bool)) -> Range {
        let cost = self.node(of);
        if test {
            return cost;
        }
        if optional {
            return cost.add(Range::fixed(1));
        }
        let mut steps = self.steps(of);
        steps.push(Step::Name(field.to_owned()));
        self.paths.insert(node.id, steps);
        match self.ty(of) {
            Type::Map(_) | Type::Object(_) | Type::Opaque(_) | Type::Param(_) => cost.add(IDENTIFIER_COST),
            _ => cost,
        }
    }

    /// `of.hasValue() ? optional.of(body) : optional.none()`, where the body has the value of `of`.
    fn opt_map(&mut self, of: &Node, body: &Node) -> Range {
        let target = self.node(of);
        let call = target.add(Range::fixed(1));
        self.locals.push(LocalVar { steps: Vec::new(), size: None, entry: None });
        let body = self.node(body);
        self.locals.pop();
        let bound = LIST_COST.add(call).add(body);
        call.add(bound.add(Range::fixed(1)).union(Range::fixed(1)))
    }

    fn each(&mut self, node: &Node, each: &Each) -> Range {
        let of = self.node(&each.of);
        if each.what == EachKind::SortBy {
            return self.sort_by(of, each);
        }
        self.push_variables(each);
        let body = self.node(&each.body);
        let filter = each.filter.as_ref().map(|filter| self.node(filter));
        let value = self.size_or_any(&each.body);
        let (init, step) = self.step(each, body, filter);
        self.pop_variables(each);
        let count = self.size_or_any(&each.of);
        match each.what {
            EachKind::All | EachKind::Exists | EachKind::ExistsOne => {
                self.computed.insert(node.id, Range::fixed(1));
            }
            EachKind::Map | EachKind::Filter => {
                self.computed.insert(node.id, count);
                // The list begins empty, so its elements may have no size.
                let value = Range { least: 0, most: value.most };
                self.entries.insert(node.id, EntrySize { key: Range::fixed(1), value });
            }
            _ => drop(self.computed.insert(node.id, count)),
        }
        let result = if each.what == EachKind::ExistsOne { 2 } else { 1 };
        of.add(init).add(Range::fixed(result)).add(count.multiply(step))
    }

    /// The cost of the first value, and of each step including the condition of the loop.
    fn step(&self, each: &Each, body: Range, filter: Option<Range>) -> (Range, Range) {
        let (init, step) = match each.what {
            EachKind::All => (Range::ZERO, Range { least: 1, most: body.most.saturating_add(1) }),
            EachKind::Exists => (Range::ZERO, Range { least: 1, most: body.most.saturating_add(1) }),
            EachKind::ExistsOne => (Range::ZERO, body.add(Range { least: 1, most: 2 })),
            EachKind::TransformMap => (MAP_COST, body.add(Range::fixed(2))),
            EachKind::TransformMapEntry => (MAP_COST, body.add(Range::fixed(2))),
            _ => (LIST_COST, body.add(Range::fixed(12))),
        };
        let step = match filter {
            Some(filter) => filter.add(step.union(Range::fixed(1))),
            None => step,
        };
        let condition = match each.what {
            EachKind::All => 2,
            EachKind::Exists => 3,
            _ => 0,
        };
        (init, step.add(Range::fixed(condition)))
    }

    /// The elements are sorted by a list of keys.
    fn sort_by(&mut self, of: Range, each: &Each) -> Range {
        self.push_variables(each);
        let key = self.node(&each.body);
        self.pop_variables(each);
        let count = self.size_or_any(&each.of);
        let keys = LIST_COST.add(Range::fixed(2)).add(count.multiply(key.add(Range::fixed(12))));
        let factor = if matches!(self.ty(&each.body), Type::String | Type::Bytes) { 2.1 } else { 2.0 };
        let sorted = count.multiply(count).scale(factor).add(Range::fixed(11));
        of.add(LIST_COST).add(IDENTIFIER_COST).add(keys).add(sorted)
    }

    fn push_variables(&mut self, each: &Each) {
        let is_list = match self.entry(&each.of) {
            Some(_) => !matches!(self.ty(&each.of), Type::Map(_)),
            None => matches!(self.ty(&each.of), Type::List(_)),
        };
        let entry = self.entry(&each.of);
        let base = self.steps(&each.of);
        let below = |step: Step| base.iter().cloned().chain([step]).collect::<Steps>();
        let key = LocalVar {
            steps: below(if is_list { Step::Items } else { Step::Keys }),
            size: entry.map(|entry| entry.key),
            entry: None,
        };
        let value = LocalVar {
            steps: below(if is_list { Step::Items } else { Step::Values }),
            size: entry.map(|entry| entry.value),
            entry: None,
        };
        match (each.two, is_list) {
            // Positions of a list have no size of their own.
            (true, true) => self.locals.extend([LocalVar { steps: Vec::new(), ..key }, value]),
            (true, false) => self.locals.extend([key, value]),
            (false, true) => self.locals.push(value),
            (false, false) => self.locals.push(key),
        }
    }

    fn pop_variables(&mut self, each: &Each) {
        let count = if each.two { 2 } else { 1 };
        self.locals.truncate(self.locals.len().saturating_sub(count));
    }

    fn steps(&self, node: &Node) -> Steps {
        match &node.kind {
            Kind::Local(depth) => {
                self.locals.get(*depth).map(|local| local.steps.clone()).unwrap_or_default()
            }
            _ => self.paths.get(&node.id).cloned().unwrap_or_default(),
        }
    }

    fn entry(&self, node: &Node) -> Option<EntrySize> {
        let known = self.entries.get(&node.id).copied();
        known.or_else(|| match &node.kind {
            Kind::Local(depth) => self.locals.get(*depth)?.entry,
            _ => None,
        })
    }

    fn size(&self, node: &Node) -> Option<Range> {
        if let Some(size) = self.computed.get(&node.id) {
            return Some(*size);
        }
        let of_literal = match &node.kind {
            Kind::Const(Literal::Text(text)) => Some(text.chars().count() as u64),
            Kind::Const(Literal::Bytes(bytes)) => Some(bytes.len() as u64),
            Kind::Const(_) => Some(1),
            Kind::List(items, _) => Some(items.len() as u64),
            Kind::Map(entries) => Some(entries.len() as u64),
            _ => None,
        };
        if let Some(size) = of_literal {
            return Some(Range::fixed(size));
        }
        self.declared(&self.steps(node)).or_else(|| self.size_of_type(node)).or_else(|| match &node.kind {
            Kind::Local(depth) => self.locals.get(*depth)?.size,
            _ => None,
        })
    }

    fn size_or_any(&self, node: &Node) -> Range {
        self.size(node).unwrap_or(Range::ANY)
    }

    /// The size that the schema allows at the end of a way.
    fn declared(&self, steps: &[Step]) -> Option<Range> {
        let mut at = self.sizes;
        for step in steps.split_first()?.1 {
            at = match step {
                Step::Items | Step::Values => at.elements.as_deref()?,
                // Upstream knows no bound of keys and takes them to have no size.
                Step::Keys if at.is_map => return Some(Range::ZERO),
                Step::Keys => return None,
                Step::Name(name) => at.fields.get(name)?,
            };
        }
        Some(Range { least: 0, most: at.most })
    }

    fn size_of_type(&self, node: &Node) -> Option<Range> {
        is_scalar(self.ty(node)).then(|| Range::fixed(1))
    }
}

fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        Type::Optional(of) => is_scalar(of),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
