//! Checks of the literals of an expression: durations, timestamps and regular expressions that no call would accept, and lists
//! and maps whose elements have several types.

use super::errors::Errors;
use super::eval::{Activation, EvalError};
use super::functions::{self, convert};
use super::node::{Entry, Kind, Node};
use super::types::Type;
use super::value::{Literal, Val};
use crate::go_regex;

/// Adds what is wrong with literals, with their positions. `types` are those of all nodes.
pub(super) fn check(node: &Node, types: &[Type], errors: &mut Errors) {
    let element = |node: &Node, optional: bool| match types.get(node.id as usize) {
        Some(Type::Optional(of)) if optional => (**of).clone(),
        found => found.cloned().unwrap_or(Type::Dyn),
    };
    for_each(node, false, &mut |node, formatted| match &node.kind {
        Kind::Call { function, target: Some(target), args } if function == "format" => {
            if let (Kind::Const(Literal::Text(template)), [Node { kind: Kind::List(items, _), .. }]) =
                (&target.kind, &args[..])
            {
                let of = |at: usize| items.get(at).map(|item| (item.at, element(item, false)));
                errors.extend(
                    format_error(template, items.len(), of).map(|(at, why)| (at.unwrap_or(node.at), why)),
                );
            }
        }
        Kind::Call { function, args, .. } => {
            let Some(Kind::Const(literal)) = args.first().map(|arg| &arg.kind) else { return };
            if !is_valid(function, literal) {
                errors.push(args[0].at, format!("invalid {function} argument"));
            }
        }
        // The values that a text is formatted with have any types.
        Kind::List(items, optional) if !formatted => {
            let found =
                items.iter().enumerate().map(|(at, item)| (item, element(item, optional.contains(&at))));
            errors.extend(different(found).take(1));
        }
        Kind::Map(entries) if !formatted => {
            let keys = entries.iter().map(|entry| (&entry.key, element(&entry.key, false)));
            errors.extend(different(keys));
            let values = entries.iter().map(|entry| (&entry.value, element(&entry.value, entry.optional)));
            errors.extend(different(values));
        }
        _ => {}
    });
}

/// What is wrong with a template and the values that it is to be filled with, and with which of them. `of` knows where a value is
/// and its type.
fn format_error(
    template: &str,
    count: usize,
    of: impl Fn(usize) -> Option<(u32, Type)>,
) -> Option<(Option<u32>, String)> {
    let mut used = 0;
    let mut rest = template;
    while let Some((_, clause)) = rest.split_once('%') {
        if let Some(after) = clause.strip_prefix('%') {
            rest = after;
            continue;
        }
        if clause.is_empty() {
            return Some((None, "unexpected end of string".to_owned()));
        }
        let Some((at, ty)) = of(used) else { return Some((None, format!("index {used} out of range"))) };
        let digits = clause.strip_prefix('.').unwrap_or(clause);
        let verb = digits.trim_start_matches(|c: char| c.is_ascii_digit());
        let Some(verb) = verb.chars().next() else {
            return Some((None, "could not parse formatting clause: unexpected end of string".to_owned()));
        };
        let Some((fits, wanted)) = format_types(verb, &ty) else {
            let why = format!("could not parse formatting clause: unrecognized formatting clause \"{verb}\"");
            return Some((None, why));
        };
        if !fits && !matches!(ty, Type::Dyn | Type::Param(_)) {
            return Some((
                Some(at),
                format!("error during formatting: {wanted}, was given {}", ty.type_name()),
            ));
        }
        used += 1;
        rest = &clause[clause.find(verb).map_or(0, |at| at + verb.len_utf8())..];
    }
    (count > used).then(|| {
        (None, format!("too many arguments supplied to string.format (expected {used}, got {count})"))
    })
}

/// Whether a clause takes a type, and what it takes; `None` for an unknown clause.
fn format_types(verb: char, ty: &Type) -> Option<(bool, &'static str)> {
    let is_integer = matches!(ty, Type::Int | Type::Uint);
    Some(match verb {
        's' => (
            !matches!(ty, Type::Object(_) | Type::Opaque(_) | Type::Optional(_)),
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps",
        ),
        'd' => (is_integer, "decimal clause can only be used on integers"),
        'f' => (matches!(ty, Type::Double | Type::String), "fixed-point clause can only be used on doubles"),
        'e' => (matches!(ty, Type::Double | Type::String), "scientific clause can only be used on doubles"),
        'b' => (is_integer || *ty == Type::Bool, "only integers and bools can be formatted as binary"),
        'x' | 'X' => (
            is_integer || matches!(ty, Type::String | Type::Bytes),
            "only integers, byte buffers, and strings can be formatted as hex",
        ),
        'o' => (is_integer, "octal clause can only be used on integers"),
        _ => return None,
    })
}

