//! Upstream's resources that are not served yet. There are no objects of them, which is true of their lists: clients
//! that read everything, such as `kubectl cluster-info dump`, go on, and the check of `kubectl apply` whether a kind is
//! that of a CustomResourceDefinition gets its answer. They are not in discovery, and cannot be written or watched.

use http::HeaderMap;
use serde_json::json;
use shim_model::status::{self, Status};

use crate::http::body::Response;
use crate::http::negotiation::{self, Endpoint};
use crate::http::reply;
use crate::request::info::{RequestInfo, Target};

struct Unserved {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
}

const fn cluster(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> Unserved {
    Unserved { group, version, plural, kind }
}

/// The built-in resources of Kubernetes 1.36 that have lists and are not served. All are cluster-scoped.
const UNSERVED: &[Unserved] = &[cluster("", "v1", "componentstatuses", "ComponentStatus")];

/// Answers a request for a resource that is not served; `None` if upstream has no such resource at this scope.
pub fn answer(
    info: &RequestInfo,
    target: &Target,
    headers: &HeaderMap,
    revision: u64,
) -> Option<Result<Response, Status>> {
    let same =
        |r: &&Unserved| (r.group, r.version, r.plural) == (&*target.group, &*target.version, &*target.plural);
    let found = UNSERVED.iter().find(same)?;
    let (whole, in_namespace) = (target.name.is_empty(), !target.namespace.is_empty());
    if in_namespace {
        return None;
    }
    let described = match found.group {
        "" => found.plural.to_owned(),
        group => format!("{}.{group}", found.plural),
    };
    if !target.subresource.is_empty() || !matches!(info.verb, "list" | "get") {
        let why = format!("the server could not find the requested resource: {described} are not served yet");
        return Some(Err(Status { message: why, ..status::unknown_path() }));
    }
    if !whole {
        let why = format!("{described} \"{}\" not found", target.name);
        return Some(Err(Status { message: why, ..status::unknown_path() }));
    }
    let api_version = match found.group {
        "" => found.version.to_owned(),
        group => format!("{group}/{}", found.version),
    };
    let list = json!({
        "kind": format!("{}List", found.kind),
        "apiVersion": api_version,
        "metadata": {"resourceVersion": revision.to_string()},
        "items": [],
    });
    let accepted = negotiation::accept(headers, Endpoint { watchable: true, protobuf: true });
    Some(accepted.map(|accepted| reply::value(200, accepted.media, &list)))
}
