//! Evaluates expressions. Every step costs; an evaluation ends with an error when its budget is spent, so that its time is
//! bounded whatever the expression and the values are.

use shim_model::go_quote::Quoted;
use std::cell::{Cell, OnceCell, RefCell};

use super::functions;
use super::functions::authorization::Authorizer;
use super::node::{Each, EachKind, Entry, FieldNode, Kind, Node};
use super::value::{List, Map, Val, equal};
use super::{CALL_COST_MAX, Program};

/// Lists, maps and optional values within each other. An expression itself nests half as deep, but macros within macros could
/// nest a value tens of thousands of levels deep, and comparing, printing and dropping one recurse.
const VALUE_DEPTH_MAX: u32 = 500;
/// Values within one. Each costs at least one to make; only one that holds the same value many times could have more.
const VALUE_PARTS_MAX: u64 = 2 * CALL_COST_MAX;

/// Why an evaluation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The cost exceeds the bound.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
    /// A list, map or optional value nests too deep.
    #[error("value is nested more than {} levels deep", VALUE_DEPTH_MAX)]
    TooDeep,
    /// A list or map has too many parts.
    #[error("value has more than {} parts", VALUE_PARTS_MAX)]
    TooLarge,
    /// An operation failed.
    #[error("{0}")]
    Failed(String),
}

impl EvalError {
    pub(super) fn new(message: impl Into<String>) -> EvalError {
        EvalError::Failed(message.into())
    }

    pub(super) fn overload() -> EvalError {
        EvalError::new("no such overload")
    }
}

/// A named expression and its value once it is needed.
struct Composed<'v> {
    name: &'v str,
    program: &'v Program,
    value: OnceCell<Result<Val<'v>, EvalError>>,
}

/// The values of an environment's names, and the cost of evaluations so far.
pub struct Activation<'v> {
    variables: Vec<Val<'v>>,
    composed: Vec<Composed<'v>>,
    cost: Cell<u64>,
    limit: Cell<u64>,
    locals: RefCell<Vec<Val<'v>>>,
    authorizer: Option<&'v dyn Authorizer>,
}

impl<'v> Activation<'v> {
    /// The values of the variables, in the environment's order.
    pub fn new(variables: Vec<Val<'v>>) -> Activation<'v> {
        Activation {
            variables,
            composed: Vec::new(),
            cost: Cell::new(0),
            limit: Cell::new(CALL_COST_MAX),
            locals: RefCell::default(),
            authorizer: None,
        }
    }

    /// Adds the expressions of `variables.x`, in the environment's order. Each is evaluated when it is first used.
    #[must_use]
    pub fn with_composed(
        mut self,
        programs: impl IntoIterator<Item = (&'v str, &'v Program)>,
    ) -> Activation<'v> {
        let value = |(name, program)| Composed { name, program, value: OnceCell::new() };
        self.composed = programs.into_iter().map(value).collect();
        self
    }

    /// Sets who decides about access.
    #[must_use]
    pub fn with_authorizer(self, authorizer: Option<&'v dyn Authorizer>) -> Activation<'v> {
        Activation { authorizer, ..self }
    }

    pub(super) fn authorizer(&self) -> Option<&'v dyn Authorizer> {
        self.authorizer
    }

    /// The cost since the last call.
    pub fn take_cost(&self) -> u64 {
        self.cost.take()
    }

    pub(super) fn charge(&self, cost: u64) -> Result<(), EvalError> {
        let total = self.cost.get().saturating_add(cost);
        self.cost.set(total);
        if total > self.limit.get() { Err(EvalError::CostLimit) } else { Ok(()) }
    }
}

pub(super) fn evaluate<'v>(node: &Node, activation: &Activation<'v>) -> Result<Val<'v>, EvalError> {
    activation.locals.borrow_mut().clear();
    activation.cost.set(0);
    eval(node, activation)
}

fn eval<'v>(node: &Node, a: &Activation<'v>) -> Result<Val<'v>, EvalError> {
    let value = eval_any(node, a)?;
    let extent = value.extent();
    match () {
        () if extent.depth > VALUE_DEPTH_MAX => Err(EvalError::TooDeep),
        () if extent.parts > VALUE_PARTS_MAX => Err(EvalError::TooLarge),
        () => Ok(value),
    }
}