/// The elements that do not have the type of the first.
fn different<'n>(
    mut elements: impl Iterator<Item = (&'n Node, Type)>,
) -> impl Iterator<Item = (u32, String)> {
    let first = elements.next().map(|(_, ty)| ty);
    elements.filter_map(move |(node, found)| {
        let wanted = first.as_ref()?;
        let message = || format!("expected type '{}' but found '{}'", wanted.settled(), found.settled());
        (!is_same(wanted, &found)).then(|| (node.at, message()))
    })
}

/// Whether types are equal; parts of empty lists are equal to anything.
fn is_same(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Param(_), _) | (_, Type::Param(_)) => true,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => is_same(a, b),
        (Type::Map(a), Type::Map(b)) => is_same(&a.0, &b.0) && is_same(&a.1, &b.1),
        (a, b) => a == b,
    }
}

/// The first error of what upstream computes when it prepares the evaluation: conversions of constants, and regular expressions.
pub(super) fn preparation_error(node: &Node) -> Option<String> {
    let mut found = None;
    for_each(node, false, &mut |node, _| {
        let Kind::Call { function, args, .. } = &node.kind else { return };
        let error = match function.as_str() {
            "find" | "findAll" | "matches" => match args.first().map(constant) {
                Some(Ok(Some(Val::Text(pattern)))) => {
                    go_regex::compile(pattern.as_str()).err().map(|e| e.to_string())
                }
                _ => None,
            },
            name if CONVERSIONS.contains(&name) => constant(node).err().map(|error| error.to_string()),
            _ => None,
        };
        if found.is_none() {
            found = error;
        }
    });
    found
}

const CONVERSIONS: [&str; 10] =
    ["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"];

/// The value of a literal, or of a conversion of one; `None` for other expressions.
fn constant(node: &Node) -> Result<Option<Val<'static>>, EvalError> {
    match &node.kind {
        Kind::Const(literal) => Ok(Some(Val::of(literal))),
        Kind::List(items, optional) if optional.is_empty() => {
            let items: Option<Vec<_>> = items.iter().map(constant).collect::<Result<_, _>>()?;
            Ok(items.map(Val::list))
        }
        Kind::Map(entries) => {
            let entry = |entry: &Entry| Ok(constant(&entry.key)?.zip(constant(&entry.value)?));
            let entries: Option<Vec<_>> = entries.iter().map(entry).collect::<Result<_, EvalError>>()?;
            Ok(entries.map(Val::map))
        }
        Kind::Call { function, target: None, args } if CONVERSIONS.contains(&function.as_str()) => {
            let [arg] = &args[..] else { return Ok(None) };
            let Some(value) = constant(arg)? else { return Ok(None) };
            functions::call(function, None, vec![value], &Activation::new(Vec::new())).map(Some)
        }
        _ => Ok(None),
    }
}

fn is_valid(function: &str, literal: &Literal) -> bool {
    match (function, literal) {
        ("matches", Literal::Text(pattern)) => go_regex::compile(pattern).is_ok(),
        ("duration" | "timestamp", literal) => {
            convert::call(function, &[Val::of(literal)]).is_ok_and(|found| found.is_some())
        }
        _ => true,
    }
}

/// Calls a function with an expression and all those within it, and with whether each is formatted by a call.
fn for_each(node: &Node, formatted: bool, visit: &mut dyn FnMut(&Node, bool)) {
    visit(node, formatted);
    let mut below = |node: &Node| for_each(node, formatted, visit);
    match &node.kind {
        Kind::Const(_)
        | Kind::Var(_)
        | Kind::Local(_)
        | Kind::Composed(_)
        | Kind::TypeName(_)
        | Kind::Unknown(_) => {}
        Kind::Select { of, .. } => below(of),
        Kind::Call { function, target, args } => {
            let formatted = formatted || function == "format";
            target.iter().for_each(|target| for_each(target, formatted, visit));
            args.iter().for_each(|arg| for_each(arg, formatted, visit));
        }
        Kind::And(pair) | Kind::Or(pair) => [&pair.0, &pair.1].into_iter().for_each(below),
        Kind::If(parts) => [&parts.0, &parts.1, &parts.2].into_iter().for_each(below),
        Kind::List(items, _) => items.iter().for_each(below),
        Kind::Map(entries) => entries.iter().flat_map(|entry| [&entry.key, &entry.value]).for_each(below),
        Kind::Object(_, fields) => fields.iter().for_each(|field| below(&field.value)),
        Kind::Each(each) => {
            below(&each.of);
            each.filter.iter().for_each(&mut below);
            below(&each.body);
        }
        Kind::OptMap { of, body, .. } => [&**of, &**body].into_iter().for_each(below),
    }
}
