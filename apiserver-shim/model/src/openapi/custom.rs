//! The published schemas of custom resources: what their definitions say, with the type and metadata that every object has.

use super::{OBJECT_META, group_version_kind};
use crate::resource::{Custom, Resource};
use serde_json::{Value, json};

/// The component of a custom resource; `None` for built-in resources.
pub(super) fn version_3(resource: &Resource) -> Option<Value> {
    let custom = resource.custom.as_ref()?;
    Some(published(resource, custom, &custom.schema_v3, "#/components/schemas/"))
}

/// The definition of a custom resource in OpenAPI v2. kubectl would refuse unknown fields if one that keeps them had
/// properties.
pub(super) fn version_2(resource: &Resource) -> Option<Value> {
    let custom = resource.custom.as_ref()?;
    let bare = json!({"type": "object"});
    let schema = if custom.schema_v2 == bare { &Value::Null } else { &custom.schema_v2 };
    Some(published(resource, custom, schema, "#/definitions/"))
}

fn published(resource: &Resource, custom: &Custom, schema: &Value, references: &str) -> Value {
    let mut out = match schema {
        // Without a schema there are no properties either: clients would take others for unknown.
        Value::Null => json!({"type": "object"}),
        schema => {
            let mut out = schema.clone();
            let properties = crate::access::object_mut(&mut out, &["properties"]);
            for (member, description) in [
                ("apiVersion", "APIVersion defines the version of the schema of this object."),
                ("kind", "Kind of this object."),
            ] {
                let ty = json!({"type": "string", "description": description});
                properties.insert(member.to_owned(), ty);
            }
            let reference = format!("{references}{OBJECT_META}");
            let described = "Standard object's metadata.";
            let metadata = match references {
                "#/definitions/" => json!({"description": described, "$ref": reference}),
                _ => json!({"description": described, "allOf": [{"$ref": reference}]}),
            };
            properties.insert("metadata".to_owned(), metadata);
            out
        }
    };
    out["x-kubernetes-group-version-kind"] = json!([group_version_kind(resource.kind_ref())]);
    if !custom.selectable_fields.is_empty() {
        let fields = custom.selectable_fields.iter().map(|path| json!({"fieldPath": path}));
        out["x-kubernetes-selectable-fields"] = fields.collect();
    }
    out
}
