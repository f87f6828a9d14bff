//! Preparation and validation of a write, in upstream's order: what all kinds have, then what the kind's strategy says.

use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::resource::Resource;
use shim_model::status::{self, Status};

use super::{CreateContext, Strategy, Subresource, SubresourceStrategy, metadata, ratchet};
use crate::definition::ResourceDefinition;

/// Prepares and validates a decoded, defaulted and admitted object for its create, and takes its version.
pub fn begin_create(
    resource: &ResourceDefinition,
    object: &mut Value,
    context: &CreateContext<'_>,
) -> Result<(), Status> {
    begin_create_with(resource, object, context, Vec::new())?;
    metadata::take_version(object)
}

/// Prepares and validates an object whose version is taken later, with errors that do not depend on the object alone. They are
/// reported before its own.
pub fn begin_create_with(
    resource: &ResourceDefinition,
    object: &mut Value,
    context: &CreateContext<'_>,
    found: Vec<FieldError>,
) -> Result<(), Status> {
    let kind = resource.strategy();
    metadata::prepare_create(resource, object, context)?;
    if let Some(why) = kind.creation_refusal() {
        let name = access::text(object, &["metadata", "name"]);
        return Err(status::forbidden(&resource.group, &resource.plural, name, why));
    }
    if kind.has_status() {
        access::as_object(object).insert("status".to_owned(), Value::Object(serde_json::Map::new()));
    }
    if kind.begins_generation() {
        access::object_mut(object, &["metadata"]).insert("generation".to_owned(), 1.into());
    }
    kind.prepare_create(object, context);
    store_empty_lists(kind, object);
    let (meta, own) = (|| metadata::validate_create(resource, kind, object), kind.validate_create(object));
    let errors = match kind.validates_metadata() {
        true => [found, meta(), own].concat(),
        false if own.is_empty() => meta(),
        false => own,
    };
    refuse(resource, object, errors)
}

/// Writes null for empty lists that are stored so. Until then they belong to the manager who writes them.
fn store_empty_lists(kind: &dyn Strategy, object: &mut Value) {
    for path in kind.lists_stored_as_null() {
        if let Some((list, owner)) = path.split_last()
            && access::get(object, path).is_none_or(access::is_zero)
        {
            access::object_mut(object, owner).insert((*list).to_owned(), Value::Null);
        }
    }
}

/// What an update does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It may change the object.
    Change,
    /// The new object is equal to the stored one.
    None,
}

/// Prepares and validates a decoded, defaulted and admitted update of `old`. The caller has checked the resourceVersion, and
/// what the request says of name, namespace and UID (see [`check_identity`]), which admission may have changed.
pub fn begin_update(
    resource: &ResourceDefinition,
    subresource: Subresource<'_>,
    new: &mut Value,
    old: &Value,
) -> Result<Effect, Status> {
    begin_update_with(resource, subresource, new, old, Vec::new())
}

/// The same, with errors that do not depend on the object alone. They are reported before its own.
pub fn begin_update_with(
    resource: &ResourceDefinition,
    subresource: Subresource<'_>,
    new: &mut Value,
    old: &Value,
    mut found: Vec<FieldError>,
) -> Result<Effect, Status> {
    let kind = resource.strategy();
    metadata::check_namespace(resource, access::text(old, &["metadata", "namespace"]), new)?;
    metadata::prepare_update(new, old);
    match subresource {
        Subresource::Main => {
            if kind.has_status() {
                access::copy(old, new, &["status"]);
            }
            kind.prepare_update(new, old);
        }
        Subresource::Status => kind.prepare_status_update(new, old),
        Subresource::Other(name) => of_subresource(kind, name)?.prepare_update(new, old),
    }
    store_empty_lists(kind, new);
    // What the stored object has is not refused, so an update that changes nothing has no errors.
    if !kind.ratchets_itself() && new == old {
        return Ok(Effect::None);
    }
    // A status update never changes the generation, not even when it sets the revision annotation of a Deployment.
    if subresource != Subresource::Status && kind.has_generation() && kind.changes_generation(new, old) {
        let generation = access::int(old, &["metadata", "generation"]).unwrap_or(0) + 1;
        access::object_mut(new, &["metadata"]).insert("generation".to_owned(), generation.into());
    }
    let mut errors = metadata::validate_update(resource, subresource == Subresource::Status, new, old);
    errors.extend(match subresource {
        Subresource::Main => kind.validate_update(new, old),
        Subresource::Status => kind.validate_status_update(new, old),
        Subresource::Other(name) => of_subresource(kind, name)?.validate_update(new, old),
    });
    if !kind.ratchets_itself() {
        ratchet::drop_unchanged(&mut errors, new, old, || stored_errors(kind, subresource, old));
    }
    found.append(&mut errors);
    refuse(resource, new, found).map(|()| Effect::Change)
}

/// The errors of a stored object by the rules of today: an update of the same part does not cause them.
fn stored_errors(kind: &dyn Strategy, subresource: Subresource<'_>, old: &Value) -> Vec<FieldError> {
    let mut errors = metadata::validate_stored(old, metadata::Finalizers::Prefixed);
    errors.extend(match subresource {
        Subresource::Main => kind.validate_create(old),
        Subresource::Status => kind.validate_status_update(old, old),
        Subresource::Other(name) => {
            kind.subresource(name).map(|rules| rules.validate_update(old, old)).unwrap_or_default()
        }
    });
    errors
}

fn of_subresource<'a>(strategy: &'a dyn Strategy, name: &str) -> Result<&'a dyn SubresourceStrategy, Status> {
    strategy.subresource(name).ok_or_else(status::unknown_path)
}

/// Checks that the body names the object of the path, and sets an omitted namespace.
pub fn check_identity(
    resource: &Resource,
    namespace: &str,
    name: &str,
    object: &mut Value,
) -> Result<(), Status> {
    metadata::check_identity(resource, namespace, name, object)
}

/// Validates the fields of a field selector, with upstream's error for unknown ones.
pub fn check_field_selector(
    resource: &ResourceDefinition,
    selector: &shim_model::selector::FieldSelector,
) -> Result<(), Status> {
    let known = resource.strategy().selectable_fields();
    let namespace =
        resource.namespaced || resource.custom.is_none() && resource.strategy().takes_namespace_selector();
    for term in &selector.terms {
        let always = term.field == "metadata.name" || term.field == "metadata.namespace" && namespace;
        if !always && !known.contains(&term.field.as_str()) {
            // Upstream's wording differs between kinds with and without fields of their own.
            let own = resource.strategy().unknown_selector(&term.field);
            let message = own.unwrap_or_else(|| match known[..] {
                [] if resource.custom.is_none() => format!(
                    "\"{}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                    term.field
                ),
                _ => format!("field label not supported: {}", term.field),
            });
            return Err(status::bad_request(message));
        }
    }
    Ok(())
}

fn refuse(resource: &ResourceDefinition, object: &Value, errors: Vec<FieldError>) -> Result<(), Status> {
    let name = access::text(object, &["metadata", "name"]);
    if errors.is_empty() {
        return Ok(());
    }
    let group = resource.strategy().error_group().map_or(resource.group.as_str(), |group| group);
    let kind = match resource.custom {
        // The body's own, which may be wrong.
        Some(_) => access::text(object, &["kind"]),
        None => &resource.kind,
    };
    Err(status::invalid(group, kind, name, &errors))
}