/// Evaluates; the value's extent is not bounded yet, though not far beyond what it is made of.
fn eval_any<'v>(node: &Node, a: &Activation<'v>) -> Result<Val<'v>, EvalError> {
    match &node.kind {
        Kind::Const(literal) => Ok(Val::of(literal)),
        Kind::Var(index) => {
            a.charge(1)?;
            Ok(a.variables.get(*index).cloned().unwrap_or(Val::Null))
        }
        Kind::Local(depth) => {
            a.charge(1)?;
            Ok(a.locals.borrow().get(*depth).cloned().unwrap_or(Val::Null))
        }
        Kind::Composed(index) => composed(*index, a),
        Kind::TypeName(name) => Ok(Val::TypeName(name)),
        Kind::Unknown(name) => Err(EvalError::new(format!("no such attribute(s): {name}"))),
        Kind::Select { of, field, test, optional } => select(of, field, (*test, *optional), a),
        Kind::And(pair) => junction(pair, false, a),
        Kind::Or(pair) => junction(pair, true, a),
        Kind::If(parts) => match eval(&parts.0, a)? {
            Val::Bool(true) => eval(&parts.1, a),
            Val::Bool(false) => eval(&parts.2, a),
            _ => Err(EvalError::overload()),
        },
        Kind::Call { function, target, args } => {
            let target = target.as_deref().map(|target| eval(target, a)).transpose()?;
            let mut values = Vec::with_capacity(args.len());
            for arg in args {
                values.push(eval(arg, a)?);
            }
            functions::call(function, target, values, a)
        }
        Kind::List(items, optional) => make_list(items, optional, a),
        Kind::Map(entries) => make_map(entries, a),
        Kind::Object(_, fields) => make_object(fields, a),
        Kind::Each(each) => over(each, a),
        Kind::OptMap { of, body, flat } => match eval(of, a)? {
            Val::Optional(Some(value)) => {
                let found = with_locals(vec![(*value).clone()], body, a)?;
                Ok(if *flat { found } else { Val::Optional(Some(found.into())) })
            }
            Val::Optional(None) => Ok(Val::Optional(None)),
            _ => Err(EvalError::overload()),
        },
    }
}

fn make_list<'v>(items: &[Node], optional: &[usize], a: &Activation<'v>) -> Result<Val<'v>, EvalError> {
    a.charge(10)?;
    let mut values = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        values.extend(present(eval(item, a)?, optional.contains(&at)));
    }
    Ok(Val::list(values))
}

fn make_map<'v>(entries: &[Entry], a: &Activation<'v>) -> Result<Val<'v>, EvalError> {
    a.charge(30)?;
    let mut values: Vec<(Val<'v>, Val<'v>)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let key = eval(&entry.key, a)?;
        let Some(value) = present(eval(&entry.value, a)?, entry.optional) else { continue };
        a.charge(functions::within(&key).saturating_mul(values.len() as u64))?;
        // The last of several entries with the same key counts.
        values.retain(|(other, _)| !equal(other, &key));
        values.push((key, value));
    }
    Ok(Val::map(values))
}

fn make_object<'v>(fields: &[FieldNode], a: &Activation<'v>) -> Result<Val<'v>, EvalError> {
    a.charge(40)?;
    let mut values = Vec::with_capacity(fields.len());
    for field in fields {
        let value = present(eval(&field.value, a)?, field.optional);
        values.extend(value.map(|value| (Val::text(field.name.as_str()), value)));
    }
    Ok(Val::map(values))
}

/// The value of an element or entry that may be optional.
fn present<'v>(value: Val<'v>, optional: bool) -> Option<Val<'v>> {
    match value {
        Val::Optional(value) if optional => value.as_deref().cloned(),
        value => Some(value),
    }
}

fn composed<'v>(index: usize, a: &Activation<'v>) -> Result<Val<'v>, EvalError> {
    a.charge(1)?;
    let Composed { name, program, value } =
        a.composed.get(index).ok_or_else(|| EvalError::new("no such variable"))?;
    if let Some(value) = value.get() {
        return value.clone();
    }
    // A variable has its own locals, and can only use those declared before it.
    let outer = a.locals.take();
    let found = eval(&program.node, a);
    a.locals.replace(outer);
    let found = found.map_err(|error| match error {
        EvalError::CostLimit => EvalError::CostLimit,
        why => EvalError::new(format!(
            "composited variable {name} fails to evaluate: {why}",
            name = Quoted(name)
        )),
    });
    if found != Err(EvalError::CostLimit) {
        let _ = value.set(found.clone());
    }
    found
}

impl PartialEq for Val<'_> {
    fn eq(&self, other: &Self) -> bool {
        equal(self, other)
    }
}

