//! Infers the types of expressions and reports names that nothing declares and calls that no form of a function accepts.
//! A value whose type is not known is accepted everywhere and checked when it is evaluated.

use std::collections::HashMap;

use super::node::{Each, EachKind, Kind, Node};
use super::overloads::{self, Overload};
use super::parse::at_offset;
use super::types::Type;
use super::value::Literal;
use super::{CompileError, Names};

/// The type of an expression, or its errors with their positions in the source.
pub(super) fn check(source: &str, node: &Node, names: &dyn Names) -> Result<Type, CompileError> {
    let mut checker = Checker { names, locals: Vec::new(), errors: Vec::new(), types: None };
    let ty = checker.node(node);
    if checker.errors.is_empty() {
        return Ok(ty);
    }
    checker.errors.sort_by_key(|(at, _)| *at);
    let texts: Vec<String> =
        checker.errors.iter().map(|(at, message)| at_offset(source, *at, message)).collect();
    Err(CompileError::plain(texts.join("\n")))
}

/// The types of an expression and of all expressions in it.
pub(super) fn types(node: &Node, names: &dyn Names) -> HashMap<*const Node, Type> {
    let mut checker = Checker { names, locals: Vec::new(), errors: Vec::new(), types: Some(HashMap::new()) };
    checker.node(node);
    checker.types.unwrap_or_default()
}

struct Checker<'a> {
    names: &'a dyn Names,
    /// The types found so far, if somebody wants them.
    types: Option<HashMap<*const Node, Type>>,
    locals: Vec<Type>,
    errors: Vec<(u32, String)>,
}

