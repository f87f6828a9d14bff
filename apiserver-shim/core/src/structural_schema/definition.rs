//! The rules of the schemas of a CRD. An update does not report what the stored definition already breaks, of a kind of
//! rule that came later than the definition may have.

use serde_json::Value;
use shim_model::field::FieldError;

use super::keywords::{self, Keywords};
use super::path::Path;
use super::props::Props;
use super::rule_costs::RuleCosts;
use super::rules::{Found, Place, RuleNode};
use super::{defaults, structure};

/// The rules of a CRD's schemas, as far as they depend on the definition and its stored state.
#[derive(Debug)]
pub struct SchemaRules {
    requires_schema: bool,
    structural: bool,
    preserve_errors: Vec<FieldError>,
    options: Keywords,
    /// The stored schemas with the names of their versions.
    stored: Vec<(String, Value)>,
}

/// Where a schema is in a CRD.
#[derive(Debug, Clone, Copy)]
pub struct SchemaSite<'a> {
    /// The path of its holder, such as `spec.versions[0].schema` or `spec.validation`.
    pub at: &'a str,
    /// The name of the version.
    pub version: &'a str,
    /// Whether a status subresource is declared.
    pub has_status: bool,
}

/// Whether all versions have equal values of a member. Upstream treats such a member as one of the spec: paths in errors are
/// `spec.validation` instead of `spec.versions[0].schema`, and so on.
pub fn is_hoisted(spec: &Value, member: &str) -> bool {
    let all = versions(spec).iter().map(|version| version.get(member).unwrap_or(&Value::Null));
    all.clone().zip(all.skip(1)).all(|(one, next)| one == next)
}

fn versions(spec: &Value) -> &[Value] {
    spec.get("versions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The schema of a version.
fn schema_of(version: &Value) -> Option<&Value> {
    version.get("schema")?.get("openAPIV3Schema").filter(|schema| !schema.is_null())
}

fn named_schema(version: &Value) -> Option<(String, Value)> {
    let name = version.get("name").and_then(Value::as_str).unwrap_or("");
    Some((name.to_owned(), schema_of(version)?.clone()))
}

fn schemas(spec: &Value) -> Vec<Props> {
    versions(spec).iter().filter_map(schema_of).map(Props::parse).collect()
}

impl SchemaRules {
    /// The rules of a definition's spec that replaces `stored`.
    pub fn new(spec: &Value, stored: Option<&Value>) -> SchemaRules {
        let (new, old) = (schemas(spec), stored.map(schemas).unwrap_or_default());
        let preserve = spec.get("preserveUnknownFields").and_then(Value::as_bool);
        let has = |schemas: &[Props], seen: &dyn Fn(&Props) -> bool| {
            schemas.iter().any(|schema| schema.any(&mut |s| seen(s)))
        };
        let has_defaults = has(&new, &|s| s.default.is_some());
        let mut preserve_errors = Vec::new();
        if has_defaults && preserve == Some(true) {
            let why = "must be false in order to use defaults in the schema";
            preserve_errors.push(FieldError::invalid("spec.preserveUnknownFields", true, why));
        }
        let was_structural = old.iter().all(|schema| structure::check(schema).is_ok());
        let structural =
            preserve != Some(true) || has_defaults || has(&new, &keywords::has_extensions) || was_structural;
        let had_schemas = stored.is_none_or(|stored| versions(stored).iter().all(|v| schema_of(v).is_some()));
        SchemaRules {
            requires_schema: had_schemas,
            structural,
            preserve_errors,
            stored: stored.map(versions).unwrap_or_default().iter().filter_map(named_schema).collect(),
            options: Keywords {
                valid_types: !has(&old, &keywords::has_unknown_type),
                pruned_defaults: old.iter().all(has_pruned_defaults),
                atomic_sets: !has(&old, &keywords::is_set_of_composites),
                complete_map_keys: !has(&old, &keywords::has_incomplete_keys),
            },
        }
    }

    /// Whether every version needs a schema.
    pub fn requires_schema(&self) -> bool {
        self.requires_schema
    }

    /// Errors of `spec.preserveUnknownFields`.
    pub fn preserve_errors(&self) -> Vec<FieldError> {
        self.preserve_errors.clone()
    }

    /// Whether the version had the same schema before.
    fn is_unchanged(&self, schema: &Value, site: &SchemaSite<'_>) -> bool {
        self.stored.iter().any(|(version, stored)| version == site.version && stored == schema)
    }

    /// The errors of one schema.
    pub fn validate(&self, schema: &Value, site: &SchemaSite<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let at = format!("{}.openAPIV3Schema", site.at);
        let path = Path::text(&at);
        let props = Props::parse(schema);
        if site.has_status {
            keywords::root_with_status(schema, &at, &mut errors);
        }
        if props.nullable {
            errors.push(FieldError::forbidden(path.child("nullable"), "nullable cannot be true at the root"));
        }
        let mut keyword = None;
        if self.structural {
            keyword = structure::unsupported(&props).map(|why| FieldError::invalid(&at, "", why));
            if keyword.is_none() {
                let mut found = structure::violations(&props, &at);
                if found.is_empty() {
                    found = defaults::validate(&props, &path, self.options.pruned_defaults);
                }
                errors.extend(found);
            }
        }
        errors.extend(self.options.validate(&props, &path));
        if errors.is_empty() {
            errors.extend(keyword);
        }
        if errors.is_empty()
            && self.structural
            && let Some(rules) = RuleNode::compile(&props, schema, true)
        {
            let mut costs = RuleCosts::new(self.is_unchanged(schema, site));
            rules.errors(&props, &path, Place::ROOT, &mut Found { costs: &mut costs, errors: &mut errors });
            errors.extend(costs.errors(&at));
        }
        errors
    }
}

/// Whether the defaults of a schema have no unknown fields.
fn has_pruned_defaults(schema: &Props) -> bool {
    let complains =
        |errors: Vec<FieldError>| errors.iter().any(|e| e.detail == "must not have unknown fields");
    structure::check(schema).is_err() || !complains(defaults::validate(schema, &Path::ROOT, true))
}
