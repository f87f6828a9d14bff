//! A resource for tests, as a CustomResourceDefinition would define it. Its objects are stored as `example.com/v1`
//! and also served as `example.com/v1beta1`, where `spec.size` is named `spec.count`.

use std::sync::Arc;

use serde_json::{Value, json};
use shim_core::converter::{Conversion, Converter};
use shim_core::definition::ResourceDefinition;
use shim_core::kinds::{FieldName, Strategy};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::resource::{GroupResource, KindRef, Resource, ServedSubresource, Verb};
use shim_model::schema::{ObjectType, Schema};
use shim_model::table::Column;
use shim_model::time::{self, Instant};

/// The resource's name.
pub const GADGETS: GroupResource = GroupResource::builtin("example.com", "gadgets");

/// Both versions, the preferred one first.
pub fn definitions() -> Vec<ResourceDefinition> {
    let newer = ResourceDefinition::new(resource("v1", "size"), Gadget::new());
    let older = ResourceDefinition::new(resource("v1beta1", "count"), Gadget::new());
    vec![newer, older.converted_by(Arc::new(Renamed))]
}

fn resource(version: &str, size: &str) -> Resource {
    let kind = KindRef { group: "example.com", version, kind: "Gadget" };
    let schema = Schema::structural(kind, schema(size)).expect("the schema is structural");
    let object_type: ObjectType = schema.object_type(kind).expect("the schema has the kind");
    let texts = |all: &[&str]| all.iter().map(|t| (*t).to_owned()).collect();
    Resource {
        group: kind.group.to_owned(),
        version: version.to_owned(),
        plural: "gadgets".to_owned(),
        singular: "gadget".to_owned(),
        kind: kind.kind.to_owned(),
        list_kind: "GadgetList".to_owned(),
        namespaced: true,
        short_names: texts(&["gd"]),
        categories: texts(&["all"]),
        verbs: Verb::ALL.to_vec(),
        subresources: vec![ServedSubresource {
            name: "status".to_owned(),
            kind: kind.to_owned(),
            object_type: Some(object_type.clone()),
            verbs: vec![Verb::Get, Verb::Patch, Verb::Update],
        }],
        storage_group: kind.group.to_owned(),
        storage_version: "v1".to_owned(),
        object_type,
        columns: [
            ("Name", "string", "name"),
            ("Size", "integer", ""),
            ("Phase", "string", ""),
            ("Age", "date", ""),
        ]
        .map(|(name, ty, format)| Column {
            name: name.to_owned(),
            ty: ty.to_owned(),
            format: format.to_owned(),
            description: String::new(),
            priority: 0,
        })
        .to_vec(),
        custom: None,
    }
}

/// A structural schema as in a CustomResourceDefinition.
fn schema(size: &str) -> Value {
    json!({
        "type": "object",
        "description": "Gadget is made up for a test.",
        "properties": {
            "spec": {
                "type": "object",
                "description": "What is wanted of the gadget.",
                "properties": {
                    size: {"type": "integer", "format": "int32", "description": "How large the gadget is."},
                    "parts": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object", "properties": {"name": {"type": "string"}}},
                    },
                    "notes": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                },
            },
            "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
        },
    })
}

/// The strategy of gadgets. The names of selectable fields are known at run time only, as those of a definition.
struct Gadget {
    selectable: Vec<String>,
}

impl Gadget {
    fn new() -> Arc<Self> {
        Arc::new(Gadget { selectable: vec![["spec", "size"].join(".")] })
    }
}

impl Strategy for Gadget {
    fn default(&self, object: &mut Value) {
        let spec = access::object_mut(object, &["spec"]);
        if !spec.contains_key("count") {
            access::set_default(spec, "size", 1);
        }
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let size = access::int(object, &["spec", "size"]).unwrap_or(0);
        match size < 0 {
            true => vec![FieldError::invalid("spec.size", size, "must be greater than or equal to 0")],
            false => Vec::new(),
        }
    }

    fn selectable_fields(&self) -> Vec<&str> {
        self.selectable.iter().map(String::as_str).collect()
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        let value = |path: &String| {
            let value = access::get(object, &path.split('.').collect::<Vec<_>>());
            value.map(Value::to_string).unwrap_or_default()
        };
        self.selectable.iter().map(|path| (path.clone().into(), value(path))).collect()
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let text = |path: &[&str]| access::text(object, path);
        vec![
            text(&["metadata", "name"]).into(),
            access::int(object, &["spec", "size"]).or(access::int(object, &["spec", "count"])).into(),
            text(&["status", "phase"]).into(),
            time::age(text(&["metadata", "creationTimestamp"]), now).into(),
        ]
    }
}

/// Converts between the versions asynchronously, as a webhook would.
struct Renamed;

impl Converter for Renamed {
    fn to_served(&self, stored: Vec<Value>) -> Conversion<'_> {
        Box::pin(later(stored, "example.com/v1beta1", ["size", "count"]))
    }

    fn to_stored(&self, served: Vec<Value>) -> Conversion<'_> {
        Box::pin(later(served, "example.com/v1", ["count", "size"]))
    }
}

async fn later(
    mut objects: Vec<Value>,
    api_version: &str,
    [from, to]: [&str; 2],
) -> Result<Vec<Value>, shim_model::status::Status> {
    tokio::task::yield_now().await;
    for object in &mut objects {
        object["apiVersion"] = api_version.into();
        let spec = access::object_mut(object, &["spec"]);
        if let Some(size) = spec.remove(from) {
            spec.insert(to.to_owned(), size);
        }
    }
    Ok(objects)
}
