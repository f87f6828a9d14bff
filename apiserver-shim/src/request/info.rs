//! Parses method and path into verb, resource, name and subresource. Pure; authorization and routing use the result
//! and never parse the path again.

use std::sync::Arc;

use http::Method;
use shim_model::catalog::Catalog;
use shim_model::names;
use shim_model::resource::Resource;
use shim_model::selector::{FieldSelector, FieldTerm};

use super::query::{Query, percent_decode};

/// The resource that a path names.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Target {
    /// API group; empty for the core group.
    pub group: String,
    pub version: String,
    /// Namespace; empty if the path has none.
    pub namespace: String,
    /// Plural name of the resource.
    pub plural: String,
    /// Name; empty if the path has none.
    pub name: String,
    /// Subresource; empty if the path has none.
    pub subresource: String,
    /// The path after the subresource; only `proxy` has one.
    pub rest: Option<String>,
}

impl Target {
    /// Looks the resource up in the catalog; `None` if it is not served at this scope.
    pub fn resource<'a, R: AsRef<Resource>>(&self, catalog: &'a Catalog<R>) -> Option<&'a Arc<R>> {
        let found = catalog.find(&self.group, &self.version, &self.plural)?;
        let whole = self.name.is_empty() && self.namespace.is_empty();
        // Namespaced resources can be listed across namespaces; cluster-scoped ones never have a namespace.
        let scoped = match ((**found).as_ref().namespaced, self.namespace.is_empty()) {
            (true, false) | (false, true) => true,
            (true, true) => whole,
            (false, false) => false,
        };
        scoped.then_some(found)
    }
}

/// What a request is about.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// The percent-decoded path.
    pub path: String,
    /// The verb as authorization sees it: `get`, `list`, `watch`, `create` …
    pub verb: &'static str,
    /// The resource; `None` for non-resource paths.
    pub target: Option<Target>,
    /// The decoded query parameters.
    pub query: Query,
    /// The undecoded query, which is forwarded to nodes.
    pub raw_query: String,
    /// Whether the path is of the deprecated form `/api/v1/watch/…`, which takes GET only.
    pub deprecated_watch: bool,
    /// What the field selector of a LIST, WATCH or DELETECOLLECTION requires; empty if it is invalid.
    pub fields: Vec<FieldTerm>,
}

impl RequestInfo {
    /// Parses method and URI.
    pub fn new(method: &Method, uri: &http::Uri) -> RequestInfo {
        let path = percent_decode(uri.path(), false);
        let raw_query = uri.query().unwrap_or("").to_owned();
        let query = Query::parse(&raw_query);
        let mut target = target_of(&path);
        let deprecated_watch = target.as_ref().is_some_and(|t| t.plural == "watch" && t.namespace.is_empty());
        if deprecated_watch {
            target = target.filter(|t| !t.name.is_empty());
            target = target.and_then(|_| target_of(&path.replacen("/watch/", "/", 1)));
        }
        let verb = match &target {
            None => path_verb(method),
            // The deprecated `/watch/` form also watches a single object by name.
            Some(_) if deprecated_watch => "watch",
            Some(target) => resource_verb(method, target, query.flag("watch")),
        };
        let fields = match verb {
            "list" | "watch" | "deletecollection" => {
                FieldSelector::parse(query.text("fieldSelector")).map(|s| s.terms).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        RequestInfo { path, verb, target, query, raw_query, deprecated_watch, fields }
    }

    /// The name that the field selector of a LIST or WATCH requires, which authorization treats like a name in the path;
    /// empty if there is none.
    pub fn selected_name(&self) -> &str {
        let of_name = |term: &&FieldTerm| term.equal && term.field == "metadata.name";
        match self.verb {
            "list" | "watch" => {
                let name = self.fields.iter().find(of_name).map_or("", |term| term.value.as_str());
                if names::path_segment(name).is_empty() { name } else { "" }
            }
            _ => "",
        }
    }

    /// Whether the response is long-running: a watch, or a stream to a Pod or Service.
    pub fn is_long_running(&self) -> bool {
        const STREAMS: &[&str] = &["attach", "exec", "log", "portforward", "proxy"];
        let streams = |target: &Target| STREAMS.contains(&target.subresource.as_str());
        self.verb == "watch" || self.target.as_ref().is_some_and(streams)
    }
}

fn path_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::HEAD => "head",
        Method::OPTIONS => "options",
        _ => "",
    }
}

fn resource_verb(method: &Method, target: &Target, watch: bool) -> &'static str {
    let collection = target.name.is_empty();
    match *method {
        Method::GET | Method::HEAD if watch && target.subresource.is_empty() && collection => "watch",
        Method::GET | Method::HEAD if collection => "list",
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if collection => "deletecollection",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// Parses `/api/v1/…` and `/apis/<group>/<version>/…`.
fn target_of(path: &str) -> Option<Target> {
    let mut parts = path.split('/').skip(1);
    let (group, version) = match parts.next()? {
        "api" => ("", parts.next()?),
        "apis" => (parts.next()?, parts.next()?),
        _ => return None,
    };
    let rest: Vec<&str> = parts.collect();
    let trimmed = match rest.split_last() {
        Some((&"", head)) if rest.get(3) != Some(&"proxy") && rest.get(5) != Some(&"proxy") => head,
        _ => &rest[..],
    };
    let mut target = Target { group: group.into(), version: version.into(), ..Target::default() };
    let below = match trimmed {
        [] | [""] => return None,
        // A resource in a namespace, or a subresource of the namespace itself.
        ["namespaces", namespace, plural, ..]
            if !(group.is_empty() && matches!(*plural, "status" | "finalize")) =>
        {
            target.namespace = (*namespace).into();
            target.plural = (*plural).into();
            &trimmed[3..]
        }
        [plural, below @ ..] => {
            target.plural = (*plural).into();
            below
        }
    };
    let text = |i: usize| below.get(i).map(|s| (*s).to_owned()).unwrap_or_default();
    target.name = text(0);
    target.subresource = text(1);
    target.rest = below.get(2..).filter(|r| !r.is_empty()).map(|r| r.join("/"));
    Some(target)
}

#[cfg(test)]
mod tests;
