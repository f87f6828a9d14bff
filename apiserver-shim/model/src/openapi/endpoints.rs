//! OpenAPI v3 documents of paths that serve no resources: `/version`, `/api`, `/apis`, `/apis/GROUP`, and the discovery of the
//! service account issuer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::version::Info;
use serde_json::{Map, Value, json};

use super::reference;
use crate::schema::roots;

const JSON: &[&str] = &["application/json"];
const ALL: &[&str] = &["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"];

/// The members that an answer always has, in upstream's order.
const REQUIRED: &[(&str, &[&str])] = &[
    (
        "Info",
        &[
            "major",
            "minor",
            "gitVersion",
            "gitCommit",
            "gitTreeState",
            "buildDate",
            "goVersion",
            "compiler",
            "platform",
        ],
    ),
    ("APIVersions", &["versions", "serverAddressByClientCIDRs"]),
    ("APIGroup", &["name", "versions"]),
    ("APIGroupList", &["groups"]),
    ("GroupVersionForDiscovery", &["groupVersion", "version"]),
    ("ServerAddressByClientCIDR", &["clientCIDR", "serverAddress"]),
];

/// A path with one operation.
struct Endpoint<'a> {
    path: String,
    tag: String,
    description: &'a str,
    operation: String,
    /// The media types of the answer.
    media: &'a [&'a str],
    /// The type of the answer; a text if there is none.
    answer: Option<&'a str>,
    schemas: Map<String, Value>,
}

/// The paths of the documents, without their first slash.
pub fn endpoint_paths<'a>(groups: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let fixed = [".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version"];
    let of_groups = groups.into_iter().filter(|group| !group.is_empty()).map(|group| format!("apis/{group}"));
    fixed.map(str::to_owned).into_iter().chain(of_groups).collect()
}

/// The document of a path; `None` for any other. `groups` are those that are served.
pub fn endpoint_document<'a>(path: &str, groups: impl IntoIterator<Item = &'a str>) -> Option<Value> {
    let endpoint = match path {
        "version" => Endpoint {
            tag: "version".to_owned(),
            description: "get the version information for this server",
            operation: "getCodeVersion".to_owned(),
            answer: Some("io.k8s.apimachinery.pkg.version.Info"),
            schemas: roots::definitions_of::<Info>(),
            ..plain(path)
        },
        "api" => Endpoint {
            media: ALL,
            tag: "core".to_owned(),
            description: "get available API versions",
            operation: "getCoreAPIVersions".to_owned(),
            answer: Some("io.k8s.apimachinery.pkg.apis.meta.v1.APIVersions"),
            schemas: roots::definitions_of::<meta::APIVersions>(),
            ..plain(path)
        },
        "apis" => Endpoint {
            media: ALL,
            tag: "apis".to_owned(),
            description: "get available API versions",
            operation: "getAPIVersions".to_owned(),
            answer: Some("io.k8s.apimachinery.pkg.apis.meta.v1.APIGroupList"),
            schemas: roots::definitions_of::<meta::APIGroupList>(),
            ..plain(path)
        },
        ".well-known/openid-configuration" => Endpoint {
            tag: "WellKnown".to_owned(),
            description: "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
            operation: "getServiceAccountIssuerOpenIDConfiguration".to_owned(),
            ..plain(path)
        },
        "openid/v1/jwks" => Endpoint {
            media: &["application/jwk-set+json"],
            tag: "openid".to_owned(),
            description: "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
            operation: "getServiceAccountIssuerOpenIDKeyset".to_owned(),
            ..plain(path)
        },
        _ => of_group(groups.into_iter().find(|group| path.strip_prefix("apis/") == Some(group))?),
    };
    Some(document(endpoint))
}

fn plain(path: &str) -> Endpoint<'_> {
    Endpoint {
        path: format!("/{path}/"),
        tag: "".to_owned(),
        description: "",
        operation: String::new(),
        media: JSON,
        answer: None,
        schemas: Map::new(),
    }
}

fn of_group(group: &str) -> Endpoint<'_> {
    // As upstream: the group in camel case without its common suffix, `rbacAuthorization`.
    let labels = group.trim_end_matches(".k8s.io").split('.');
    let capital = |label: &str| {
        let mut chars = label.chars();
        chars.next().map(|c| c.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
    };
    let name: String = labels.map(capital).collect();
    let lower = |name: &str| name.get(..1).unwrap_or("").to_ascii_lowercase() + name.get(1..).unwrap_or("");
    Endpoint {
        path: format!("/apis/{group}/"),
        media: ALL,
        tag: lower(&name),
        description: "get information of a group",
        operation: format!("get{name}APIGroup"),
        answer: Some("io.k8s.apimachinery.pkg.apis.meta.v1.APIGroup"),
        schemas: roots::definitions_of::<meta::APIGroup>(),
    }
}

fn document(endpoint: Endpoint<'_>) -> Value {
    let schema = endpoint.answer.map_or_else(|| json!({"type": "string"}), reference);
    let media = endpoint.media.iter().map(|media| ((*media).to_owned(), json!({"schema": schema})));
    let content: Map<String, Value> = media.collect();
    let get = json!({
        "tags": [endpoint.tag],
        "description": endpoint.description,
        "operationId": endpoint.operation,
        "responses": {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}},
    });
    let token = json!({
        "type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header",
    });
    let mut components = json!({"securitySchemes": {"BearerToken": token}});
    if !endpoint.schemas.is_empty() {
        let schemas = endpoint.schemas.into_iter().map(|(name, schema)| {
            let schema = annotated(&name, schema);
            (name, schema)
        });
        components["schemas"] = Value::Object(schemas.collect());
    }
    let mut path = Map::new();
    path.insert(endpoint.path, json!({"get": get}));
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "1.36"},
        "paths": path,
        "components": components,
    })
}

/// A schema with Kubernetes' extensions, and with the defaults of members that are always there.
fn annotated(full_name: &str, mut schema: Value) -> Value {
    let name = full_name.rsplit('.').next().unwrap_or("");
    let required = REQUIRED.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, members)| members);
    for (member, property) in schema["properties"].as_object_mut().into_iter().flatten() {
        if property["type"] == "array" {
            property["x-kubernetes-list-type"] = "atomic".into();
        } else if property["type"] == "string" && required.contains(&member.as_str()) {
            property["default"] = "".into();
        }
        if let Some(target) = property.as_object_mut().and_then(|members| members.remove("$ref")) {
            property["allOf"] = json!([{"$ref": target}]);
        }
        if property.get("allOf").is_some() {
            property["default"] = json!({});
        }
    }
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if matches!(name, "APIVersions" | "APIGroup" | "APIGroupList") {
        schema["x-kubernetes-group-version-kind"] = json!([{"group": "", "version": "v1", "kind": name}]);
    }
    schema
}
