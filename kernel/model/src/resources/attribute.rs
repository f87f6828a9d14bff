//! Attributes of an agent: matched by frameworks, never consumed.

use super::{Ranges, Scalar};

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
