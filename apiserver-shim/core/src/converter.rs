//! Conversion between the version of a resource that is served and the one that its objects are stored in.

use std::borrow::Cow;
use std::future::{Future, ready};
use std::pin::Pin;

use serde_json::Value;
use shim_model::status::Status;

/// Converted objects, in the order of those given. A webhook answers later, the built-in converters at once.
pub type Conversion<'a> = Pin<Box<dyn Future<Output = Result<Vec<Value>, Status>> + Send + 'a>>;

/// Converts objects of one resource. It is given many at once, so that a list costs one call of a webhook.
pub trait Converter: Send + Sync {
    /// Objects as they are stored, in the served version.
    fn to_served(&self, stored: Vec<Value>) -> Conversion<'_>;

    /// Objects in the served version, as they are stored.
    fn to_stored(&self, served: Vec<Value>) -> Conversion<'_>;

    /// The name that a selectable field of the served version has in the stored one.
    fn stored_field<'a>(&self, name: &'a str) -> Cow<'a, str> {
        name.into()
    }
}

/// The converter of resources that are stored as they are served.
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
