//! `roles.catamaran.dev`: the kernel's roles as objects. An object has the weight and the quota of one role, whoever sets them:
//! clients of this API in `spec`, or operators through the Mesos API. [`decide`] compares the three: what the object wants, what
//! was in force when the object was last looked at (`status`), and what is in force now.
//!
//! - A field of `spec` that differs from `status` was changed here: the kernel gets it.
//! - A field that is equal in both, while the kernel has something else, was changed by an operator: `spec` gets it.
//! - If both changed, the object prevails.
//!
//! Roles without an object get one.

pub mod amounts;
pub mod definition;
pub mod names;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kernel_model::{
    quota::{Quantities, Quota},
    role_report::RoleReport,
    roles::Role,
};
use serde_json::{Value, json};
use shim_model::access;

pub use amounts::InvalidAmount;

/// The API group.
pub const GROUP: &str = "catamaran.dev";
/// The name of the resource.
pub const PLURAL: &str = "roles";
/// Keeps an object until the kernel has forgotten its weight and quota.
pub const FINALIZER: &str = "catamaran.dev/role";
/// The label of the objects that were made for roles without one.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "catamaran");

/// The reason of an object whose role has another one.
const DUPLICATE: &str = "DuplicateRole";

/// What can be set of a role.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Settings {
    pub weight: f64,
    pub quota: Quota,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { weight: 1.0, quota: Quota::default() }
    }
}

impl Settings {
    /// What is in force for a role.
    pub fn of(report: Option<&RoleReport>) -> Settings {
        report.map_or_else(Settings::default, |report| Settings {
            weight: report.weight,
            quota: report.quota.clone(),
        })
    }

    /// The fields as they are written in objects; default values are left out.
    fn to_fields(&self) -> serde_json::Map<String, Value> {
        let mut fields = serde_json::Map::new();
        if self.weight != 1.0 {
            fields.insert("weight".to_owned(), amounts::number(self.weight));
        }
        for (name, amounts) in [("guarantee", &self.quota.guarantees), ("limit", &self.quota.limits)] {
            if !amounts.is_empty() {
                fields.insert(name.to_owned(), amounts::to_value(amounts));
            }
        }
        fields
    }

    /// The settings of `spec` or `status`.
    fn of_fields(fields: &Value) -> Result<Settings, InvalidAmount> {
        Ok(Settings {
            weight: fields["weight"].as_f64().unwrap_or(1.0),
            quota: Quota {
                guarantees: amounts::parse("guarantee", &fields["guarantee"])?,
                limits: amounts::parse("limit", &fields["limit"])?,
            },
        })
    }
}

/// Why an object has no effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Ineffective {
    /// The reason of the condition.
    pub reason: &'static str,
    /// Its message.
    pub message: String,
}

/// What to do about one object or role, in this order: write the object's settings, tell the kernel, then write the status, or
/// remove the finalizer.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// A role without an object: create this one.
    Create(Value),
    /// An object that was made for a role which is gone: delete it.
    Delete {
        /// The object's name.
        name: String,
    },
    /// An object of a role.
    Apply {
        /// The object's name.
        name: String,
        /// The role.
        role: Role,
        /// The object's settings and the kernel's are to be these.
        settings: Settings,
        /// Whether the object has other settings, or no finalizer although it needs one.
        write: bool,
        /// What the kernel must be told.
        set: Change,
        /// Whether the object is being deleted: its finalizer goes when the kernel has been told.
        release: bool,
    },
    /// An object without effect.
    Ignore {
        /// The object's name.
        name: String,
        /// Why.
        why: Ineffective,
        /// Whether the object is being deleted: its finalizer goes at once.
        release: bool,
    },
}

/// What differs in the kernel.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs)]
pub struct Change {
    pub weight: Option<f64>,
    pub quota: Option<Quota>,
}

