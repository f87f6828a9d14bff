//! Functions of lists and sets.

use std::cmp::Ordering;

use super::Found;
use crate::cel::eval::{EvalError, int, list};
use crate::cel::value::{List, Val, compare, equal};

/// Elements of a list that `lists.range` makes: more would exceed the cost of an evaluation.
const RANGE_MAX: i64 = 1_000_000;

pub(super) fn call<'v>(function: &str, all: &[Val<'v>]) -> Found<'v> {
    let value = match (function, all) {
        ("sets.contains", [x, y]) => Val::Bool(contains(list(x)?, list(y)?)),
        ("sets.equivalent", [x, y]) => {
            let (x, y) = (list(x)?, list(y)?);
            Val::Bool(contains(x, y) && contains(y, x))
        }
        ("sets.intersects", [x, y]) => {
            let (x, y) = (list(x)?, list(y)?);
            Val::Bool(x.iter().any(|a| y.iter().any(|b| equal(&a, &b))))
        }
        ("lists.range", [count]) => {
            let count = int(count)?;
            if count > RANGE_MAX {
                return Err(EvalError::CostLimit);
            }
            Val::list((0..count).map(Val::Int).collect())
        }
        (_, [Val::List(items), rest @ ..]) => return of_list(function, items, rest),
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn of_list<'v>(function: &str, items: &List<'v>, rest: &[Val<'v>]) -> Found<'v> {
    let value = match (function, rest) {
        ("isSorted", []) => {
            let values: Vec<Val<'v>> = items.iter().collect();
            let mut sorted = true;
            for pair in values.windows(2) {
                sorted &= order(&pair[0], &pair[1])? != Ordering::Greater;
            }
            Val::Bool(sorted)
        }
        ("sum", []) => {
            let mut values = items.iter();
            let Some(mut sum) = values.next() else { return Ok(Some(Val::Int(0))) };
            if !matches!(sum, Val::Int(_) | Val::Uint(_) | Val::Double(_) | Val::Duration(_)) {
                return Ok(None);
            }
            for value in values {
                let added = super::arithmetic::call("_+_", &[sum, value])?;
                sum = added.ok_or_else(EvalError::overload)?;
            }
            sum
        }
        ("min" | "max", []) => extreme(function, items)?,
        ("indexOf", [x]) => position(items.iter().position(|item| equal(&item, x))),
        ("lastIndexOf", [x]) => {
            let values: Vec<Val<'v>> = items.iter().collect();
            position(values.iter().rposition(|item| equal(item, x)))
        }
        ("distinct", []) => {
            let mut kept: Vec<Val<'v>> = Vec::new();
            for item in items.iter() {
                if !kept.iter().any(|other| equal(other, &item)) {
                    kept.push(item);
                }
            }
            Val::list(kept)
        }
        ("flatten", rest) => {
            let depth = rest.first().map(int).transpose()?.unwrap_or(1);
            if depth < 0 {
                return Err(EvalError::new("level must be non-negative"));
            }
            let mut out = Vec::new();
            flatten(items, depth, &mut out);
            Val::list(out)
        }
        ("reverse", []) => {
            let mut values: Vec<Val<'v>> = items.iter().collect();
            values.reverse();
            Val::list(values)
        }
        ("slice", [start, end]) => slice(items, int(start)?, int(end)?)?,
        ("sort", []) => {
            let mut pairs: Vec<(Val<'v>, Val<'v>)> = items.iter().map(|item| (item.clone(), item)).collect();
            sort(&mut pairs)?;
            Val::list(pairs.into_iter().map(|(_, item)| item).collect())
        }
        ("first", []) => Val::Optional(items.get(0).map(Into::into)),
        ("last", []) => {
            Val::Optional(items.len().checked_sub(1).and_then(|at| items.get(at)).map(Into::into))
        }
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn slice<'v>(items: &List<'v>, start: i64, end: i64) -> Result<Val<'v>, EvalError> {
    let why = match (usize::try_from(start), usize::try_from(end)) {
        (Ok(start), Ok(end)) if start <= end && end <= items.len() => {
            return Ok(Val::list(items.iter().skip(start).take(end - start).collect()));
        }
        (Err(_), _) | (_, Err(_)) => "negative indexes not supported".to_owned(),
        _ if start > end => "start index must be less than or equal to end index".to_owned(),
        _ => format!("list is length {}", items.len()),
    };
    Err(EvalError::new(format!("cannot slice({start}, {end}), {why}")))
}

fn extreme<'v>(function: &str, items: &List<'v>) -> Result<Val<'v>, EvalError> {
    let mut values = items.iter();
    let empty = || EvalError::new(format!("{function} called on empty list"));
    let mut best = values.next().ok_or_else(empty)?;
    let wanted = if function == "min" { Ordering::Less } else { Ordering::Greater };
    for value in values {
        if order(&value, &best)? == wanted {
            best = value;
        }
    }
    Ok(best)
}

fn position<'v>(at: Option<usize>) -> Val<'v> {
    Val::Int(at.map_or(-1, |at| at as i64))
}

fn order(a: &Val<'_>, b: &Val<'_>) -> Result<Ordering, EvalError> {
    compare(a, b).ok_or_else(EvalError::overload)
}

fn contains(all: &List<'_>, some: &List<'_>) -> bool {
    some.iter().all(|x| all.iter().any(|y| equal(&x, &y)))
}

fn flatten<'v>(items: &List<'v>, depth: i64, out: &mut Vec<Val<'v>>) {
    for item in items.iter() {
        match &item {
            Val::List(inner) if depth > 0 => flatten(inner, depth - 1, out),
            _ => out.push(item),
        }
    }
}

/// Sorts pairs by their first values.
pub(in crate::cel) fn sort(pairs: &mut [(Val<'_>, Val<'_>)]) -> Result<(), EvalError> {
    let is_comparable = |value: &Val<'_>| compare(value, value).is_some() || matches!(value, Val::Double(_));
    let Some((first, _)) = pairs.first() else { return Ok(()) };
    if !is_comparable(first) {
        return Err(EvalError::new("list elements must be comparable"));
    }
    let ty = first.type_name();
    if pairs.iter().any(|(key, _)| key.type_name() != ty) {
        return Err(EvalError::new("list elements must have the same type"));
    }
    pairs.sort_by(|(a, _), (b, _)| compare(a, b).unwrap_or(Ordering::Equal));
    Ok(())
}
