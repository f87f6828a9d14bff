//! Paths that serve no resources: `/version`, `/api`, `/apis`, `/apis/GROUP`, `/apis/GROUP/VERSION`, and the discovery of the service
//! account issuer.

use serde_json::{Map, Value};

use super::routes::{ENCODINGS, OK, Route};
use super::{document_path, meta_types, operation_id, paths, top_3};

const JSON: &[&str] = &["application/json"];

/// The paths of the documents, without their first slash. `groups` are those of built-in resources.
pub fn endpoint_paths<'a>(groups: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let fixed = [".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version"];
    let of_groups = groups.into_iter().filter(|group| !group.is_empty()).map(|group| format!("apis/{group}"));
    fixed.map(str::to_owned).into_iter().chain(of_groups).collect()
}

/// The OpenAPI v3 document of a path; `None` for any other. `groups` are those of built-in resources.
pub fn endpoint_document<'a>(path: &str, groups: impl IntoIterator<Item = &'a str>) -> Option<Value> {
    if !endpoint_paths(groups).iter().any(|known| known == path) {
        return None;
    }
    let route = route(path)?;
    let schemas = match &route.answer {
        Some(name) => meta_types::with(name),
        None => Map::new(),
    };
    Some(top_3(paths::version_3(&[route]), schemas, false))
}

/// The routes of all these documents.
pub(super) fn routes<'a>(groups: impl IntoIterator<Item = &'a str>) -> Vec<Route> {
    endpoint_paths(groups).iter().filter_map(|path| route(path)).collect()
}

/// The route that lists the resources of a group-version.
pub(super) fn resource_list(group: &str, version: &str) -> Route {
    let path = format!("/{}/", document_path(group, version));
    let (id, tag) = operation_id("get", &path, "APIResources");
    Route {
        description: "Lists the resources.".to_owned(),
        id,
        tag,
        ..plain(&path, ENCODINGS, ENCODINGS, Some(meta_types::API_RESOURCE_LIST))
    }
}

fn route(path: &str) -> Option<Route> {
    const INFO: &str = "io.k8s.apimachinery.pkg.version.Info";
    let below = format!("/{path}/");
    let discovery = |answer| plain(&below, ENCODINGS, ENCODINGS, Some(answer));
    let named = |name: &str, route: Route| {
        let (id, tag) = operation_id("get", &below, name);
        Route { id, tag, ..route }
    };
    Some(match path {
        "version" => Route {
            description: "Shows the version of this server.".to_owned(),
            ..named("CodeVersion", plain(&below, JSON, JSON, Some(INFO)))
        },
        "api" => Route {
            description: "Lists the versions of the core group.".to_owned(),
            ..named("APIVersions", discovery(meta_types::API_VERSIONS))
        },
        "apis" => Route {
            description: "Lists the groups.".to_owned(),
            tag: "apis".to_owned(),
            ..named("APIVersions", discovery(meta_types::API_GROUP_LIST))
        },
        ".well-known/openid-configuration" => Route {
            id: "getServiceAccountIssuerOpenIDConfiguration".to_owned(),
            tag: "WellKnown".to_owned(),
            description: "The OpenID configuration of the issuer of service account tokens.".to_owned(),
            ..plain(&below, &[], JSON, None)
        },
        "openid/v1/jwks" => Route {
            id: "getServiceAccountIssuerOpenIDKeyset".to_owned(),
            tag: "openid".to_owned(),
            description: "The public keys that verify service account tokens.".to_owned(),
            ..plain(&below, &[], &["application/jwk-set+json"], None)
        },
        _ => Route {
            description: "Shows the versions of a group.".to_owned(),
            ..named("APIGroup", discovery(meta_types::API_GROUP))
        },
    })
}

fn plain(
    path: &str,
    consumes: &'static [&'static str],
    produces: &[&'static str],
    answer: Option<&str>,
) -> Route {
    Route {
        path: path.to_owned(),
        method: "get",
        tag: String::new(),
        id: String::new(),
        description: String::new(),
        consumes,
        produces: produces.to_vec(),
        parameters: Vec::new(),
        body: None,
        answer: answer.map(str::to_owned),
        codes: OK,
        action: None,
    }
}
