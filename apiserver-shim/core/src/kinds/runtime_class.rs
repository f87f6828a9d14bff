//! RuntimeClasses.

use super::{Strategy, cells};
use serde_json::Value;
use shim_model::access;
use shim_model::time::Instant;

pub(super) struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        vec![cells::name(object), access::text(object, &["handler"]).into(), cells::age(object, now)]
    }
}
