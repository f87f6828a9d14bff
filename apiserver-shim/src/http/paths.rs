//! Paths that are no resource: health, discovery, OpenAPI, metrics, the version, keys of service accounts.

use http::{HeaderMap, Method};
use serde_json::json;
use shim_model::openapi as documents;
use shim_model::schema::Media;
use shim_model::status::{self, Status};

use crate::http::body::Response;
use crate::http::service::Api;
use crate::http::{discovery, health, openapi, reply, version};
use crate::metrics;
use crate::request::info::RequestInfo;
use crate::storage::catalog::Catalog;

/// Serves a path.
pub(super) async fn serve(
    api: &Api,
    info: &RequestInfo,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Status> {
    let path = info.path.as_str();
    let catalog = api.registry.catalog();
    if let Some(response) = health::serve(&api.registry, path, &info.query).await {
        return Ok(response);
    }
    let readable = matches!(*method, Method::GET);
    let remote = api.aggregator.discovery();
    if let Some(response) = discovery::serve((&catalog, &remote), path, headers, &api.address) {
        // As upstream, the group lists accept any method.
        let any = path.starts_with("/apis") && path.trim_matches('/').split('/').count() <= 2;
        return if readable || any { response } else { Err(status::method_not_allowed()) };
    }
    if let Some(response) = openapi::serve((&catalog, remote), path, headers, info.query.text("hash")).await {
        return response;
    }
    match path.trim_end_matches('/') {
        "/metrics" if path == "/metrics" => match *method {
            Method::GET | Method::HEAD => {
                let text = metrics::print(&api.metrics).map_err(status::internal)?;
                Ok(reply::typed(200, metrics::TEXT_FORMAT, text))
            }
            _ => Err(status::method_not_allowed()),
        },
        "/version" if !readable => Err(status::method_not_allowed()),
        "/version" => Ok(reply::value(200, Media::Json, &version::value(&api.build))),
        "/.well-known/openid-configuration" => {
            let value = json!({
                "issuer": api.authenticator.issuer(),
                "jwks_uri": format!("https://{}/openid/v1/jwks", api.address),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            });
            Ok(reply::json(200, value.to_string()))
        }
        "/openid/v1/jwks" => {
            let keys = json!({"keys": [api.authenticator.web_key()]});
            Ok(reply::typed(200, "application/jwk-set+json", keys.to_string()))
        }
        "" => Ok(reply::json(200, json!({"paths": all(&catalog)}).to_string())),
        _ => Ok(discovery::not_found()),
    }
}

/// All paths that serve something, sorted.
fn all(catalog: &Catalog) -> Vec<String> {
    let groups = catalog.groups().iter().map(|group| group.name.as_str());
    let endpoints =
        documents::endpoint_paths(groups).into_iter().chain(documents::document_paths(catalog.resources()));
    let mut paths: Vec<String> = endpoints.map(|path| format!("/{path}")).collect();
    let fixed = ["/apis/", "/metrics", "/openapi/v2", "/openapi/v3", "/openapi/v3/"];
    paths.extend(fixed.map(String::from));
    paths.extend(health::paths());
    paths.sort();
    paths
}
