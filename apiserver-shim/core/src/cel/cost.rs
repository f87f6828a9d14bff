//! Estimates what an expression may cost before it is evaluated, from the sizes that the schema of its values allows. The units
//! are those of evaluations. Which rules a definition may have depends on this, so that it follows upstream's estimator, for
//! macros in the form that its parser gives them.

mod functions;
mod sizes;

use std::collections::HashMap;

pub use sizes::{Declared, Range, max_cardinality};

use super::check;
use super::node::{Each, EachKind, Kind, Node};
use super::types::Type;
use super::value::Literal;
use super::{Environment, Program};

/// What a list, a map and an object cost that an expression makes.
const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;
const OBJECT_COST: u64 = 40;

impl Program {
    /// The most that one evaluation costs. All variables are of the environment that has compiled the program, and have the
    /// schema `declared`.
    pub fn max_cost(&self, environment: &Environment, declared: &Declared<'_>) -> u64 {
        let types = check::types(&self.node, environment);
        let mut estimator = Estimator { types, declared: *declared, locals: Vec::new() };
        estimator.node(&self.node).cost.max
    }
}

/// The sizes of the elements of a container that the expression makes.
#[derive(Debug, Clone, Copy)]
struct Entries {
    key: Range,
    value: Range,
}

impl Entries {
    fn union(a: Option<Entries>, b: Option<Entries>) -> Option<Entries> {
        let (a, b) = (a?, b?);
        Some(Entries { key: a.key.union(b.key), value: a.value.union(b.value) })
    }
}

/// What is known of an expression.
#[derive(Debug, Clone, Copy)]
struct Estimate<'s> {
    cost: Range,
    /// The size that its construction tells.
    size: Option<Range>,
    entries: Option<Entries>,
    /// Where the value is in the schema.
    declared: Option<Declared<'s>>,
    /// The size of the expression that a local stands for; what the schema says comes first.
    fallback: Option<Range>,
}

impl<'s> Estimate<'s> {
    fn of(cost: Range) -> Estimate<'s> {
        Estimate { cost, size: None, entries: None, declared: None, fallback: None }
    }
}

/// An argument of a call.
struct Argument<'a, 's> {
    node: &'a Node,
    ty: Type,
    estimate: Estimate<'s>,
    size: Option<Range>,
}

impl Argument<'_, '_> {
    fn size(&self) -> Range {
        self.size.unwrap_or(Range::UNKNOWN)
    }

    /// The size of the elements of a list.
    fn element_size(&self) -> Range {
        let items = self.estimate.declared.as_ref().and_then(Declared::items);
        items.map_or(Range::UNKNOWN, |items| items.size())
    }
}

struct Estimator<'s> {
    types: HashMap<*const Node, Type>,
    declared: Declared<'s>,
    locals: Vec<Estimate<'s>>,
}

impl<'s> Estimator<'s> {
    fn type_of(&self, node: &Node) -> Type {
        self.types.get(&std::ptr::from_ref(node)).cloned().unwrap_or(Type::Dyn)
    }

    fn size(&self, node: &Node, estimate: &Estimate<'_>) -> Option<Range> {
        let of_schema = || estimate.declared.as_ref().map(Declared::size);
        let scalar = || is_scalar(&self.type_of(node)).then_some(Range::ONE);
        estimate.size.or_else(|| literal_size(node)).or_else(of_schema).or_else(scalar).or(estimate.fallback)
    }

