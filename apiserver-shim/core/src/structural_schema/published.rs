//! The schema as OpenAPI documents publish it, and as managed fields and decoding need it.

use serde_json::{Map, Value, json};

const VERSION_2: &str = "#/definitions/";
const VERSION_3: &str = "#/components/schemas/";

/// The schema as `shim_model::schema::Schema::structural` takes it.
pub(super) fn definition(schema: &Value) -> Value {
    unfolded(schema)
}

/// The schema that `/openapi/v3` publishes.
pub(super) fn version_3(schema: &Value) -> Value {
    let mut out = unfolded(schema);
    each(&mut out, &mut |s| {
        if s.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true)) {
            embedded(s, VERSION_3);
        }
    });
    out
}

/// The schema that `/openapi/v2` publishes. kubectl does not understand schemas without a type there, so that more is
/// removed than version 2 asks for.
pub(super) fn version_2(schema: &Value, preserve_unknown: bool) -> Value {
    let keeps_all = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if keeps_all || preserve_unknown {
        return json!({"type": "object"});
    }
    let mut out = unfolded(schema);
    each(&mut out, &mut simplify);
    each(&mut out, &mut |s| {
        let is = |name: &str| s.get(name) == Some(&Value::Bool(true));
        if is("x-kubernetes-embedded-resource") && !is("x-kubernetes-preserve-unknown-fields") {
            embedded(s, VERSION_2);
        }
    });
    out
}

fn simplify(s: &mut Map<String, Value>) {
    let is = |s: &Map<String, Value>, name: &str| s.get(name) == Some(&Value::Bool(true));
    for keyword in ["allOf", "oneOf", "anyOf", "not"] {
        s.remove(keyword);
    }
    let nullable: Vec<String> = s
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, property)| property.get("nullable") == Some(&Value::Bool(true)))
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(Value::Array(required)) = s.get_mut("required") {
        required.retain(|name| !nullable.iter().any(|other| name == other.as_str()));
        if required.is_empty() {
            s.remove("required");
        }
    }
    let preserve = is(s, "x-kubernetes-preserve-unknown-fields");
    if is(s, "nullable") || preserve {
        s.remove("items");
        s.remove("properties");
    }
    if is(s, "nullable") {
        s.remove("type");
    }
    s.remove("nullable");
    s.remove("default");
    let ty = s.get("type").and_then(Value::as_str).unwrap_or("");
    if ty == "array" && !s.contains_key("items") || preserve && ty == "object" {
        s.remove("type");
    }
}

fn embedded(s: &mut Map<String, Value>, references: &str) {
    let properties = s.entry("properties").or_insert_with(|| json!({}));
    let text = |description: &str| json!({"type": "string", "description": description});
    properties["apiVersion"] = text("The version of the schema of this representation of an object.");
    properties["kind"] = text("The type of this object, in CamelCase.");
    let metadata = json!({"$ref": format!("{references}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")});
    let mut described = json!({"description": "Standard object metadata."});
    // Only version 2 has references beside other keywords.
    match references == VERSION_2 {
        true => described["$ref"] = metadata["$ref"].clone(),
        false => described["allOf"] = json!([metadata]),
    }
    properties["metadata"] = described;
    let required = s.entry("required").or_insert_with(|| json!([]));
    if let Value::Array(required) = required {
        for name in ["kind", "apiVersion"] {
            if !required.iter().any(|other| other == name) {
                required.push(name.into());
            }
        }
    }
}

/// The schema with the alternatives of fields that are an integer or a string.
fn unfolded(schema: &Value) -> Value {
    let mut out = schema.clone();
    each(&mut out, &mut |s| {
        if s.get("x-kubernetes-int-or-string") != Some(&Value::Bool(true)) {
            return;
        }
        let alternatives = json!([{"type": "integer"}, {"type": "string"}]);
        let says_so = |list: Option<&Value>| list == Some(&alternatives);
        let in_first = s.get("allOf").and_then(|all| all.get(0)).is_some_and(|f| says_so(f.get("anyOf")));
        if says_so(s.get("anyOf")) || in_first {
            return;
        }
        if s.get("anyOf").is_none() {
            s.insert("anyOf".to_owned(), alternatives);
        } else if let Value::Array(all) = s.entry("allOf").or_insert_with(|| json!([])) {
            all.insert(0, json!({"anyOf": alternatives}));
        }
    });
    out
}

/// Calls `change` with each schema that describes a value: not with those of `allOf` and such.
fn each(schema: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Value::Object(members) = schema else { return };
    change(members);
    for name in ["items", "additionalProperties"] {
        if let Some(below) = members.get_mut(name) {
            each(below, change);
        }
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(|property| each(property, change));
    }
}
