//! Infers the types of expressions and reports names that nothing declares and calls that no form of a function accepts.
//! A value whose type is not known is accepted everywhere and checked when it is evaluated.

use super::errors::Errors;
use super::node::{Each, EachKind, Kind, Node};
use super::overloads::{self, Overload};
use super::types::Type;
use super::value::Literal;
use super::{CompileError, Names, literals};

/// The types of all nodes of an expression, by their numbers; or its errors with their positions in the source.
pub(super) fn check(source: &str, node: &Node, names: &dyn Names) -> Result<Vec<Type>, CompileError> {
    let mut checker = Checker { names, locals: Vec::new(), errors: Errors::default(), types: Vec::new() };
    checker.node(node);
    if checker.errors.is_empty() {
        literals::check(node, &checker.types, &mut checker.errors);
    }
    if checker.errors.is_empty() {
        return Ok(checker.types.iter().map(Type::settled).collect());
    }
    checker.errors.sort();
    Err(checker.errors.of(source))
}

struct Checker<'a> {
    names: &'a dyn Names,
    locals: Vec<Type>,
    errors: Errors,
    /// The types that were found, by the numbers of nodes.
    types: Vec<Type>,
}

impl Checker<'_> {
    fn error(&mut self, node: &Node, message: String) -> Type {
        self.errors.push(node.at, message);
        Type::Error
    }

    fn expect(&mut self, node: &Node, wanted: &Type) {
        let found = self.node(node);
        if !accepts(wanted, &found, &mut Params::default()) {
            self.error(node, format!("expected type '{wanted}' but found '{found}'"));
        }
    }

    fn node(&mut self, node: &Node) -> Type {
        let ty = self.infer(node).bounded();
        let id = node.id as usize;
        if self.types.len() <= id {
            self.types.resize(id + 1, Type::Dyn);
        }
        self.types[id] = ty.clone();
        ty
    }

    fn infer(&mut self, node: &Node) -> Type {
        match &node.kind {
            Kind::Const(literal) => literal_type(literal),
            Kind::Var(index) => self.names.variable_type(*index),
            Kind::Local(depth) => self.locals.get(*depth).cloned().unwrap_or(Type::Dyn),
            Kind::Composed(index) => self.names.composed_type(*index),
            Kind::TypeName(_) => Type::Type,
            Kind::Unknown(name) => {
                self.error(node, format!("undeclared reference to '{name}' (in container '')"))
            }
            Kind::Select { of, field, test, optional } => self.select(node, of, field, (*test, *optional)),
            Kind::Call { function, target, args } => self.call(node, function, target.as_deref(), args),
            Kind::And(pair) | Kind::Or(pair) => {
                self.expect(&pair.0, &Type::Bool);
                self.expect(&pair.1, &Type::Bool);
                Type::Bool
            }
            Kind::If(parts) => {
                let (test, yes, no) = (self.node(&parts.0), self.node(&parts.1), self.node(&parts.2));
                if !matches!(test, Type::Bool | Type::Dyn | Type::Error) || join(&yes, &no).is_none() {
                    let message =
                        format!("found no matching overload for '_?_:_' applied to '({test}, {yes}, {no})'");
                    return self.error(node, message);
                }
                join(&yes, &no).unwrap_or(Type::Dyn)
            }
            Kind::List(items, optional) => {
                let of = |(at, item): (usize, &Node)| self.element(item, optional.contains(&at));
                let joined =
                    items.iter().enumerate().map(of).reduce(|a, b| join(&a, &b).unwrap_or(Type::Dyn));
                Type::list(joined.unwrap_or(Type::FREE))
            }
            Kind::Map(entries) => {
                let (mut key, mut value) = (Type::FREE, Type::FREE);
                for entry in entries {
                    key = join(&key, &self.node(&entry.key)).unwrap_or(Type::Dyn);
                    value = join(&value, &self.element(&entry.value, entry.optional)).unwrap_or(Type::Dyn);
                }
                Type::map(key, value)
            }
            Kind::Object(name, fields) => {
                let ty = self.names.object_type(name);
                for field in fields {
                    let found = self.node(&field.value);
                    if let Some(wanted) = wrong_field(&ty, &field.name, &found) {
                        let name = &field.name;
                        let message = format!(
                            "expected type of field '{name}' is '{wanted}' but provided type is '{found}'"
                        );
                        self.errors.push(field.at, message);
                    }
                }
                ty
            }
            Kind::Each(each) => self.each(node, each),
            Kind::OptMap { of, body, flat } => self.opt_map(node, (of, body), *flat),
        }
    }

    /// The type of an element, which may be one that is left out if it is absent.
    fn element(&mut self, node: &Node, optional: bool) -> Type {
        match self.node(node) {
            Type::Optional(of) if optional => (*of).clone(),
            other => other,
        }
    }

    fn opt_map(&mut self, node: &Node, (of, body): (&Node, &Node), flat: bool) -> Type {
        let inner = match self.node(of) {
            Type::Optional(of) => (*of).clone(),
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                let name = if flat { "optFlatMap" } else { "optMap" };
                return self
                    .error(node, format!("found no matching overload for '{name}' applied to '{other}'"));
            }
        };
        let body = self.scoped(vec![inner], body);
        if flat { body } else { Type::optional(body) }
    }

    fn scoped(&mut self, types: Vec<Type>, node: &Node) -> Type {
        let depth = self.locals.len();
        self.locals.extend(types);
        let ty = self.node(node);
        self.locals.truncate(depth);
        ty
    }

    fn select(&mut self, node: &Node, of: &Node, field: &str, (test, optional): (bool, bool)) -> Type {
        let base = self.node(of);
        let (inner, was_optional) = match &base {
            Type::Optional(of) => ((**of).clone(), true),
            other => (other.clone(), false),
        };
        let ty = match &inner {
            Type::Error => Type::Error,
            Type::Dyn | Type::Param(_) => Type::Dyn,
            Type::Map(entry) => entry.1.clone(),
            Type::Object(object) if object.open => Type::Dyn,
            Type::Object(object) => match object.field(field) {
                Some(field) => field.ty.clone(),
                None => self.error(node, format!("undefined field '{field}'")),
            },
            other => self.error(node, format!("type '{other}' does not support field selection")),
        };
        match (test, optional || was_optional) {
            (true, _) => Type::Bool,
            (false, true) => Type::optional(ty),
            (false, false) => ty,
        }
    }

    fn call(&mut self, node: &Node, function: &str, target: Option<&Node>, args: &[Node]) -> Type {
        let target_type = target.map(|target| self.node(target));
        let types: Vec<Type> = args.iter().map(|arg| self.node(arg)).collect();
        let Some(forms) = overloads::of(function).filter(|_| self.names.has_function(function)) else {
            return self.error(node, format!("undeclared reference to '{function}' (in container '')"));
        };
        if function == "type" {
            return Type::Type;
        }
        let mut results: Vec<Type> = Vec::new();
        for form in forms {
            if let Some(result) = result_of(form, target_type.as_ref(), &types) {
                results.push(result);
            }
        }
        let comparable = matches!(function, "_<_" | "_<=_" | "_>_" | "_>=_")
            && matches!(&types[..], [a, b] if a.is_comparable(b));
        if results.is_empty() && !comparable {
            let list: Vec<String> = types.iter().map(ToString::to_string).collect();
            let applied = match &target_type {
                Some(target) => format!("{target}.({})", list.join(", ")),
                None => format!("({})", list.join(", ")),
            };
            return self
                .error(node, format!("found no matching overload for '{function}' applied to '{applied}'"));
        }
        match results.iter().all(|result| *result == results[0]) {
            true => results.into_iter().next().unwrap_or(Type::Bool),
            false => Type::Dyn,
        }
    }

    fn each(&mut self, node: &Node, each: &Each) -> Type {
        let of = self.node(&each.of);
        let (key, item) = match &of {
            Type::List(item) => (Type::Int, (**item).clone()),
            Type::Map(entry) => entry.as_ref().clone(),
            Type::Dyn | Type::Error => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.errors.push(each.of.at, message);
                (Type::Dyn, Type::Dyn)
            }
        };
        let variables = match (each.two, &of) {
            (true, _) => vec![key.clone(), item.clone()],
            (false, Type::Map(_)) => vec![key.clone()],
            (false, _) => vec![item.clone()],
        };
        let depth = self.locals.len();
        self.locals.extend(variables.clone());
        let filter = each.filter.as_ref().map(|filter| self.node(filter));
        let body = match each.what {
            EachKind::All | EachKind::Exists => {
                self.expect(&each.body, &Type::Bool);
                Type::Bool
            }
            _ => self.node(&each.body),
        };
        let made = match each.what {
            EachKind::All | EachKind::Exists | EachKind::ExistsOne => Type::Bool,
            EachKind::Map => Type::list(body.clone()),
            EachKind::Filter => Type::list(variables[0].clone()),
            EachKind::SortBy => of,
            EachKind::TransformMap => Type::map(key, body.clone()),
            EachKind::TransformMapEntry => body.clone(),
        };
        // What is counted or gathered if the element is wanted, and if it is not.
        let (test, choice) = match each.what {
            EachKind::ExistsOne => (Some(body), Type::Int),
            _ => (filter, made.clone()),
        };
        if let Some(test) = test.filter(|test| !matches!(test, Type::Bool | Type::Dyn | Type::Error)) {
            let message =
                format!("found no matching overload for '_?_:_' applied to '({test}, {choice}, {choice})'");
            self.error(node, message);
        }
        self.locals.truncate(depth);
        made
    }
}

