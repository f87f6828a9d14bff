//! Operators on numbers, texts, lists, times and durations. Integers do not overflow.

use std::cmp::Ordering;

use super::Found;
use super::time::within_years;
use crate::cel::eval::EvalError;
use crate::cel::value::{Val, compare};

pub(super) fn call<'v>(function: &str, all: &[Val<'v>]) -> Found<'v> {
    let value = match (function, all) {
        ("!_", [Val::Bool(x)]) => Val::Bool(!x),
        ("-_", [Val::Int(x)]) => Val::Int(x.checked_neg().ok_or_else(overflow)?),
        ("-_", [Val::Double(x)]) => Val::Double(-x),
        ("-_", [Val::Duration(x)]) => Val::Duration(x.checked_neg().ok_or_else(overflow)?),
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [x, y]) => return binary(function, x, y).map(Some),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [x, y]) => {
            let Some(order) = compare(x, y) else {
                // NaN has no order, other types no comparison.
                let numeric = |v: &Val<'_>| matches!(v, Val::Double(_) | Val::Int(_) | Val::Uint(_));
                return if numeric(x) && numeric(y) {
                    Ok(Some(Val::Bool(false)))
                } else {
                    Err(EvalError::overload())
                };
            };
            Val::Bool(match function {
                "_<_" => order == Ordering::Less,
                "_<=_" => order != Ordering::Greater,
                "_>_" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            })
        }
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn overflow() -> EvalError {
    EvalError::new("integer overflow")
}

/// An operation on two integers of one type; `None` if the result has no place in it.
macro_rules! checked {
    ($operator:expr, $x:expr, $y:expr) => {
        match $operator {
            "_/_" if $y == 0 => return Err(EvalError::new("division by zero")),
            "_%_" if $y == 0 => return Err(EvalError::new("modulus by zero")),
            "_+_" => $x.checked_add($y),
            "_-_" => $x.checked_sub($y),
            "_*_" => $x.checked_mul($y),
            "_/_" => $x.checked_div($y),
            _ => $x.checked_rem($y),
        }
    };
}

fn binary<'v>(operator: &str, x: &Val<'v>, y: &Val<'v>) -> Result<Val<'v>, EvalError> {
    match (x, y) {
        (Val::Int(x), Val::Int(y)) => checked!(operator, x, *y).map(Val::Int).ok_or_else(overflow),
        (Val::Uint(x), Val::Uint(y)) => {
            let result = checked!(operator, x, *y);
            result.map(Val::Uint).ok_or_else(|| EvalError::new("unsigned integer overflow"))
        }
        (Val::Double(x), Val::Double(y)) => Ok(Val::Double(match operator {
            "_+_" => x + y,
            "_-_" => x - y,
            "_*_" => x * y,
            "_/_" => x / y,
            _ => return Err(EvalError::overload()),
        })),
        _ if operator == "_+_" => sum(x, y),
        _ if operator == "_-_" => difference(x, y),
        _ => Err(EvalError::overload()),
    }
}

fn sum<'v>(x: &Val<'v>, y: &Val<'v>) -> Result<Val<'v>, EvalError> {
    match (x, y) {
        (Val::Text(x), Val::Text(y)) => Ok(Val::text([x.as_str(), y.as_str()].concat())),
        (Val::Bytes(x), Val::Bytes(y)) => Ok(Val::Bytes([&**x, &**y].concat().into())),
        (Val::List(x), Val::List(y)) => Ok(Val::list(x.iter().chain(y.iter()).collect())),
        (Val::Timestamp(at), Val::Duration(by)) | (Val::Duration(by), Val::Timestamp(at)) => {
            within_years(at + i128::from(*by))
        }
        (Val::Duration(x), Val::Duration(y)) => x.checked_add(*y).map(Val::Duration).ok_or_else(overflow),
        _ => Err(EvalError::overload()),
    }
}

fn difference<'v>(x: &Val<'v>, y: &Val<'v>) -> Result<Val<'v>, EvalError> {
    match (x, y) {
        (Val::Timestamp(x), Val::Timestamp(y)) => {
            i64::try_from(x - y).map(Val::Duration).map_err(|_| overflow())
        }
        (Val::Timestamp(at), Val::Duration(by)) => within_years(at - i128::from(*by)),
        (Val::Duration(x), Val::Duration(y)) => x.checked_sub(*y).map(Val::Duration).ok_or_else(overflow),
        _ => Err(EvalError::overload()),
    }
}
