//! The strategy of custom resources: one for each version of a definition.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::schema::Coercion;
use shim_model::time::Instant;

use super::columns::PrinterColumn;
use super::json_path;
use super::scale::ScalePaths;
use super::{Family, conditions, conversion};
use crate::kinds::{CreateContext, FieldName, Strategy};
use crate::structural_schema::Structural;

/// Finalizers that need no domain prefix.
const STANDARD_FINALIZERS: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];

/// Decodes objects by a structural schema.
pub(super) struct VersionSchema(pub Arc<Structural>);

impl Coercion for VersionSchema {
    fn coerce(&self, object: &mut Value) -> Result<Vec<String>, String> {
        let mut removed = self.0.prune(object);
        removed.extend(self.0.coerce(object, false).map_err(|error| error.to_string())?);
        Ok(removed)
    }
}

pub(super) struct CustomResource {
    family: Arc<Family>,
    schema: Arc<Structural>,
    api_version: String,
    has_status: bool,
    is_terminating: bool,
    scale: Option<ScalePaths>,
    columns: Vec<PrinterColumn>,
    /// The names and paths of `selectableFields`.
    selectable: Vec<(String, Vec<String>)>,
}

impl CustomResource {
    pub fn new(crd: &Value, version: &Value, family: Arc<Family>, columns: Vec<PrinterColumn>) -> Self {
        let name = access::text(version, &["name"]);
        let fields = access::list(version, &["selectableFields"]).iter();
        let selectable = fields.map(|field| {
            let name = access::text(field, &["jsonPath"]).trim_start_matches('.').to_owned();
            let path = name.split('.').map(str::to_owned).collect();
            (name, path)
        });
        let selectable = selectable.collect();
        CustomResource {
            schema: family.schema(name).cloned().unwrap_or_else(|| Arc::new(Structural::open())),
            api_version: format!("{}/{name}", family.group),
            has_status: access::get(version, &["subresources", "status"]).is_some(),
            is_terminating: conditions::is_true(crd, "Terminating"),
            scale: ScalePaths::of_version(version),
            columns,
            selectable,
            family,
        }
    }

    /// An object of another kind is refused here, because it is decoded without its schema.
    fn type_errors(&self, object: &Value) -> Vec<FieldError> {
        let (kind, version) = (access::text(object, &["kind"]), access::text(object, &["apiVersion"]));
        let mut errors = Vec::new();
        if kind != self.family.kind {
            errors.push(FieldError::invalid("kind", kind, format!("must be {}", self.family.kind)));
        }
        if version != self.api_version {
            errors.push(FieldError::invalid("apiVersion", version, format!("must be {}", self.api_version)));
        }
        errors
    }

    fn scale_errors(&self, object: &Value, with_spec: bool) -> Vec<FieldError> {
        let Some(scale) = &self.scale else { return Vec::new() };
        let mut errors = if with_spec { scale.spec_errors(object) } else { Vec::new() };
        errors.extend(scale.status_errors(object));
        errors
    }
}

impl Strategy for CustomResource {
    fn default(&self, object: &mut Value) {
        if access::text(object, &["kind"]) == self.family.kind {
            self.schema.default(object);
        }
    }

    fn default_applied(&self, object: &mut Value) {
        if access::text(object, &["kind"]) == self.family.kind {
            self.schema.default_applied(object);
        }
    }

    fn restore(&self, object: &mut Value) -> bool {
        let before = object.clone();
        if let Some(schema) = self.family.schema_of(object) {
            schema.prune(object);
            // Metadata that cannot be read is dropped.
            let _ = schema.coerce(object, true);
            schema.default(object);
        }
        if self.family.renames {
            conversion::to_storage_version(object, &self.family);
        }
        let metadata = access::object_mut(object, &["metadata"]);
        if metadata.get("generation").and_then(Value::as_i64).unwrap_or(0) == 0 {
            metadata.insert("generation".to_owned(), 1.into());
        }
        *object != before
    }

    fn is_restored(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        let count =
            |object: &Value| object.as_object().map_or(0, |o| o.keys().filter(|k| *k != "metadata").count());
        let members = new.as_object().into_iter().flatten().filter(|(key, _)| *key != "metadata");
        count(new) != count(old) || members.into_iter().any(|(key, value)| old.get(key) != Some(value))
    }

    fn prepare_create(&self, object: &mut Value, _context: &CreateContext<'_>) {
        if self.has_status {
            access::remove(object, &["status"]);
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        if self.has_status {
            access::copy(old, new, &["status"]);
        }
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        let mut kept = old.clone();
        access::copy(new, &mut kept, &["status"]);
        access::copy(new, &mut kept, &["metadata", "managedFields"]);
        *new = kept;
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let errors = self.type_errors(object);
        if !errors.is_empty() {
            return errors;
        }
        let mut errors = self.schema.validate_create(object);
        errors.extend(self.scale_errors(object, true));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let errors = self.type_errors(new);
        if !errors.is_empty() {
            return errors;
        }
        let mut errors = self.schema.validate_update(new, old);
        errors.extend(self.scale_errors(new, true));
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let errors = self.type_errors(new);
        if !errors.is_empty() {
            return errors;
        }
        let mut errors = self.schema.validate_status_update(new, old);
        errors.extend(self.scale_errors(new, false));
        errors
    }

    fn ratchets_itself(&self) -> bool {
        true
    }

    fn creation_refusal(&self) -> Option<&'static str> {
        self.is_terminating.then_some("create not allowed while custom resource definition is terminating")
    }

    fn status_warnings(&self, new: &Value, old: &Value) -> Vec<String> {
        self.warnings(new, Some(old))
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let known = old.map(finalizers).unwrap_or_default();
        finalizers(new).difference(&known).copied().flat_map(finalizer_warnings).collect()
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let name = Value::from(access::text(object, &["metadata", "name"]));
        [name].into_iter().chain(self.columns.iter().map(|column| column.cell(object, now))).collect()
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        let fields = self.selectable.iter();
        fields.map(|(name, path)| (name.clone().into(), json_path::text_at(object, path))).collect()
    }

    fn selectable_fields(&self) -> Vec<&str> {
        self.selectable.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn scale_paths(&self) -> Option<&ScalePaths> {
        self.scale.as_ref()
    }
}

fn finalizers(object: &Value) -> BTreeSet<&str> {
    access::list(object, &["metadata", "finalizers"]).iter().filter_map(Value::as_str).collect()
}

fn finalizer_warnings(name: &str) -> Vec<String> {
    let shown = Value::from(name);
    let wrong = names::qualified(name).into_iter();
    let mut warnings: Vec<String> = wrong.map(|why| format!("metadata.finalizers: {shown}: {why}")).collect();
    if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
        let path = if name.contains('.') { " including a path (/)" } else { "" };
        warnings.push(format!(
            "metadata.finalizers: {shown}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        ));
    }
    warnings
}
