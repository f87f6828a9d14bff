//! Semantic versions.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::{Found, opaque};
use crate::cel::eval::{EvalError, text};
use crate::cel::value::{Opaque, Val};

/// A semantic version.
#[derive(Clone, Debug)]
pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<String>,
    build: String,
}

impl Semver {
    /// Parses a version. `normalize` accepts a `v`, leading zeros, and missing minor and patch versions.
    fn parse(text: &str, normalize: bool) -> Option<Semver> {
        let text = if normalize { text.strip_prefix('v').unwrap_or(text) } else { text };
        let (rest, build) = text.split_once('+').unwrap_or((text, ""));
        let (numbers, pre) = rest.split_once('-').map_or((rest, None), |(numbers, pre)| (numbers, Some(pre)));
        let mut parts: Vec<&str> = numbers.split('.').collect();
        while normalize && parts.len() < 3 {
            parts.push("0");
        }
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let number = |part: &str| {
            let plain = normalize || part == "0" || !part.starts_with('0');
            (digits(part) && plain).then(|| part.parse::<u64>().ok()).flatten()
        };
        let [major, minor, patch] = parts[..] else { return None };
        let identifier =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let pre: Vec<String> = pre.map_or_else(Vec::new, |pre| pre.split('.').map(str::to_owned).collect());
        let valid = pre
            .iter()
            .all(|part| identifier(part) && !(digits(part) && part.len() > 1 && part.starts_with('0')));
        let built = text.contains('+');
        if !valid || built && !build.split('.').all(identifier) {
            return None;
        }
        let numbers = [number(major)?, number(minor)?, number(patch)?];
        Some(Semver { numbers, pre, build: build.to_owned() })
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
            let invalid = || EvalError::new(format!("Invalid Semantic Version: \"{written}\""));
            return opaque(Opaque::Semver(Arc::new(parsed.ok_or_else(invalid)?)));
        }
        ("isSemver", [x, rest @ ..]) => Val::Bool(Semver::parse(text(x)?, normalize(rest)).is_some()),
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
