//! Query parameters: decoding, and the typed options that most requests share.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use shim_model::field::FieldError;
use shim_model::go_quote::go_quote;
use shim_model::status::{self, Status};

/// Decoded query parameters, in order of appearance.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes a query string. As in Go, pairs with a semicolon or a broken escape are left out.
    pub fn parse(text: &str) -> Query {
        let pairs = text
            .split('&')
            .filter(|p| !p.is_empty() && !p.contains(';') && has_valid_escapes(p))
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (percent_decode(key, true), percent_decode(value, true))
            });
        Query(pairs.collect())
    }

    /// The first value of a parameter.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The first value of a parameter, or `""`.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or("")
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A boolean parameter: true if present and neither `0` nor `false`, as upstream parses query strings.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|v| v != "0" && !v.eq_ignore_ascii_case("false"))
    }

    /// An integer parameter, if present.
    pub fn number(&self, key: &str) -> Result<Option<i64>, Status> {
        match self.get(key) {
            None => Ok(None),
            Some(text) => match text.parse::<i64>() {
                Ok(number) => Ok(Some(number)),
                Err(error) => {
                    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
                    let why = match error.kind() {
                        PosOverflow | NegOverflow => "value out of range",
                        _ => "invalid syntax",
                    };
                    let text = go_quote(text);
                    Err(status::bad_request(format!("strconv.ParseInt: parsing {text}: {why}")))
                }
            },
        }
    }

    /// Whether `dryRun` is set, or what is wrong with it.
    pub fn dry_run_option(&self) -> Result<bool, FieldError> {
        dry_run_values(self.all("dryRun").collect())
    }

    /// Whether `dryRun` is set; its only valid value is `All`. `kind` names the options object in errors.
    pub fn dry_run(&self, kind: &str) -> Result<bool, Status> {
        dry_run(self.all("dryRun"), kind)
    }
}

/// Parses the values of a `dryRun` option.
pub fn dry_run<'a>(values: impl Iterator<Item = &'a str>, kind: &str) -> Result<bool, Status> {
    dry_run_values(values.collect()).map_err(|error| status::invalid("meta.k8s.io", kind, "", &[error]))
}

/// Whether the values of a `dryRun` option ask for a dry run, or what is wrong with them.
pub fn dry_run_values(values: Vec<&str>) -> Result<bool, FieldError> {
    if values.iter().any(|v| *v != "All") {
        let shown = serde_json::Value::from(values);
        return Err(FieldError::not_supported("dryRun", shown, &["All"]));
    }
    Ok(!values.is_empty())
}

fn has_valid_escapes(text: &str) -> bool {
    text.match_indices('%').all(|(at, _)| {
        text.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Decodes `%xx`, and `+` as a space if `plus` is set. Invalid escapes are kept; invalid UTF-8 is replaced.
pub fn percent_decode(text: &str, plus: bool) -> String {
    let text = if plus { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}
