//! Which methods a path of a built-in resource takes. As upstream, a path that takes no method at all is not found, and another
//! method than its own is not allowed. Custom resources are not routed like this: their handler decides itself.

use http::Method;
use shim_model::go_quote::go_quote;
use shim_model::names;
use shim_model::resource::{Resource, Verb};
use shim_model::status::{self, Status};

use crate::request::info::RequestInfo;
use crate::storage::catalog::ServedResource;

/// The methods that are passed on to a Pod, Service or node.
const PROXIED: [Method; 7] =
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Refuses a request whose path, method or name is not served.
pub fn check(resource: &ServedResource, info: &RequestInfo, method: &Method) -> Result<(), Status> {
    check_method(resource, info, method)?;
    // The name of an update is compared with the object's first.
    if *method == Method::PUT && resource.custom.is_none() {
        return Ok(());
    }
    check_name(resource, info.target.as_ref().map_or("", |target| target.name.as_str()))
}

/// Refuses a name that no object can have.
pub fn check_name(resource: &ServedResource, name: &str) -> Result<(), Status> {
    let mistakes = names::path_segment(name);
    if mistakes.is_empty() || resource.store().is_none() {
        return Ok(());
    }
    let (name, why) = (go_quote(name), mistakes.join(";"));
    Err(status::bad_request(format!("Name parameter invalid: {name}: {why}")))
}

fn check_method(resource: &Resource, info: &RequestInfo, method: &Method) -> Result<(), Status> {
    if resource.custom.is_some() {
        return match info.deprecated_watch && method != Method::GET {
            true => Err(status::method_not_allowed()),
            false => Ok(()),
        };
    }
    let Some(target) = &info.target else { return Err(status::unknown_path()) };
    if !target.subresource.is_empty() {
        return match info.deprecated_watch {
            true => Err(status::unknown_path()),
            false => check_subresource(resource, &target.subresource, target.rest.is_some(), method),
        };
    }
    let of = |verbs: &[(Verb, Method)]| {
        among(verbs.iter().filter(|(verb, _)| resource.allows(*verb)).map(|(_, served)| served), method)
    };
    let all_namespaces = resource.namespaced && target.namespace.is_empty();
    if info.deprecated_watch {
        return of(&[(Verb::Watch, Method::GET)]);
    }
    match (target.name.is_empty(), all_namespaces) {
        (true, true) => of(&[(Verb::List, Method::GET)]),
        (true, false) => of(&[
            (Verb::List, Method::GET),
            (Verb::Create, Method::POST),
            (Verb::DeleteCollection, Method::DELETE),
        ]),
        (false, _) => of(&[
            (Verb::Get, Method::GET),
            (Verb::Update, Method::PUT),
            (Verb::Patch, Method::PATCH),
            (Verb::Delete, Method::DELETE),
        ]),
    }
}

/// Whether a method is among those of a path; a path without any does not exist.
fn among<'m>(served: impl IntoIterator<Item = &'m Method>, method: &Method) -> Result<(), Status> {
    let mut exists = false;
    for each in served {
        if each == method {
            return Ok(());
        }
        exists = true;
    }
    Err(if exists { status::method_not_allowed() } else { status::unknown_path() })
}

fn check_subresource(resource: &Resource, name: &str, has_rest: bool, method: &Method) -> Result<(), Status> {
    let Some(subresource) = resource.subresource(name) else { return Err(status::unknown_path()) };
    if name == "proxy" {
        return among(&PROXIED, method);
    }
    if has_rest {
        return Err(status::unknown_path());
    }
    let of_verb = |verb: &Verb| match verb {
        Verb::Get => Some(&Method::GET),
        Verb::Create => Some(&Method::POST),
        Verb::Update => Some(&Method::PUT),
        Verb::Patch => Some(&Method::PATCH),
        Verb::Delete => Some(&Method::DELETE),
        Verb::DeleteCollection | Verb::List | Verb::Watch => None,
    };
    among(subresource.verbs.iter().filter_map(of_verb), method)
}

#[cfg(test)]
mod tests {
    use shim_model::catalog::Catalog;
    use shim_model::resource::builtin;
    use shim_model::schema::Schema;
    use std::sync::Arc;

    use super::*;

    fn code(method: &Method, path: &str) -> u16 {
        let catalog = Catalog::new(1, builtin(&Schema::builtin()).into_iter().map(Arc::new));
        let info = RequestInfo::new(method, &path.parse().unwrap());
        let target = info.target.as_ref().unwrap();
        let Some(resource) = target.resource(&catalog) else { return 404 };
        check_method(resource, &info, method).map_or_else(|status| status.code, |()| 200)
    }

    #[test]
    fn paths_without_a_method_are_not_found() {
        for (method, path, expected) in [
            (Method::POST, "/api/v1/configmaps", 405),
            (Method::DELETE, "/api/v1/configmaps", 405),
            (Method::GET, "/api/v1/configmaps", 200),
            (Method::GET, "/api/v1/bindings", 404),
            (Method::GET, "/api/v1/namespaces/a/bindings", 405),
            (Method::POST, "/api/v1/namespaces/a/bindings", 200),
            (Method::PUT, "/api/v1/namespaces/a/bindings/b", 404),
            (Method::GET, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews/x", 404),
            (Method::GET, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405),
            (Method::OPTIONS, "/api/v1/namespaces/a/configmaps/b/c", 404),
            (Method::HEAD, "/api/v1/namespaces/a/configmaps/b", 405),
            (Method::HEAD, "/api/v1/namespaces/a/pods/b/proxy", 200),
            (Method::POST, "/api/v1/namespaces/a/pods/b/status", 405),
            (Method::GET, "/api/v1/namespaces/a/pods/b/status/c", 404),
            (Method::GET, "/api/v1/watch/pods", 200),
            (Method::POST, "/api/v1/watch/namespaces/a/pods", 405),
            (Method::GET, "/api/v1/watch/componentstatuses", 404),
            (Method::POST, "/api/v1/componentstatuses", 405),
            (Method::PUT, "/api/v1/namespaces/a", 200),
            (Method::DELETE, "/api/v1/namespaces", 405),
        ] {
            assert_eq!(code(&method, path), expected, "{method} {path}");
        }
    }
}
