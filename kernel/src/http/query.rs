//! The parameters of queries and forms, with the rules and texts of libprocess and stout.

use std::{collections::BTreeMap, fmt, time::Duration};

use percent_encoding::percent_decode_str;

/// The decoded parameters of a query or form. The last of several with one name counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    /// Parses `name=value` pairs between `&` or `;`. The error is Mesos' text for a percent sign without two hexadecimal
    /// digits.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let tokens = text.split(['&', ';']).filter(|token| !token.is_empty());
        let pairs = tokens.map(|token| {
            let (name, value) = token.split_once('=').unwrap_or((token, ""));
            Ok((decode(name)?, decode(value)?))
        });
        pairs.collect::<Result<_, String>>().map(Self)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn decode(text: &str) -> Result<String, String> {
    let is_hex = |at: usize| {
        text.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if let Some((at, _)) = text.match_indices('%').find(|(at, _)| !is_hex(*at)) {
        let escape: String = text[at..].chars().take(3).collect();
        return Err(format!("Malformed % escape in '{text}': '{escape}'"));
    }
    let text = text.replace('+', " ");
    Ok(percent_decode_str(&text).decode_utf8_lossy().into_owned())
}

fn not_a_number(text: &str) -> String {
    format!("Failed to convert '{text}' to number")
}

/// A decimal or, after `0x`, hexadecimal number, with a sign.
pub(crate) fn integer<T: TryFrom<i128>>(text: &str) -> Result<T, String> {
    let parse = || {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
        let (digits, radix) = match hexadecimal {
            Some(digits) if !text.starts_with('+') => (digits, 16),
            _ => (digits, 10),
        };
        // `from_str_radix` would take another sign.
        let number = digits.chars().all(|digit| digit.is_digit(radix)).then_some(digits)?;
        let number = i128::from_str_radix(number, radix).ok()?;
        T::try_from(if negative { -number } else { number }).ok()
    };
    parse().ok_or_else(|| not_a_number(text))
}

/// A length of time such as `1.5mins`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("ms", 1e6),
        ("secs", 1e9),
        ("mins", 60e9),
        ("hrs", 3600e9),
        ("days", 86_400e9),
        ("weeks", 604_800e9),
    ];
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.'));
    let end = end.ok_or_else(|| format!("Invalid duration '{text}'"))?;
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| not_a_number(number))?;
    let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| {
        format!(
            "Unknown duration unit '{unit}'; supported units are 'ns', 'us', 'ms', 'secs', 'mins', 'hrs', 'days', \
             and 'weeks'"
        )
    })?;
    let nanoseconds = number * size;
    // The conversion of the largest number rounds up, as in stout.
    match nanoseconds > i64::MAX as f64 {
        true => {
            Err("Argument out of the range that a Duration can represent due to int64_t's size limit".into())
        }
        false => Ok(Duration::from_nanos(nanoseconds as u64)),
    }
}

/// The parameter `timeout` of `/metrics/snapshot`.
pub(crate) fn metrics_timeout(query: &Query) -> Result<(), String> {
    let Some(text) = query.get("timeout") else { return Ok(()) };
    duration(text).map(drop).map_err(|why| format!("Invalid timeout '{text}': {why}.\n"))
}

/// The parameter `path` of `/files/…`.
pub(crate) fn file_path(query: &Query) -> Result<&str, String> {
    let path = query.get("path").filter(|path| !path.is_empty());
    path.ok_or_else(|| "Expecting 'path=value' in query.\n".to_owned())
}

/// The parameters of `/files/read`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileRangeQuery<'a> {
    pub(crate) path: &'a str,
    /// `None` asks for the size of the file only.
    pub(crate) offset: Option<u64>,
    /// `None` is up to the end.
    pub(crate) length: Option<u64>,
}

/// The parameters of `/files/read`.
pub(crate) fn file_range(query: &Query) -> Result<FileRangeQuery<'_>, String> {
    let path = file_path(query)?;
    let number = |name: &str| {
        let Some(text) = query.get(name) else { return Ok(None) };
        match integer::<i64>(text) {
            Ok(number @ ..-1) => Err(format!("Negative {name} provided: {number}.\n")),
            Ok(number) => Ok(u64::try_from(number).ok()),
            Err(why) => Err(format!("Failed to parse {name}: {why}.\n")),
        }
    };
    Ok(FileRangeQuery { path, offset: number("offset")?, length: number("length")? })
}

