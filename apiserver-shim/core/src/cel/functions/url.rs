//! URLs: absolute ones, and paths.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Found, address, opaque};
use crate::cel::eval::{EvalError, text};
use crate::cel::value::{Opaque, Val};
use shim_model::go_quote::go_quote;

/// A parsed URL.
#[derive(Clone, Debug, PartialEq)]
pub struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Url {
    /// Parses a URL. It must be one that a request can have; then its fragment is no part of it.
    fn parse(text: &str) -> Result<Url, String> {
        let failed = |why| format!("parse {}: {why}", go_quote(text));
        split(text, true).map_err(failed)?;
        split(text.split_once('#').map_or(text, |(before, _)| before), false).map_err(failed)
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

/// What Go's parser says of a URL. `is_requested` is a URL in a request: absolute, or a path.
fn split(text: &str, is_requested: bool) -> Result<Url, String> {
    if text.bytes().any(|b| b < b' ' || b == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    if text.is_empty() && is_requested {
        return Err("empty url".to_owned());
    }
    let (scheme, rest) = scheme_of(text)?;
    let scheme = scheme.to_ascii_lowercase();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut url = Url { scheme, host: String::new(), path: rest.to_owned(), query: query.to_owned() };
    if !rest.starts_with('/') {
        if !url.scheme.is_empty() {
            // A URL without a path, such as `mailto:a@b`.
            url.path = String::new();
            return Ok(url);
        }
        if is_requested && text != "*" {
            return Err("invalid URI for request".to_owned());
        }
    }
    let has_authority = !url.scheme.is_empty() || !is_requested && !rest.starts_with("///");
    if let Some(authority) = rest.strip_prefix("//").filter(|_| has_authority) {
        let (authority, path) = authority.split_at(authority.find('/').unwrap_or(authority.len()));
        url.host = host_of(&url.scheme, authority)?;
        path.clone_into(&mut url.path);
    }
    check_escapes(&url.path)?;
    Ok(url)
}

fn scheme_of(text: &str) -> Result<(&str, &str), String> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    match text.find(|c| !is_valid(c)) {
        Some(0) if text.starts_with(':') => Err("missing protocol scheme".to_owned()),
        Some(at) if text[at..].starts_with(':') && text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Ok((&text[..at], &text[at + 1..]))
        }
        _ => Ok(("", text)),
    }
}

fn host_of(scheme: &str, authority: &str) -> Result<String, String> {
    let (user, host) =
        authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let check_port = |port: &str| {
        let digits = port.strip_prefix(':').unwrap_or(port);
        let is_valid = port.is_empty() || port.starts_with(':') && digits.bytes().all(|b| b.is_ascii_digit());
        if is_valid { Ok(()) } else { Err(format!("invalid port {} after host", go_quote(port))) }
    };
    match (host.rfind('['), host.find(':')) {
        (Some(0), _) => {
            let end = host.rfind(']').ok_or("missing ']' in host")?;
            check_port(&host[end + 1..])?;
            let name = &host[1..end];
            check_host(name.split_once("%25").map_or(name, |(name, _)| name))?;
            let address =
                address::parse(&name.replace("%25", "%")).map_err(|why| format!("invalid host: {why}"))?;
            if address.ip.is_ipv4() {
                return Err("invalid IP-literal".to_owned());
            }
        }
        (Some(_), _) => return Err("invalid IP-literal".to_owned()),
        (None, Some(colon)) => {
            let last = host.rfind(':').filter(|_| !matches!(scheme, "http" | "https"));
            check_port(&host[last.unwrap_or(colon)..])?;
            check_host(host)?;
        }
        (None, None) => check_host(host)?,
    }
    if let Some(user) = user {
        let is_valid = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
        if !user.chars().all(is_valid) {
            return Err("net/url: invalid userinfo".to_owned());
        }
        check_escapes(user)?;
    }
    Ok(host.to_owned())
}

fn check_host(host: &str) -> Result<(), String> {
    check_escapes(host)?;
    let is_valid =
        |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"%".contains(c);
    match host.chars().find(|c| !is_valid(*c)) {
        Some(c) => Err(format!("invalid character {} in host name", go_quote(&c.to_string()))),
        None => Ok(()),
    }
}

fn check_escapes(text: &str) -> Result<(), String> {
    let is_hex = |at: usize| {
        text.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    };
    match text.match_indices('%').find(|(at, _)| !is_hex(*at)) {
        Some((at, _)) => {
            let escape: String = text[at..].chars().take(3).collect();
            Err(format!("invalid URL escape {}", go_quote(&escape)))
        }
        None => Ok(()),
    }
}

/// What Go escapes in a path, where percent signs are those of escapes.
const NO_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/')
    .remove(b'%');

fn unescape(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

fn escaped(path: &str) -> String {
    utf8_percent_encode(path, NO_PATH).to_string()
}

pub(super) fn call<'v>(function: &str, all: &[Val<'v>]) -> Found<'v> {
    let value = match (function, all) {
        ("url", [x]) => {
            let why = |why| EvalError::new(format!("URL parse error during conversion from string: {why}"));
            return opaque(Opaque::Url(Arc::new(Url::parse(text(x)?).map_err(why)?)));
        }
        ("isURL", [x]) => Val::Bool(Url::parse(text(x)?).is_ok()),
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
