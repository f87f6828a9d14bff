//! Paths that are no resource: health, discovery, OpenAPI, metrics, the version, keys of service accounts.

use exposition::zpages::Page;
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;
use shim_model::go_quote::go_quote;
use shim_model::openapi as documents;
use shim_model::schema::Media;
use shim_model::status::{self, Status};

use crate::flow_control::Dump;
use crate::http::body::Response;
use crate::http::health::Health;
use crate::http::negotiation::{self, Clause};
use crate::http::service::Api;
use crate::http::{discovery, health, openapi, reply, version, zpages};
use crate::metrics;
use crate::request::info::RequestInfo;
use crate::storage::catalog::Catalog;

/// The media type of a set of keys.
const JWK_SET: &str = "application/jwk-set+json";

/// Serves a path.
pub(super) async fn serve(
    api: &Api,
    info: &RequestInfo,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Status> {
    let path = info.path.as_str();
    if path.starts_with("//") {
        return Ok(discovery::not_found());
    }
    if info.deprecated_watch {
        return Ok(without_a_resource(path));
    }
    let catalog = api.registry.catalog();
    if let Some(response) = health::serve(&health_of(api), path, &info.query).await {
        return Ok(response);
    }
    let readable = matches!(*method, Method::GET);
    let remote = api.aggregator.discovery();
    if let Some(response) = discovery::serve((&catalog, &remote), path, headers, &api.address) {
        // As upstream, the group lists accept any method.
        return if readable || is_absent(&response) || discovery::is_of_aggregator(path) {
            response
        } else {
            Err(status::method_not_allowed())
        };
    }
    if let Some(page) = Page::at(path) {
        let others: Vec<String> = all(&catalog).into_iter().filter(|known| known != path).collect();
        return zpages::serve(page, headers, &api.process.flags, &others);
    }
    if let Some(page) = Dump::at(path) {
        let with_details = !info.query.text("includeRequestDetails").is_empty();
        return Ok(reply::text(200, api.flow.dump(page, with_details)));
    }
    if let Some(response) = openapi::serve((&catalog, remote), path, headers, info.query.text("hash")).await {
        return response;
    }
    match path.trim_end_matches('/') {
        "/metrics" if path == "/metrics" => print(&api.metrics, method),
        "/metrics/slis" if path == "/metrics/slis" => print(api.health.registry(), method),
        "/version" if !readable => Err(status::method_not_allowed()),
        "/version" => {
            only(headers, "application/json")?;
            Ok(reply::value(200, Media::Json, &version::value(&api.process.build)))
        }
        path if path.starts_with("/version/") => Err(status::unknown_path()),
        "/.well-known/openid-configuration" | "/openid/v1/jwks" if !readable => {
            Err(status::method_not_allowed())
        }
        "/.well-known/openid-configuration" => {
            only(headers, "application/json")?;
            let value = json!({
                "issuer": api.authenticator.issuer(),
                "jwks_uri": format!("https://{}/openid/v1/jwks", api.address),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            });
            Ok(cached(reply::json(200, value.to_string())))
        }
        "/openid/v1/jwks" => {
            only(headers, JWK_SET)?;
            let keys = json!({"keys": [api.authenticator.web_key()]});
            Ok(cached(reply::typed(200, JWK_SET, keys.to_string())))
        }
        "" | "/index.html" => Ok(reply::json(200, json!({"paths": all(&catalog)}).to_string())),
        _ => Ok(discovery::not_found()),
    }
}

fn health_of(api: &Api) -> Health<'_> {
    Health { registry: &api.registry, metrics: &api.health, stopping: &api.process.stopping }
}

fn print(registry: &metrics::Registry, method: &Method) -> Result<Response, Status> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(status::method_not_allowed());
    }
    let text = metrics::print(registry).map_err(status::internal)?;
    Ok(reply::typed(200, metrics::TEXT_FORMAT, text))
}

/// Whether a response says that there is nothing, which it does to any method.
fn is_absent(response: &Result<Response, Status>) -> bool {
    match response {
        Ok(found) => found.status() == StatusCode::NOT_FOUND,
        Err(refused) => refused.code == 404,
    }
}

/// A document that anybody may keep for an hour, as upstream says of the keys that tokens are verified with.
fn cached(mut document: Response) -> Response {
    document.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    document
}

/// The response to `/api/v1/watch` without anything below it.
fn without_a_resource(path: &str) -> Response {
    let why = "failed to create RequestInfo: unable to determine kind and namespace from url";
    reply::text(500, format!("Internal Server Error: {}: {why}, {path}\n", go_quote(path)))
}

/// Refuses a client that does not accept the one type that is written.
fn only(headers: &HeaderMap, available: &str) -> Result<(), Status> {
    let clauses = negotiation::clauses(headers);
    let is_fine = |clause: &Clause| clause.media == "*/*" || clause.media == available;
    if clauses.iter().any(is_fine) { Ok(()) } else { Err(status::unacceptable(&[available])) }
}

/// All paths that serve something, sorted.
fn all(catalog: &Catalog) -> Vec<String> {
    let groups = catalog.groups().iter().map(|group| group.name.as_str());
    let endpoints =
        documents::endpoint_paths(groups).into_iter().chain(documents::document_paths(catalog.resources()));
    let mut paths: Vec<String> = endpoints.map(|path| format!("/{path}")).collect();
    let fixed = ["/apis/", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3", "/openapi/v3/"];
    paths.extend(fixed.map(String::from));
    paths.extend(["/flagz", "/statusz"].map(String::from));
    paths.extend(health::paths());
    paths.sort();
    paths
}
