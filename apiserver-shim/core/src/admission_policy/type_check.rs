//! Checks the expressions of a ValidatingAdmissionPolicy with the types of the objects that it names: what can never work is a
//! warning in the policy's status. Requests are evaluated without types, because a rule may match several kinds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use shim_model::access;
use shim_model::resource::{KindRef, split_api_version};
use shim_model::schema::{self, ObjectType, Schema, StructId};

use super::{Environment, environment_with};
use crate::cel::{Field, Object, Type, escape, is_escapable};

/// Kinds that are checked for one rule (upstream's).
const KINDS_MAX: usize = 10;

/// A kind with the type of its objects; `None` if expressions cannot use it.
pub type TypedKind = Option<Type>;

/// What is known of the kinds that are served.
pub trait KnownKinds {
    /// The name of the kind of a resource.
    fn kind_of(&self, group: &str, version: &str, plural: &str) -> Option<String>;
    /// The type of a kind's objects; the outer `None` if the kind is not known.
    fn type_of(&self, kind: KindRef<'_>) -> Option<TypedKind>;
}

/// The `expressionWarnings` of a policy.
pub fn warnings(policy: &Value, known: &dyn KnownKinds) -> Vec<Value> {
    let spec = &policy["spec"];
    let param_kind = spec.get("paramKind").filter(|kind| !kind.is_null());
    let params = param_kind.and_then(|kind| {
        let (group, version) = split_api_version(access::text(kind, &["apiVersion"]));
        known.type_of(KindRef { group, version, kind: access::text(kind, &["kind"]) })?
    });
    let mut checked: Vec<(String, Environment)> = Vec::new();
    for (group, version, kind) in kinds(spec, known) {
        let Some(object) = known.type_of(KindRef { group: &group, version: &version, kind: &kind }) else {
            continue;
        };
        let params = param_kind.map(|_| params.clone().unwrap_or(Type::Dyn));
        let environment = environment_with(object.unwrap_or(Type::Dyn), params);
        checked.push((format!("{group}/{version}, Kind={kind}"), with_variables(spec, environment)));
    }
    let mut found = Vec::new();
    for (at, validation) in access::list(spec, &["validations"]).iter().enumerate() {
        for member in ["expression", "messageExpression"] {
            let source = access::text(validation, &[member]);
            if source.is_empty() {
                continue;
            }
            let issues = checked.iter().filter_map(|(kind, environment)| {
                let error = environment.compile(source).err()?;
                Some(format!("{kind}: {}\n", error.detail()))
            });
            let issues: Vec<String> = issues.collect();
            if !issues.is_empty() {
                let field = format!("spec.validations[{at}].{member}");
                found.push(json!({"fieldRef": field, "warning": issues.join("\n")}));
            }
        }
    }
    found
}

fn with_variables(spec: &Value, environment: Environment) -> Environment {
    access::list(spec, &["variables"]).iter().fold(environment, |environment, variable| {
        let program = environment.compile(access::text(variable, &["expression"]));
        environment.composed(access::text(variable, &["name"]), program.ok().as_ref())
    })
}

/// The kinds that the rules of a policy name: group, version and kind. A rule with a wildcard names none.
fn kinds(spec: &Value, known: &dyn KnownKinds) -> BTreeSet<(String, String, String)> {
    let mut found = BTreeSet::new();
    for rule in access::list(spec, &["matchConstraints", "resourceRules"]) {
        let names = |member: &str| -> Vec<&str> {
            let mut names: Vec<&str> =
                access::list(rule, &[member]).iter().filter_map(Value::as_str).collect();
            names.sort_unstable();
            names
        };
        let (groups, versions, mut resources) =
            (names("apiGroups"), names("apiVersions"), names("resources"));
        if groups.iter().chain(&versions).any(|name| name.contains('*')) {
            continue;
        }
        resources.retain(|name| !name.contains(['*', '/']));
        let all = groups.iter().flat_map(|group| versions.iter().map(move |version| (*group, *version)));
        let of_version = |(group, version): (&str, &str)| -> Vec<(String, String, String)> {
            let kind = |plural: &&str| known.kind_of(group, version, plural);
            let kinds = resources.iter().filter_map(kind);
            kinds.map(|kind| (group.to_owned(), version.to_owned(), kind)).collect()
        };
        found.extend(all.flat_map(of_version).take(KINDS_MAX));
    }
    found
}

/// The type of the objects of a built-in kind.
pub fn builtin_type(object: &ObjectType) -> Type {
    let mut types = Types { schema: object.schema(), known: BTreeMap::new(), open: Vec::new() };
    types.of_struct(object.root())
}

struct Types<'s> {
    schema: &'s Schema,
    known: BTreeMap<String, Type>,
    /// The structs around the present one: a struct that contains itself is not known any further.
    open: Vec<String>,
}

impl Types<'_> {
    fn of_struct(&mut self, id: StructId) -> Type {
        let schema = self.schema;
        let found = schema.at(id);
        if let Some(known) = self.known.get(&found.name) {
            return known.clone();
        }
        if self.open.contains(&found.name) {
            return Type::Dyn;
        }
        self.open.push(found.name.clone());
        let mut fields = BTreeMap::new();
        for field in found.fields.iter().filter(|field| is_escapable(&field.name)) {
            let ty = self.of(field.ty);
            fields.insert(escape(&field.name), Field { name: field.name.clone(), ty });
        }
        self.open.pop();
        let ty = Type::Object(Object { name: found.short_name().to_owned(), fields, open: false }.into());
        self.known.insert(found.name.clone(), ty.clone());
        ty
    }

    fn of(&mut self, ty: schema::Type) -> Type {
        match ty {
            schema::Type::Struct(id) => self.of_struct(id),
            schema::Type::List(item) => Type::list(self.of(self.schema.item(item))),
            schema::Type::Map(item) => Type::map(Type::String, self.of(self.schema.item(item))),
            schema::Type::String | schema::Type::Quantity => Type::String,
            schema::Type::Bool => Type::Bool,
            schema::Type::Int32 | schema::Type::Int64 => Type::Int,
            schema::Type::Float => Type::Double,
            schema::Type::Time | schema::Type::MicroTime => Type::Timestamp,
            schema::Type::Bytes => Type::Bytes,
            schema::Type::IntOrString | schema::Type::Any => Type::Dyn,
        }
    }
}
