//! Semantic versions.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::{Found, opaque};
use crate::cel::eval::{EvalError, text};
use crate::cel::value::{Opaque, Val};
use shim_model::go_quote::go_quote;

/// A semantic version.
#[derive(Clone, Debug)]
pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<String>,
    build: String,
}

impl Semver {
    /// Parses a version. `normalize` accepts a `v`, leading zeros, and missing minor and patch versions.
    fn parse(text: &str, normalize: bool) -> Result<Semver, String> {
        if normalize {
            return Semver::parse(&normalized(text)?, false);
        }
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let parts: Vec<&str> = text.splitn(3, '.').collect();
        let [major, minor, rest] = parts[..] else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let (major, minor) = (number("Major", major)?, number("Minor", minor)?);
        let (rest, build) = rest.split_once('+').map_or((rest, None), |(rest, build)| (rest, Some(build)));
        let (patch, pre) = rest.split_once('-').map_or((rest, None), |(patch, pre)| (patch, Some(pre)));
        let numbers = [major, minor, number("Patch", patch)?];
        let mut parts = Vec::new();
        for part in pre.iter().flat_map(|pre| pre.split('.')) {
            let is_number = part.bytes().all(|b| b.is_ascii_digit());
            let why = match part {
                "" => "Prerelease is empty".to_owned(),
                _ if is_number && part.len() > 1 && part.starts_with('0') => {
                    format!("Numeric PreRelease version must not contain leading zeroes {}", go_quote(part))
                }
                _ if is_identifier(part) => {
                    parts.push(part.to_owned());
                    continue;
                }
                _ => format!("Invalid character(s) found in prerelease {}", go_quote(part)),
            };
            return Err(why);
        }
        for part in build.iter().flat_map(|build| build.split('.')) {
            if part.is_empty() {
                return Err("Build meta data is empty".to_owned());
            }
            if !is_identifier(part) {
                return Err(format!("Invalid character(s) found in build meta data {}", go_quote(part)));
            }
        }
        Ok(Semver { numbers, pre: parts, build: build.unwrap_or_default().to_owned() })
    }

    fn order(&self, other: &Semver) -> Ordering {
        let pre = || match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let differ = self.pre.iter().zip(&other.pre).map(|(a, b)| part_order(a, b));
                let found = differ.into_iter().find(|order| order.is_ne());
                found.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            }
        };
        self.numbers.cmp(&other.numbers).then_with(pre)
    }
}

fn is_identifier(part: &str) -> bool {
    part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn number(what: &str, part: &str) -> Result<u64, String> {
    if !part.bytes().all(|b| b.is_ascii_digit()) {
        let what = what.to_lowercase();
        return Err(format!("Invalid character(s) found in {what} number {}", go_quote(part)));
    }
    if part.len() > 1 && part.starts_with('0') {
        return Err(format!("{what} number must not contain leading zeroes {}", go_quote(part)));
    }
    part.parse().map_err(|_| {
        let why = if part.is_empty() { "invalid syntax" } else { "value out of range" };
        format!("strconv.ParseUint: parsing {}: {why}", go_quote(part))
    })
}

fn normalized(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let without_zeros = |part: &str| {
        let rest = if part.len() > 1 { part.trim_start_matches('0') } else { part };
        let is_cut = part.len() > 1 && !rest.starts_with(|c: char| c.is_ascii_digit());
        if is_cut { format!("0{rest}") } else { rest.to_owned() }
    };
    let mut parts: Vec<String> = text.splitn(3, '.').map(without_zeros).collect();
    if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".to_owned());
    }
    parts.resize(3, "0".to_owned());
    Ok(parts.join("."))
}

fn part_order(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

impl PartialEq for Semver {
    fn eq(&self, other: &Semver) -> bool {
        self.order(other).is_eq()
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre.join("."))?;
        }
        if self.build.is_empty() { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}

pub(super) fn call<'v>(function: &str, all: &[Val<'v>]) -> Found<'v> {
    let normalize = |rest: &[Val<'_>]| matches!(rest, [Val::Bool(true)]);
    let value = match (function, all) {
        ("semver", [x, rest @ ..]) => {
            let written = text(x)?;
            let parsed = Semver::parse(written, normalize(rest));
            return opaque(Opaque::Semver(Arc::new(parsed.map_err(EvalError::new)?)));
        }
        ("isSemver", [x, rest @ ..]) => Val::Bool(Semver::parse(text(x)?, normalize(rest)).is_ok()),
        (_, [Val::Opaque(Opaque::Semver(version))]) => match function {
            "major" => Val::Int(version.numbers[0] as i64),
            "minor" => Val::Int(version.numbers[1] as i64),
            "patch" => Val::Int(version.numbers[2] as i64),
            _ => return Ok(None),
        },
        (_, [Val::Opaque(Opaque::Semver(a)), Val::Opaque(Opaque::Semver(b))]) => match function {
            "isLessThan" => Val::Bool(a.order(b).is_lt()),
            "isGreaterThan" => Val::Bool(a.order(b).is_gt()),
            "compareTo" => Val::Int(a.order(b) as i64),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some(value))
}
