//! The index against an evaluation of all bindings from their JSON.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::index::Binding;
use super::super::*;

/// Roles by namespace and name; bindings likewise. The empty namespace has the ClusterRoles and ClusterRoleBindings.
type Objects = BTreeMap<(&'static str, &'static str), Value>;

#[derive(Debug, Clone)]
enum Change {
    Role(&'static str, &'static str, Option<Value>),
    Binding(&'static str, &'static str, Option<Value>),
}

fn one_of(names: &'static [&'static str]) -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(names)
}

fn some_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(names, 0..=names.len())
}

const NAMESPACES: &[&str] = &["", "n", "m"];
const NAMES: &[&str] = &["a", "b", "c"];
const RESOURCES: &[&str] = &["pods", "pods/log", "*/log", "nodes", "*"];

fn rule() -> impl Strategy<Value = Value> {
    let parts = (
        some_of(&["get", "list", "*"]),
        some_of(&["", "apps", "*"]),
        some_of(RESOURCES),
        some_of(&["x", "y"]),
        some_of(&["/x", "/x/*", "*"]),
    );
    parts.prop_map(|(verbs, groups, resources, names, urls)| {
        json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names, "nonResourceURLs": urls})
    })
}

fn subject() -> impl Strategy<Value = Value> {
    let parts =
        (one_of(&["User", "Group", "ServiceAccount", "Odd"]), one_of(&["u", "v"]), one_of(NAMESPACES));
    parts.prop_map(|(kind, name, namespace)| json!({"kind": kind, "name": name, "namespace": namespace}))
}

fn change() -> impl Strategy<Value = Change> {
    let place = (one_of(NAMESPACES), one_of(NAMES));
    let role = prop::option::weighted(0.8, prop::collection::vec(rule(), 0..3))
        .prop_map(|rules| rules.map(|rules| json!({"rules": rules})));
    let reference = (one_of(&["Role", "ClusterRole"]), one_of(NAMES));
    let binding = prop::option::weighted(0.8, (reference, prop::collection::vec(subject(), 0..4)));
    prop_oneof![
        (place.clone(), role).prop_map(|((namespace, name), role)| Change::Role(namespace, name, role)),
        (place, binding).prop_map(|((namespace, name), binding)| {
            let binding = binding.map(|((kind, role), subjects)| {
                json!({"metadata": {"namespace": namespace, "name": name}, "roleRef": {"kind": kind, "name": role}, "subjects": subjects})
            });
            Change::Binding(namespace, name, binding)
        }),
    ]
}

fn has(list: &Value, text: &str) -> bool {
    list.as_array().unwrap().iter().any(|each| each == text)
}

fn rule_allows(rule: &Value, request: &AccessRequest<'_>) -> bool {
    if !has(&rule["verbs"], "*") && !has(&rule["verbs"], request.verb) {
        return false;
    }
    match request.object {
        Requested::Path(path) => rule["nonResourceURLs"].as_array().unwrap().iter().any(|url| {
            let url = url.as_str().unwrap();
            url == path || url.ends_with('*') && path.starts_with(&url[..url.len() - 1])
        }),
        Requested::Resource(of) => {
            let names = rule["resourceNames"].as_array().unwrap();
            let wildcard = format!("*/{}", of.subresource);
            (has(&rule["apiGroups"], "*") || has(&rule["apiGroups"], of.group))
                && (has(&rule["resources"], "*")
                    || has(&rule["resources"], &of.qualified())
                    || !of.subresource.is_empty() && has(&rule["resources"], &wildcard))
                && (names.is_empty() || has(&rule["resourceNames"], of.name))
        }
    }
}

