//! Functions of texts.

use super::Found;
use crate::cel::eval::{EvalError, int, list, text};
use crate::cel::numbers::go_float;
use crate::cel::value::Val;
use crate::go_regex;

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
        ("find", [x]) => Val::text(regex(text(x)?)?.find(s).map_or("", |found| found.as_str())),
        ("findAll", [x, rest @ ..]) => {
            let most = rest.first().map(int).transpose()?.unwrap_or(-1);
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let regex = regex(text(x)?)?;
            Val::list(regex.find_iter(s).take(most).map(|found| Val::text(found.as_str())).collect())
        }
        ("lowerAscii", []) => Val::text(s.to_ascii_lowercase()),
        ("upperAscii", []) => Val::text(s.to_ascii_uppercase()),
        ("trim", []) => Val::text(s.trim()),
        ("reverse", []) => Val::text(s.chars().rev().collect::<String>()),
        ("strings.quote", []) => Val::text(serde_json::Value::from(s).to_string()),
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
        ("format", [args]) => Val::text(format(s, args)?),
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn regex(pattern: &str) -> Result<regex::Regex, EvalError> {
    go_regex::compile(pattern).map_err(|error| EvalError::new(error.to_string()))
}

fn index_of(s: &str, x: &str, from: Option<i64>, last: bool) -> Result<i64, EvalError> {
    let chars: Vec<char> = s.chars().collect();
    let wanted: Vec<char> = x.chars().collect();
    let start = from.unwrap_or(if last { chars.len() as i64 } else { 0 });
    if start < 0 || start > chars.len() as i64 {
        return Err(EvalError::new(format!("index out of range: {start}")));
    }
    let start = start as usize;
    let is_at = |at: &usize| chars[*at..].starts_with(&wanted);
    let found = match last {
        false => (start..=chars.len()).find(is_at),
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

/// `"%s …".format([…])`.
fn format(template: &str, args: &Val<'_>) -> Result<String, EvalError> {
    let args = list(args)?;
    let mut next = 0;
    let mut out = String::with_capacity(template.len());
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        let mut precision = None;
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = Some(digits.parse::<usize>().unwrap_or(0).min(1_000));
        }
        let verb = chars.next().ok_or_else(|| EvalError::new("unexpected end of string"))?;
        let value = args.get(next).ok_or_else(|| EvalError::new(format!("index {next} out of range")))?;
        next += 1;
        out.push_str(&formatted(verb, precision, &value)?);
    }
    Ok(out)
}

fn formatted(verb: char, precision: Option<usize>, value: &Val<'_>) -> Result<String, EvalError> {
    let wrong = || {
        let ty = value.type_name();
        EvalError::new(format!("error during formatting: no formatting function for %{verb} of type {ty}"))
    };
    let digits = precision.unwrap_or(6);
    Ok(match (verb, value) {
        ('s', value) => value.to_string(),
        ('d', Val::Int(_) | Val::Uint(_)) => value.to_string(),
        ('d', Val::Double(value)) => go_float(*value),
        ('f', Val::Double(value)) => format!("{value:.digits$}"),
        ('f', Val::Int(value)) => format!("{:.digits$}", *value as f64),
        ('e', Val::Double(value)) => {
            let text = format!("{value:.digits$e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
            format!("{mantissa}e{sign}{exponent:0>2}")
        }
        ('b', Val::Bool(value)) => u8::from(*value).to_string(),
        ('b', Val::Int(value)) => signed(*value, |n| format!("{n:b}")),
        ('b', Val::Uint(value)) => format!("{value:b}"),
        ('o', Val::Int(value)) => signed(*value, |n| format!("{n:o}")),
        ('o', Val::Uint(value)) => format!("{value:o}"),
        ('x', Val::Int(value)) => signed(*value, |n| format!("{n:x}")),
        ('X', Val::Int(value)) => signed(*value, |n| format!("{n:X}")),
        ('x', Val::Uint(value)) => format!("{value:x}"),
        ('X', Val::Uint(value)) => format!("{value:X}"),
        ('x', Val::Text(text)) => text.as_str().bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Val::Text(text)) => text.as_str().bytes().map(|b| format!("{b:02X}")).collect(),
        ('x', Val::Bytes(bytes)) => bytes.iter().map(|b| format!("{b:02x}")).collect(),
        _ => return Err(wrong()),
    })
}

fn signed(value: i64, print: impl Fn(u64) -> String) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", print(value.unsigned_abs()))
}
