//! Conversion between the served versions of a resource and its storage version.

use std::borrow::Cow;
use std::future::{Future, ready};
use std::pin::Pin;

use serde_json::Value;
use shim_model::status::Status;

/// The future of converted objects, in the order of the input. Built-in converters are ready at once; a webhook is
/// not.
pub type Conversion<'a> = Pin<Box<dyn Future<Output = Result<Vec<Value>, Status>> + Send + 'a>>;

/// Converts objects of one resource. Takes many at once, so that a list costs one webhook call.
pub trait Converter: Send + Sync {
    /// Converts objects from the storage version to the served version.
    fn to_served(&self, stored: Vec<Value>) -> Conversion<'_>;

    /// Converts objects from the served version to the storage version.
    fn to_stored(&self, served: Vec<Value>) -> Conversion<'_>;

    /// Whether a webhook converts: it takes time, and may rename fields and change labels.
    fn is_remote(&self) -> bool {
        false
    }

    /// The name in the storage version of a selectable field of the served version.
    fn stored_field<'a>(&self, name: &'a str) -> Cow<'a, str> {
        name.into()
    }
}

/// The converter of resources whose served version is the storage version.
#[derive(Debug)]
pub struct Identity;

impl Converter for Identity {
    fn to_served(&self, stored: Vec<Value>) -> Conversion<'_> {
        Box::pin(ready(Ok(stored)))
    }

    fn to_stored(&self, served: Vec<Value>) -> Conversion<'_> {
        Box::pin(ready(Ok(served)))
    }
}
