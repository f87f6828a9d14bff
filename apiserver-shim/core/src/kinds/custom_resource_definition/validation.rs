//! Validation of CustomResourceDefinitions, except of their schemas. Like upstream's internal version, errors name what
//! all versions have alike as members of `spec`: `spec.subresources`, not `spec.versions[0].subresources`.

mod version;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;

use self::version::{column, deprecation, subresources};
use super::super::rules::Site;
use super::super::webhook::validation::{webhook_service, webhook_url};
use crate::custom_resources::approval::{self, Approval};
use crate::custom_resources::conditions;
use crate::structural_schema::{SchemaRules, SchemaSite, is_hoisted, selectable_field_errors};

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const SELECTABLE_MAX: usize = 8;
const APPROVAL: &str = "metadata.annotations[api-approved.kubernetes.io]";

/// Errors of a new definition.
pub fn create(object: &Value) -> Vec<FieldError> {
    let mut errors = name(object);
    errors.extend(spec(object, None));
    errors.extend(status(object));
    errors.extend(stored_versions(object));
    errors.extend(approved(object, None));
    errors.extend(preserved(object, None));
    errors
}

/// Errors of an update.
pub fn update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = spec(new, Some(old));
    let mut fixed = vec!["spec.group", "spec.names.plural"];
    if conditions::is_true(old, "Established") {
        fixed.splice(0..0, ["spec.scope", "spec.names.kind"]);
    }
    errors.extend(super::super::rules::immutable(new, old, &fixed));
    errors.extend(status(new));
    errors.extend(stored_versions(new));
    errors.extend(approved(new, Some(old)));
    errors.extend(preserved(new, Some(old)));
    errors
}

/// Errors of a status.
pub fn status(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Site::root(object);
    accepted_form(&root.at("status").at("acceptedNames"), &mut errors);
    errors
}

fn name(object: &Value) -> Vec<FieldError> {
    let text = |path: &[&str]| access::text(object, path);
    let wanted = format!("{}.{}", text(&["spec", "names", "plural"]), text(&["spec", "group"]));
    let name = text(&["metadata", "name"]);
    let why = "must be spec.names.plural+\".\"+spec.group";
    (!name.is_empty() && name != wanted)
        .then(|| FieldError::invalid("metadata.name", name, why))
        .into_iter()
        .collect()
}

fn stored_versions(object: &Value) -> Vec<FieldError> {
    const FIELD: &str = "status.storedVersions";
    let stored = access::list(object, &["status", "storedVersions"]);
    if stored.is_empty() {
        let shown = access::get(object, &["status", "storedVersions"]).cloned().unwrap_or_default();
        return vec![FieldError::invalid(FIELD, shown, "must have at least one stored version")];
    }
    let versions = access::list(object, &["spec", "versions"]);
    let storage = versions.iter().filter(|version| access::flag(version, &["storage"]));
    let missing = storage.map(|version| &version["name"]).filter(|name| !stored.contains(name));
    let mut errors: Vec<FieldError> = missing
        .map(|name| {
            let why = format!("must have the storage version {}", name.as_str().unwrap_or(""));
            FieldError::invalid(FIELD, stored.to_vec(), why)
        })
        .collect();
    let dropped = stored.iter().enumerate().filter(|(_, s)| !versions.iter().any(|v| v["name"] == **s));
    errors.extend(dropped.map(|(i, name)| {
        let v = name.as_str().unwrap_or("");
        let why = format!(
            "missing from spec.versions; {v} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {v} and removes {v} from status.storedVersions"
        );
        FieldError::invalid(format!("{FIELD}[{i}]"), v, why)
    }));
    errors
}

fn approved(new: &Value, old: Option<&Value>) -> Option<FieldError> {
    if !approval::is_protected(access::text(new, &["spec", "group"])) {
        return None;
    }
    let (state, reason) = approval::state(new);
    if old.is_some_and(|old| approval::state(old).0 == state) {
        return None;
    }
    match state {
        Approval::Approved | Approval::Bypassed => None,
        Approval::Missing => Some(FieldError::required(APPROVAL, reason)),
        Approval::Invalid => Some(FieldError::invalid(APPROVAL, approval::annotation(new), reason)),
    }
}

