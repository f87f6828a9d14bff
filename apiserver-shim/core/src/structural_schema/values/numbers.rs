//! Ranges and multiples of numbers. Integers are compared as such, and others as floating point numbers.

use serde_json::{Number as JsonNumber, Value};
use shim_model::field::FieldError;

use super::super::path::Path;
use super::super::props::{Number, Props};
use super::{Checker, format, types};
use crate::cel::go_float;

/// The greatest number up to which each integer has a floating point number of its own: 2^53 - 1.
const JSON_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// Whether a floating point number stands for an integer: greater ones may be rounded.
pub(super) fn is_json_integer(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() <= JSON_INTEGER_MAX
}

/// The errors of a number.
pub(super) fn check(
    checker: Checker<'_>,
    schema: &Props,
    number: &JsonNumber,
    path: &Path<'_>,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let range = Range::of(schema);
    let value = number.as_f64().unwrap_or(f64::MAX);
    let fits = |what: &str, number: f64, errors: &mut Vec<FieldError>| {
        if !range.contains(number) {
            errors.push(checker.general(format!("{what} value must be of type {range} in {}", path.plain())));
        }
    };
    fits("Checked", value, &mut errors);
    if let Some(of) = &schema.multiple_of {
        fits("MultipleOf", of.value, &mut errors);
        errors.extend(multiple(checker, number, of, path));
    }
    if let Some(least) = &schema.minimum {
        fits("Minimum boundary", least.value, &mut errors);
        let (words, broken) = match schema.exclusive_minimum {
            true => ("should be greater than", compare(number, least).is_le()),
            false => ("should be greater than or equal to", compare(number, least).is_lt()),
        };
        errors.extend(broken.then(|| bound(checker, number, least, path, words)));
    }
    if let Some(most) = &schema.maximum {
        fits("Maximum boundary", most.value, &mut errors);
        let (words, broken) = match schema.exclusive_maximum {
            true => ("should be less than", compare(number, most).is_ge()),
            false => ("should be less than or equal to", compare(number, most).is_gt()),
        };
        errors.extend(broken.then(|| bound(checker, number, most, path, words)));
    }
    errors
}

/// The type and format whose range numbers must be in.
struct Range {
    ty: &'static str,
    format: String,
}

impl Range {
    fn of(schema: &Props) -> Range {
        let ty = match types(schema) {
            ["integer"] => "integer",
            ["number"] => "number",
            _ => "",
        };
        Range { ty, format: if ty.is_empty() { String::new() } else { format(schema).to_owned() } }
    }

    fn contains(&self, number: f64) -> bool {
        /// 2^63, which no i64 reaches.
        const INT64_END: f64 = 9_223_372_036_854_775_808.0;
        match (self.ty, self.format.as_str()) {
            ("integer", "int32") => {
                number.fract() == 0.0 && number >= f64::from(i32::MIN) && number <= f64::from(i32::MAX)
            }
            ("integer", _) => number.fract() == 0.0 && (-INT64_END..INT64_END).contains(&number),
            ("number", "float") => number.abs() <= f64::from(f32::MAX),
            _ => true,
        }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.format.as_str() {
            "" => write!(f, "{} (default format)", self.ty),
            format => write!(f, "{} with format {format}", self.ty),
        }
    }
}

/// Compares a number with a bound, which is cut to an integer for integers.
fn compare(number: &JsonNumber, bound: &Number) -> std::cmp::Ordering {
    match number.as_i64() {
        Some(number) => number.cmp(&whole(bound)),
        None => number.as_f64().unwrap_or(f64::MAX).total_cmp(&bound.value),
    }
}

fn whole(bound: &Number) -> i64 {
    bound.value as i64
}

fn shown_bound(number: &JsonNumber, bound: &Number) -> String {
    if number.is_i64() { whole(bound).to_string() } else { go_float(bound.value) }
}

fn bound(
    checker: Checker<'_>,
    number: &JsonNumber,
    bound: &Number,
    path: &Path<'_>,
    words: &str,
) -> FieldError {
    let says = format!("{words} {}", shown_bound(number, bound));
    checker.error(path, Value::Number(number.clone()), &says)
}

fn multiple(checker: Checker<'_>, number: &JsonNumber, of: &Number, path: &Path<'_>) -> Option<FieldError> {
    let shown = shown_bound(number, of);
    let positive = if number.is_i64() { whole(of) > 0 } else { of.value > 0.0 };
    if !positive {
        let says = format!("factor MultipleOf declared for {} must be positive: {shown}", path.plain());
        return Some(FieldError::invalid(checker.field(path), of.value, says));
    }
    let fits = match number.as_i64() {
        Some(number) => number % whole(of) == 0,
        None => {
            let value = number.as_f64().unwrap_or(f64::MAX);
            let times = if of.value < 1.0 { 1.0 / of.value * value } else { value / of.value };
            (times - times.round()).abs() < 1e-9 && times.abs() <= JSON_INTEGER_MAX
        }
    };
    let says = format!("should be a multiple of {shown}");
    (!fits).then(|| checker.error(path, Value::Number(number.clone()), &says))
}