impl Change {
    fn between(current: &Settings, wanted: &Settings) -> Change {
        Change {
            weight: (current.weight != wanted.weight).then_some(wanted.weight),
            quota: (current.quota != wanted.quota).then(|| wanted.quota.clone()),
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Change::default()
    }
}

/// What to try of a quota that the kernel has refused as a whole: guarantees and limits alone, where both differ from what is in
/// force. A limit that is refused for what is in use must not keep a guarantee from the role.
pub fn parts_of_quota(in_force: &Quota, wanted: &Quota) -> Vec<Quota> {
    let guarantees = Quota { limits: in_force.limits.clone(), ..wanted.clone() };
    let limits = Quota { guarantees: in_force.guarantees.clone(), ..wanted.clone() };
    let differ = |part: &Quota| part != in_force && part != wanted;
    [guarantees, limits].into_iter().filter(differ).collect()
}

/// Decides about all objects and roles.
pub fn decide(objects: &[Value], reports: &[RoleReport]) -> Vec<Decision> {
    let reports: BTreeMap<&Role, &RoleReport> = reports.iter().map(|report| (&report.role, report)).collect();
    let mut decisions = Vec::new();
    let mut by_role: BTreeMap<Role, Vec<&Value>> = BTreeMap::new();
    for object in objects {
        match Role::parse(access::text(object, &["spec", "role"])) {
            Ok(role) => by_role.entry(role).or_default().push(object),
            Err(error) => decisions.push(ignored(object, "InvalidRole", error.to_string())),
        }
    }
    for (role, of_role) in &mut by_role {
        of_role.sort_by_key(|object| precedence(object));
        let (first, others) = of_role.split_first().expect("invariant: each role was entered with an object");
        decisions.push(of_object(first, role, reports.get(role).copied()));
        for other in others {
            if is_managed(other) && !is_deleting(other) {
                decisions.push(Decision::Delete { name: name(other).to_owned() });
                continue;
            }
            let message = format!("Role '{role}' has the object '{}' already", name(first));
            decisions.push(ignored(other, DUPLICATE, message));
        }
    }
    let mut taken: Vec<&str> = objects.iter().map(name).collect();
    taken.sort_unstable();
    for (role, report) in reports {
        if !by_role.contains_key(role) {
            decisions.push(Decision::Create(new_object(report, &taken)));
        }
    }
    decisions
}

/// Which object of a role prevails: the least. Those that stay before those that go, clients' before the one that was made, and the
/// oldest first. Times are whole seconds: within one, the object that prevails already stays, and new ones have revisions in the
/// order in which they were created.
fn precedence(object: &Value) -> impl Ord + use<'_> {
    let since = access::text(object, &["metadata", "creationTimestamp"]);
    let revision = access::text(object, &["metadata", "resourceVersion"]).parse::<u64>().ok();
    let shown = access::list(object, &["status", "conditions"]).first();
    let decided = match shown.map(|condition| access::text(condition, &["reason"])) {
        Some(DUPLICATE) => 2,
        Some(_) => 0,
        None => 1,
    };
    (is_deleting(object), is_managed(object), since, decided, revision, name(object))
}

fn name(object: &Value) -> &str {
    access::text(object, &["metadata", "name"])
}

fn is_deleting(object: &Value) -> bool {
    access::get(object, &["metadata", "deletionTimestamp"]).is_some()
}

/// Whether it was made for a role without an object.
fn is_managed(object: &Value) -> bool {
    access::text(object, &["metadata", "labels", MANAGED_BY.0]) == MANAGED_BY.1
}

fn has_finalizer(object: &Value) -> bool {
    access::list(object, &["metadata", "finalizers"]).iter().any(|finalizer| finalizer == FINALIZER)
}

fn generation(object: &Value) -> Option<i64> {
    access::get(object, &["metadata", "generation"]).and_then(Value::as_i64)
}

fn ignored(object: &Value, reason: &'static str, message: String) -> Decision {
    let why = Ineffective { reason, message };
    Decision::Ignore { name: name(object).to_owned(), why, release: is_deleting(object) }
}

