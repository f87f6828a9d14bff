//! The kinds with a schema, each with its `k8s-openapi` type. Those of resources are in the table of `resource`; this file
//! has the others.

use crate::resource::KindRef;
use k8s_openapi::api::{
    authentication::v1 as authentication, autoscaling::v1 as autoscaling, policy::v1 as policy,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

/// A kind and the function that returns its schema.
pub struct Root {
    /// Group, version and kind.
    pub kind: KindRef<'static>,
    /// Full name of its type.
    pub name: fn() -> String,
    generate: fn(&mut SchemaGenerator) -> Schema,
}

/// The root of a kind whose objects are `T`s.
pub(crate) const fn root<T: JsonSchema>(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
) -> Root {
    Root {
        kind: KindRef { group, version, kind },
        name: || T::schema_name().into_owned(),
        generate: |generator| generator.subschema_for::<T>(),
    }
}

/// Types of bodies that are not objects of a resource.
static OTHERS: &[Root] = &[
    root::<authentication::TokenRequest>("authentication.k8s.io", "v1", "TokenRequest"),
    root::<autoscaling::Scale>("autoscaling", "v1", "Scale"),
    root::<policy::Eviction>("policy", "v1", "Eviction"),
    root::<meta::DeleteOptions>("meta.k8s.io", "v1", "DeleteOptions"),
    root::<meta::ObjectMeta>("meta.k8s.io", "v1", "ObjectMeta"),
];

/// Every built-in kind with a type: the objects of resources, and other bodies.
pub fn all() -> impl Iterator<Item = &'static Root> {
    crate::resource::builtin_roots().chain(OTHERS)
}

/// The JSON schemas of the roots that `wanted` picks and of all that they use, by full name.
pub fn definitions(wanted: impl Fn(&Root) -> bool, openapi: bool) -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    for root in all().filter(|r| wanted(r)) {
        (root.generate)(&mut generator);
    }
    generator.take_definitions(openapi)
}

/// The JSON schemas of a type and of all that it uses, by full name.
pub fn definitions_of<T: JsonSchema>() -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    generator.subschema_for::<T>();
    generator.take_definitions(true)
}