fn select<'v>(
    of: &Node,
    field: &str,
    (test, optional): (bool, bool),
    a: &Activation<'v>,
) -> Result<Val<'v>, EvalError> {
    let (value, is_optional) = match eval(of, a)? {
        Val::Optional(None) => return Ok(if test { Val::Bool(false) } else { Val::Optional(None) }),
        Val::Optional(Some(value)) => ((*value).clone(), true),
        value => (value, optional),
    };
    a.charge(u64::from(!test))?;
    let Val::Map(map) = &value else {
        return match (test, is_optional) {
            (true, _) => Ok(Val::Bool(false)),
            (false, true) => Ok(Val::Optional(None)),
            (false, false) => Err(EvalError::new(format!("no such key: {field}"))),
        };
    };
    a.charge(map.search_cost())?;
    let found = map.field(field);
    match (found, test, is_optional) {
        (found, true, _) => Ok(Val::Bool(found.is_some())),
        (Some(found), false, true) => Ok(Val::Optional(Some(found.into()))),
        (None, false, true) => Ok(Val::Optional(None)),
        (Some(found), false, false) => Ok(found),
        (None, false, false) => Err(EvalError::new(format!("no such key: {field}"))),
    }
}

/// `&&` and `||`: a decisive operand prevails over an error of the other.
fn junction<'v>(pair: &(Node, Node), decisive: bool, a: &Activation<'v>) -> Result<Val<'v>, EvalError> {
    let first = eval(&pair.0, a);
    match first {
        Ok(Val::Bool(value)) if value == decisive => return first,
        Err(EvalError::CostLimit) => return first,
        _ => {}
    }
    match (first, eval(&pair.1, a)) {
        (_, Ok(Val::Bool(value))) if value == decisive => Ok(Val::Bool(decisive)),
        (_, Err(EvalError::CostLimit)) => Err(EvalError::CostLimit),
        (Err(error), _) | (_, Err(error)) => Err(error),
        (Ok(Val::Bool(_)), Ok(Val::Bool(_))) => Ok(Val::Bool(!decisive)),
        _ => Err(EvalError::overload()),
    }
}

fn with_locals<'v>(values: Vec<Val<'v>>, node: &Node, a: &Activation<'v>) -> Result<Val<'v>, EvalError> {
    let depth = a.locals.borrow().len();
    a.locals.borrow_mut().extend(values);
    let found = eval(node, a);
    a.locals.borrow_mut().truncate(depth);
    found
}

fn over<'v>(each: &Each, a: &Activation<'v>) -> Result<Val<'v>, EvalError> {
    let of = eval(&each.of, a)?;
    // Elements are read one by one: most macros end early, and only what is visited is charged.
    let elements: Box<dyn Iterator<Item = (Val<'v>, Val<'v>)> + '_> = match &of {
        Val::List(list) => Box::new(list.iter().enumerate().map(|(at, item)| (Val::Int(at as i64), item))),
        Val::Map(map) => map.iter(),
        other => {
            let ty = other.go_type_name();
            return Err(EvalError::new(format!("got '{ty}', expected iterable type")));
        }
    };
    let is_map = matches!(of, Val::Map(_));
    let mut gathered = Gathered::default();
    for (key, value) in elements {
        // Entries that are made are compared with those before.
        let compared = if each.what == EachKind::TransformMapEntry { gathered.entries.len() / 10 } else { 0 };
        a.charge(1 + compared as u64)?;
        let variables = match (each.two, is_map) {
            (true, _) => vec![key.clone(), value.clone()],
            (false, true) => vec![key.clone()],
            (false, false) => vec![value.clone()],
        };
        if let Some(filter) = &each.filter {
            match with_locals(variables.clone(), filter, a)? {
                Val::Bool(true) => {}
                Val::Bool(false) => continue,
                _ => return Err(EvalError::overload()),
            }
        }
        let own = variables[0].clone();
        let found = with_locals(variables, &each.body, a);
        if let (EachKind::TransformMapEntry, Ok(Val::Map(map))) = (each.what, &found) {
            let keys = map.iter().map(|(key, _)| functions::within(&key)).fold(0, u64::saturating_add);
            a.charge(keys.saturating_mul(gathered.entries.len() as u64))?;
        }
        if gathered.add(each.what, (key, own), found)? {
            break;
        }
    }
    gathered.finish(each.what)
}

/// What a macro has found so far.
#[derive(Default)]
struct Gathered<'v> {
    error: Option<EvalError>,
    decided: bool,
    count: usize,
    items: Vec<Val<'v>>,
    entries: Vec<(Val<'v>, Val<'v>)>,
}

