//! Attributes: what distinguishes an agent; matched, never consumed.

use super::{Ranges, Scalar};

/// One attribute. Names may repeat; the first counts where one is looked up.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Attribute {
    pub name: String,
    pub value: AttributeValue,
}

/// The value of an attribute.
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