/// The type that a field of an object must have, if the value does not have it.
fn wrong_field(object: &Type, field: &str, found: &Type) -> Option<&'static str> {
    if !matches!(object, Type::Opaque("JSONPatch")) {
        return None;
    }
    match field {
        "value" => None,
        "op" | "path" | "from" => {
            let fits = matches!(found, Type::String | Type::Dyn | Type::Error | Type::Param(_));
            (!fits).then_some("string")
        }
        // Upstream does not know that there is no such field.
        _ => Some(""),
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::Text(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// What type parameters stand for.
#[derive(Default)]
struct Params([Option<Type>; 2]);

pub(super) fn result_of(form: &Overload, target: Option<&Type>, args: &[Type]) -> Option<Type> {
    let mut params = Params::default();
    let fits = match (&form.target, target) {
        (Some(wanted), Some(found)) => accepts(wanted, found, &mut params),
        (None, None) => true,
        _ => false,
    };
    let all = fits
        && form.args.len() == args.len()
        && form.args.iter().zip(args).all(|(wanted, found)| accepts(wanted, found, &mut params));
    if all && wanted_none(form) {
        // Nothing tells of what, until something else does.
        params = Params([Some(Type::FREE), None]);
    }
    all.then(|| resolve(&form.result, &params))
}

fn wanted_none(form: &Overload) -> bool {
    form.target.is_none() && form.args.is_empty()
}

fn resolve(ty: &Type, params: &Params) -> Type {
    match ty {
        Type::Param(at) => params.0.get(usize::from(*at)).cloned().flatten().unwrap_or(Type::Dyn),
        Type::List(item) => Type::list(resolve(item, params)),
        Type::Optional(of) => Type::optional(resolve(of, params)),
        Type::Map(entry) => Type::map(resolve(&entry.0, params), resolve(&entry.1, params)),
        other => other.clone(),
    }
}

/// Whether a value of the type `found` may stand where `wanted` is.
fn accepts(wanted: &Type, found: &Type, params: &mut Params) -> bool {
    match (wanted, found) {
        (Type::Param(at), found) => {
            let slot = usize::from(*at);
            match params.0[slot].take() {
                None => {
                    params.0[slot] = Some(found.clone());
                    true
                }
                Some(bound) => {
                    let joined = join(&bound, found);
                    let fits = joined.is_some();
                    params.0[slot] = Some(joined.unwrap_or(bound));
                    fits
                }
            }
        }
        (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error | Type::Param(_)) => true,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => accepts(a, b, params),
        (Type::Map(a), Type::Map(b)) => accepts(&a.0, &b.0, params) && accepts(&a.1, &b.1, params),
        // Objects are maps where a function takes any map.
        (Type::Object(a), Type::Object(b)) => a.name == b.name,
        (a, b) => a == b,
    }
}

/// The type that both types are, if there is one.
fn join(a: &Type, b: &Type) -> Option<Type> {
    let nullable = |ty: &Type| {
        matches!(
            ty,
            Type::Object(_)
                | Type::Timestamp
                | Type::Duration
                | Type::Opaque(_)
                | Type::Optional(_)
                | Type::Dyn
        )
    };
    match (a, b) {
        (Type::Param(_), other) | (other, Type::Param(_)) => Some(other.clone()),
        (Type::Error, _) | (_, Type::Error) => Some(Type::Error),
        (Type::Dyn, _) | (_, Type::Dyn) => Some(Type::Dyn),
        (Type::Null, other) | (other, Type::Null) if nullable(other) => Some(other.clone()),
        (Type::List(a), Type::List(b)) => Some(Type::list(join(a, b)?)),
        (Type::Optional(a), Type::Optional(b)) => Some(Type::optional(join(a, b)?)),
        (Type::Map(a), Type::Map(b)) => Some(Type::map(join(&a.0, &b.0)?, join(&a.1, &b.1)?)),
        (Type::Object(a), Type::Object(b)) if a.name == b.name => Some(Type::Object(a.clone())),
        (a, b) => (a == b).then(|| a.clone()),
    }
}
