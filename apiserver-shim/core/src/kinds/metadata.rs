//! Object metadata of all kinds: names, identity, labels, owners, finalizers.

mod parts;

use self::parts::Part;
use super::{CreateContext, Strategy};
use serde_json::{Map, Value};
use shim_model::access;
use shim_model::field::{At, FieldError};
use shim_model::names;
use shim_model::resource::{Resource, split_api_version};
use shim_model::status::{Status, bad_request, unclassified};

/// Longest `generateName` that is used; it is cut before the suffix is appended.
const GENERATED_BASE_MAX: usize = 58;
/// Maximum size of all annotations, in bytes.
const ANNOTATIONS_MAX: usize = 256 * 1024;
/// Finalizers that need no domain prefix.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    access::text(object, &["metadata", key])
}

/// Sets the server's metadata of a new object.
pub(super) fn prepare_create(
    resource: &Resource,
    object: &mut Value,
    context: &CreateContext<'_>,
) -> Result<(), Status> {
    let namespace = if resource.namespaced { context.namespace } else { "" };
    check_namespace(resource, namespace, object)?;
    let meta = access::object_mut(object, &["metadata"]);
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        meta.remove(key);
    }
    if meta.get("generation") == Some(&0.into()) {
        meta.remove("generation");
    }
    let base = meta.get("generateName").and_then(Value::as_str).unwrap_or("");
    if !base.is_empty() && meta.get("name").and_then(Value::as_str).unwrap_or("").is_empty() {
        let cut = base
            .char_indices()
            .map(|(i, c)| i + c.len_utf8())
            .take_while(|end| *end <= GENERATED_BASE_MAX)
            .last();
        let name = format!("{}{}", &base[..cut.unwrap_or(0)], context.suffix);
        meta.insert("name".into(), name.into());
    }
    meta.insert("creationTimestamp".into(), context.now.to_rfc3339().into());
    meta.insert("uid".into(), context.uid.into());
    Ok(())
}

/// Refuses a new object with a version, or takes from it what is none. As upstream, which has no code for it, after all of admission: only
/// the store refuses such an object.
pub fn take_version(object: &mut Value) -> Result<(), Status> {
    let version = text(object, "resourceVersion");
    // Go accepts no sign.
    let is_number = version.bytes().all(|b| b.is_ascii_digit());
    if is_number && version.parse::<u64>().is_ok_and(|version| version != 0) {
        return Err(unclassified("resourceVersion should not be set on objects to be created"));
    }
    access::object_mut(object, &["metadata"]).remove("resourceVersion");
    Ok(())
}

/// Restores the metadata that an update cannot change.
pub(super) fn prepare_update(new: &mut Value, old: &Value) {
    for key in ["generation", "creationTimestamp"] {
        access::copy(old, new, &["metadata", key]);
    }
    // A deletion that has begun cannot be changed; that of an object that is not being deleted is refused.
    if !text(old, "deletionTimestamp").is_empty() {
        access::copy(old, new, &["metadata", "deletionTimestamp"]);
    }
    if new["metadata"]["deletionGracePeriodSeconds"].is_null() {
        access::copy(old, new, &["metadata", "deletionGracePeriodSeconds"]);
    }
    if text(new, "uid").is_empty() {
        access::copy(old, new, &["metadata", "uid"]);
    }
    access::object_mut(new, &["metadata"]).remove("selfLink");
}

/// Restores the metadata that an update of the status of some kinds cannot change.
pub(super) fn restore(new: &mut Value, old: &Value) {
    for key in ["labels", "annotations", "ownerReferences", "finalizers"] {
        access::copy(old, new, &["metadata", key]);
    }
}

