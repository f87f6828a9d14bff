//! Discovery, in the legacy form (one document per group-version) and the aggregated form (one document with an
//! ETag). Both derive from the request's catalog; the encoded aggregated document is cached with it.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shim_model::protobuf;
use shim_model::resource::{Resource, Verb, api_version};
use shim_model::schema::Media;
use shim_model::status::{self, Status};

use super::body::Response;
use super::negotiation::{self, Clause, Endpoint};
use super::reply;
use crate::aggregation::RemoteDiscovery;
use crate::aggregation::discovery::MergedGroup;
use crate::storage::catalog::{Catalog, Document, DocumentKey};

/// Serves `/api`, `/apis` and the paths directly below; returns `None` for any other path.
pub fn serve(
    (catalog, remote): (&Catalog, &RemoteDiscovery),
    path: &str,
    headers: &HeaderMap,
    address: &str,
) -> Option<Result<Response, Status>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let document = match parts.as_slice() {
        ["api"] => return Some(root((catalog, remote), headers, true, legacy_versions(address))),
        ["apis"] => match path {
            "/apis" => {
                let groups = group_list(&remote.merge(catalog.groups()));
                return Some(root((catalog, remote), headers, false, groups));
            }
            // As upstream, the path with a slash has only the legacy form.
            "/apis/" => Some(group_list(&remote.merge(catalog.groups()))),
            _ => return Some(Ok(not_found())),
        },
        ["api", version] => resource_list(catalog, "", version),
        ["apis", name] => match remote.merge(catalog.groups()).iter().find(|group| group.name == *name) {
            Some(group) => Some(group_value(group, true)),
            None => return Some(Ok(not_found())),
        },
        ["apis", group, version] => {
            if catalog.group(group).is_none() {
                return Some(Ok(not_found()));
            }
            resource_list(catalog, group, version)
        }
        _ => return None,
    };
    let is_group = is_of_aggregator(path);
    let media = negotiation::accept(headers, Endpoint { shapes: false, ..Endpoint::DOCUMENT });
    let media = media.map(|accepted| accepted.media).map_err(|status| match is_group {
        true => negotiation::only_these(),
        false => status,
    });
    let is_core = parts[0] == "api";
    Some(media.and_then(|media| match document {
        Some(mut document) if is_core => {
            // As upstream: the core group's list is older than API versions of such lists.
            document.as_object_mut().map(|members| members.remove("apiVersion"));
            Ok(reply::value(200, media, &document))
        }
        Some(document) => Ok(reply::value(200, media, &document)),
        None => Err(status::unknown_path()),
    }))
}

/// Whether a path is one of a group or of all groups. As upstream, those have no router of their own in front, so that they take
/// any method and have other texts; the aggregator's own group has one.
pub fn is_of_aggregator(path: &str) -> bool {
    let mut parts = path.trim_matches('/').split('/');
    let (first, group, more) = (parts.next(), parts.next(), parts.next());
    first == Some("apis") && group != Some("apiregistration.k8s.io") && more.is_none()
}

/// The response of upstream's mux to an unregistered path.
pub fn not_found() -> Response {
    reply::text(404, "404 page not found\n")
}

fn root(
    served: (&Catalog, &RemoteDiscovery),
    headers: &HeaderMap,
    core: bool,
    legacy: Value,
) -> Result<Response, Status> {
    let clauses = negotiation::clauses(headers);
    if core && !clauses.iter().any(negotiation::is_known) {
        return Err(status::not_acceptable(false));
    }
    for clause in &clauses {
        let Some(media) = negotiation::media_of(clause).first().copied() else { continue };
        match clause.parameter("as") {
            "" if ["g", "v"].iter().any(|key| !clause.parameter(key).is_empty()) => {}
            "" => return Ok(reply::value(200, media, &legacy)),
            _ => {
                if let Some(version) = aggregated_version(clause) {
                    return Ok(aggregated(served, (headers, media), core, version));
                }
            }
        }
    }
    Err(negotiation::only_these())
}