fn preserved(new: &Value, old: Option<&Value>) -> Option<FieldError> {
    let preserves = |object| access::flag(object, &["spec", "preserveUnknownFields"]);
    let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    (preserves(new) && !old.is_some_and(preserves))
        .then(|| FieldError::invalid("spec.preserveUnknownFields", true, why))
}

/// What is validated together with the stored definition.
struct Spec<'a> {
    object: &'a Value,
    old: Option<&'a Value>,
    schemas: SchemaRules,
}

fn spec(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let root = Site::root(object);
    let spec = root.at("spec");
    let context =
        Spec { object, old, schemas: SchemaRules::new(spec.value, old.and_then(|old| old.get("spec"))) };
    let mut errors = Vec::new();
    group(&spec.at("group"), &mut errors);
    choice(&spec.at("scope"), &["Cluster", "Namespaced"], &mut errors);
    context.missing_schemas(&spec, &mut errors);
    errors.extend(context.schemas.preserve_errors());
    context.versions(&spec, &mut errors);
    required_names(&spec.at("names"), &mut errors);
    accepted_form(&spec.at("names"), &mut errors);
    context.hoisted(&spec, &mut errors);
    context.conversion(&spec.at("conversion"), &mut errors);
    errors
}

fn group(group: &Site<'_>, errors: &mut Vec<FieldError>) {
    let text = group.text();
    if text.is_empty() {
        return errors.push(group.required(""));
    }
    let wrong = names::dns_subdomain(text);
    if !wrong.is_empty() {
        errors.push(group.invalid(wrong.join(",")));
    } else if !text.contains('.') {
        errors.push(group.invalid("should be a domain with at least one dot"));
    }
}

fn choice(site: &Site<'_>, known: &[&str], errors: &mut Vec<FieldError>) {
    if site.text().is_empty() {
        errors.push(site.required(""));
    } else if !known.contains(&site.text()) {
        errors.push(site.not_supported(known));
    }
}

