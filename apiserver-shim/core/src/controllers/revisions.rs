//! ControllerRevisions: the history of the templates of DaemonSets and StatefulSets, which `kubectl rollout` reads.
//!
//! A revision's data is the strategic merge patch that restores the template. Names end with a hash of the template; a
//! name that a revision of another template has is avoided with the collision count in the owner's status.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shim_model::{access, object::Header};

use super::{Action, Change, Propagation, Target, View, equal_ignoring_empty, served};
use crate::rows::{ControllerRevision, LabelSelector};

/// The label of a Pod that names its revision: the hash for DaemonSets, the revision's name for StatefulSets.
pub const REVISION_LABEL: &str = "controller-revision-hash";

/// The longest part of a revision's name before the hash: names have at most 253 bytes.
const PREFIX_MAX: usize = 223;

/// The patch that restores a template.
pub fn data_of(template: &Value) -> Value {
    let mut template = template.clone();
    access::object_mut(&mut template, &[]).insert("$patch".into(), json!("replace"));
    json!({"spec": {"template": template}})
}

/// The template that a revision restores.
pub fn template_of(data: &Value) -> Value {
    let mut template = data["spec"]["template"].clone();
    if let Some(members) = template.as_object_mut() {
        members.remove("$patch");
    }
    template
}

/// Whether two revisions restore the same template.
pub fn equal(a: &Value, b: &Value) -> bool {
    a == b || equal_ignoring_empty(&template_of(a), &template_of(b))
}

/// The hash of a revision: FNV-1 over the data as Go encodes it and the collision count, in letters and digits that form
/// no words. Equal templates have upstream's names.
pub fn hash(data: &Value, collisions: i64) -> String {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in go_json(data).bytes().chain(collisions.to_string().bytes()) {
        hash = hash.wrapping_mul(0x0100_0193) ^ u32::from(byte);
    }
    safe_encode(hash)
}

/// Spells a number with consonants and digits.
pub fn safe_encode(number: u32) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    number.to_string().bytes().map(|b| char::from(ALPHABET[usize::from(b) % ALPHABET.len()])).collect()
}

/// JSON as `json.Marshal` prints it: sorted members, and what is special in HTML escaped. It occurs in strings only.
fn go_json(value: &Value) -> String {
    let mut text = value.to_string();
    for (special, escaped) in [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ] {
        if text.contains(special) {
            text = text.replace(special, escaped);
        }
    }
    text
}

/// The name of a revision.
pub fn name(owner: &str, hash: &str) -> String {
    let mut end = owner.len().min(PREFIX_MAX);
    while !owner.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{hash}", &owner[..end])
}

/// The owner of revisions.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct RevisionOwner<'a> {
    pub header: &'a Header,
    /// `DaemonSet` or `StatefulSet`.
    pub kind: &'static str,
    pub annotations: &'a BTreeMap<String, String>,
    pub template: &'a Value,
}

impl RevisionOwner<'_> {
    /// The reference by which it controls an object.
    pub fn reference(&self) -> Value {
        crate::rows::controller_reference("apps/v1", self.kind, self.header)
    }

    /// Creates a revision of the template. The labels are the template's and one with the hash.
    pub fn create(&self, name: &str, data: Value, revision: i64, hash_label: (&str, &str)) -> Action {
        let namespace = self.header.namespace.clone();
        let mut labels = shim_model::object::string_map(&self.template["metadata"]["labels"]);
        labels.insert(hash_label.0.to_owned(), hash_label.1.to_owned());
        let mut object = json!({
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": labels,
                "ownerReferences": [self.reference()],
            },
            "data": data,
            "revision": revision,
        });
        if !self.annotations.is_empty() {
            object["metadata"]["annotations"] = json!(self.annotations);
        }
        Action::Create { resource: served("apps", "controllerrevisions"), namespace, object }
    }
}

/// The revisions that an owner controls or may adopt, by age; and all whose names a new one could have.
pub struct Revisions<'a> {
    /// Oldest first.
    pub known: Vec<&'a ControllerRevision>,
    /// Every revision of the namespace whose name begins like those of the owner.
    pub named_alike: Vec<&'a ControllerRevision>,
}

impl<'a> Revisions<'a> {
    /// Reads them from the cache.
    pub fn of(view: &View<'a>, owner: &Header, selector: &LabelSelector) -> Revisions<'a> {
        let mut known: Vec<&ControllerRevision> = view.controlled(&owner.uid).collect();
        let matching = view.matching::<ControllerRevision>(&owner.namespace, selector);
        known.extend(matching.into_iter().filter(|revision| revision.header().controller().is_none()));
        sort(&mut known);
        let prefix = name(&owner.name, "");
        let named_alike = view.with_name_prefix(&owner.namespace, &prefix).collect();
        Revisions { known, named_alike }
    }

    /// The revision with this name.
    pub fn named(&self, name: &str) -> Option<&'a ControllerRevision> {
        self.named_alike.iter().copied().find(|revision| revision.name() == name)
    }
}

/// Sorts by number, then by age.
pub fn sort(revisions: &mut [&ControllerRevision]) {
    revisions.sort_by(|a, b| (a.revision, a.created, a.name()).cmp(&(b.revision, b.created, b.name())));
}

/// The revision number that follows the newest of these.
pub fn next_number(revisions: &[&ControllerRevision]) -> i64 {
    revisions.iter().map(|revision| revision.revision).max().unwrap_or(0).saturating_add(1)
}

/// Changes a revision.
pub fn change(revision: &ControllerRevision, changes: Vec<Change>) -> Action {
    Action::Change { target: target(revision), subresource: None, changes }
}

/// Sets the number of a revision.
pub fn renumber(revision: &ControllerRevision, number: i64) -> Action {
    change(revision, vec![Change::Put(&["revision"], number.into())])
}

/// Deletes a revision.
pub fn delete(revision: &ControllerRevision) -> Action {
    Action::Delete { target: target(revision), propagation: Propagation::Background, grace_seconds: None }
}

fn target(revision: &ControllerRevision) -> Target {
    Target::of(served("apps", "controllerrevisions"), revision.header())
}

#[cfg(test)]
#[path = "revisions/tests.rs"]
mod tests;
