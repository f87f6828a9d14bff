//! Schemas of the types that all groups share and that are no objects: lists' metadata, `Status`, options, watch events, discovery.

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use k8s_openapi::apimachinery::pkg::version::Info;
use serde_json::{Map, Value, json};

use super::{
    DELETE_OPTIONS, LIST_META, PATCH, STATUS, WATCH_EVENT, complete, published, reference, references,
};
use crate::schema::roots;
use crate::schema::rules::short;

macro_rules! meta {
    ($name:literal) => {
        concat!("io.k8s.apimachinery.pkg.apis.meta.v1.", $name)
    };
}

pub(super) const API_RESOURCE_LIST: &str = meta!("APIResourceList");
pub(super) const API_VERSIONS: &str = meta!("APIVersions");
pub(super) const API_GROUP: &str = meta!("APIGroup");
pub(super) const API_GROUP_LIST: &str = meta!("APIGroupList");
const SHARD_INFO: &str = meta!("ShardInfo");
const VERSION_INFO: &str = "io.k8s.apimachinery.pkg.version.Info";

/// Types that each group-version has as a kind of its own.
const OF_EACH_VERSION: [&str; 2] = [DELETE_OPTIONS, WATCH_EVENT];
/// Kinds of `v1` only.
const OF_V1: [&str; 5] = [STATUS, API_RESOURCE_LIST, API_VERSIONS, API_GROUP, API_GROUP_LIST];

/// All shared types. `versions` are the group-versions that have some of them as kinds.
pub(super) fn all(versions: &[(String, String)]) -> Map<String, Value> {
    let mut out = Map::new();
    for definitions in [
        roots::definitions_of::<meta::Status>(),
        roots::definitions_of::<meta::DeleteOptions>(),
        roots::definitions_of::<meta::WatchEvent<RawExtension>>(),
        roots::definitions_of::<meta::APIResourceList>(),
        roots::definitions_of::<meta::APIVersions>(),
        roots::definitions_of::<meta::APIGroupList>(),
        roots::definitions_of::<Info>(),
    ] {
        out.extend(definitions);
    }
    out.insert(
        PATCH.to_owned(),
        json!({"type": "object", "description": "A patch in one of the accepted media types."}),
    );
    add_shard_info(&mut out);
    for (name, schema) in &mut out {
        annotate(name, schema);
        let of = |version: &(String, String)| json!({"group": version.0, "version": version.1, "kind": name.rsplit('.').next()});
        let core = ("".to_owned(), "v1".to_owned());
        if OF_EACH_VERSION.contains(&name.as_str()) {
            let others = versions.iter().filter(|version| **version != core);
            schema["x-kubernetes-group-version-kind"] = [&core].into_iter().chain(others).map(of).collect();
        } else if OF_V1.contains(&name.as_str()) {
            schema["x-kubernetes-group-version-kind"] = json!([of(&core)]);
        }
    }
    out
}

/// A shared type with those that it uses.
pub(super) fn with(name: &str) -> Map<String, Value> {
    let mut out = all(&[]);
    let mut paths = Map::new();
    paths.insert(String::new(), reference(name));
    references::retain_used(&mut out, &paths, super::SCHEMAS);
    out
}

/// A list that was asked for with a shard selector says so.
fn add_shard_info(schemas: &mut Map<String, Value>) {
    schemas.insert(
        SHARD_INFO.to_owned(),
        json!({
            "type": "object",
            "description": "The part of the objects that a list has.",
            "required": ["selector"],
            "properties": {"selector": {"type": "string", "description": "The shard selector of the request."}},
        }),
    );
    if let Some(list) = schemas.get_mut(LIST_META) {
        let mut info = reference(SHARD_INFO);
        info["description"] =
            "The part of the objects that the list has, if the request selected one.".into();
        list["properties"]["shardInfo"] = info;
    }
}

/// Adds what the schemas of `k8s-openapi` do not say.
fn annotate(name: &str, schema: &mut Value) {
    let message = short(name);
    if name == VERSION_INFO {
        // Not a message of protobuf: all members are texts, and those without a prefix of emulation are always there.
        return version_info(schema);
    }
    let members = crate::protobuf::members(&message);
    for member in members.iter().filter(|member| member.is_list) {
        if let Some(list) = schema.get_mut("properties").and_then(|all| all.get_mut(member.name)) {
            list["x-kubernetes-list-type"] = "atomic".into();
        }
    }
    let written = members.iter().filter(|member| member.is_written).map(|member| member.name);
    let mut required: Vec<&str> = written.collect();
    if name == WATCH_EVENT {
        required = vec!["type", "object"];
        let properties = &mut schema["properties"];
        properties["type"]["default"] = "".into();
        properties["object"]["description"] =
            "The object as it is after the change, or before its deletion; a Status if the type is ERROR."
                .into();
    }
    if let Some(members) = schema.as_object_mut() {
        members.remove("required");
    }
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    complete::complete(&message, schema);
    published::add_values(name, schema);
}

fn version_info(schema: &mut Value) {
    const ALWAYS: [&str; 9] = [
        "major",
        "minor",
        "gitVersion",
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
        "platform",
    ];
    schema["required"] = json!(ALWAYS);
    for name in ALWAYS {
        schema["properties"][name]["default"] = "".into();
    }
}
