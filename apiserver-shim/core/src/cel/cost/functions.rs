//! What the functions cost, and how large their results are.

use super::{Argument, Range};
use crate::cel::node::Kind;
use crate::cel::types::Type;
use crate::cel::value::Literal;

/// Reading a character of a text.
const TRAVERSAL: f64 = 0.1;
/// A character of a regular expression: each of its expressions has about four.
const REGEX: f64 = 0.25;
/// The longest expression of a named format.
const FORMAT_REGEX_MAX: f64 = 128.0;
/// The longest named format.
const FORMAT_MAX: u64 = 64;

type Target<'t, 'a, 's> = Option<&'t Argument<'a, 's>>;

/// The cost of a call beyond that of its target and arguments, and the size of its result.
pub(super) fn estimate(
    function: &str,
    target: Target<'_, '_, '_>,
    args: &[Argument<'_, '_>],
) -> (Range, Option<Range>) {
    let own = library(function, target, args).or_else(|| text(function, target, args));
    own.or_else(|| operator(function, args)).unwrap_or((Range::ONE, None))
}

/// The functions of Kubernetes' libraries.
fn library(
    function: &str,
    target: Target<'_, '_, '_>,
    args: &[Argument<'_, '_>],
) -> Option<(Range, Option<Range>)> {
    let reading = |of: &Argument<'_, '_>, factor: f64| Some((of.size().scaled(factor * TRAVERSAL), None));
    match (function, target, args) {
        ("check", ..) => Some((Range::fixed(350_000), None)),
        ("fieldSelector" | "labelSelector", _, [selector]) => {
            let requirements = selector.size().scaled(0.5).scaled(50.0);
            let cost = Range::fixed(10).plus(selector.size().scaled(TRAVERSAL)).plus(requirements);
            Some((cost, None))
        }
        ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(target), _) => {
            let Type::List(item) = &target.ty else { return reading(target, 1.0) };
            let is_text = matches!(**item, Type::String | Type::Bytes);
            let comparing = if is_text { target.element_size().scaled(TRAVERSAL) } else { Range::ZERO };
            Some((target.size().times(Range::ONE.plus(comparing)), None))
        }
        ("url" | "jsonpatch.escapeKey", _, [of]) => Some((of.size().scaled(TRAVERSAL), Some(of.size()))),
        ("cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver", _, [of, ..]) => {
            reading(of, 1.0)
        }
        ("ip", None, [of, ..]) => reading(of, 1.0),
        ("ip.isCanonical", _, [of, ..]) => reading(of, 2.0),
        ("containsIP", _, [other]) => {
            let bytes = Range { min: 4, max: 16 };
            Some((bytes.plus(bytes).scaled(TRAVERSAL).plus(parsing(other)), None))
        }
        ("containsCIDR", _, [other]) => {
            let bytes = Range { min: 4, max: 16 };
            let comparing = bytes.plus(bytes).scaled(TRAVERSAL).plus(bytes.scaled(TRAVERSAL));
            Some((comparing.plus(Range::ONE).plus(parsing(other)), None))
        }
        ("validate", _, [of]) => Some((of.size().scaled(TRAVERSAL).scaled(FORMAT_REGEX_MAX * REGEX), None)),
        ("_==_", _, [a, b]) if a.ty == b.ty => match a.ty {
            Type::Opaque("kubernetes.NamedFormat") => {
                Some((Range { min: 1, max: FORMAT_MAX }.scaled(TRAVERSAL), None))
            }
            Type::Opaque("kubernetes.URL") => {
                let size = b.size.map_or(1, |size| size.max);
                Some((Range { min: 1, max: size }.scaled(TRAVERSAL), None))
            }
            Type::Opaque(_) => Some((Range::ONE, None)),
            _ => None,
        },
        _ => None,
    }
}

/// What it takes to parse an address that is given as a text.
fn parsing(address: &Argument<'_, '_>) -> Range {
    match address.ty {
        Type::String | Type::Dyn => address.size().scaled(TRAVERSAL),
        _ => Range::ZERO,
    }
}

