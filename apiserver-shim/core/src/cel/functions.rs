//! The functions of expressions. Which types they take is checked before (`overloads`), and again here for values whose type
//! was not known.

mod address;
pub(super) mod arithmetic;
pub(super) mod authorization;
pub(super) mod convert;
pub(super) mod format;
pub(super) mod lists;
pub(super) mod network;
pub(super) mod quantity;
pub(super) mod semver;
pub(super) mod strings;
pub(super) mod template;
pub(super) mod time;
pub(super) mod url;

use super::eval::{Activation, EvalError, list, map};
use super::overloads;
use super::value::{Map, Opaque, Val, equal};

/// The result of a function that belongs to a library; `None` if it belongs to another one.
type Found<'v> = Result<Option<Val<'v>>, EvalError>;

/// The functions of a library: called by name with all values, that of the target first.
type Library<'v> = fn(&str, &[Val<'v>], bool) -> Found<'v>;

/// Calls a function.
pub(super) fn call<'v>(
    function: &str,
    target: Option<Val<'v>>,
    args: Vec<Val<'v>>,
    a: &Activation<'v>,
) -> Result<Val<'v>, EvalError> {
    a.charge(cost(function, target.as_ref(), &args))?;
    let all: Vec<Val<'v>> = target.iter().cloned().chain(args).collect();
    match find(function, &all, target.is_some(), a) {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(overloads::unfit(function, &all)),
        Err(error) if error == EvalError::overload() => Err(overloads::unfit(function, &all)),
        Err(error) => Err(error),
    }
}

fn find<'v>(function: &str, all: &[Val<'v>], is_member: bool, a: &Activation<'v>) -> Found<'v> {
    let libraries: [Library<'v>; 9] = [
        |f, all, _| arithmetic::call(f, all),
        |f, all, member| basic(f, all, member),
        |f, all, member| strings::call(f, all, member),
        |f, all, _| lists::call(f, all),
        |f, all, _| quantity::call(f, all),
        |f, all, _| network::call(f, all),
        |f, all, _| semver::call(f, all),
        |f, all, _| url::call(f, all),
        |f, all, _| format::call(f, all),
    ];
    if let Some(found) = authorization::call(function, all, a)? {
        return Ok(Some(found));
    }
    for library in libraries {
        if let Some(found) = library(function, all, is_member)? {
            return Ok(Some(found));
        }
    }
    if let Some(found) = convert::call(function, all)? {
        return Ok(Some(found));
    }
    time::call(function, all)
}

/// Functions cost one, and those that read a text or list what there is to read: a tenth for each character.
fn cost(function: &str, target: Option<&Val<'_>>, args: &[Val<'_>]) -> u64 {
    let tenth = |size: u64| size.div_ceil(10);
    let first = args.first().map_or(0, Val::size);
    let in_target = || target.map_or(0, within);
    let in_first = || args.first().map_or(0, within);
    let in_keys = |map: &Map<'_>, key: &Val<'_>| within(key).saturating_mul(map.len().max(1) as u64);
    if let Some(Val::Opaque(Opaque::Access(_))) = target {
        // Two checks are allowed for each expression.
        return if function == "check" { 350_000 } else { 1 };
    }
    let is_member = target.is_some();
    let target = target.map_or(0, Val::size);
    let cost = match function {
        "contains" | "replace" | "split" | "startsWith" | "endsWith" | "charAt" | "lowerAscii"
        | "upperAscii" | "substring" | "trim" | "url" | "quantity" | "ip" | "cidr" | "validate" => {
            tenth(target.max(first))
        }
        "indexOf" | "lastIndexOf" => tenth(target.max(first)).saturating_add(in_target()),
        "format" => in_first(),
        // Upstream: text times expression, a quarter of whose characters count.
        "matches" | "find" | "findAll" => {
            let read = tenth(target) * args.iter().map(Val::size).max().unwrap_or(1).div_ceil(4).max(1);
            let pattern = args.get(usize::from(!is_member)).and_then(Val::as_text);
            read + pattern.map_or(0, strings::compiler_cost)
        }
        // Upstream charges nothing for lists, whose sum has no copy of them; ours has one.
        "_+_" => {
            let copied = |v: &Val<'_>| if matches!(v, Val::List(_)) { v.size() } else { tenth(v.size()) };
            args.iter().map(copied).sum()
        }
        "_==_" | "_!=_" => args.iter().map(|v| tenth(v.size()).saturating_add(within(v))).min().unwrap_or(0),
        "@in" => match args.get(1) {
            Some(Val::Map(map)) => map.search_cost().saturating_add(in_keys(map, &args[0])),
            Some(list @ Val::List(_)) => list.size().saturating_add(within(list)),
            _ => 0,
        },
        "_[_]" | "_[?_]" => match args {
            [Val::Map(map), key] => map.search_cost().saturating_add(in_keys(map, key)),
            _ => 0,
        },
        "sets.contains" | "sets.intersects" | "sets.equivalent" => {
            (first.saturating_add(in_first())).saturating_mul(args.get(1).map_or(0, Val::size))
        }
        "isSorted" | "sum" | "min" | "max" | "reverse" | "flatten" | "join" | "slice" => target.max(first),
        "sort" => target * target.max(1).ilog2() as u64 + target,
        "distinct" => {
            let compared =
                tenth(target.saturating_mul(target)).saturating_add(target.saturating_mul(in_target()));
            compared.saturating_add(target)
        }
        _ => 0,
    };
    cost.saturating_add(1)
}

