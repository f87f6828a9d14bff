//! Quantities of resources.

use shim_model::quantity::Quantity;

use super::{Found, opaque};
use crate::cel::eval::{EvalError, text};
use crate::cel::value::{Opaque, Val};

pub(super) fn call<'v>(function: &str, all: &[Val<'v>]) -> Found<'v> {
    let value = match (function, all) {
        ("quantity", [x]) => {
            let parsed = text(x)?.parse::<Quantity>();
            let why =
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
            return opaque(Opaque::Quantity(parsed.map_err(|_| EvalError::new(why))?));
        }
        ("isQuantity", [x]) => Val::Bool(text(x)?.parse::<Quantity>().is_ok()),
        (_, [Val::Opaque(Opaque::Quantity(q)), rest @ ..]) => return of_quantity(function, *q, rest),
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn of_quantity<'v>(function: &str, q: Quantity, rest: &[Val<'v>]) -> Found<'v> {
    let other = |value: &Val<'_>| match value {
        Val::Opaque(Opaque::Quantity(other)) => Ok(*other),
        Val::Int(value) => value.to_string().parse::<Quantity>().map_err(|_| EvalError::overload()),
        _ => Err(EvalError::overload()),
    };
    let value = match (function, rest) {
        ("isInteger", []) => Val::Bool(q.is_whole()),
        ("asInteger", []) if q.is_whole() && q == Quantity::from_units(q.units()) => Val::Int(q.units()),
        ("asInteger", []) => return Err(EvalError::new("cannot convert value to integer")),
        ("asApproximateFloat", []) => Val::Double(q.milli() as f64 / 1000.0),
        ("add", [x]) => return opaque(Opaque::Quantity(q.plus(other(x)?))),
        ("sub", [x]) => {
            let negated = negated(other(x)?)?;
            return opaque(Opaque::Quantity(q.plus(negated)));
        }
        ("isLessThan", [x]) => Val::Bool(q < other(x)?),
        ("isGreaterThan", [x]) => Val::Bool(q > other(x)?),
        ("compareTo", [x]) => Val::Int(q.cmp(&other(x)?) as i64),
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn negated(q: Quantity) -> Result<Quantity, EvalError> {
    let printed = q.to_string();
    let negated = printed.strip_prefix('-').map_or_else(|| format!("-{printed}"), str::to_owned);
    negated.parse().map_err(|_| EvalError::overload())
}
