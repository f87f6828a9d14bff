//! What a write does to the owners of fields.

use super::compare::{Changes, compare};
use super::entries::{Entry, ManagerId};
use super::path::PathElement;
use super::remove::{remove_items, with_atomics, with_named_fields};
use super::validate::validate;
use super::{FieldSet, Writer, merge, to_field_set};
use crate::schema::ObjectType;
use crate::status::{Status, unclassified};
use serde_json::Value;
use std::borrow::Cow;

/// A field that an apply would take from its manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    pub manager: ManagerId,
    pub path: Vec<PathElement>,
}

/// Why an apply is not carried out.
#[derive(Debug)]
pub(super) enum Failure {
    /// Others own fields to which the configuration gives other values.
    Conflicts(Vec<Conflict>),
    /// An object could not be converted.
    Status(Status),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Failure::Status(status)
    }
}

/// An object in a version, with its type.
type Versioned<'a> = (Cow<'a, ObjectType>, Cow<'a, Value>);

/// Objects of one kind in the versions that entries name.
pub(super) struct Updater<'a> {
    writer: Writer<'a>,
    /// The version of the request.
    pub api_version: String,
}

impl<'a> Updater<'a> {
    pub fn new(writer: Writer<'a>) -> Self {
        Updater { writer, api_version: writer.ty.kind().api_version() }
    }

    /// The identity of the writer.
    pub fn id(&self, applied: bool) -> ManagerId {
        ManagerId::new(self.writer.manager, applied, &self.api_version, self.writer.subresource)
    }

    /// Without the fields that the written (sub)resource resets.
    fn filtered(&self, mut fields: FieldSet) -> FieldSet {
        self.writer.reset.filter(&mut fields);
        fields
    }

    /// The object in a version; `None` if there is no such version.
    fn convert<'v>(&'v self, object: &'v Value, version: &str) -> Result<Option<Versioned<'v>>, Status> {
        let mine = version == self.api_version;
        let Some(ty) = (if mine { Some(Cow::Borrowed(self.writer.ty)) } else { self.other_type(version) })
        else {
            return Ok(None);
        };
        if object.get("apiVersion").and_then(Value::as_str) == Some(version) {
            return Ok(Some((ty, Cow::Borrowed(object))));
        }
        let converted = self.writer.versions.convert(object.clone(), version)?;
        Ok(Some((ty, Cow::Owned(converted))))
    }