/// The parameters of `/logging/toggle` are checked before anything else. `Ok` has the requested level, if any.
pub(crate) fn logging_level(query: &Query) -> Result<Option<i32>, String> {
    let line = |why: &dyn fmt::Display| format!("{why}.\n");
    match (query.get("level"), query.get("duration")) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(line(&"Expecting 'duration=value' in query")),
        (None, Some(_)) => Err(line(&"Expecting 'level=value' in query")),
        (Some(level), Some(length)) => {
            let level: i32 = integer(level).map_err(|why| line(&why))?;
            if level < 0 {
                return Err(line(&format_args!("Invalid level '{level}'")));
            }
            duration(length).map_err(|why| line(&why))?;
            Ok(Some(level))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let shown = |text: &str| match Query::parse(text) {
            Ok(Query(pairs)) => format!("{pairs:?}"),
            Err(why) => why,
        };
        let table =
            ["a=1&b=2", "a=1;a=2&&", "a", "=x", "a=b=c", "a+b=%20%2b", "a=%", "a=%4", "%zz=1", "x%é=1"];
        let all: String = table.iter().map(|text| format!("{text} → {}\n", shown(text))).collect();
        expect_test::expect![[r#"
            a=1&b=2 → {"a": "1", "b": "2"}
            a=1;a=2&& → {"a": "2"}
            a → {"a": ""}
            =x → {"": "x"}
            a=b=c → {"a": "b=c"}
            a+b=%20%2b → {"a b": " +"}
            a=% → Malformed % escape in '%': '%'
            a=%4 → Malformed % escape in '%4': '%4'
            %zz=1 → Malformed % escape in '%zz': '%zz'
            x%é=1 → Malformed % escape in 'x%é': '%é'
        "#]]
        .assert_eq(&all);
    }

    #[test]
    fn integers() {
        let good = [("0", 0), ("-1", -1), ("+5", 5), ("007", 7), ("0x10", 16), ("-0X1f", -31)];
        for (text, number) in good {
            assert_eq!(integer::<i32>(text), Ok(number), "{text}");
        }
        for text in
            ["", "-", "bad", "1.0", "1e3", " 1", "1 ", "0x", "--1", "-0x-1", "+0x1", "2147483648", "٣"]
        {
            assert_eq!(integer::<i32>(text), Err(format!("Failed to convert '{text}' to number")));
        }
        assert_eq!(integer::<i64>("9223372036854775807"), Ok(i64::MAX));
    }

    #[test]
    fn durations() {
        let table = [
            "5secs",
            "1.5mins",
            ".5hrs",
            "0ns",
            "2weeks",
            "bad",
            "",
            "5",
            "5 secs",
            "5s",
            "-5secs",
            "1.2.3secs",
            "1e3secs",
            "99999999999weeks",
        ];
        let shown = |text: &str| match duration(text) {
            Ok(length) => format!("{length:?}"),
            Err(why) => why,
        };
        let all: String = table.iter().map(|text| format!("{text} → {}\n", shown(text))).collect();
        expect_test::expect![[r#"
            5secs → 5s
            1.5mins → 90s
            .5hrs → 1800s
            0ns → 0ns
            2weeks → 1209600s
            bad → Failed to convert '' to number
             → Invalid duration ''
            5 → Invalid duration '5'
            5 secs → Unknown duration unit ' secs'; supported units are 'ns', 'us', 'ms', 'secs', 'mins', 'hrs', 'days', and 'weeks'
            5s → Unknown duration unit 's'; supported units are 'ns', 'us', 'ms', 'secs', 'mins', 'hrs', 'days', and 'weeks'
            -5secs → Failed to convert '' to number
            1.2.3secs → Failed to convert '1.2.3' to number
            1e3secs → Unknown duration unit 'e3secs'; supported units are 'ns', 'us', 'ms', 'secs', 'mins', 'hrs', 'days', and 'weeks'
            99999999999weeks → Argument out of the range that a Duration can represent due to int64_t's size limit
        "#]]
        .assert_eq(&all);
    }
}
