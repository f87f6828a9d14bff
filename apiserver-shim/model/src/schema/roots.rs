//! The kinds with a schema, each with its `k8s-openapi` type. No other file names those types.

use crate::resource::KindRef;
use k8s_openapi::api::{
    apps::v1 as apps, authentication::v1 as authentication, authorization::v1 as authorization,
    autoscaling::v1 as autoscaling, coordination::v1 as coordination, core::v1 as core,
    discovery::v1 as discovery, events::v1 as events, policy::v1 as policy, scheduling::v1 as scheduling,
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

const fn root<T: JsonSchema>(group: &'static str, version: &'static str, kind: &'static str) -> Root {
    Root {
        kind: KindRef { group, version, kind },
        name: || T::schema_name().into_owned(),
        generate: |generator| generator.subschema_for::<T>(),
    }
}

/// All kinds with a schema, in any order.
pub static ROOTS: &[Root] = &[
    root::<core::Binding>("", "v1", "Binding"),
    root::<core::ConfigMap>("", "v1", "ConfigMap"),
    root::<core::Endpoints>("", "v1", "Endpoints"),
    root::<core::Event>("", "v1", "Event"),
    root::<core::Namespace>("", "v1", "Namespace"),
    root::<core::Node>("", "v1", "Node"),
    root::<core::Pod>("", "v1", "Pod"),
    root::<core::PodTemplate>("", "v1", "PodTemplate"),
    root::<core::Secret>("", "v1", "Secret"),
    root::<core::Service>("", "v1", "Service"),
    root::<core::ServiceAccount>("", "v1", "ServiceAccount"),
    root::<apps::ControllerRevision>("apps", "v1", "ControllerRevision"),
    root::<apps::Deployment>("apps", "v1", "Deployment"),
    root::<apps::ReplicaSet>("apps", "v1", "ReplicaSet"),
    root::<authentication::SelfSubjectReview>("authentication.k8s.io", "v1", "SelfSubjectReview"),
    root::<authentication::TokenRequest>("authentication.k8s.io", "v1", "TokenRequest"),
    root::<authentication::TokenReview>("authentication.k8s.io", "v1", "TokenReview"),
    root::<authorization::LocalSubjectAccessReview>("authorization.k8s.io", "v1", "LocalSubjectAccessReview"),
    root::<authorization::SelfSubjectAccessReview>("authorization.k8s.io", "v1", "SelfSubjectAccessReview"),
    root::<authorization::SelfSubjectRulesReview>("authorization.k8s.io", "v1", "SelfSubjectRulesReview"),
    root::<authorization::SubjectAccessReview>("authorization.k8s.io", "v1", "SubjectAccessReview"),
    root::<autoscaling::Scale>("autoscaling", "v1", "Scale"),
    root::<coordination::Lease>("coordination.k8s.io", "v1", "Lease"),
    root::<discovery::EndpointSlice>("discovery.k8s.io", "v1", "EndpointSlice"),
    root::<events::Event>("events.k8s.io", "v1", "Event"),
    root::<policy::Eviction>("policy", "v1", "Eviction"),
    root::<scheduling::PriorityClass>("scheduling.k8s.io", "v1", "PriorityClass"),
    root::<meta::DeleteOptions>("meta.k8s.io", "v1", "DeleteOptions"),
];

/// The JSON schemas of the roots that `wanted` selects and of all types that they use, by full name.
pub fn definitions(wanted: impl Fn(&Root) -> bool, openapi: bool) -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    for root in ROOTS.iter().filter(|r| wanted(r)) {
        (root.generate)(&mut generator);
    }
    generator.take_definitions(openapi)
}