impl Checker<'_> {
    fn error(&mut self, node: &Node, message: String) -> Type {
        self.errors.push((node.at, message));
        Type::Dyn
    }

    fn expect(&mut self, node: &Node, wanted: &Type) {
        let found = self.node(node);
        if !accepts(wanted, &found, &mut Params::default()) {
            self.error(node, format!("expected type '{wanted}' but found '{found}'"));
        }
    }

    fn node(&mut self, node: &Node) -> Type {
        let ty = self.infer(node);
        if let Some(types) = &mut self.types {
            types.insert(std::ptr::from_ref(node), ty.clone());
        }
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
            Kind::And(pair) => self.junction(node, "_&&_", pair),
            Kind::Or(pair) => self.junction(node, "_||_", pair),
            Kind::If(parts) => {
                let (test, yes, no) = (self.node(&parts.0), self.node(&parts.1), self.node(&parts.2));
                if !matches!(test, Type::Bool | Type::Dyn) || join(&yes, &no).is_none() {
                    let message =
                        format!("found no matching overload for '_?_:_' applied to '({test}, {yes}, {no})'");
                    return self.error(node, message);
                }
                join(&yes, &no).unwrap_or(Type::Dyn)
            }
            Kind::List(items, optional) => {
                let types: Vec<Type> = items.iter().map(|item| self.node(item)).collect();
                let unwrapped = types.into_iter().enumerate().map(|(at, ty)| match ty {
                    Type::Optional(of) if optional.contains(&at) => (*of).clone(),
                    ty => ty,
                });
                Type::list(unwrapped.reduce(|a, b| join(&a, &b).unwrap_or(Type::Dyn)).unwrap_or(Type::Dyn))
            }
            Kind::Map(entries) => {
                let (mut key, mut value): (Option<Type>, Option<Type>) = (None, None);
                for entry in entries {
                    let merge = |a: Option<Type>, b: Type| match a {
                        Some(a) => join(&a, &b).unwrap_or(Type::Dyn),
                        None => b,
                    };
                    let (k, v) = (self.node(&entry.key), self.node(&entry.value));
                    (key, value) = (Some(merge(key, k)), Some(merge(value, v)));
                }
                Type::map(key.unwrap_or(Type::Dyn), value.unwrap_or(Type::Dyn))
            }
            Kind::Object(name, fields) => {
                for (_, value, _) in fields {
                    self.node(value);
                }
                self.names.object_type(name)
            }
            Kind::Each(each) => self.each(node, each),
            Kind::OptMap { of, body, flat } => self.opt_map(node, (of, body), *flat),
        }
    }

    fn junction(&mut self, node: &Node, operator: &str, pair: &(Node, Node)) -> Type {
        let (a, b) = (self.node(&pair.0), self.node(&pair.1));
        if [&a, &b].into_iter().all(|ty| matches!(ty, Type::Bool | Type::Dyn)) {
            return Type::Bool;
        }
        self.error(node, format!("found no matching overload for '{operator}' applied to '({a}, {b})'"))
    }

    fn opt_map(&mut self, node: &Node, (of, body): (&Node, &Node), flat: bool) -> Type {
        let inner = match self.node(of) {
            Type::Optional(of) => (*of).clone(),
            Type::Dyn => Type::Dyn,
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
            Type::Dyn | Type::Param(_) => Type::Dyn,
            Type::Map(entry) => entry.1.clone(),
            Type::Object(object) => match object.fields.get(field) {
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
        let Some(forms) = overloads::of(function) else {
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
        let comparable = matches!(function, "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_")
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
            Type::Dyn => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.errors.push((each.of.at, message));
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
        if let Some(filter) = &each.filter {
            self.expect(filter, &Type::Bool);
        }
        let body = match each.what {
            EachKind::All | EachKind::Exists | EachKind::ExistsOne => {
                let ty = self.node(&each.body);
                if !matches!(ty, Type::Bool | Type::Dyn) {
                    let message = match each.what {
                        EachKind::All => {
                            format!("found no matching overload for '_&&_' applied to '(bool, {ty})'")
                        }
                        EachKind::Exists => {
                            format!("found no matching overload for '_||_' applied to '(bool, {ty})'")
                        }
                        _ => format!("found no matching overload for '_?_:_' applied to '({ty}, int, int)'"),
                    };
                    self.error(node, message);
                }
                Type::Bool
            }
            _ => self.node(&each.body),
        };
        self.locals.truncate(depth);
        match each.what {
            EachKind::All | EachKind::Exists | EachKind::ExistsOne => Type::Bool,
            EachKind::Map => Type::list(body),
            EachKind::Filter => Type::list(variables[0].clone()),
            EachKind::SortBy => of,
            EachKind::TransformMap => Type::map(key, body),
            EachKind::TransformMapEntry => body,
        }
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

fn result_of(form: &Overload, target: Option<&Type>, args: &[Type]) -> Option<Type> {
    let mut params = Params::default();
    let fits = match (&form.target, target) {
        (Some(wanted), Some(found)) => accepts(wanted, found, &mut params),
        (None, None) => true,
        _ => false,
    };
    let all = fits
        && form.args.len() == args.len()
        && form.args.iter().zip(args).all(|(wanted, found)| accepts(wanted, found, &mut params));
    all.then(|| resolve(&form.result, &params))
}

fn resolve(ty: &Type, params: &Params) -> Type {
    match ty {
        Type::Param(at) => params.0[usize::from(*at)].clone().unwrap_or(Type::Dyn),
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
        (Type::Dyn, _) | (_, Type::Dyn) => true,
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
        (Type::Dyn, _) | (_, Type::Dyn) => Some(Type::Dyn),
        (Type::Null, other) | (other, Type::Null) if nullable(other) => Some(other.clone()),
        (Type::List(a), Type::List(b)) => Some(Type::list(join(a, b)?)),
        (Type::Optional(a), Type::Optional(b)) => Some(Type::optional(join(a, b)?)),
        (Type::Map(a), Type::Map(b)) => Some(Type::map(join(&a.0, &b.0)?, join(&a.1, &b.1)?)),
        (Type::Object(a), Type::Object(b)) if a.name == b.name => Some(Type::Object(a.clone())),
        (a, b) => (a == b).then(|| a.clone()),
    }
}