fn aggregated_version(clause: &Clause) -> Option<&'static str> {
    let ours =
        clause.parameter("g") == "apidiscovery.k8s.io" && clause.parameter("as") == "APIGroupDiscoveryList";
    match clause.parameter("v") {
        "v2" if ours => Some("v2"),
        _ => None,
    }
}

fn aggregated(
    (catalog, remote): (&Catalog, &RemoteDiscovery),
    (headers, media): (&HeaderMap, Media),
    core: bool,
    version: &'static str,
) -> Response {
    let make = || {
        let bytes = Bytes::from(aggregated_value((catalog, remote), core, version).to_string());
        let hash = hex(&Sha256::digest(&bytes));
        Document { bytes, hash }
    };
    // The catalog keeps what depends on it alone.
    let Document { bytes, hash } = match remote.versions.is_empty() {
        true => catalog.documents().get(DocumentKey::Discovery { core, version }, make),
        false => make(),
    };
    let etag = format!("\"{hash}\"");
    let unchanged = headers.get(IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes());
    let mut response =
        if unchanged { reply::json(304, Bytes::new()) } else { reply::bytes(200, media, bytes) };
    let encoding = match media {
        Media::Json => "application/json",
        Media::Yaml => "application/yaml",
        Media::Protobuf => protobuf::MEDIA_TYPE,
    };
    let media_type = format!("{encoding};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    let headers = response.headers_mut();
    if let Ok(media_type) = HeaderValue::from_str(&media_type) {
        headers.insert(CONTENT_TYPE, media_type);
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    // Clients revalidate what they keep, by its ETag.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

/// Upper-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

fn resources_of<'a>(
    catalog: &'a Catalog,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Resource> + 'a {
    catalog.resources().filter(move |r| r.group == group && r.version == version)
}

fn legacy_versions(address: &str) -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]})
}

fn group_list(groups: &[MergedGroup]) -> Value {
    let named = groups.iter().filter(|g| !g.name.is_empty());
    let groups: Vec<Value> = named.map(|g| group_value(g, false)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_value(group: &MergedGroup, alone: bool) -> Value {
    let name = &group.name;
    let versions = group.versions.iter();
    let versions: Vec<Value> =
        versions.map(|(v, _)| json!({"groupVersion": api_version(name, v), "version": v})).collect();
    let mut out = json!({"name": name, "versions": versions, "preferredVersion": versions[0]});
    if alone {
        out["kind"] = "APIGroup".into();
        out["apiVersion"] = "v1".into();
    }
    out
}

fn verbs(verbs: &[Verb]) -> Vec<&'static str> {
    let mut out: Vec<_> = verbs.iter().map(|v| v.as_str()).collect();
    out.sort_unstable();
    out
}

/// The verbs of a resource. As upstream, those of custom resources are in an order of their own.
fn verbs_of(resource: &Resource) -> Vec<&'static str> {
    match resource.custom {
        Some(_) => resource.discovered_verbs().iter().map(|v| v.as_str()).collect(),
        None => verbs(&resource.verbs),
    }
}

