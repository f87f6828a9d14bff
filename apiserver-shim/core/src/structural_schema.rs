//! Structural schemas of CustomResourceDefinitions: what they may contain, and what they do to custom resources
//! (pruning, defaulting, validation).
//!
//! Where to look: `props` (the parsed schema), `structure` (what makes a schema structural), `definition` and `keywords`
//! (rules of a CRD's schemas), `prune`, `defaulting`, `embedded` (metadata of embedded resources), `values` (validation by
//! keywords), `lists` (sets and maps), `rules` (CEL), `published` (OpenAPI). The fields of a CRD outside of its schemas are
//! not here.

mod correlation;
mod defaulting;
mod defaults;
mod definition;
mod embedded;
mod formats;
mod keywords;
mod lists;
mod path;
mod props;
mod prune;
mod published;
mod rule_costs;
mod rules;
mod selectable;
mod structure;
mod values;

use serde_json::{Value, json};
use shim_model::field::{Fault, FieldError};

pub(crate) use formats::is_valid as is_format;

pub use definition::{SchemaRules, SchemaSite, is_hoisted};
pub use selectable::selectable_field_errors;
pub use structure::{NotStructural, structural_violations};

use correlation::Correlated;
use path::Path;
use props::Props;
use rules::RuleNode;

/// The structural schema of one version of a custom resource, with its patterns compiled.
#[derive(Debug)]
pub struct Structural {
    root: Props,
    source: Value,
    rules: Option<RuleNode>,
}

impl Structural {
    /// Parses a schema.
    ///
    /// # Errors
    /// The schema is not structural.
    pub fn new(open_api_v3_schema: &Value) -> Result<Structural, NotStructural> {
        let root = Props::parse(open_api_v3_schema);
        structure::check(&root)?;
        let root = root.into_resource();
        let rules = RuleNode::compile(&root, open_api_v3_schema, true);
        Ok(Structural { root, source: open_api_v3_schema.clone(), rules })
    }

    /// The schema of a resource that has none: every field is kept.
    pub fn open() -> Structural {
        let source = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        Structural { root: Props::parse(&source).into_resource(), source, rules: None }
    }

    /// Checks `apiVersion`, `kind` and `metadata` of the object and of embedded resources, and removes unknown fields of
    /// their metadata, whose paths it returns. `drop_invalid` removes values of the wrong type instead of reporting them,
    /// which is meant for objects from the store.
    ///
    /// # Errors
    /// The first value of a wrong type.
    pub fn coerce(&self, object: &mut Value, drop_invalid: bool) -> Result<Vec<String>, FieldError> {
        embedded::coerce(&self.root, object, drop_invalid)
    }

    /// Removes fields that the schema does not specify, and returns their paths, sorted. Metadata is not touched.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(&self.root, object)
    }

    /// Removes nulls of fields that are neither nullable nor have a default, and sets defaults.
    pub fn default(&self, object: &mut Value) {
        defaulting::drop_nulls(&self.root, object);
        self.default_applied(object);
    }

    /// Sets defaults, and leaves nulls of fields without defaults alone: validation refuses them. As upstream, those of applied
    /// configurations are not removed.
    pub fn default_applied(&self, object: &mut Value) {
        defaulting::default(&self.root, object);
    }

    /// The errors of a new object.
    pub fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        self.validate_create_after(Vec::new(), object)
    }

    /// The errors of a new object, after `errors` that were found elsewhere.
    pub fn validate_create_after(&self, mut errors: Vec<FieldError>, object: &Value) -> Vec<FieldError> {
        values::validate(&self.root, object, &Path::ROOT, None, &mut errors);
        embedded::validate(&self.root, object, &mut errors);
        lists::validate(&self.root, object, &mut errors);
        self.evaluate_rules(object, None, &mut errors);
        errors
    }

    /// The errors of an update. Errors of unchanged values are not reported.
    pub fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        self.validate_update_after(Vec::new(), new, old)
    }

    /// The errors of an update, after `errors` that were found elsewhere.
    pub fn validate_update_after(
        &self,
        mut errors: Vec<FieldError>,
        new: &Value,
        old: &Value,
    ) -> Vec<FieldError> {
        let correlated = Correlated::root(&self.root, new, old);
        values::validate(&self.root, new, &Path::ROOT, Some(&correlated), &mut errors);
        self.finish_update(errors, new, old)
    }

    /// The errors of an update of the status. Only the status is validated by keywords.
    pub fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        self.validate_status_update_after(Vec::new(), new, old)
    }

    /// The errors of an update of the status, after `errors` that were found elsewhere.
    pub fn validate_status_update_after(
        &self,
        mut errors: Vec<FieldError>,
        new: &Value,
        old: &Value,
    ) -> Vec<FieldError> {
        if let (Some(status), Some(schema)) = (new.get("status"), self.root.properties.get("status")) {
            let correlated = Correlated::root(schema, status, old.get("status").unwrap_or(&Value::Null));
            values::validate_below("status", schema, status, Some(&correlated), &mut errors);
        }
        self.finish_update(errors, new, old)
    }

    fn finish_update(&self, mut errors: Vec<FieldError>, new: &Value, old: &Value) -> Vec<FieldError> {
        embedded::validate(&self.root, new, &mut errors);
        let mut stored = Vec::new();
        lists::validate(&self.root, old, &mut stored);
        if stored.is_empty() {
            lists::validate(&self.root, new, &mut errors);
        }
        self.evaluate_rules(new, Some(old), &mut errors);
        errors
    }

    fn evaluate_rules(&self, new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
        if let Some(rules) = &self.rules
            && !blocks_rules(errors)
        {
            rules::validate(rules, &self.root, rules::Site::root(&self.root, new, old), errors);
        }
    }

    /// The schema as `shim_model::schema::Schema::structural` takes it.
    pub fn definition(&self) -> Value {
        published::definition(&self.source)
    }

    /// The schema that `/openapi/v3` publishes, without the metadata and type of the resource itself.
    pub fn published(&self) -> Value {
        published::version_3(&self.source)
    }

    /// The schema that `/openapi/v2` publishes: without the keywords that version 2 does not have. `preserve_unknown` is
    /// the CRD's `spec.preserveUnknownFields`.
    pub fn published_v2(&self, preserve_unknown: bool) -> Value {
        published::version_2(&self.source, preserve_unknown)
    }

    /// The type (`string`, `integer` …) of the field at a path of names; empty if the schema leaves it open.
    pub fn type_at(&self, path: &[&str]) -> Option<&str> {
        let mut at = &self.root;
        for name in path {
            at = at.child(name)?;
        }
        Some(&at.ty)
    }
}

/// Whether errors forbid the evaluation of rules in CEL, which rely on types, sizes and required fields. An error says so.
fn blocks_rules(errors: &mut Vec<FieldError>) -> bool {
    let blocking = |error: &FieldError| {
        matches!(
            error.fault,
            Fault::NotSupported | Fault::Required | Fault::TooLong | Fault::TooMany | Fault::TypeInvalid
        )
    };
    if !errors.iter().any(blocking) {
        return false;
    }
    const SKIPPED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
    errors.push(FieldError::invalid("<nil>", Value::Null, SKIPPED));
    true
}

#[cfg(test)]
mod tests;