/// `Ok` with binding and position of the subject, or the names of the missing roles.
fn naive(
    roles: &Objects,
    bindings: &Objects,
    subject: &Subject<'_>,
    request: &AccessRequest<'_>,
) -> Result<(String, String, usize), Vec<String>> {
    let mut missing = Vec::new();
    let mut scopes = vec![""];
    scopes.extend(Some(request.namespace()).filter(|n| !n.is_empty()));
    for scope in scopes {
        for ((namespace, name), binding) in bindings.iter().filter(|((n, _), _)| *n == scope) {
            let applies = |each: &Value| match each["kind"].as_str().unwrap() {
                "User" => each["name"] == subject.name,
                "Group" => subject.groups.iter().any(|group| each["name"] == group.as_str()),
                "ServiceAccount" => {
                    let own = each["namespace"].as_str().unwrap();
                    let of = if own.is_empty() { *namespace } else { own };
                    !of.is_empty()
                        && subject.name
                            == format!("system:serviceaccount:{of}:{}", each["name"].as_str().unwrap())
                }
                _ => false,
            };
            let Some(at) = binding["subjects"].as_array().unwrap().iter().position(applies) else { continue };
            let (kind, role) =
                (binding["roleRef"]["kind"].as_str().unwrap(), binding["roleRef"]["name"].as_str().unwrap());
            let place = if kind == "Role" { *namespace } else { "" };
            let found = roles.iter().find(|((n, r), _)| (*n, *r) == (place, role)).map(|(_, role)| role);
            match found.filter(|_| kind == "ClusterRole" || !namespace.is_empty()) {
                None => missing.push(format!("{kind} {role}")),
                Some(found) if found["rules"].as_array().unwrap().iter().any(|r| rule_allows(r, request)) => {
                    return Ok(((*namespace).to_owned(), (*name).to_owned(), at));
                }
                Some(_) => {}
            }
        }
    }
    Err(missing)
}

fn requests() -> Vec<AccessRequest<'static>> {
    let mut all = vec![
        AccessRequest::path("get", "/x"),
        AccessRequest::path("get", "/x/y"),
        AccessRequest::path("post", "/z"),
    ];
    for namespace in NAMESPACES {
        for (resource, subresource) in [("pods", ""), ("pods", "log"), ("nodes", "log"), ("nodes", "")] {
            for (verb, group, name) in [("get", "", "x"), ("list", "apps", ""), ("delete", "", "y")] {
                let fields = &[];
                let of = RequestedResource { group, resource, subresource, namespace, name, fields };
                all.push(AccessRequest::resource(verb, of));
            }
        }
    }
    all
}

proptest! {
    #[test]
    fn the_index_decides_like_an_evaluation_of_all_bindings(changes in prop::collection::vec(change(), 0..24)) {
        let (mut index, mut roles, mut bindings) = (RbacIndex::default(), Objects::new(), Objects::new());
        for change in changes {
            match change {
                Change::Role(namespace, name, Some(role)) => {
                    index.put_role(namespace, name, PolicyRule::all_of(&role));
                    roles.insert((namespace, name), role);
                }
                Change::Role(namespace, name, None) => {
                    index.remove_role(namespace, name);
                    roles.remove(&(namespace, name));
                }
                Change::Binding(namespace, name, Some(binding)) => {
                    index.put_binding(Binding::of(&binding));
                    bindings.insert((namespace, name), binding);
                }
                Change::Binding(namespace, name, None) => {
                    index.remove_binding(namespace, name);
                    bindings.remove(&(namespace, name));
                }
            }
        }
        let users = ["u", "v", "system:serviceaccount:n:u", "system:serviceaccount:m:v", "other"];
        let of_groups: Vec<String> = vec!["v".to_owned(), "u".to_owned()];
        for name in users {
            for groups in [&of_groups[..], &of_groups[..1], &[]] {
                let subject = Subject { name, groups };
                for request in requests() {
                    let found = match index.decide(&subject, &request) {
                        Ok(Grant { binding, subject }) => {
                            let at = binding.subjects.iter().position(|each| std::ptr::eq(each, subject)).unwrap();
                            Ok((binding.namespace.clone(), binding.name.clone(), at))
                        }
                        Err(unknown) => Err(unknown.iter().map(|u| format!("{} {}", u.kind, u.name)).collect()),
                    };
                    prop_assert_eq!(found, naive(&roles, &bindings, &subject, &request), "{:?} {:?}", subject, request);
                }
            }
        }
    }
}