    fn argument<'a>(&mut self, node: &'a Node) -> Argument<'a, 's> {
        let estimate = self.node(node);
        Argument { node, ty: self.type_of(node), size: self.size(node, &estimate), estimate }
    }

    fn node(&mut self, node: &Node) -> Estimate<'s> {
        match &node.kind {
            Kind::Const(_) | Kind::TypeName(_) | Kind::Unknown(_) => Estimate::of(Range::ZERO),
            Kind::Var(_) => Estimate { declared: Some(self.declared), ..Estimate::of(Range::ONE) },
            Kind::Local(depth) => match self.locals.get(*depth) {
                Some(local) => Estimate { cost: Range::ONE, ..*local },
                None => Estimate::of(Range::ONE),
            },
            Kind::Composed(_) => Estimate::of(Range::ONE),
            Kind::Select { of, field, test, optional } => self.select(of, field, (*test, *optional)),
            Kind::And(pair) | Kind::Or(pair) => {
                let (left, right) = (self.node(&pair.0).cost, self.node(&pair.1).cost);
                Estimate::of(Range { min: left.min, max: left.plus(right).max })
            }
            Kind::If(parts) => {
                let test = self.node(&parts.0).cost;
                let (yes, no) = (self.argument(&parts.1), self.argument(&parts.2));
                Estimate {
                    size: Some(yes.size().union(no.size())),
                    entries: Entries::union(yes.estimate.entries, no.estimate.entries),
                    ..Estimate::of(test.plus(yes.estimate.cost.union(no.estimate.cost)))
                }
            }
            Kind::Call { function, target, args } => self.call(node, function, target.as_deref(), args),
            Kind::List(items, _) => {
                let made = items.iter().map(|item| self.argument(item)).collect::<Vec<_>>();
                let value = Range::union_all(made.iter().map(Argument::size));
                let cost = Range::sum(made.iter().map(|item| item.estimate.cost));
                Estimate {
                    entries: Some(Entries { key: Range::ONE, value }),
                    ..Estimate::of(cost.plus(Range::fixed(LIST_COST)))
                }
            }
            Kind::Map(entries) => {
                let keys = entries.iter().map(|entry| self.argument(&entry.key)).collect::<Vec<_>>();
                let values = entries.iter().map(|entry| self.argument(&entry.value)).collect::<Vec<_>>();
                let cost = Range::sum(keys.iter().chain(&values).map(|made| made.estimate.cost));
                let key = Range::union_all(keys.iter().map(Argument::size));
                let value = Range::union_all(values.iter().map(Argument::size));
                let entries = Some(Entries { key, value });
                Estimate { entries, ..Estimate::of(cost.plus(Range::fixed(MAP_COST))) }
            }
            Kind::Object(_, fields) => {
                let cost = Range::sum(fields.iter().map(|(_, value, _)| self.node(value).cost));
                Estimate::of(cost.plus(Range::fixed(OBJECT_COST)))
            }
            Kind::Each(each) => self.each(each),
            Kind::OptMap { of, body, flat } => {
                let of = self.node(of).cost;
                // `of.hasValue() ? optional.of(cel.bind(x, of.value(), body)) : optional.none()`
                self.locals.push(Estimate::of(Range::ONE));
                let body = self.node(body).cost;
                self.locals.pop();
                let test = of.plus(Range::ONE);
                let bind = Range::fixed(LIST_COST).plus(of).plus(Range::ONE).plus(body);
                let made = if *flat { bind } else { bind.plus(Range::ONE) };
                Estimate::of(test.plus(made.union(Range::ONE)))
            }
        }
    }

    fn select(&mut self, of: &Node, field: &str, (test, optional): (bool, bool)) -> Estimate<'s> {
        let base = self.node(of);
        if test {
            return Estimate::of(base.cost);
        }
        if optional {
            // A call, of which the schema says nothing.
            return Estimate::of(base.cost.plus(Range::ONE));
        }
        let costs = matches!(self.type_of(of), Type::Map(_) | Type::Object(_) | Type::Param(_));
        let cost = if costs { base.cost.plus(Range::ONE) } else { base.cost };
        let declared = base.declared.as_ref().and_then(|declared| declared.field(field));
        Estimate { declared, ..Estimate::of(cost) }
    }

    fn call(&mut self, node: &Node, function: &str, target: Option<&Node>, args: &[Node]) -> Estimate<'s> {
        let args: Vec<Argument<'_, 's>> = args.iter().map(|arg| self.argument(arg)).collect();
        if let ("dyn", [only]) = (function, &args[..]) {
            let cost = only.estimate.cost.plus(Range::ONE);
            return Estimate { size: only.size, entries: only.estimate.entries, ..Estimate::of(cost) };
        }
        let target = target.map(|target| self.argument(target));
        let (own, size) = functions::estimate(function, target.as_ref(), &args);
        let all = args.iter().chain(&target).map(|arg| arg.estimate.cost);
        let mut found = Estimate { size, ..Estimate::of(own.plus(Range::sum(all))) };
        match (function, &args[..]) {
            ("_[_]", [of, _]) => {
                found.declared = of.estimate.declared.as_ref().and_then(Declared::items);
                found.size = of.estimate.entries.map(|entries| entries.value);
            }
            ("_+_", [a, b]) => found.entries = Entries::union(a.estimate.entries, b.estimate.entries),
            _ => {}
        }
        found.size = self.size(node, &found);
        found
    }

    /// A macro: `range` is gone through, `start` is the value of the result before that.
    fn each(&mut self, each: &Each) -> Estimate<'s> {
        let of = self.argument(&each.of);
        let is_map = matches!(of.ty, Type::Map(_));
        let depth = self.locals.len();
        self.locals.extend(locals(each, &of, is_map));
        let filter = each.filter.as_ref().map(|filter| self.node(filter).cost);
        let body = self.argument(&each.body);
        let own = self.locals.get(depth).copied();
        self.locals.truncate(depth);
        let count = of.size();
        let step = Step { filter, body: body.estimate.cost };
        let (start, each_step, result) = step.parts(each.what);
        let cost = of.estimate.cost.plus(start).plus(result).plus(count.times(each_step));
        let value = match each.what {
            EachKind::All | EachKind::Exists | EachKind::ExistsOne => {
                return Estimate { size: Some(Range::ONE), ..Estimate::of(cost) };
            }
            EachKind::Filter | EachKind::SortBy => {
                own.and_then(|own| own.size.or(own.declared.as_ref().map(Declared::size)).or(own.fallback))
            }
            EachKind::Map | EachKind::TransformMap | EachKind::TransformMapEntry => body.size,
        };
        // An empty list is a result, too.
        let value = value.unwrap_or(Range::UNKNOWN).union(Range::ZERO);
        let entries = Some(Entries { key: Range::ONE, value });
        Estimate { size: Some(count), entries, ..Estimate::of(cost) }
    }
}