/// Units that a walk through the elements of a value costs. Upstream has none for it; here, an expression cannot compare a list
/// that holds the same list a thousand times, and so on, for as good as nothing.
pub(super) fn within(value: &Val<'_>) -> u64 {
    value.extent().parts.saturating_sub(1 + value.size()) / 10
}

fn basic<'v>(function: &str, all: &[Val<'v>], _member: bool) -> Found<'v> {
    let optional = |value: Option<Val<'v>>| Ok(Some(Val::Optional(value.map(Into::into))));
    let bool = |value: bool| Ok(Some(Val::Bool(value)));
    match (function, all) {
        ("_==_", [x, y]) => bool(equal(x, y)),
        ("_!=_", [x, y]) => bool(!equal(x, y)),
        ("@in", [x, Val::List(list)]) => bool(list.iter().any(|item| equal(x, &item))),
        ("@in", [x, y]) => bool(map(y)?.get(x).is_some()),
        ("_[_]" | "_[?_]", [of, key]) => index(of, key, function == "_[?_]").map(Some),
        ("size", [Val::Text(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_)]) => {
            Ok(Some(Val::Int(all[0].size() as i64)))
        }
        ("dyn", [x]) => Ok(Some(x.clone())),
        ("optional.of", [x]) => optional(Some(x.clone())),
        ("optional.none", []) => optional(None),
        ("optional.ofNonZeroValue", [x]) => {
            let zero = match x {
                Val::Null | Val::Bool(false) | Val::Int(0) | Val::Uint(0) => true,
                Val::Double(value) => *value == 0.0,
                Val::Text(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_) => x.size() == 0,
                _ => false,
            };
            optional((!zero).then(|| x.clone()))
        }
        ("optional.unwrap" | "unwrapOpt", [items]) => {
            let mut values = Vec::new();
            for item in list(items)?.iter() {
                match item {
                    Val::Optional(value) => values.extend(value.as_deref().cloned()),
                    _ => return Err(EvalError::overload()),
                }
            }
            Ok(Some(Val::list(values)))
        }
        ("hasValue", [Val::Optional(value)]) => bool(value.is_some()),
        ("value", [Val::Optional(Some(value))]) => Ok(Some((**value).clone())),
        ("value", [Val::Optional(None)]) => Err(EvalError::new("optional.none() dereference")),
        ("or", [Val::Optional(value), other]) => {
            Ok(Some(if value.is_some() { all[0].clone() } else { other.clone() }))
        }
        ("orValue", [Val::Optional(value), other]) => {
            Ok(Some(value.as_deref().cloned().unwrap_or_else(|| other.clone())))
        }
        ("jsonpatch.escapeKey", [key]) => {
            let key = super::eval::text(key)?;
            Ok(Some(Val::text(key.replace('~', "~0").replace('/', "~1"))))
        }
        _ => Ok(None),
    }
}

fn index<'v>(of: &Val<'v>, key: &Val<'v>, optional: bool) -> Result<Val<'v>, EvalError> {
    let (of, optional) = match of {
        Val::Optional(None) => return Ok(Val::Optional(None)),
        Val::Optional(Some(value)) => (&**value, true),
        other => (other, optional),
    };
    let (found, at) = match of {
        Val::List(list) => {
            let at = list_index(key)?;
            let found = usize::try_from(at).ok().and_then(|at| list.get(at));
            (found, Some(at))
        }
        Val::Map(map) => (map.get(key), None),
        _ => (None, None),
    };
    match (found, optional, at) {
        (found, true, _) => Ok(Val::Optional(found.map(Into::into))),
        (Some(found), false, _) => Ok(found),
        (None, false, Some(at)) => Err(EvalError::new(format!("index out of bounds: {at}"))),
        (None, false, None) => Err(EvalError::new(format!("no such key: {key}"))),
    }
}

fn list_index(key: &Val<'_>) -> Result<i64, EvalError> {
    Ok(match key {
        Val::Int(at) => *at,
        Val::Uint(at) => i64::try_from(*at).unwrap_or(-1),
        Val::Double(at) if at.fract() == 0.0 => *at as i64,
        Val::Double(at) => return Err(EvalError::new(format!("unsupported index value {at} in list"))),
        other => {
            return Err(EvalError::new(format!("unsupported index type '{}' in list", other.type_name())));
        }
    })
}

/// A value of a library's type, as a result.
fn opaque<'v>(value: Opaque) -> Found<'v> {
    Ok(Some(Val::Opaque(value)))
}
