//! `"%s …".format([…])`.

use crate::cel::eval::{EvalError, list};
use crate::cel::value::{List, Map, Val};
use shim_model::go_quote::go_quote;

/// Digits after the point, unless a clause has its own.
const DIGITS: usize = 6;
/// The most digits that a clause may ask for, so that a text stays small.
const DIGITS_MAX: usize = 1_000;

/// Fills a template with values.
pub(super) fn fill(template: &str, values: &Val<'_>) -> Result<String, EvalError> {
    let values = list(values)?;
    let mut next = 0;
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        if after.is_empty() {
            return Err(EvalError::new("unexpected end of string"));
        }
        let value = values.get(next).ok_or_else(|| EvalError::new(format!("index {next} out of range")))?;
        next += 1;
        let unparsed = |why| EvalError::new(format!("could not parse formatting clause: {why}"));
        let (digits, after) = precision(after).map_err(unparsed)?;
        let Some(verb) = after.chars().next() else {
            return Err(unparsed("unexpected end of string".to_owned()));
        };
        if !"sdfebxXo".contains(verb) {
            return Err(unparsed(format!("unrecognized formatting clause \"{verb}\"")));
        }
        let unfit = |why| EvalError::new(format!("error during formatting: {why}"));
        out.push_str(&formatted(verb, digits, &value).map_err(unfit)?);
        rest = &after[verb.len_utf8()..];
    }
    out.push_str(rest);
    Ok(out)
}

fn precision(clause: &str) -> Result<(Option<usize>, &str), String> {
    let Some(digits) = clause.strip_prefix('.') else { return Ok((None, clause)) };
    let end = digits.find(|c: char| !c.is_ascii_digit());
    let end = end.ok_or("error while parsing precision: could not find end of precision specifier")?;
    let (digits, rest) = digits.split_at(end);
    let why = "error while parsing precision: error while converting precision to integer: strconv.Atoi";
    let parsed = digits.parse::<usize>();
    let parsed = parsed.map_err(|_| format!("{why}: parsing {}: invalid syntax", go_quote(digits)))?;
    Ok((Some(parsed.min(DIGITS_MAX)), rest))
}

fn formatted(verb: char, digits: Option<usize>, value: &Val<'_>) -> Result<String, String> {
    let ty = value.type_name();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    Ok(match (verb, value) {
        ('s', value) => string(value)?,
        ('d', Val::Int(_) | Val::Uint(_)) => value.to_string(),
        ('d', _) => return Err(format!("decimal clause can only be used on integers, was given {ty}")),
        ('f' | 'e', value) => {
            let number = number(value).ok_or_else(|| {
                let clause = if verb == 'f' { "fixed-point" } else { "scientific" };
                format!("{clause} clause can only be used on doubles, was given {ty}")
            })?;
            match verb {
                _ if number.is_nan() => "NaN".to_owned(),
                _ if number.is_infinite() => if number > 0.0 { "∞" } else { "-∞" }.to_owned(),
                'f' => grouped(&format!("{number:.*}", digits.unwrap_or(DIGITS))),
                _ => scientific(number),
            }
        }
        ('b', Val::Bool(value)) => u8::from(*value).to_string(),
        ('b', Val::Int(value)) => signed(*value, |n| format!("{n:b}")),
        ('b', Val::Uint(value)) => format!("{value:b}"),
        ('b', _) => {
            return Err(format!("only integers and bools can be formatted as binary, was given {ty}"));
        }
        ('o', Val::Int(value)) => signed(*value, |n| format!("{n:o}")),
        ('o', Val::Uint(value)) => format!("{value:o}"),
        ('o', _) => return Err(format!("octal clause can only be used on integers, was given {ty}")),
        (_, value) => {
            let text = match value {
                Val::Int(value) => signed(*value, |n| format!("{n:x}")),
                Val::Uint(value) => format!("{value:x}"),
                Val::Text(text) => hex(text.as_str().as_bytes()),
                Val::Bytes(bytes) => hex(bytes),
                _ => {
                    let takes = "only integers, byte buffers, and strings can be formatted as hex";
                    return Err(format!("{takes}, was given {ty}"));
                }
            };
            if verb == 'X' { text.to_uppercase() } else { text }
        }
    })
}

/// A value as `%s` prints it.
fn string(value: &Val<'_>) -> Result<String, String> {
    match value {
        Val::List(list) => list_text(list),
        Val::Map(map) => map_text(map),
        Val::Optional(_) | Val::Opaque(_) => {
            let takes = "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps";
            Err(format!("string clause can only be used on {takes}, was given {}", value.type_name()))
        }
        value => Ok(value.to_string()),
    }
}

fn list_text(list: &List<'_>) -> Result<String, String> {
    let items: Vec<String> = list.iter().map(|item| member(&item)).collect::<Result<_, _>>()?;
    Ok(format!("[{}]", items.join(", ")))
}

fn map_text(map: &Map<'_>) -> Result<String, String> {
    let entry = |(key, value): (Val<'_>, Val<'_>)| match key {
        Val::Text(_) | Val::Bool(_) | Val::Int(_) | Val::Uint(_) => Ok((member(&key)?, member(&value)?)),
        key => Err(format!("no formatting function for map key of type {}", key.type_name())),
    };
    let mut entries: Vec<(String, String)> = map.iter().map(entry).collect::<Result<_, _>>()?;
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    Ok(format!("{{{}}}", entries.join(", ")))
}

/// A value within a list or map, as a literal.
fn member(value: &Val<'_>) -> Result<String, String> {
    Ok(match value {
        Val::Text(text) => go_quote(text.as_str()),
        Val::Bytes(_) => format!("b{}", go_quote(&value.to_string())),
        Val::Timestamp(_) => format!("timestamp({})", go_quote(&value.to_string())),
        Val::Duration(_) => format!("duration({})", go_quote(&value.to_string())),
        Val::Double(number) if number.is_finite() => format!("{number:.DIGITS$}"),
        Val::Double(_) => go_quote(&value.to_string()),
        Val::Optional(_) | Val::Opaque(_) => {
            return Err(format!("no formatting function for {}", value.type_name()));
        }
        value => string(value)?,
    })
}

fn number(value: &Val<'_>) -> Option<f64> {
    match value {
        Val::Double(number) => Some(*number),
        Val::Text(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// A number with a comma before every third digit, as it is written in English.
fn grouped(number: &str) -> String {
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |number| ("-", number));
    let (whole, fraction) =
        number.split_once('.').map_or((number, None), |(whole, rest)| (whole, Some(rest)));
    let mut out = sign.to_owned();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    fraction.map_or(out.clone(), |fraction| format!("{out}.{fraction}"))
}

/// A number with a power of ten, as it is written in English. Upstream prints six digits whatever the clause says.
fn scientific(number: f64) -> String {
    let text = format!("{number:.DIGITS$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(("", exponent), |exponent| ("⁻", exponent));
    let raised = |digit: char| match digit {
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '4' => '⁴',
        '5' => '⁵',
        '6' => '⁶',
        '7' => '⁷',
        '8' => '⁸',
        '9' => '⁹',
        _ => '⁰',
    };
    let exponent: String = format!("{exponent:0>2}").chars().map(raised).collect();
    format!("{mantissa}×10{sign}{exponent}")
}

fn signed(value: i64, print: impl Fn(u64) -> String) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", print(value.unsigned_abs()))
}