impl Spec<'_> {
    fn missing_schemas(&self, spec: &Site<'_>, errors: &mut Vec<FieldError>) {
        let preserves = spec.at("preserveUnknownFields").flag();
        for version in spec.at("versions").items() {
            let holder = version.at("schema");
            let schema = holder.at("openAPIV3Schema");
            if schema.is_set() {
                continue;
            }
            if self.schemas.requires_schema() {
                errors.push(schema.required(""));
            } else if !preserves && version.at("served").flag() {
                errors.push(schema.required("because otherwise all fields are pruned"));
            }
        }
    }

    fn versions(&self, spec: &Site<'_>, errors: &mut Vec<FieldError>) {
        let versions = spec.at("versions");
        let own = |member| !is_hoisted(spec.value, member);
        let (own_schema, own_subresources) = (own("schema"), own("subresources"));
        let (own_columns, own_selectable) = (own("additionalPrinterColumns"), own("selectableFields"));
        for version in versions.items() {
            let name = version.at("name");
            let wrong = names::dns_1035_label(name.text());
            if !wrong.is_empty() {
                errors.push(FieldError::invalid(name, name.text(), wrong.join(",")));
            }
            deprecation(&version, errors);
            if own_schema {
                let (holder, status) = (version.at("schema"), version.at("subresources"));
                self.schema(&holder, name.text(), status.at("status").is_set(), errors);
            }
            if own_subresources {
                subresources(&version.at("subresources"), errors);
            }
            if own_columns {
                version.at("additionalPrinterColumns").items().for_each(|c| column(&c, errors));
            }
            if own_selectable {
                let path = version.at("selectableFields").to_string();
                self.selectable(&version, &path, errors);
            }
        }
        let mut seen: Vec<&str> = versions.items().map(|v| access::text(v.value, &["name"])).collect();
        let (count, storage) = (seen.len(), versions.items().filter(|v| v.at("storage").flag()).count());
        seen.sort_unstable();
        seen.dedup();
        let shown = || versions_shown(spec.value);
        if seen.len() != count {
            errors.push(FieldError::invalid_shown(versions, shown(), "must contain unique version names"));
        }
        if storage != 1 {
            let why = "must have exactly one version marked as storage version";
            errors.push(FieldError::invalid_shown(versions, shown(), why));
        }
        if let Some(first) = versions.value.get(0) {
            // The internal version has the first name once more.
            let wrong = names::dns_1035_label(access::text(first, &["name"]));
            if !wrong.is_empty() && !access::text(first, &["name"]).is_empty() {
                let name = access::text(first, &["name"]);
                errors.push(FieldError::invalid("spec.version", name, wrong.join(",")));
            }
        }
    }

    fn schema(&self, holder: &Site<'_>, version: &str, has_status: bool, errors: &mut Vec<FieldError>) {
        let Some(schema) = holder.value.get("openAPIV3Schema").filter(|schema| !schema.is_null()) else {
            return;
        };
        let at = holder.to_string();
        errors.extend(self.schemas.validate(schema, &SchemaSite { at: &at, version, has_status }));
    }

    /// What all versions have alike.
    fn hoisted(&self, spec: &Site<'_>, errors: &mut Vec<FieldError>) {
        let versions = spec.at("versions");
        let none = json!({});
        let first = versions.value.get(0).unwrap_or(&none);
        let member = |name: &str| first.get(name).unwrap_or(&Value::Null);
        if is_hoisted(spec.value, "schema") {
            let has_status = versions.items().any(|v| v.at("subresources").at("status").is_set());
            let holder = Site::below("spec.validation", member("schema"));
            self.schema(&holder, access::text(first, &["name"]), has_status, errors);
        }
        if is_hoisted(spec.value, "subresources") {
            subresources(&Site::below("spec.subresources", member("subresources")), errors);
        }
        if is_hoisted(spec.value, "additionalPrinterColumns") {
            let columns = Site::below("spec.additionalPrinterColumns", member("additionalPrinterColumns"));
            columns.items().for_each(|c| column(&c, errors));
        }
        if is_hoisted(spec.value, "selectableFields") {
            self.selectable(&Site::below("spec", first), "spec.selectableFields", errors);
        }
    }

    fn selectable(&self, version: &Site<'_>, path: &str, errors: &mut Vec<FieldError>) {
        let fields = version.at("selectableFields");
        if fields.len() == 0 {
            return;
        }
        let holder = version.at("schema");
        let schema = holder.at("openAPIV3Schema");
        if !schema.is_set() {
            let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
            return errors.push(FieldError::invalid(path, "", why));
        }
        let stored = self.old.map(|old| access::list(old, &["spec", "versions"])).unwrap_or_default();
        let stored = stored.iter().find(|stored| stored["name"] == version.value["name"]);
        let before = stored.and_then(|stored| stored.get("selectableFields"));
        let kept = before.is_some_and(|before| {
            before == fields.value && before.as_array().is_some_and(|list| list.len() > SELECTABLE_MAX)
        });
        errors.extend(selectable_field_errors(fields.value, schema.value, path, kept));
    }

    fn conversion(&self, conversion: &Site<'_>, errors: &mut Vec<FieldError>) {
        if !conversion.is_set() {
            return;
        }
        let strategy = conversion.at("strategy");
        let preserves = access::flag(self.object, &["spec", "preserveUnknownFields"]);
        if preserves && strategy.text() != "None" {
            errors.push(strategy.invalid("must be None if spec.preserveUnknownFields is true"));
        }
        choice(&strategy, &["None", "Webhook"], errors);
        let webhook = conversion.at("webhook");
        let (config, versions) = (webhook.at("clientConfig"), webhook.at("conversionReviewVersions"));
        let config = Site::below("spec.conversion.webhookClientConfig", config.value);
        let versions = Site::below("spec.conversion.conversionReviewVersions", versions.value);
        if strategy.text() != "Webhook" {
            let why = "should not be set when strategy is not set to Webhook";
            if config.is_set() {
                errors.push(config.forbidden(why));
            }
            if versions.len() > 0 {
                errors.push(versions.forbidden(why));
            }
            return;
        }
        if config.is_set() {
            self.client(&config, errors);
        } else {
            errors.push(config.required("required when strategy is set to Webhook"));
        }
        self.review_versions(&versions, errors);
    }

    fn client(&self, config: &Site<'_>, errors: &mut Vec<FieldError>) {
        let (url, service) = (config.at("url"), config.at("service"));
        match (url.is_set(), service.is_set()) {
            (true, false) => webhook_url(&url, errors),
            (false, true) => webhook_service(&service, errors),
            _ => errors.push(config.required("exactly one of url or service is required")),
        }
        let bundle = config.at("caBundle");
        let invalid = |text: &str| !text.is_empty() && !is_ca_bundle(text);
        let before = |old| {
            access::text(old, &["spec", "conversion", "webhook", "clientConfig", "caBundle"]).to_owned()
        };
        let tolerated =
            self.old.is_none_or(|old| !conditions::is_true(old, "Established") || invalid(&before(old)));
        if invalid(bundle.text()) && !tolerated {
            let why = "unable to load root certificates: unable to parse bytes as PEM block";
            errors.push(bundle.invalid(why));
        }
    }

    fn review_versions(&self, versions: &Site<'_>, errors: &mut Vec<FieldError>) {
        if versions.len() == 0 {
            return errors.push(versions.required(""));
        }
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for version in versions.items() {
            let text = version.value.as_str().unwrap_or("");
            if !seen.insert(text) {
                errors.push(FieldError::invalid(version, text, "duplicate version"));
                continue;
            }
            let wrong = names::dns_1035_label(text).into_iter();
            errors.extend(wrong.map(|why| FieldError::invalid(version, text, why)));
        }
        let stored = self
            .old
            .map(|old| access::list(old, &["spec", "conversion", "webhook", "conversionReviewVersions"]));
        let known = |list: &[Value]| list.iter().any(|v| REVIEW_VERSIONS.iter().any(|known| v == known));
        let required = stored.is_none_or(|list| list.is_empty() || known(list));
        if required && !seen.iter().any(|version| REVIEW_VERSIONS.contains(version)) {
            errors.push(versions.invalid("must include at least one of v1, v1beta1"));
        }
    }
}

