//! Functions of texts.

use super::Found;
use crate::cel::eval::{EvalError, int, list, text};
use crate::cel::value::Val;
use crate::go_regex;
use shim_model::go_quote::short_escape;

pub(super) fn call<'v>(function: &str, all: &[Val<'v>], _member: bool) -> Found<'v> {
    let Some(Val::Text(first)) = all.first() else {
        return match (function, all) {
            ("join", [items, rest @ ..]) => join(items, rest).map(Some),
            _ => Ok(None),
        };
    };
    let s = first.as_str();
    let value = match (function, &all[1..]) {
        ("contains", [x]) => Val::Bool(s.contains(text(x)?)),
        ("startsWith", [x]) => Val::Bool(s.starts_with(text(x)?)),
        ("endsWith", [x]) => Val::Bool(s.ends_with(text(x)?)),
        ("matches", [x]) => Val::Bool(regex(text(x)?)?.is_match(s)),
        ("find", [x]) => Val::text(illegal_regex(text(x)?)?.find(s).map_or("", |found| found.as_str())),
        ("findAll", [x, rest @ ..]) => {
            let most = rest.first().map(int).transpose()?.unwrap_or(-1);
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let regex = illegal_regex(text(x)?)?;
            Val::list(regex.find_iter(s).take(most).map(|found| Val::text(found.as_str())).collect())
        }
        ("lowerAscii", []) => Val::text(s.to_ascii_lowercase()),
        ("upperAscii", []) => Val::text(s.to_ascii_uppercase()),
        ("trim", []) => Val::text(s.trim()),
        ("reverse", []) => Val::text(s.chars().rev().collect::<String>()),
        ("strings.quote", []) => Val::text(quote(s)),
        ("charAt", [at]) => {
            let at = int(at)?;
            let count = s.chars().count() as i64;
            if at < 0 || at > count {
                return Err(EvalError::new(format!("index out of range: {at}")));
            }
            Val::text(s.chars().nth(at as usize).map(String::from).unwrap_or_default())
        }
        ("indexOf" | "lastIndexOf", [x, rest @ ..]) => {
            let from = rest.first().map(int).transpose()?;
            Val::Int(index_of(s, text(x)?, from, function == "lastIndexOf")?)
        }
        ("replace", [from, to, rest @ ..]) => {
            let most = rest.first().map(int).transpose()?.unwrap_or(-1);
            match usize::try_from(most) {
                Ok(most) => Val::text(s.replacen(text(from)?, text(to)?, most)),
                Err(_) => Val::text(s.replace(text(from)?, text(to)?)),
            }
        }
        ("split", [by, rest @ ..]) => split(s, text(by)?, rest.first().map(int).transpose()?.unwrap_or(-1)),
        ("substring", [start, rest @ ..]) => {
            let count = s.chars().count() as i64;
            let (start, end) = (int(start)?, rest.first().map(int).transpose()?.unwrap_or(count));
            for at in [start, end] {
                if at < 0 || at > count {
                    return Err(EvalError::new(format!("index out of range: {at}")));
                }
            }
            if start > end {
                let why = format!("invalid substring range. start: {start}, end: {end}");
                return Err(EvalError::new(why));
            }
            Val::text(s.chars().skip(start as usize).take((end - start) as usize).collect::<String>())
        }
        ("format", [args]) => Val::text(super::template::fill(s, args)?),
        _ => return Ok(None),
    };
    Ok(Some(value))
}

/// A text in quotation marks. Unlike Go's `%q`, control characters without a letter stay as they are.
fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match short_escape(c) {
            Some(escape) => out.push_str(escape),
            None => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Weight of a pattern whose compilation is no more than what a call costs: most have a hundredth of it.
const FREE_WEIGHT: u64 = 1_000;

/// Units that compiling a pattern costs: repetitions of classes can make a short one large.
pub(super) fn compiler_cost(pattern: &str) -> u64 {
    go_regex::weight(pattern).saturating_sub(FREE_WEIGHT)
}

fn regex(pattern: &str) -> Result<regex::Regex, EvalError> {
    go_regex::compile_cached(pattern).map_err(|error| EvalError::new(error.to_string()))
}

/// The same with the library's words around the error.
fn illegal_regex(pattern: &str) -> Result<regex::Regex, EvalError> {
    go_regex::compile_cached(pattern).map_err(|error| EvalError::new(format!("Illegal regex: {error}")))
}

fn index_of(s: &str, x: &str, from: Option<i64>, last: bool) -> Result<i64, EvalError> {
    let chars: Vec<char> = s.chars().collect();
    let wanted: Vec<char> = x.chars().collect();
    if wanted.is_empty() {
        return Ok(from.unwrap_or(if last { chars.len() as i64 } else { 0 }));
    }
    let start = match usize::try_from(from.unwrap_or(if last { chars.len() as i64 - 1 } else { 0 })) {
        Ok(start) if start < chars.len() => start,
        Err(_) if from.is_some() => {
            return Err(EvalError::new(format!("index out of range: {}", from.unwrap_or(0))));
        }
        _ => return Ok(-1),
    };
    let is_at = |at: &usize| chars[*at..].starts_with(&wanted);
    let found = match last {
        false => (start..chars.len()).find(is_at),
        true => (0..=start).rev().find(is_at),
    };
    Ok(found.map_or(-1, |at| at as i64))
}

fn split<'v>(s: &str, by: &str, most: i64) -> Val<'v> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let parts: Vec<String> = match (by, most) {
        (_, 0) => Vec::new(),
        ("", most) => {
            let mut parts: Vec<String> = s.chars().map(String::from).collect();
            if parts.len() > most {
                let rest = parts.split_off(most - 1).concat();
                parts.push(rest);
            }
            parts
        }
        (by, most) => s.splitn(most, by).map(str::to_owned).collect(),
    };
    Val::list(parts.into_iter().map(Val::text).collect())
}

fn join<'v>(items: &Val<'v>, rest: &[Val<'v>]) -> Result<Val<'v>, EvalError> {
    let separator = rest.first().map(text).transpose()?.unwrap_or("");
    let mut out = String::new();
    for (at, item) in list(items)?.iter().enumerate() {
        if at > 0 {
            out.push_str(separator);
        }
        out.push_str(text(&item)?);
    }
    Ok(Val::text(out))
}
