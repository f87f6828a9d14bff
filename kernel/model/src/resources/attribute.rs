//! Attributes of an agent: matched by frameworks, never consumed.

use std::fmt;

use super::{Ranges, Scalar, text::parse_ranges};

/// An attribute. Names may repeat; a look-up finds the first.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Attribute {
    pub name: String,
    pub value: AttributeValue,
}

#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum AttributeValue {
    Text(String),
    Scalar(Scalar),
    Ranges(Ranges),
    Set(Vec<String>),
}

impl Attribute {
    /// A text attribute.
    pub fn text(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: AttributeValue::Text(value.into()) }
    }
}

impl AttributeValue {
    /// Parses a value of the flag `--attributes`, by Mesos' rules: `[1-5]` are ranges, a number that is finite and not negative is a
    /// scalar, and the rest is text. Mesos knows no sets here.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or("expected ']'")?;
            return parse_ranges(inner).map(Self::Ranges);
        }
        if text.starts_with('{') {
            return Err("attributes cannot be sets".to_owned());
        }
        let amount = text.parse().ok().filter(|amount: &f64| amount.is_finite() && *amount >= 0.0);
        Ok(match amount.map(Scalar::from_f64).filter(|amount| *amount <= Scalar::MAX) {
            Some(amount) => Self::Scalar(amount),
            None => Self::Text(text.to_owned()),
        })
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Scalar(amount) => write!(f, "{amount}"),
            Self::Ranges(ranges) => write!(f, "{ranges}"),
            Self::Set(items) => write!(f, "{{{}}}", items.join(", ")),
        }
    }
}
