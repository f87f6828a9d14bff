//! The rules of defaults in a schema: each is a valid value and has no unknown fields.

use serde_json::{Value, json};
use shim_model::field::FieldError;

use super::path::Path;
use super::props::Props;
use super::{embedded, prune, values};

/// The errors of the defaults of a resource's schema. `pruned` is whether unknown fields in defaults are errors.
pub(super) fn validate(root: &Props, path: &Path<'_>, pruned: bool) -> Vec<FieldError> {
    let root = root.clone().into_resource();
    let mut walk = Walk { pruned, errors: Vec::new() };
    walk.schema(&root, path, &Within { root: &root, steps: None });
    walk.errors
}

struct Walk {
    pruned: bool,
    errors: Vec<FieldError>,
}

/// Where a schema is: the resource that it is part of, and the steps to it if it is part of that resource's metadata.
struct Within<'a> {
    root: &'a Props,
    steps: Option<Steps<'a>>,
}

#[derive(Clone)]
struct Steps<'a>(Vec<Step<'a>>);

#[derive(Clone, Copy)]
enum Step<'a> {
    Member(&'a str),
    Item,
}

impl<'a> Steps<'a> {
    fn and(&self, step: Step<'a>) -> Steps<'a> {
        Steps(self.0.iter().copied().chain([step]).collect())
    }

    /// A resource with the value at the end of the steps.
    fn resource(&self, value: &Value) -> Value {
        let wrap = |inner: Value, step: &Step<'_>| match step {
            Step::Member(name) => json!({ *name: inner }),
            Step::Item => json!([inner]),
        };
        let mut resource = self.0.iter().rev().fold(value.clone(), wrap);
        if let Value::Object(members) = &mut resource {
            members.entry("kind").or_insert_with(|| "Validation".into());
            members.entry("apiVersion").or_insert_with(|| "validation/v1".into());
        }
        resource
    }
}

impl Walk {
    fn schema<'a>(&mut self, schema: &'a Props, path: &Path<'_>, within: &Within<'a>) {
        let fresh = Within { root: schema, steps: None };
        let within = if schema.embedded { &fresh } else { within };
        if let Some(default) = &schema.default {
            let at = path.child("default");
            match &within.steps {
                Some(steps) => self.in_metadata(schema, default, &at, (within.root, steps)),
                None => self.elsewhere(schema, default, &at),
            }
        }
        if let Some(items) = &schema.items {
            let steps = within.steps.as_ref().map(|steps| steps.and(Step::Item));
            self.schema(items, &path.child("items"), &Within { root: within.root, steps });
        }
        for (name, property) in &schema.properties {
            let steps = match &within.steps {
                Some(steps) => Some(steps.and(Step::Member(name))),
                None if schema.embedded && prune::is_meta(name) => Some(Steps(vec![Step::Member(name)])),
                None => None,
            };
            let at = path.child("properties");
            self.schema(property, &at.key(name), &Within { root: within.root, steps });
        }
    }

    fn in_metadata(
        &mut self,
        schema: &Props,
        default: &Value,
        path: &Path<'_>,
        (root, steps): (&Props, &Steps<'_>),
    ) {
        let mut resource = steps.resource(default);
        let mut faults = Vec::new();
        match embedded::coerce(root, &mut resource, false) {
            Err(error) => faults.push(error),
            Ok(_) => embedded::validate_resource(root, &resource, &Path::ROOT, &mut faults),
        }
        if faults.is_empty() {
            return values::validate_below(&path.plain(), schema, default, None, &mut self.errors);
        }
        let mut faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let why = match faults.len() {
            1 => faults.remove(0),
            _ => format!("[{}]", faults.join(", ")),
        };
        let why = format!("must result in valid metadata: {why}");
        self.errors.push(FieldError::invalid(path, default.clone(), why));
    }

    fn elsewhere(&mut self, schema: &Props, default: &Value, path: &Path<'_>) {
        if self.pruned {
            let mut kept = default.clone();
            prune::prune(schema, &mut kept);
            if kept != *default {
                self.errors.push(FieldError::invalid(path, default.clone(), "must not have unknown fields"));
            }
        }
        let mut coerced = default.clone();
        if let Err(error) = embedded::coerce(schema, &mut coerced, false) {
            let field = format!("{path}.{}", error.field);
            return self.errors.push(FieldError { field, ..error });
        }
        let before = self.errors.len();
        embedded::validate_resource(schema, &coerced, path, &mut self.errors);
        if self.errors.len() == before {
            values::validate_below(&path.plain(), schema, default, None, &mut self.errors);
        }
    }
}
