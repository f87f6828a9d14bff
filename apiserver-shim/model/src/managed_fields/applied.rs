//! Server-side apply: an object, a configuration and its manager to the new object with its owners.

use super::created;
use super::entries::{self, Entry, ManagerId};
use super::path::{equal_values, show_path};
use super::update::{Conflict, Failure, Updater};
use super::validate::{self, validate};
use super::{FieldSet, Writer, covers, disown_system_fields, to_field_set};
use crate::access;
use crate::resource::split_api_version;
use crate::schema::{self, ObjectType};
use crate::status::{Cause, Details, Status, bad_request, unclassified};
use serde_json::{Map, Value};

/// The annotation in which client-side apply keeps what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Largest size of all annotations of an object (upstream's).
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;
const MANAGED_FIELDS: [&str; 2] = ["metadata", "managedFields"];

/// Who applies, and how.
#[derive(Debug, Clone, Copy)]
pub struct ApplyOptions<'a> {
    /// The manager and its request.
    pub writer: Writer<'a>,
    /// Take fields from others instead of refusing.
    pub force: bool,
}

/// Applies a configuration to an object, or creates one (`live` is `None`). The result has its managed fields, and is
/// not defaulted.
pub fn apply(live: Option<&Value>, config: &Value, options: ApplyOptions<'_>) -> Result<Value, Status> {
    let ty = options.writer.ty;
    check_type(ty, config)?;
    if access::get(config, &MANAGED_FIELDS).is_some_and(|fields| !fields.is_null()) {
        return Err(bad_request("metadata.managedFields must be nil"));
    }
    validate(ty, config).map_err(|why| {
        unclassified(format!("failed to create typed patch object ({}): {why}", describe(ty, config)))
    })?;
    let run = Run { options, updater: Updater::new(options.writer) };
    let known = live.map_or(&[][..], |live| access::list(live, &MANAGED_FIELDS));
    if let Some(live) = live.filter(|live| run.changes_nothing(live, config, known)) {
        return Ok(live.clone());
    }
    let known = entries::parse(known)
        .ok_or_else(|| unclassified("failed to decode managed fields: an entry is malformed"))?;
    run.apply(live, config, known)
}

/// Checks that the configuration says what it is.
fn check_type(ty: &ObjectType, config: &Value) -> Result<(), Status> {
    let (version, kind) = (access::text(config, &["apiVersion"]), access::text(config, &["kind"]));
    if version == ty.kind().api_version() && kind == ty.kind().kind {
        return Ok(());
    }
    // A malformed version makes the whole type unknown.
    let (group, version, kind) = match version.matches('/').count() {
        0 | 1 => {
            let (group, version) = split_api_version(version);
            (group, version, kind)
        }
        _ => ("", "", ""),
    };
    Err(bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")))
}

/// Namespace, name and type of a configuration in messages.
fn describe(ty: &ObjectType, config: &Value) -> String {
    let text = |name: &str| access::text(config, &["metadata", name]);
    format!("{}/{}; {}", text("namespace"), text("name"), show_type(ty))
}

fn show_type(ty: &ObjectType) -> String {
    let kind = ty.kind();
    format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind)
}

struct Run<'a> {
    options: ApplyOptions<'a>,
    updater: Updater<'a>,
}