impl<'v> Gathered<'v> {
    /// Adds the result for one element; true if the macro's result is decided.
    fn add(
        &mut self,
        what: EachKind,
        (key, own): (Val<'v>, Val<'v>),
        found: Result<Val<'v>, EvalError>,
    ) -> Result<bool, EvalError> {
        let decisive = match what {
            EachKind::All => Some(false),
            EachKind::Exists => Some(true),
            _ => None,
        };
        let value = match (found, decisive) {
            (Ok(Val::Bool(value)), Some(decisive)) => {
                self.decided |= value == decisive;
                return Ok(self.decided);
            }
            (Err(error), Some(_)) if error != EvalError::CostLimit => {
                self.error.get_or_insert(error);
                return Ok(false);
            }
            (found, None) => found?,
            (Err(error), Some(_)) => return Err(error),
            (Ok(_), Some(_)) => return Err(EvalError::overload()),
        };
        match (what, value) {
            (EachKind::ExistsOne, Val::Bool(value)) => self.count += usize::from(value),
            (EachKind::Map, value) => self.items.push(value),
            (EachKind::Filter, _) => self.items.push(own),
            (EachKind::TransformMap, value) => self.entries.push((key, value)),
            (EachKind::SortBy, value) => self.entries.push((value, own)),
            (EachKind::TransformMapEntry, Val::Map(map)) => {
                for (key, value) in map.iter() {
                    if self.entries.iter().any(|(other, _)| equal(other, &key)) {
                        return Err(EvalError::new(format!("insert failed: key {key} already exists")));
                    }
                    self.entries.push((key, value));
                }
            }
            _ => return Err(EvalError::overload()),
        }
        Ok(false)
    }

    fn finish(mut self, what: EachKind) -> Result<Val<'v>, EvalError> {
        match what {
            EachKind::All | EachKind::Exists => match (self.decided, self.error) {
                (false, Some(error)) => Err(error),
                (decided, _) => Ok(Val::Bool(decided == (what == EachKind::Exists))),
            },
            EachKind::ExistsOne => Ok(Val::Bool(self.count == 1)),
            EachKind::Map | EachKind::Filter => Ok(Val::list(self.items)),
            EachKind::TransformMap | EachKind::TransformMapEntry => Ok(Val::map(self.entries)),
            EachKind::SortBy => {
                functions::lists::sort(&mut self.entries)?;
                Ok(Val::list(self.entries.into_iter().map(|(_, own)| own).collect()))
            }
        }
    }
}

/// Whether an expression uses a variable.
pub(super) fn uses(node: &Node, variable: usize) -> bool {
    any(node, &|node| matches!(node.kind, Kind::Var(index) if index == variable))
}

/// Whether an expression reads a field of a variable by its name.
pub(super) fn selects(node: &Node, variable: usize, name: &str) -> bool {
    any(node, &|node| match &node.kind {
        Kind::Select { of, field, .. } => {
            field == name && matches!(of.kind, Kind::Var(index) if index == variable)
        }
        _ => false,
    })
}

/// Whether a part of an expression is one of those wanted.
fn any(node: &Node, wanted: &dyn Fn(&Node) -> bool) -> bool {
    let one_of = |nodes: &[Node]| nodes.iter().any(|node| any(node, wanted));
    if wanted(node) {
        return true;
    }
    match &node.kind {
        Kind::Select { of, .. } => any(of, wanted),
        Kind::Call { target, args, .. } => {
            target.as_deref().is_some_and(|target| any(target, wanted)) || one_of(args)
        }
        Kind::And(pair) | Kind::Or(pair) => any(&pair.0, wanted) || any(&pair.1, wanted),
        Kind::If(parts) => [&parts.0, &parts.1, &parts.2].iter().any(|part| any(part, wanted)),
        Kind::List(items, _) => one_of(items),
        Kind::Map(entries) => entries.iter().any(|e| any(&e.key, wanted) || any(&e.value, wanted)),
        Kind::Object(_, fields) => fields.iter().any(|field| any(&field.value, wanted)),
        Kind::Each(each) => {
            any(&each.of, wanted)
                || any(&each.body, wanted)
                || each.filter.as_ref().is_some_and(|filter| any(filter, wanted))
        }
        Kind::OptMap { of, body, .. } => any(of, wanted) || any(body, wanted),
        _ => false,
    }
}

/// The text of a value.
pub(super) fn text<'a>(value: &'a Val<'_>) -> Result<&'a str, EvalError> {
    value.as_text().ok_or_else(EvalError::overload)
}

/// The list of a value.
pub(super) fn list<'a, 'v>(value: &'a Val<'v>) -> Result<&'a List<'v>, EvalError> {
    if let Val::List(list) = value { Ok(list) } else { Err(EvalError::overload()) }
}

/// The integer of a value.
pub(super) fn int(value: &Val<'_>) -> Result<i64, EvalError> {
    if let Val::Int(value) = value { Ok(*value) } else { Err(EvalError::overload()) }
}

/// The map of a value.
pub(super) fn map<'a, 'v>(value: &'a Val<'v>) -> Result<&'a Map<'v>, EvalError> {
    if let Val::Map(map) = value { Ok(map) } else { Err(EvalError::overload()) }
}
