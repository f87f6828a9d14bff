//! OpenAPI: the v3 index with a hash per document, the v3 documents, and the v2 document. They are built on first
//! use, so that they do not delay the start, and cached with the catalog of their generation.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, HeaderValue, IF_NONE_MATCH, LOCATION, VARY};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use shim_model::openapi;
use shim_model::resource::split_api_version;
use shim_model::schema::Media;
use shim_model::status::{self, Status};

use super::body::Response;
use super::discovery::hex;
use super::negotiation::{self, Endpoint};
use super::reply;
use crate::aggregation::RemoteDiscovery;
use crate::storage::catalog::{Catalog, Document, DocumentKey};

/// The v3 document of a path such as `apis/apps/v1`, or of a path without resources such as `apis/apps`.
fn document_3(catalog: &Catalog, path: &str) -> Option<Document> {
    if let Some(document) = openapi::endpoint_document(path, groups(catalog)) {
        return Some(hashed(Bytes::from(document.to_string())));
    }
    let api_version = path.strip_prefix("apis/").or_else(|| path.strip_prefix("api/"))?;
    let (group, version) = split_api_version(api_version);
    let is_served = catalog.group(group).is_some_and(|g| g.versions.iter().any(|v| v == version));
    if !is_served || openapi::document_path(group, version) != path {
        return None;
    }
    let key = DocumentKey::OpenApi3 { group: group.to_owned(), version: version.to_owned() };
    Some(catalog.documents().get(key, || {
        let document = openapi::document(described(catalog), group, version)
            .expect("invariant: a group-version of the catalog has resources");
        hashed(Bytes::from(document.to_string()))
    }))
}

/// The resources with what their strategies say.
fn described(catalog: &Catalog) -> impl Iterator<Item = openapi::Described<'_>> {
    catalog.iter().map(|row| openapi::Described {
        resource: row.definition(),
        returns_deleted: row.strategy().returns_deleted_object(),
    })
}

/// The groups with built-in resources.
fn groups(catalog: &Catalog) -> impl Iterator<Item = &str> {
    let built_in = |group: &str| {
        catalog.resources().any(|resource| resource.group == group && resource.custom.is_none())
    };
    catalog.groups().iter().map(|group| group.name.as_str()).filter(move |group| built_in(group))
}

fn hashed(bytes: Bytes) -> Document {
    let hash = hex(&Sha512::digest(&bytes));
    Document { bytes, hash }
}

/// Serves `/openapi/…`; returns `None` for any other path.
pub async fn serve(
    (catalog, remote): (&Arc<Catalog>, Arc<RemoteDiscovery>),
    path: &str,
    headers: &HeaderMap,
    hash: &str,
) -> Option<Result<Response, Status>> {
    if path == "/openapi/v2" {
        return Some(version_2(catalog, remote, headers).await);
    }
    let below = path.strip_prefix("/openapi/v3")?;
    // As upstream, the index has no slash behind it.
    if !below.is_empty() && !below.starts_with('/') {
        return None;
    }
    let (is_index, wanted) = (below.is_empty(), below.trim_matches('/').to_owned());
    let (catalog, headers, hash) = (catalog.clone(), headers.clone(), hash.to_owned());
    // Building a document takes milliseconds, so it must not block a worker thread.
    let made = tokio::task::spawn_blocking(move || match is_index {
        true => index(&catalog, &remote),
        false => document(&catalog, &wanted, &headers, &hash),
    });
    Some(made.await.map_err(status::internal))
}

fn index(catalog: &Catalog, remote: &RemoteDiscovery) -> Response {
    let mut paths = Map::new();
    let mut add = |path: String, hash: &str| {
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    };
    let endpoints = openapi::endpoint_paths(groups(catalog));
    for path in openapi::document_paths(catalog.resources()).into_iter().chain(endpoints) {
        if let Some(Document { hash, .. }) = document_3(catalog, &path) {
            add(path, &hash);
        }
    }
    for ((group, version), described) in &remote.versions {
        if let Some(hash) = &described.openapi {
            add(openapi::document_path(group, version), hash);
        }
    }
    reply::typed(200, "text/plain; charset=utf-8", json!({"paths": paths}).to_string())
}

