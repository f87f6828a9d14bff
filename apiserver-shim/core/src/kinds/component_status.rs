//! ComponentStatuses, which are read-only.

use serde_json::Value;
use shim_model::access;
use shim_model::time::Instant;

use super::{Strategy, VirtualResource, cells};

pub(super) struct ComponentStatus;

impl Strategy for ComponentStatus {
    fn virtual_resource(&self) -> Option<VirtualResource> {
        Some(VirtualResource::ComponentStatus)
    }

    fn deprecation(&self) -> Option<&'static str> {
        Some("v1 ComponentStatus is deprecated in v1.19+")
    }

    fn cells(&self, object: &Value, _now: Instant) -> Vec<Value> {
        let conditions = access::list(object, &["conditions"]);
        let healthy = conditions.iter().find(|condition| access::text(condition, &["type"]) == "Healthy");
        let text = |key: &str| healthy.map_or("", |condition| access::text(condition, &[key]));
        let status = match healthy.map(|_| text("status")) {
            None => "Unknown",
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
        };
        vec![cells::name(object), status.into(), text("message").into(), text("error").into()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_tell_what_is_healthy() {
        let cells = |conditions: Value| {
            let object = json!({"metadata": {"name": "s"}, "conditions": conditions});
            Value::from(ComponentStatus.cells(&object, Instant::default())).to_string()
        };
        assert_eq!(cells(json!([])), r#"["s","Unknown","",""]"#);
        let condition =
            |status: &str| json!([{"type": "Healthy", "status": status, "message": "m", "error": "e"}]);
        assert_eq!(cells(condition("True")), r#"["s","Healthy","m","e"]"#);
        assert_eq!(cells(condition("Unknown")), r#"["s","Unhealthy","m","e"]"#);
    }
}