/// Whether the base64 text is at least one certificate in PEM.
pub fn is_ca_bundle(text: &str) -> bool {
    shim_model::base64::decode(text)
        .is_some_and(|bytes| String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----"))
}

/// The versions as the internal version prints them, without what all have alike.
fn versions_shown(spec: &Value) -> String {
    let Some(list) = spec["versions"].as_array() else { return "null".to_owned() };
    let hoisted = ["schema", "subresources", "additionalPrinterColumns", "selectableFields"]
        .map(|member| (member, is_hoisted(spec, member)));
    let own = |version: &Value, member: &str| match hoisted.contains(&(member, true)) {
        true => Value::Null,
        false => version.get(member).cloned().unwrap_or_default(),
    };
    let shown = list.iter().map(|version| {
        // The order of members is that of upstream's type.
        format!(
            "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":{},\"Subresources\":{},\"AdditionalPrinterColumns\":{},\"SelectableFields\":{}}}",
            version["name"],
            access::flag(version, &["served"]),
            access::flag(version, &["storage"]),
            access::flag(version, &["deprecated"]),
            version.get("deprecationWarning").unwrap_or(&Value::Null),
            own(version, "schema"),
            own(version, "subresources"),
            own(version, "additionalPrinterColumns"),
            own(version, "selectableFields"),
        )
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(","))
}

fn required_names(site: &Site<'_>, errors: &mut Vec<FieldError>) {
    for member in ["plural", "singular", "kind", "listKind"] {
        let member = site.at(member);
        if member.text().is_empty() {
            errors.push(member.required(""));
        }
    }
}

/// The form of names that are set.
fn accepted_form(site: &Site<'_>, errors: &mut Vec<FieldError>) {
    for member in ["plural", "singular"] {
        let member = site.at(member);
        let wrong = names::dns_1035_label(member.text());
        if !member.text().is_empty() && !wrong.is_empty() {
            errors.push(member.invalid(wrong.join(",")));
        }
    }
    for member in ["kind", "listKind"] {
        let member = site.at(member);
        let wrong = names::dns_1035_label(&member.text().to_lowercase());
        if !member.text().is_empty() && !wrong.is_empty() {
            let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            errors.push(member.invalid(why));
        }
    }
    let labels = |list: &Site<'_>, errors: &mut Vec<FieldError>| {
        for item in list.items() {
            let wrong = names::dns_1035_label(item.text());
            if !wrong.is_empty() {
                errors.push(item.invalid(wrong.join(",")));
            }
        }
    };
    labels(&site.at("shortNames"), errors);
    let (kind, list_kind) = (site.at("kind"), site.at("listKind"));
    if !kind.text().is_empty() && kind.text() == list_kind.text() {
        errors.push(list_kind.invalid("kind and listKind may not be the same"));
    }
    labels(&site.at("categories"), errors);
}