fn document(catalog: &Catalog, path: &str, headers: &HeaderMap, asked: &str) -> Response {
    let Some(Document { bytes, hash }) = document_3(catalog, path) else { return absent() };
    let Some(protobuf) = asks_protobuf(headers) else { return bare(406) };
    if !asked.is_empty() && asked != hash {
        return moved(path, &hash);
    }
    let bytes = if protobuf { protobuf_3(catalog, path, &bytes) } else { bytes };
    let mut response = tagged(headers, bytes, &hash);
    if protobuf && response.status() == http::StatusCode::OK {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(openapi::PROTOBUF_3));
    }
    if asked == hash {
        // A document under its own hash never changes.
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        headers.insert(EXPIRES, HeaderValue::from_static("Thu, 31 Dec 2037 23:55:55 GMT"));
    }
    response
}

/// The document in protobuf. Both encodings have the hash of the JSON.
fn protobuf_3(catalog: &Catalog, path: &str, json: &Bytes) -> Bytes {
    let key = DocumentKey::OpenApi3Protobuf { path: path.to_owned() };
    let make = || {
        let document: Value = serde_json::from_slice(json).expect("invariant: this server wrote the JSON");
        hashed(Bytes::from(openapi::encode_3(&document)))
    };
    catalog.documents().get(key, make).bytes
}

/// Whether the client wants protobuf rather than JSON; `None` if it wants neither.
fn asks_protobuf(headers: &HeaderMap) -> Option<bool> {
    // As upstream: requests may name protobuf with an `@`.
    const DEPRECATED: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";
    negotiation::clauses(headers).iter().find_map(|clause| match clause.media.as_str() {
        "application/json" | "application/*" | "*/*" => Some(false),
        openapi::PROTOBUF_3 | DEPRECATED => Some(true),
        _ => None,
    })
}

fn absent() -> Response {
    let mut response = bare(404);
    response.headers_mut().remove(VARY);
    response
}

/// A response without a body, which depends on what the client accepts.
fn bare(code: u16) -> Response {
    let mut response = reply::bytes(code, Media::Json, Bytes::new());
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// Sends a client that asks for another version of a document to the present one.
fn moved(path: &str, hash: &str) -> Response {
    let mut response = bare(301);
    let url = HeaderValue::try_from(format!("/openapi/v3/{path}?hash={hash}"));
    response.headers_mut().insert(LOCATION, url.expect("invariant: paths of documents are visible ASCII"));
    response
}

/// A document with its ETag, or 304 if the client has it.
fn tagged(headers: &HeaderMap, bytes: Bytes, hash: &str) -> Response {
    let etag = format!("\"{hash}\"");
    let unchanged = headers.get(IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes());
    let mut response = if unchanged { reply::json(304, Bytes::new()) } else { reply::json(200, bytes) };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// The v2 document, in JSON or protobuf.
async fn version_2(
    catalog: &Arc<Catalog>,
    remote: Arc<RemoteDiscovery>,
    headers: &HeaderMap,
) -> Result<Response, Status> {
    // As upstream: requests name protobuf with an `@`, responses with a dot.
    const ASKED: [&str; 2] = [
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        openapi::version_2::protobuf::MEDIA_TYPE,
    ];
    let clauses = negotiation::clauses(headers);
    let first = clauses.iter().find(|c| ASKED.contains(&&*c.media) || negotiation::is_known(c));
    let protobuf = first.is_some_and(|c| ASKED.contains(&&*c.media));
    if !protobuf && negotiation::accept(headers, Endpoint { protobuf: false, ..Endpoint::DOCUMENT }).is_err()
    {
        let mut refused = reply::json(406, Bytes::new());
        refused.headers_mut().remove(http::header::CONTENT_TYPE);
        return Ok(refused);
    }
    let catalog = catalog.clone();
    let made = tokio::task::spawn_blocking(move || {
        let key = if protobuf { DocumentKey::OpenApi2Protobuf } else { DocumentKey::OpenApi2 };
        let others = remote.openapi_2();
        let make = || {
            let mut document = openapi::document_2(described(&catalog));
            others.iter().for_each(|other| openapi::merge::merge(&mut document, other));
            hashed(match protobuf {
                true => Bytes::from(openapi::encode_2(&document)),
                false => Bytes::from(document.to_string()),
            })
        };
        match others.is_empty() {
            true => catalog.documents().get(key, make),
            false => catalog.documents().merged(remote.generation, key, make),
        }
    });
    let Document { bytes, hash } = made.await.map_err(status::internal)?;
    let mut response = tagged(headers, bytes, &hash);
    if protobuf && response.status() == http::StatusCode::OK {
        let media = HeaderValue::from_static(openapi::version_2::protobuf::MEDIA_TYPE);
        response.headers_mut().insert(http::header::CONTENT_TYPE, media);
    }
    Ok(response)
}