    fn other_type(&self, version: &str) -> Option<Cow<'a, ObjectType>> {
        self.writer.versions.object_type(version).map(Cow::Owned)
    }

    /// The entries as the schema of today has them. Only schemas of custom resources change.
    pub fn reconcile(&self, entries: &mut [Entry]) {
        if !self.writer.ty.schema().is_structural() {
            return;
        }
        for entry in entries {
            let mine = entry.api_version == self.api_version;
            let other = if mine { None } else { self.other_type(&entry.api_version) };
            let ty = if mine { Some(self.writer.ty) } else { other.as_deref() };
            if let Some(fields) = ty.and_then(|ty| with_atomics(ty, &entry.fields)) {
                entry.fields = fields;
            }
        }
    }

    /// What a write changes in the request's version, without reset fields.
    pub fn changes(&self, old: &Value, new: &Value) -> Changes {
        let mut changes = compare(self.writer.ty, old, new);
        changes.each(|set| self.writer.reset.filter(set));
        changes
    }

    /// Takes what a write changes from all entries but `me`, and drops entries that are left without fields, or whose
    /// version no longer exists. Returns the changes.
    pub fn take_over(
        &self,
        changes: Changes,
        (old, new): (&Value, &Value),
        entries: &mut Vec<Entry>,
        me: Option<&ManagerId>,
        force: bool,
    ) -> Result<Changes, Failure> {
        let mut others: Vec<(String, Option<Changes>)> = Vec::new();
        let mut conflicts = Vec::new();
        let mut taken = Vec::with_capacity(entries.len());
        for entry in entries.iter() {
            if Some(&entry.id) == me {
                taken.push(Some(entry.fields.clone()));
                continue;
            }
            let theirs = if entry.api_version == self.api_version {
                Some(&changes)
            } else {
                if !others.iter().any(|(version, _)| *version == entry.api_version) {
                    let found = self.changes_in(&entry.api_version, (old, new))?;
                    others.push((entry.api_version.clone(), found));
                }
                others.iter().find(|(version, _)| *version == entry.api_version).and_then(|(_, c)| c.as_ref())
            };
            let Some(theirs) = theirs else {
                taken.push(None);
                continue;
            };
            let changed = theirs.changed();
            if !force {
                let lost = entry.fields.intersection(&changed).paths().into_iter();
                conflicts.extend(lost.map(|path| Conflict { manager: entry.id.clone(), path }));
            }
            taken.push(Some(entry.fields.difference(&changed).difference(&theirs.removed)));
        }
        if !conflicts.is_empty() {
            conflicts.sort_by(|a, b| a.manager.cmp(&b.manager));
            return Err(Failure::Conflicts(conflicts));
        }
        let mut taken = taken.into_iter();
        entries.retain_mut(|entry| match taken.next().flatten() {
            Some(fields) if !fields.is_empty() => {
                entry.fields = fields;
                true
            }
            _ => false,
        });
        Ok(changes)
    }

    fn changes_in(&self, version: &str, (old, new): (&Value, &Value)) -> Result<Option<Changes>, Status> {
        let failed =
            |which: &str, why: &str| unclassified(format!("failed to convert {which} object: {why}"));
        let before = self.convert(old, version).map_err(|status| failed("old", &status.message))?;
        let after = self.convert(new, version).map_err(|status| failed("new", &status.message))?;
        let (Some((ty, before)), Some((_, after))) = (before, after) else { return Ok(None) };
        if ty.schema().is_structural() && !self.writer.versions.renames_fields() {
            // The other version's schema may lack what this one's has, and the conversion removes it.
            for (which, object) in [("old", old), ("new", new)] {
                validate(&ty, object).map_err(|why| failed(which, &why.to_string()))?;
            }
        }
        let mut changes = compare(&ty, &before, &after);
        changes.each(|set| self.writer.reset.filter(set));
        Ok(Some(changes))
    }

    /// Applies a configuration. Returns the new object, and changes the entries to match.
    pub fn apply(
        &self,
        live: &Value,
        config: &Value,
        entries: &mut Vec<Entry>,
        force: bool,
    ) -> Result<Value, Failure> {
        self.reconcile(entries);
        let merged = merge(self.writer.ty, live, config);
        let fields = self.filtered(to_field_set(self.writer.ty, config));
        let me = self.id(true);
        let mut last = None;
        match entries.iter_mut().find(|entry| entry.id == me) {
            Some(entry) => {
                last = Some(std::mem::replace(entry, Entry::new(me.clone(), &self.api_version, fields)));
                entry.time = last.as_ref().map(|last| last.time.clone()).unwrap_or_default();
            }
            None => entries.push(Entry::new(me.clone(), &self.api_version, fields)),
        }
        let new = match last.filter(|last| !last.fields.is_empty()) {
            None => merged,
            Some(last) => self.prune(merged, entries, &last)?,
        };
        self.take_over(self.changes(live, &new), (live, &new), entries, Some(&me), force)?;
        Ok(new)
    }

    /// Removes the members and elements that the applier owned, no longer applies, and nobody else owns.
    fn prune(&self, merged: Value, entries: &[Entry], last: &Entry) -> Result<Value, Status> {
        let version = &last.api_version;
        let Some((ty, converted)) = self.convert(&merged, version)? else { return Ok(merged) };
        let owned_before = with_named_fields(&ty, &last.fields);
        let pruned = remove_items(&ty, &converted, &owned_before);
        let pruned = self.add_back_owned(&converted, pruned, version, entries)?;
        let Some((_, back)) = self.convert(&pruned, version)? else { return Ok(merged) };
        // Only what the applier owned may go.
        let kept = with_named_fields(&ty, &to_field_set(&ty, &back));
        let all = with_named_fields(&ty, &to_field_set(&ty, &converted));
        let gone = all.difference(&kept).intersection(&owned_before);
        let out = remove_items(&ty, &converted, &gone);
        drop(back);
        match self.convert(&out, &self.api_version)? {
            Some((_, Cow::Owned(object))) => Ok(object),
            _ => Ok(out),
        }
    }

    /// Adds back what others, or the new configuration, own. Each version's owners are considered in their version, that
    /// of the pruned object first, because fields that are gone may be required for a conversion.
    fn add_back_owned(
        &self,
        merged: &Value,
        pruned: Value,
        first: &str,
        entries: &[Entry],
    ) -> Result<Value, Status> {
        let mut versions: Vec<&str> = entries.iter().map(|e| e.api_version.as_str()).collect();
        versions.sort_by_key(|version| (*version != first, *version));
        versions.dedup();
        let mut pruned = pruned;
        for version in versions {
            let owners = entries.iter().filter(|e| e.api_version == version);
            let owned = owners.fold(FieldSet::default(), |all, entry| all.union(&entry.fields));
            let Some((ty, merged)) = self.convert(merged, version)? else { continue };
            let Some((_, current)) = self.convert(&pruned, version)? else { continue };
            let all = with_named_fields(&ty, &to_field_set(&ty, &merged));
            let kept = with_named_fields(&ty, &to_field_set(&ty, &current));
            let gone = all.difference(&kept.union(&with_named_fields(&ty, &owned)));
            let next = remove_items(&ty, &merged, &gone);
            drop(current);
            pruned = next;
        }
        Ok(pruned)
    }
}
