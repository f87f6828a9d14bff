//! URLs: absolute ones, and paths.

use std::sync::Arc;

use super::{Found, opaque};
use crate::cel::eval::{EvalError, text};
use crate::cel::value::{Opaque, Val};

/// A parsed URL.
#[derive(Clone, Debug, PartialEq)]
pub struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Url {
    fn parse(text: &str) -> Option<Url> {
        let printable = text.bytes().all(|b| b > 0x20 && b != 0x7f);
        if text.is_empty() || !printable || !has_valid_escapes(text) {
            return None;
        }
        // The fragment is no part of a request's URI, in which `#` stands for itself.
        let (before, query) = text.split_once('?').unwrap_or((text, ""));
        let query = query.to_owned();
        if before.starts_with('/') && !before.starts_with("//") {
            return Some(Url { scheme: String::new(), host: String::new(), path: before.to_owned(), query });
        }
        let (scheme, rest) = match before.split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            None => ("", before.strip_prefix("//")?),
        };
        let valid = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let alphabetic = scheme.is_empty() || scheme.starts_with(|c: char| c.is_ascii_alphabetic());
        if !alphabetic || !scheme.chars().all(valid) {
            return None;
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let port = host.rsplit_once(':').filter(|(name, _)| !name.contains(':') || name.ends_with(']'));
        if port.is_some_and(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit()))
            || host.contains(|c: char| " <>\"{}|\\^`".contains(c))
            || host.starts_with('[') != host.contains(']')
        {
            return None;
        }
        Some(Url { scheme: scheme.to_lowercase(), host: host.to_owned(), path: path.to_owned(), query })
    }

    fn name_and_port(&self) -> (&str, &str) {
        let after_brackets = self.host.rfind(']').map_or(0, |at| at + 1);
        let (name, port) = match self.host[after_brackets..].rfind(':') {
            Some(at) => (&self.host[..after_brackets + at], &self.host[after_brackets + at + 1..]),
            None => (self.host.as_str(), ""),
        };
        (name.trim_start_matches('[').trim_end_matches(']'), port)
    }
}

fn has_valid_escapes(text: &str) -> bool {
    text.match_indices('%').all(|(at, _)| {
        text.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = || u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok();
        match bytes[at] {
            b'%' => match hex() {
                Some(byte) => {
                    out.push(byte);
                    at += 2;
                }
                None => out.push(b'%'),
            },
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn escaped(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@/%".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

pub(super) fn call<'v>(function: &str, all: &[Val<'v>]) -> Found<'v> {
    let value = match (function, all) {
        ("url", [x]) => {
            let written = text(x)?;
            let invalid = || {
                let why = format!("parse \"{written}\": invalid URI for request");
                EvalError::new(format!("URL parse error during conversion from string: {why}"))
            };
            return opaque(Opaque::Url(Arc::new(Url::parse(written).ok_or_else(invalid)?)));
        }
        ("isURL", [x]) => Val::Bool(Url::parse(text(x)?).is_some()),
        (_, [Val::Opaque(Opaque::Url(url))]) => match function {
            "getScheme" => Val::text(url.scheme.as_str()),
            "getHost" => Val::text(url.host.as_str()),
            "getHostname" => Val::text(url.name_and_port().0),
            "getPort" => Val::text(url.name_and_port().1),
            "getEscapedPath" => Val::text(escaped(&url.path)),
            "getQuery" => query(&url.query),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn query<'v>(query: &str) -> Val<'v> {
    let mut all: Vec<(String, Vec<Val<'v>>)> = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty() && !part.contains(';')) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, value) = (unescape(key), Val::text(unescape(value)));
        match all.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value),
            None => all.push((key, vec![value])),
        }
    }
    Val::map(all.into_iter().map(|(key, values)| (Val::text(key), Val::list(values))).collect())
}