impl Run<'_> {
    /// Whether the manager applied exactly these fields before and the object still has their values: then nothing is
    /// merged, pruned or taken over. The entries of others need not be parsed.
    fn changes_nothing(&self, live: &Value, config: &Value, known: &[Value]) -> bool {
        let Writer { ty, manager, subresource, reset, .. } = self.options.writer;
        if ty.schema().is_structural() || manager == "kubectl" && has_last_applied(live) {
            return false; // The schema may have changed since, or the annotation has to.
        }
        let text = |entry: &Value, key: &str, expected: &str| {
            entry.get(key).and_then(Value::as_str).unwrap_or("") == expected
        };
        let mine = known.iter().find(|entry| {
            text(entry, "operation", "Apply")
                && text(entry, "manager", manager)
                && text(entry, "subresource", subresource)
        });
        let Some(mine) = mine.filter(|e| text(e, "apiVersion", &self.updater.api_version)) else {
            return false;
        };
        if !text(mine, "fieldsType", "FieldsV1") || !covers(ty, live, config) {
            return false;
        }
        let mut fields = to_field_set(ty, config);
        reset.filter(&mut fields);
        disown_system_fields(&mut fields);
        mine.get("fieldsV1").is_some_and(|known| fields.is_encoded_as(known))
    }

    fn apply(&self, live: Option<&Value>, config: &Value, mut known: Vec<Entry>) -> Result<Value, Status> {
        let Writer { ty, manager, now, .. } = self.options.writer;
        let time = now.to_rfc3339();
        if let Some(live) = live.filter(|_| known.is_empty()) {
            known.extend(self.before_first_apply(live, &time));
        }
        let absent = Value::Object(Map::new());
        let live = live.unwrap_or(&absent);
        let (new, mut known) = self.merged(live, config, known)?;
        let me = self.updater.id(true);
        if let Some(at) = known.iter().position(|entry| entry.id == me) {
            disown_system_fields(&mut known[at].fields);
            if known[at].fields.is_empty() {
                known.remove(at);
            }
        }
        let mut object = if equal_values(live, &new) {
            live.clone()
        } else {
            known.iter_mut().filter(|entry| entry.id == me).for_each(|entry| entry.time = time.clone());
            self.typed(new, config)?
        };
        if manager == "kubectl" && has_last_applied(&object) {
            set_last_applied(&mut object, config);
        }
        access::remove(&mut object, &MANAGED_FIELDS);
        let list = entries::to_list(known);
        if !list.is_empty() {
            access::object_mut(&mut object, &["metadata"]).insert("managedFields".to_owned(), list.into());
        }
        let (api_version, kind) = (ty.kind().api_version(), ty.kind().kind.to_owned());
        let members = access::as_object(&mut object);
        members.insert("apiVersion".to_owned(), api_version.into());
        members.insert("kind".to_owned(), kind.into());
        Ok(object)
    }

    /// The owner of what an object without managed fields has.
    fn before_first_apply(&self, live: &Value, time: &str) -> Option<Entry> {
        let Writer { ty, subresource, reset, .. } = self.options.writer;
        let fields = FieldSet::parse(&created::fields(ty, live, reset)?)?;
        let api_version = &self.updater.api_version;
        let id = ManagerId::new("before-first-apply", false, api_version, subresource);
        Some(Entry { time: time.to_owned(), ..Entry::new(id, api_version, fields) })
    }

    /// The new object and its owners.
    fn merged(&self, live: &Value, config: &Value, known: Vec<Entry>) -> Result<(Value, Vec<Entry>), Status> {
        let run = |force: bool| {
            let mut entries = known.clone();
            self.updater.apply(live, config, &mut entries, force).map(|new| (new, entries))
        };
        let conflicts = match run(self.options.force) {
            Ok(done) => return Ok(done),
            Err(Failure::Status(status)) => return Err(status),
            Err(Failure::Conflicts(conflicts)) => conflicts,
        };
        // kubectl takes over what its client-side apply owned. Another manager's name turns that off.
        let allowed = match self.options.writer.manager {
            "kubectl" => self.applied_by_client(live),
            _ => None,
        };
        let Some(allowed) = allowed else { return Err(refused(&conflicts)) };
        let left: Vec<Conflict> = conflicts.into_iter().filter(|c| !allowed.has(&c.path)).collect();
        if !left.is_empty() {
            return Err(refused(&left));
        }
        match run(true) {
            Ok(done) => Ok(done),
            Err(Failure::Status(status)) => Err(status),
            Err(Failure::Conflicts(conflicts)) => Err(refused(&conflicts)),
        }
    }

    /// The fields of the configuration of client-side apply that the object still has with the same values.
    fn applied_by_client(&self, live: &Value) -> Option<FieldSet> {
        let ty = self.options.writer.ty;
        let text = access::text(live, &["metadata", "annotations", LAST_APPLIED]);
        let applied: Value = serde_json::from_str(text).ok()?;
        let same_version = access::text(&applied, &["apiVersion"]) == self.updater.api_version;
        if !same_version || validate(ty, &applied).is_err() {
            return None;
        }
        let changes = super::compare(ty, &applied, live);
        let fields = to_field_set(ty, &applied);
        Some(fields.difference(&changes.modified).difference(&changes.added).difference(&changes.removed))
    }

    /// The merged object as its type has it.
    fn typed(&self, mut new: Value, config: &Value) -> Result<Value, Status> {
        let ty = self.options.writer.ty;
        // Custom resources have no typed form but that of their metadata: the rules of their schema say the rest.
        let mismatch = match ty.schema().is_structural() {
            true => schema::check_metadata(ty, &mut new).mismatch,
            false => validate::fraction(ty, &new).or_else(|| schema::check(ty, &mut new).mismatch),
        };
        match mismatch {
            None => Ok(new),
            Some(why) => Err(unclassified(format!(
                "failed to convert new object ({}) to proper version: unable to convert unstructured object to {}: {why}",
                describe(ty, config),
                show_type(ty)
            ))),
        }
    }
}

/// 409: others own fields to which the configuration gives other values.
fn refused(conflicts: &[Conflict]) -> Status {
    let message = match conflicts {
        [one] => format!("1 conflict: conflict with {}: {}", one.manager.show(), show_path(&one.path)),
        all => {
            let mut lines = Vec::new();
            let mut last = None;
            for conflict in all {
                if last != Some(&conflict.manager) {
                    lines.push(format!("conflicts with {}:", conflict.manager.show()));
                    last = Some(&conflict.manager);
                }
                lines.push(format!("- {}", show_path(&conflict.path)));
            }
            format!("{} conflicts: {}", all.len(), lines.join("\n"))
        }
    };
    let cause = |conflict: &Conflict| Cause {
        reason: "FieldManagerConflict".to_owned(),
        message: format!("conflict with {}", conflict.manager.show()),
        field: show_path(&conflict.path),
    };
    let mut status = Status::failure(409, "Conflict", format!("Apply failed with {message}"));
    let causes = conflicts.iter().map(cause).collect();
    status.details = Some(Box::new(Details { causes, ..Details::default() }));
    status
}

fn has_last_applied(object: &Value) -> bool {
    !access::text(object, &["metadata", "annotations", LAST_APPLIED]).is_empty()
}

/// Keeps the annotation of client-side apply up to date, so that the manager may return to it.
fn set_last_applied(object: &mut Value, config: &Value) {
    let mut config = config.clone();
    access::remove(&mut config, &["metadata", "annotations", LAST_APPLIED]);
    // Go's encoder escapes these characters, which JSON has within texts only, and ends the document with a line break.
    let text =
        config.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026") + "\n";
    let annotations = access::object_mut(object, &["metadata", "annotations"]);
    annotations.insert(LAST_APPLIED.to_owned(), text.into());
    let size: usize =
        annotations.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_BYTES_MAX {
        annotations.remove(LAST_APPLIED);
    }
}

#[cfg(test)]
mod tests;