pub(super) fn check_identity(
    resource: &Resource,
    namespace: &str,
    name: &str,
    object: &mut Value,
) -> Result<(), Status> {
    check_namespace(resource, namespace, object)?;
    let found = text(object, "name");
    if found.is_empty() {
        let message =
            format!("the name of the object ({name} based on URL) was undeterminable: name must be provided");
        return Err(bad_request(message));
    }
    if found != name {
        return Err(bad_request(format!(
            "the name of the object ({found}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}

pub(super) fn check_namespace(
    resource: &Resource,
    namespace: &str,
    object: &mut Value,
) -> Result<(), Status> {
    if !resource.namespaced {
        access::remove(object, &["metadata", "namespace"]);
        return Ok(());
    }
    match text(object, "namespace") {
        "" => {
            access::object_mut(object, &["metadata"]).insert("namespace".into(), namespace.into());
            Ok(())
        }
        same if same == namespace => Ok(()),
        _ => Err(bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

pub(super) fn validate_create(
    resource: &Resource,
    strategy: &dyn Strategy,
    object: &Value,
) -> Vec<FieldError> {
    validate(strategy, object, resource.namespaced, Finalizers::of(resource))
}

/// Validates the metadata of a new object of a namespaced kind.
pub(super) fn validate_namespaced(strategy: &dyn Strategy, object: &Value) -> Vec<FieldError> {
    validate(strategy, object, true, Finalizers::Prefixed)
}

fn validate(
    strategy: &dyn Strategy,
    object: &Value,
    namespaced: bool,
    finalizers: Finalizers,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let meta = &object["metadata"];
    let generate = access::text(meta, &["generateName"]);
    if !generate.is_empty() {
        // A prefix may end in a dash, since a suffix follows.
        let checked = match generate.strip_suffix('-') {
            Some(head) if !head.is_empty() => format!("{head}a"),
            _ => generate.to_owned(),
        };
        for detail in strategy.validate_name(&checked) {
            errors.push(FieldError::invalid("metadata.generateName", generate, detail));
        }
    }
    let name = access::text(meta, &["name"]);
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        errors.extend(
            strategy.validate_name(name).into_iter().map(|d| FieldError::invalid("metadata.name", name, d)),
        );
    }
    if namespaced && access::text(meta, &["namespace"]).is_empty() {
        errors.push(FieldError::required("metadata.namespace", ""));
    }
    validate_common(meta, finalizers, &mut errors);
    errors
}

/// Validates the metadata of an update. Upstream validates it several times: the message lists each error once,
/// `details.causes` lists all of them, so the causes repeat here too.
pub(super) fn validate_update(
    resource: &Resource,
    status: bool,
    new: &Value,
    old: &Value,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let base = text(new, "generateName");
    let odd = ["/", "%"].into_iter().filter(|odd| base.contains(odd));
    let why = odd.map(|odd| format!("may not contain '{odd}'"));
    errors.extend(why.map(|why| FieldError::invalid("metadata.generateName", base, why)));
    match text(new, "name") {
        "" => errors.push(FieldError::required("metadata.name", "name or generateName is required")),
        name => {
            let wrong = names::path_segment(name).into_iter();
            errors.extend(wrong.map(|why| FieldError::invalid("metadata.name", name, why)));
        }
    }
    let generic = [Part::GenericWhole, Part::GenericChange];
    for part in generic.iter().chain(parts::of(resource, status)) {
        match part {
            Part::Whole => validate_common(&new["metadata"], Finalizers::Prefixed, &mut errors),
            Part::GenericWhole => validate_common(&new["metadata"], Finalizers::Qualified, &mut errors),
            Part::Change => {
                validate_change(resource, new, old, &mut errors);
                prefixed_finalizers(access::list(new, &["metadata", "finalizers"]), &mut errors);
            }
            Part::GenericChange => validate_change(resource, new, old, &mut errors),
        }
    }
    errors
}

/// Validates the metadata of a stored object by the rules of today.
pub(super) fn validate_stored(old: &Value, finalizers: Finalizers) -> Vec<FieldError> {
    let mut errors = Vec::new();
    validate_common(&old["metadata"], finalizers, &mut errors);
    errors
}

/// Validates an update of the metadata.
fn validate_change(resource: &Resource, new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if !text(old, "deletionTimestamp").is_empty() {
        let had = access::list(old, &["metadata", "finalizers"]);
        let fresh = access::list(new, &["metadata", "finalizers"]).iter().filter(|f| !had.contains(f));
        let fresh: Vec<String> = fresh.map(ToString::to_string).collect();
        if !fresh.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                fresh.join(", ")
            );
            errors.push(FieldError::forbidden("metadata.finalizers", detail));
        }
    }
    for key in ["name", "namespace", "uid"] {
        if text(new, key) != text(old, key) && (key != "namespace" || resource.namespaced) {
            errors.push(FieldError::invalid(format!("metadata.{key}"), text(new, key), "field is immutable"));
        }
    }
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (wanted, had) = (&new["metadata"][key], &old["metadata"][key]);
        if wanted != had {
            let field = format!("metadata.{key}");
            errors.push(FieldError::invalid(field, wanted.clone(), "field is immutable"));
        }
    }
    validate_maps_and_owners(&new["metadata"], errors);
}

fn validate_common(meta: &Value, kind: Finalizers, errors: &mut Vec<FieldError>) {
    if access::int(meta, &["generation"]).unwrap_or(0) < 0 {
        errors.push(FieldError::invalid(
            "metadata.generation",
            meta["generation"].clone(),
            "must be greater than or equal to 0",
        ));
    }
    validate_maps_and_owners(meta, errors);
    finalizers(access::list(meta, &["finalizers"]), kind, errors);
}

fn validate_maps_and_owners(meta: &Value, errors: &mut Vec<FieldError>) {
    labels(meta.get("labels"), format_args!("metadata.labels"), errors);
    annotations(meta.get("annotations"), format_args!("metadata.annotations"), errors);
    owners(access::list(meta, &["ownerReferences"]), errors);
}

/// Validates labels.
pub(crate) fn labels(map: Option<&Value>, field: At<'_>, errors: &mut Vec<FieldError>) {
    for (key, value) in map.and_then(Value::as_object).into_iter().flatten() {
        errors.extend(names::qualified(key).into_iter().map(|d| FieldError::invalid(field, key.as_str(), d)));
        let value = value.as_str().unwrap_or("");
        errors.extend(names::label_value(value).into_iter().map(|d| FieldError::invalid(field, value, d)));
    }
}

/// Validates annotations.
pub(crate) fn annotations(map: Option<&Value>, field: At<'_>, errors: &mut Vec<FieldError>) {
    let mut size = 0;
    for (key, value) in map.and_then(Value::as_object).into_iter().flatten() {
        let lower = names::qualified(&key.to_lowercase());
        errors.extend(lower.into_iter().map(|d| FieldError::invalid(field, key.as_str(), d)));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_MAX {
        errors.push(FieldError::too_long(field, ANNOTATIONS_MAX));
    }
}

fn owners(list: &[Value], errors: &mut Vec<FieldError>) {
    const FIELD: &str = "metadata.ownerReferences";
    let mut controllers = Vec::new();
    for owner in list {
        let of = |key: &str| access::text(owner, &[key]);
        let (group, version) = match split_api_version(of("apiVersion")) {
            // More than one slash: it is no version.
            (_, version) if version.contains('/') => ("", ""),
            parts => parts,
        };
        if version.is_empty() {
            errors.push(FieldError::invalid(
                format!("{FIELD}.apiVersion"),
                of("apiVersion"),
                "version must not be empty",
            ));
        }
        for key in ["kind", "name", "uid"] {
            if of(key).is_empty() {
                errors.push(FieldError::invalid(format!("{FIELD}.{key}"), "", "must not be empty"));
            }
        }
        if group.is_empty() && version == "v1" && of("kind") == "Event" {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid_shown(FIELD, show_owner(owner), detail));
        }
        if access::flag(owner, &["controller"]) {
            controllers.push(owner);
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        let of =
            |owner: &Value| format!("{}/{}", access::text(owner, &["kind"]), access::text(owner, &["name"]));
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
            of(first),
            of(second)
        );
        let shown: Vec<String> = list.iter().map(show_owner).collect();
        errors.push(FieldError::invalid_shown(FIELD, format!("[{}]", shown.join(",")), detail));
    }
}

/// Validates the metadata of a template, which has labels and annotations and nothing else.
pub(super) fn template(meta: &super::rules::Site<'_>, errors: &mut Vec<FieldError>) {
    const OTHERS: [&str; 12] = [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ];
    annotations(meta.value.get("annotations"), format_args!("{}", meta.at("annotations")), errors);
    labels(meta.value.get("labels"), format_args!("{}", meta.at("labels")), errors);
    let others = OTHERS.iter().filter(|member| !meta.at(member).is_zero());
    errors.extend(others.map(|member| meta.at(member).forbidden("cannot be set")));
}

/// An owner reference with its members in upstream's declaration order.
fn show_owner(owner: &Value) -> String {
    const ORDER: [&str; 6] = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let none = Map::new();
    let members = owner.as_object().unwrap_or(&none);
    let shown: Vec<String> =
        ORDER.iter().filter_map(|k| Some(format!("\"{k}\":{}", members.get(*k)?))).collect();
    format!("{{{}}}", shown.join(","))
}

/// How strictly the names of finalizers are validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finalizers {
    /// They have a domain prefix, or are known.
    Prefixed,
    /// Any qualified name, as upstream's API server for extensions has it.
    Qualified,
}

impl Finalizers {
    fn of(resource: &Resource) -> Finalizers {
        let generic = [
            "apiextensions.k8s.io",
            "apiregistration.k8s.io",
            "admissionregistration.k8s.io",
            "coordination.k8s.io",
            "node.k8s.io",
        ];
        match resource.custom.is_some() || generic.contains(&resource.group.as_str()) {
            true => Finalizers::Qualified,
            false => Finalizers::Prefixed,
        }
    }
}

fn finalizers(list: &[Value], kind: Finalizers, errors: &mut Vec<FieldError>) {
    for name in list.iter().filter_map(Value::as_str) {
        let wrong = names::qualified(name).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid("metadata.finalizers", name, why)));
    }
    let has = |name: &str| list.iter().any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid("metadata.finalizers", Value::from(list.to_vec()), detail));
    }
    if kind == Finalizers::Prefixed {
        prefixed_finalizers(list, errors);
    }
}

fn prefixed_finalizers(list: &[Value], errors: &mut Vec<FieldError>) {
    for (i, name) in list.iter().filter_map(Value::as_str).enumerate() {
        errors.extend(unprefixed(format_args!("metadata.finalizers[{i}]"), name));
    }
}

/// The error of a finalizer that has no domain prefix and is not known.
fn unprefixed(field: At<'_>, name: &str) -> Option<FieldError> {
    let detail = "name is neither a standard finalizer name nor is it fully qualified";
    let is_wrong = !name.contains('/') && !STANDARD_FINALIZERS.contains(&name);
    is_wrong.then(|| FieldError::invalid(field, name, detail))
}

/// Validates the name of a finalizer.
pub(super) fn finalizer_errors(field: At<'_>, name: &str) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> =
        names::qualified(name).into_iter().map(|d| FieldError::invalid(field, name, d)).collect();
    errors.extend(unprefixed(field, name));
    errors
}
