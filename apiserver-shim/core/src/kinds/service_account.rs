//! ServiceAccounts.

use super::{Kind, cells};
use serde_json::Value;
use shim_model::time::Instant;

pub(super) struct ServiceAccount;

impl Kind for ServiceAccount {
    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        vec![cells::name(object), cells::age(object, now)]
    }
}
