//! Resources as text: parses the `--resources` flag and prints the form of Mesos' messages.

use std::{collections::BTreeSet, fmt, str::FromStr};

use super::{Ranges, Reservation, ReservationKind, Resource, Resources, Scalar, Value};
use crate::{labels::Labels, roles::Role};

/// An invalid text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad resource '{item}': {reason}")]
#[allow(missing_docs)]
pub struct ParseError {
    /// The invalid item.
    pub item: String,
    pub reason: String,
}

impl FromStr for Resources {
    type Err = ParseError;

    /// Parses `cpus:4;mem(role):1024;ports:[31000-32000,33000-33010];names:{a,b}`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut resources = Resources::new();
        for item in text.split(';').map(str::trim).filter(|item| !item.is_empty()) {
            let resource = parse_item(item).map_err(|reason| ParseError { item: item.to_owned(), reason })?;
            let name = resource.name.clone();
            resources.add(resource);
            if resources.scalars().any(|(other, amount)| *other == name && amount > Scalar::MAX) {
                return Err(ParseError { item: item.to_owned(), reason: too_much() });
            }
        }
        Ok(resources)
    }
}

fn parse_item(item: &str) -> Result<Resource, String> {
    // A role cannot contain ':' in this form, and neither can a value outside of sets.
    let (key, value) = item.split_once(':').ok_or("expected 'name:value'")?;
    let (name, role) = match key.trim().split_once('(') {
        None => (key.trim(), None),
        Some((name, rest)) => {
            let role = rest.strip_suffix(')').ok_or("expected ')' after the role")?;
            (name.trim(), Some(Role::parse(role.trim()).map_err(|error| error.to_string())?))
        }
    };
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    let mut resource = Resource::new(name, parse_value(value.trim())?);
    if let Some(role) = role.filter(|role| *role != Role::any()) {
        resource.reservations.push(Reservation {
            kind: ReservationKind::Static,
            role,
            principal: None,
            labels: Labels::default(),
        });
    }
    Ok(resource)
}

fn parse_value(text: &str) -> Result<Value, String> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or("expected ']'")?;
        return parse_ranges(inner).map(Value::Ranges);
    }
    if let Some(inner) = text.strip_prefix('{') {
        let inner = inner.strip_suffix('}').ok_or("expected '}'")?;
        let items: Vec<&str> = inner.split(',').map(str::trim).filter(|i| !i.is_empty()).collect();
        let set: BTreeSet<String> = items.iter().map(|i| (*i).to_owned()).collect();
        if set.len() != items.len() {
            return Err("the set has a duplicate item".to_owned());
        }
        return Ok(Value::Set(set));
    }
    let amount: f64 = text.parse().map_err(|_| format!("'{text}' is not a number, range or set"))?;
    if !amount.is_finite() || amount < 0.0 {
        return Err("the amount must be finite and not negative".to_owned());
    }
    match Scalar::from_f64(amount) {
        amount if amount > Scalar::MAX => Err(too_much()),
        amount => Ok(Value::Scalar(amount)),
    }
}

fn too_much() -> String {
    format!("the amount is more than {}", Scalar::MAX)
}

/// Parses `31000-32000, 33000-33010`.
pub(super) fn parse_ranges(text: &str) -> Result<Ranges, String> {
    let mut pairs: Vec<(u64, u64)> = Vec::new();
    for range in text.split(',').map(str::trim).filter(|r| !r.is_empty()) {
        let (begin, end) = range.split_once('-').ok_or("expected 'begin-end'")?;
        let number =
            |text: &str| text.trim().parse::<u64>().map_err(|_| format!("'{}' is not a number", text.trim()));
        let (begin, end) = (number(begin)?, number(end)?);
        if begin > end {
            return Err(format!("the range {begin}-{end} ends before it begins"));
        }
        if pairs.iter().any(|(b, e)| begin <= *e && *b <= end) {
            return Err(format!("the range {begin}-{end} overlaps another"));
        }
        pairs.push((begin, end));
    }
    Ok(Ranges::new(pairs))
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Scalar(amount) => amount.fmt(f),
            Value::Ranges(ranges) => ranges.fmt(f),
            Value::Set(items) => {
                let items: Vec<&str> = items.iter().map(String::as_str).collect();
                write!(f, "{{{}}}", items.join(", "))
            }
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(role) = &self.allocation_role {
            write!(f, "(allocated: {role})")?;
        }
        if !self.reservations.is_empty() {
            f.write_str("(reservations: [")?;
            for (i, level) in self.reservations.iter().enumerate() {
                let comma = if i > 0 { "," } else { "" };
                let kind = match level.kind {
                    ReservationKind::Static => "STATIC",
                    ReservationKind::Dynamic => "DYNAMIC",
                };
                write!(f, "{comma}({kind},{}", level.role)?;
                if let Some(principal) = &level.principal {
                    write!(f, ",{principal}")?;
                }
                if !level.labels.as_slice().is_empty() {
                    write!(f, ",{}", level.labels)?;
                }
                f.write_str(")")?;
            }
            f.write_str("])")?;
        }
        if let Some(disk) = &self.disk {
            write!(f, "[{disk}]")?;
        }
        if self.revocable {
            f.write_str("{REV}")?;
        }
        if self.shared {
            f.write_str("<SHARED>")?;
        }
        write!(f, ":{}", self.value)
    }
}

impl fmt::Display for Resources {
    /// The form of Mesos' messages; `{}` if empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("{}");
        }
        for (i, resource) in self.iter().enumerate() {
            let separator = if i > 0 { "; " } else { "" };
            write!(f, "{separator}{resource}")?;
        }
        Ok(())
    }
}