fn of_object(object: &Value, role: &Role, report: Option<&RoleReport>) -> Decision {
    let current = Settings::of(report);
    let release = is_deleting(object);
    let spec = &object["spec"];
    let wanted = match (release, Settings::of_fields(spec)) {
        (true, _) => Settings::default(),
        (false, Ok(wanted)) => wanted,
        (false, Err(error)) => return ignored(object, "InvalidAmount", error.to_string()),
    };
    // The status is ours: it can be read, unless somebody else has written it.
    let status = object.get("status").filter(|status| status.get("observedGeneration").is_some());
    let last = match status {
        Some(status) => Settings::of_fields(status).ok(),
        // Nobody has changed it since it was made here: it has what was in force.
        None if is_managed(object) && generation(object) == Some(1) => Some(wanted.clone()),
        None => None,
    };
    let settings = match (release, last) {
        (true, _) => Settings::default(),
        (false, Some(last)) => merged(&wanted, &last, &current),
        (false, None) => adopted(spec, &wanted, &current),
    };
    if is_managed(object) && !release && report.is_none() && settings == Settings::default() {
        return Decision::Delete { name: name(object).to_owned() };
    }
    let needs_finalizer = settings != Settings::default() && !has_finalizer(object);
    Decision::Apply {
        name: name(object).to_owned(),
        role: role.clone(),
        write: !release && (wanted != settings || needs_finalizer),
        set: Change::between(&current, &settings),
        settings,
        release,
    }
}

/// Field by field: the object's where it was changed, else the kernel's.
fn merged(wanted: &Settings, last: &Settings, current: &Settings) -> Settings {
    fn pick<T: PartialEq + Clone>(wanted: &T, last: &T, current: &T) -> T {
        if wanted == last { current.clone() } else { wanted.clone() }
    }
    Settings {
        weight: pick(&wanted.weight, &last.weight, &current.weight),
        quota: Quota {
            guarantees: pick(&wanted.quota.guarantees, &last.quota.guarantees, &current.quota.guarantees),
            limits: pick(&wanted.quota.limits, &last.quota.limits, &current.quota.limits),
        },
    }
}

/// A new object's fields where it has them, else the kernel's.
fn adopted(spec: &Value, wanted: &Settings, current: &Settings) -> Settings {
    let of = |name: &str| if spec.get(name).is_some() { wanted } else { current };
    Settings {
        weight: of("weight").weight,
        quota: Quota {
            guarantees: of("guarantee").quota.guarantees.clone(),
            limits: of("limit").quota.limits.clone(),
        },
    }
}

fn new_object(report: &RoleReport, taken: &[&str]) -> Value {
    let settings = Settings::of(Some(report));
    let mut metadata = json!({
        "name": names::object_name(&report.role, taken),
        "labels": { MANAGED_BY.0: MANAGED_BY.1 },
    });
    if settings != Settings::default() {
        metadata["finalizers"] = json!([FINALIZER]);
    }
    let mut object = json!({ "apiVersion": definition::API_VERSION, "kind": definition::KIND, "metadata": metadata,
        "spec": { "role": report.role.to_string() } });
    access::object_mut(&mut object, &["spec"]).extend(settings.to_fields());
    object
}

