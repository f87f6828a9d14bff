//! Why a strategic merge patch does not apply, in upstream's words, and the status of each reason.

use super::PATCH;
use super::directives::type_name;
use crate::go_quote::Quoted;
use crate::patch::go_print::print;
use crate::status::{Status, bad_request, unclassified, unprocessable};
use serde_json::Value;

/// Why a patch does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum StrategicError {
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    #[error("invalid patch format of setElementOrder list")]
    SetElementOrder,
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("unknown patch type: {0} in map: {1}")]
    UnknownDirective(String, String),
    #[error("merging lists cannot yet be specified in the patch")]
    MergeDirective,
    #[error("map: {0} does not contain declared merge key: {1}")]
    NoMergeKey(String, String),
    #[error("expected a {0}, but received a {1}")]
    WrongType(&'static str, &'static str),
    #[error("value for key {0} is not a map")]
    NotAMap(usize),
    #[error("The order in patch list:\n{0}\n doesn't match $setElementOrder list:\n{1}\n")]
    Order(String, String),
    #[error("list element types are not identical: [{0} {1}]")]
    MixedTypes(String, String),
    #[error("no elements in any of the given slices")]
    NoElements,
    #[error("cannot merge lists without merge key for {0}")]
    NoKeyOfList(&'static str),
    #[error("unable to find api field in struct {} for the json field {}", .0, Quoted(.1))]
    UnknownField(String, String),
    #[error("merging an object in json but data type is not struct, instead is: {0}")]
    NotAStruct(&'static str),
    #[error("expected slice or array type, but got: struct")]
    NoListField,
}

impl StrategicError {
    pub(super) fn no_merge_key(element: &Value, key: &str) -> Self {
        StrategicError::NoMergeKey(print(element), key.to_owned())
    }

    pub(super) fn unknown_directive(element: &Value) -> Self {
        StrategicError::UnknownDirective(print(&element[PATCH]), print(element))
    }

    pub(super) fn not_a_list(found: &Value) -> Self {
        StrategicError::WrongType("[]interface {}", type_name(found))
    }

    pub(super) fn not_an_object(found: &Value) -> Self {
        StrategicError::WrongType("map[string]interface {}", type_name(found))
    }

    pub(super) fn mixed(original: &[Value], patch: &[Value]) -> Self {
        let shown = |items: &[Value]| print(&Value::Array(items.to_vec()));
        StrategicError::MixedTypes(shown(original), shown(patch))
    }

    /// The answer to the client.
    pub fn to_status(&self) -> Status {
        match self {
            Self::RetainKeys | Self::PrimitiveList | Self::SetElementOrder => bad_request(self.to_string()),
            Self::ListOfLists => unprocessable(None),
            _ => unclassified(self.to_string()),
        }
    }
}