/// The variables of a macro.
fn locals<'s>(each: &Each, of: &Argument<'_, 's>, is_map: bool) -> Vec<Estimate<'s>> {
    let declared = of.estimate.declared.as_ref();
    let entries = of.estimate.entries;
    let variable = |declared: Option<Declared<'s>>, fallback: Option<Range>| Estimate {
        declared,
        fallback,
        ..Estimate::of(Range::ONE)
    };
    let key = || variable(declared.filter(|_| is_map).and_then(Declared::keys), entries.map(|e| e.key));
    let value = || variable(declared.and_then(Declared::items), entries.map(|e| e.value));
    match (each.two, is_map) {
        (true, _) => vec![key(), value()],
        (false, true) => vec![key()],
        (false, false) => vec![value()],
    }
}

/// One step of a macro: the cost of its filter and of its expression.
struct Step {
    filter: Option<Range>,
    body: Range,
}

impl Step {
    /// The cost of the first value, of one step, and of the result, in the form that the parser gives to macros.
    fn parts(&self, what: EachKind) -> (Range, Range, Range) {
        let Step { filter, body } = *self;
        let fixed = Range::fixed;
        let junction = Range { min: 1, max: body.plus(Range::ONE).max };
        let filtered = |step: Range| match filter {
            Some(filter) => filter.plus(step.union(Range::ONE)),
            None => step,
        };
        match what {
            EachKind::All => (Range::ZERO, fixed(2).plus(junction), Range::ONE),
            EachKind::Exists => (Range::ZERO, fixed(3).plus(junction), Range::ONE),
            EachKind::ExistsOne => (Range::ZERO, body.plus(Range { min: 1, max: 2 }), fixed(2)),
            EachKind::Map => (fixed(LIST_COST), filtered(body.plus(fixed(2 + LIST_COST))), Range::ONE),
            EachKind::Filter => {
                let step = fixed(3 + LIST_COST).union(Range::ONE);
                (fixed(LIST_COST), body.plus(step), Range::ONE)
            }
            EachKind::SortBy => (fixed(LIST_COST), body.plus(fixed(2 + LIST_COST)), fixed(2)),
            EachKind::TransformMap => (fixed(MAP_COST), filtered(body.plus(fixed(3))), Range::ONE),
            EachKind::TransformMapEntry => (fixed(MAP_COST), filtered(body.plus(fixed(2))), Range::ONE),
        }
    }
}

fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        Type::Optional(of) => is_scalar(of),
        _ => false,
    }
}

/// The size of what is written in the expression.
fn literal_size(node: &Node) -> Option<Range> {
    let size = match &node.kind {
        Kind::Const(Literal::Text(text)) => text.chars().count(),
        Kind::Const(Literal::Bytes(bytes)) => bytes.len(),
        Kind::Const(_) => 1,
        Kind::List(items, _) => items.len(),
        Kind::Map(entries) => entries.len(),
        _ => return None,
    };
    Some(Range::fixed(size as u64))
}

#[cfg(test)]
mod tests;