/// The object with the settings, with the finalizer if it needs one, and with what is in force in its status. Both parts are written at
/// once: a spec with the kernel's settings beside a status without them would look as if a client had changed it. `seen` is the object
/// that was decided about; if its spec has changed since, the next look decides.
pub fn with_settings(object: &Value, seen: &Value, settings: &Settings, in_force: &Settings) -> Value {
    let mut object = object.clone();
    if generation(&object) != generation(seen) {
        return object;
    }
    // What has not changed keeps the form in which it was written, and its owner.
    let known = Settings::of_fields(&object["spec"]).ok();
    let keeps =
        |same: fn(&Settings, &Settings) -> bool| known.as_ref().is_some_and(|known| same(known, settings));
    let fields = [
        ("weight", keeps(|a, b| a.weight == b.weight)),
        ("guarantee", keeps(|a, b| a.quota.guarantees == b.quota.guarantees)),
        ("limit", keeps(|a, b| a.quota.limits == b.quota.limits)),
    ];
    let mut wanted = settings.to_fields();
    let spec = access::object_mut(&mut object, &["spec"]);
    for (name, _) in fields.into_iter().filter(|(_, keeps)| !keeps) {
        match wanted.remove(name) {
            Some(value) => drop(spec.insert(name.to_owned(), value)),
            None => drop(spec.remove(name)),
        }
    }
    if *settings != Settings::default() && !has_finalizer(&object) {
        let metadata = access::object_mut(&mut object, &["metadata"]);
        let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
        finalizers.as_array_mut().into_iter().for_each(|list| list.push(FINALIZER.into()));
    }
    let observed = object["metadata"]["generation"].clone();
    let status = access::object_mut(&mut object, &["status"]);
    status.entry("observedGeneration").or_insert(observed);
    ["guarantee", "limit"].iter().for_each(|name| drop(status.remove(*name)));
    status.extend(in_force.to_fields());
    status.insert("weight".to_owned(), amounts::number(in_force.weight));
    object
}

/// The object without the finalizer.
pub fn without_finalizer(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(list) = access::list_mut(&mut object, &["metadata", "finalizers"]) {
        list.retain(|finalizer| finalizer != FINALIZER);
    }
    object
}

/// The status of an object. `report` is the role's state with the settings that are in force now, `pods` the framework whose
/// tasks are Pods, `why` the reason if the object has no effect, `time` the current time.
pub fn status(
    object: &Value,
    report: Option<&RoleReport>,
    pods: Option<&kernel_model::ids::FrameworkId>,
    why: Option<&Ineffective>,
    time: &str,
) -> Value {
    let mut status = serde_json::Map::new();
    status.insert("observedGeneration".to_owned(), object["metadata"]["generation"].clone());
    let settings = Settings::of(report);
    status.extend(settings.to_fields());
    status.insert("weight".to_owned(), amounts::number(settings.weight));
    let (mut of_pods, mut of_tasks) = (Quantities::default(), Quantities::default());
    for (framework, held) in report.iter().flat_map(|report| &report.allocated) {
        let sum = if Some(framework) == pods { &mut of_pods } else { &mut of_tasks };
        sum.add_all(held);
    }
    status.insert(
        "allocated".to_owned(),
        json!({ "pods": amounts::to_value(&of_pods), "tasks": amounts::to_value(&of_tasks) }),
    );
    let reserved = report.map(|report| &report.reserved).filter(|reserved| !reserved.is_empty());
    if let Some(reserved) = reserved {
        status.insert("reserved".to_owned(), amounts::to_value(reserved));
    }
    let share = report.map_or(0.0, |report| report.dominant_share);
    status.insert("dominantShare".to_owned(), amounts::number((share * 1000.0).round() / 1000.0));
    status.insert("conditions".to_owned(), json!([condition(object, why, time)]));
    Value::Object(status)
}

fn condition(object: &Value, why: Option<&Ineffective>, time: &str) -> Value {
    let (value, reason, message) = match why {
        None => ("True", "Applied", "The kernel has this weight and quota"),
        Some(why) => ("False", why.reason, why.message.as_str()),
    };
    let known =
        access::list(object, &["status", "conditions"]).iter().find(|known| known["type"] == "Applied");
    let since = known.filter(|known| known["status"] == value);
    let since = since.map_or(time, |known| access::text(known, &["lastTransitionTime"]));
    json!({ "type": "Applied", "status": value, "reason": reason, "message": message,
        "observedGeneration": object["metadata"]["generation"], "lastTransitionTime": since })
}
