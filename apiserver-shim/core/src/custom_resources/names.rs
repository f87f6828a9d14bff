//! Which names of a definition are accepted: those that no other definition of the group and no built-in resource has.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shim_model::access;
use shim_model::resource::Resource;

use super::conditions::{self, Condition};

/// The names that a group has already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenNames {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl TakenNames {
    /// Adds the accepted names of another definition.
    pub fn add_definition(&mut self, crd: &Value) {
        let names = access::get(crd, &["status", "acceptedNames"]).unwrap_or(&Value::Null);
        let text = |member: &str| access::text(names, &[member]).to_owned();
        self.resources.extend([text("plural"), text("singular")]);
        let short = access::list(names, &["shortNames"]).iter().filter_map(Value::as_str);
        self.resources.extend(short.map(str::to_owned));
        self.kinds.extend([text("kind"), text("listKind")]);
    }

    /// Adds the names of a built-in resource.
    pub fn add_resource(&mut self, resource: &Resource) {
        self.resources.extend([resource.plural.clone(), resource.singular.clone()]);
        self.resources.extend(resource.short_names.iter().cloned());
        self.kinds.extend([resource.kind.clone(), resource.list_kind.clone()]);
    }
}

/// Sets the accepted names of a definition and the conditions about them. The definition is established once it is served,
/// which is the caller's to do before the status is written; it stays established when further names conflict.
pub fn accept(crd: &mut Value, taken: &TakenNames, time: &str) {
    let asked = access::get(crd, &["spec", "names"]).cloned().unwrap_or_default();
    let before = access::get(crd, &["status", "acceptedNames"]).cloned().unwrap_or_default();
    if asked == before && conditions::is_true(crd, "Established") {
        return;
    }
    let mut accepted = before.clone();
    let mut refusal: Option<(&str, String)> = None;
    let mut text = |member: &str, used: &BTreeSet<String>, reason: &'static str| {
        let (wanted, had) = (access::text(&asked, &[member]), access::text(&before, &[member]));
        match wanted != had && used.contains(wanted) {
            true => Err((reason, in_use(wanted))),
            false => {
                access::object_mut(&mut accepted, &[]).insert(member.to_owned(), wanted.into());
                Ok(())
            }
        }
    };
    let checked = [
        text("plural", &taken.resources, "PluralConflict"),
        text("singular", &taken.resources, "SingularConflict"),
    ];
    let kinds =
        [text("kind", &taken.kinds, "KindConflict"), text("listKind", &taken.kinds, "ListKindConflict")];
    for error in checked.into_iter().filter_map(Result::err) {
        refusal = Some(error);
    }
    if let Some(error) = short_names(&asked, &before, taken, &mut accepted) {
        refusal = Some(error);
    }
    for error in kinds.into_iter().filter_map(Result::err) {
        refusal = Some(error);
    }
    copy_list(&asked, &mut accepted, "categories");
    access::object_mut(crd, &["status"]).insert("acceptedNames".to_owned(), accepted);
    let condition = match &refusal {
        None => Condition {
            kind: "NamesAccepted",
            status: "True",
            reason: "NoConflicts",
            message: "no conflicts found",
        },
        Some((reason, message)) => Condition { kind: "NamesAccepted", status: "False", reason, message },
    };
    conditions::set(crd, &condition, time);
    if !conditions::is_true(crd, "Established") {
        let established = if refusal.is_none() { Condition::ESTABLISHED } else { Condition::NOT_ACCEPTED };
        conditions::set(crd, &established, time);
    }
}

fn in_use(name: &str) -> String {
    format!("{} is already in use", Value::from(name))
}

/// All short names are accepted, or none that is new.
fn short_names(
    asked: &Value,
    before: &Value,
    taken: &TakenNames,
    accepted: &mut Value,
) -> Option<(&'static str, String)> {
    let own = access::list(before, &["shortNames"]);
    let fresh = access::list(asked, &["shortNames"]).iter().filter(|name| !own.contains(name));
    let used = fresh.filter_map(Value::as_str).filter(|name| taken.resources.contains(*name));
    let errors: Vec<String> = used.map(in_use).collect();
    match errors.as_slice() {
        [] => {
            copy_list(asked, accepted, "shortNames");
            None
        }
        [single] => Some(("ShortNamesConflict", single.clone())),
        several => Some(("ShortNamesConflict", format!("[{}]", several.join(", ")))),
    }
}

fn copy_list(from: &Value, to: &mut Value, member: &str) {
    let names = access::object_mut(to, &[]);
    match access::list(from, &[member]) {
        [] => drop(names.remove(member)),
        list => drop(names.insert(member.to_owned(), json!(list))),
    }
}