/// The functions of texts.
fn text(
    function: &str,
    target: Target<'_, '_, '_>,
    args: &[Argument<'_, '_>],
) -> Option<(Range, Option<Range>)> {
    let regex = |text: &Argument<'_, '_>, pattern: &Argument<'_, '_>| {
        // An empty text costs, too.
        let text = text.size().plus(Range::ONE).scaled(TRAVERSAL);
        text.times(pattern.size().scaled(REGEX))
    };
    Some(match (function, target, args) {
        ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(of), _) => {
            (of.size().scaled(TRAVERSAL), Some(of.size()))
        }
        ("replace", Some(of), [from, to, ..]) => {
            (of.size().scaled(2.0 * TRAVERSAL), Some(replaced(of.size(), from.size(), to.size())))
        }
        ("split", Some(of), args) => {
            let limit = args.get(1).and_then(|limit| match limit.node.kind {
                Kind::Const(Literal::Int(limit)) => Some(limit as u64),
                _ => None,
            });
            let max = limit.unwrap_or(of.size().max);
            (of.size().scaled(2.0 * TRAVERSAL), Some(Range { min: 0, max }))
        }
        ("join", Some(list), args) => {
            let mut size = list.size().times(list.element_size());
            if let [separator] = args {
                let less = |count: u64| count.saturating_sub(1);
                let separators = Range { min: less(list.size().min), max: less(list.size().max) };
                size = size.plus(separator.size().times(separators));
            }
            (size.scaled(TRAVERSAL), Some(size))
        }
        ("find" | "findAll", Some(of), [pattern, ..]) => {
            (regex(of, pattern), Some(Range { min: 0, max: of.size().max }))
        }
        ("matches", Some(of), [pattern]) => (regex(of, pattern), None),
        ("format", Some(of), _) => (of.size().scaled(TRAVERSAL), None),
        ("bytes", _, [of]) if of.ty == Type::String => {
            let size = of.size();
            (size.scaled(TRAVERSAL), Some(Range { min: size.min, max: size.max.saturating_mul(4) }))
        }
        ("string", _, [of]) if of.ty == Type::Bytes => {
            let size = of.size();
            (size.scaled(TRAVERSAL), Some(Range { min: size.min / 4, max: size.max }))
        }
        ("strings.quote", _, [of]) => {
            let size = of.size();
            let max = size.max.saturating_mul(2).saturating_add(2);
            (size.scaled(TRAVERSAL), Some(Range { min: size.min.saturating_add(2), max }))
        }
        ("startsWith" | "endsWith", Some(_), [part]) => (part.size().scaled(TRAVERSAL), None),
        ("contains", Some(of), [part]) => {
            (of.size().scaled(TRAVERSAL).times(part.size().scaled(TRAVERSAL)), None)
        }
        _ => return None,
    })
}

/// The size of a text in which `from` is replaced by `to`.
fn replaced(of: Range, from: Range, to: Range) -> Range {
    let parts = |size: u64, part: u64| (size as f64 / part as f64).ceil() as u64;
    // The longest result, and how much of the text remains in it.
    let (max, kept_max) = if from.min == 0 {
        (of.max.saturating_add(1), of.max)
    } else if to.max <= from.min {
        (0, of.max)
    } else {
        (parts(of.max, from.min), 0)
    };
    let (min, kept_min) = if from.max == 0 {
        (of.min.saturating_add(1), of.min)
    } else if from.max <= to.min {
        (0, of.min)
    } else {
        (parts(of.min, from.max), 0)
    };
    Range { min, max }.times(to).plus(Range { min: kept_min, max: kept_max })
}

/// The operators.
fn operator(function: &str, args: &[Argument<'_, '_>]) -> Option<(Range, Option<Range>)> {
    let [a, b] = args else { return None };
    let of_either = |wanted: fn(&Type) -> bool| {
        let fits = |ty: &Type| wanted(ty) || matches!(ty, Type::Dyn | Type::Param(_));
        fits(&a.ty) && fits(&b.ty)
    };
    let is_text = of_either(|ty| matches!(ty, Type::String | Type::Bytes));
    match function {
        "@in" if matches!(b.ty, Type::List(_) | Type::Dyn) => Some((b.size(), None)),
        "_+_" => {
            let size = a.size().plus(b.size());
            let is_list = of_either(|ty| matches!(ty, Type::List(_)));
            let adding = if is_text { size.scaled(TRAVERSAL) } else { Range::ONE };
            let adding = if is_text && is_list { adding.union(Range::ONE) } else { adding };
            (is_text || is_list).then_some((adding, Some(size)))
        }
        "_<_" | "_<=_" | "_>_" | "_>=_" if !is_text => None,
        "_<_" | "_<=_" | "_>_" | "_>=_" | "_==_" | "_!=_" => {
            let max = a.size().max.min(b.size().max);
            Some((Range { min: max.min(1), max }.scaled(TRAVERSAL), None))
        }
        _ => None,
    }
}