fn resource_list(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    let mut out: Vec<Value> = Vec::new();
    for r in resources_of(catalog, group, version) {
        let mut entry = json!({"name": r.plural, "singularName": r.singular, "namespaced": r.namespaced,
            "kind": r.kind, "verbs": verbs_of(r)});
        if !r.short_names.is_empty() {
            entry["shortNames"] = json!(r.short_names);
        }
        if !r.categories.is_empty() {
            entry["categories"] = json!(r.categories);
        }
        if r.allows(Verb::Get) && r.allows(Verb::Watch) {
            entry["storageVersionHash"] = storage_version_hash(r).into();
        }
        out.push(entry);
        for s in &r.subresources {
            let mut entry = json!({"name": format!("{}/{}", r.plural, s.name), "singularName": "",
                "namespaced": r.namespaced, "kind": s.kind.kind, "verbs": verbs(&s.verbs)});
            if (s.kind.group.as_str(), s.kind.version.as_str()) != (group, version) {
                entry["group"] = s.kind.group.as_str().into();
                entry["version"] = s.kind.version.as_str().into();
            }
            out.push(entry);
        }
    }
    out.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let group_version = api_version(group, version);
    (!out.is_empty())
        .then(|| json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": out}))
}

/// What upstream stores in another version than those that it serves here: definitions in one whose form is shorter, and
/// mutating policies in one that the release before can read.
fn stored_elsewhere(r: &Resource) -> Option<String> {
    const KINDS: [(&str, &str); 3] = [
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
    ];
    let is_known = KINDS.contains(&(r.group.as_str(), r.kind.as_str()));
    is_known.then(|| format!("{}/v1beta1/{}", r.group, r.kind))
}

/// The `storageVersionHash` of a resource, computed as upstream does.
fn storage_version_hash(r: &Resource) -> String {
    use base64::Engine;
    if let Some(text) = stored_elsewhere(r) {
        return base64::engine::general_purpose::STANDARD.encode(&Sha256::digest(text)[..8]);
    }
    let group = if r.storage_group.is_empty() {
        "/v1".to_owned()
    } else {
        api_version(&r.storage_group, &r.storage_version)
    };
    let group = group.trim_start_matches('/');
    let text = match r.storage_group.as_str() {
        "" => format!("/{group}/{}", r.kind),
        _ => format!("{group}/{}", r.kind),
    };
    base64::engine::general_purpose::STANDARD.encode(&Sha256::digest(text.as_bytes())[..8])
}

fn aggregated_value((catalog, remote): (&Catalog, &RemoteDiscovery), core: bool, version: &str) -> Value {
    let of_version = |group: &str, version: &str, is_remote: bool| {
        if let Some(entry) = remote.entry(group, version).filter(|_| is_remote) {
            return entry;
        }
        let mut all: Vec<&Resource> = resources_of(catalog, group, version).collect();
        all.sort_by(|a, b| a.plural.cmp(&b.plural));
        let resources: Vec<Value> = all.into_iter().map(aggregated_resource).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    let groups = remote.merge(catalog.groups()).into_iter().filter(|g| g.name.is_empty() == core);
    let items: Vec<Value> = groups
        .map(|MergedGroup { name, versions }| {
            let versions = versions.iter().map(|(v, is_remote)| of_version(&name, v, *is_remote));
            let versions: Vec<Value> = versions.collect();
            let metadata = if core { json!({}) } else { json!({"name": name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let api_version = format!("apidiscovery.k8s.io/{version}");
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items})
}

fn aggregated_resource(r: &Resource) -> Value {
    let kind = |k: shim_model::resource::KindRef<'_>, own: bool| match own {
        // Upstream omits group and version where they equal the document's own.
        true => json!({"group": "", "version": "", "kind": k.kind}),
        false => json!({"group": k.group, "version": k.version, "kind": k.kind}),
    };
    let scope = if r.namespaced { "Namespaced" } else { "Cluster" };
    let mut out = json!({"resource": r.plural, "responseKind": kind(r.kind_ref(), true), "scope": scope,
        "singularResource": r.singular, "verbs": verbs_of(r)});
    if !r.short_names.is_empty() {
        out["shortNames"] = json!(r.short_names);
    }
    if !r.categories.is_empty() {
        out["categories"] = json!(r.categories);
    }
    if !r.subresources.is_empty() {
        let subresources: Vec<Value> = r
            .subresources
            .iter()
            .map(|s| {
                let own = (&s.kind.group, &s.kind.version) == (&r.group, &r.version);
                json!({"subresource": s.name, "responseKind": kind(s.kind.as_ref(), own), "verbs": verbs(&s.verbs)})
            })
            .collect();
        out["subresources"] = subresources.into();
    }
    out
}
