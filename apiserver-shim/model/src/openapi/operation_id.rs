//! Names of operations and their tags, by path.

/// The id and the tag of an operation: `createAppsV1NamespacedDeployment` and `apps_v1` for `create` and `NamespacedDeployment` at a
/// path below `/apis/apps/v1`.
pub(super) fn operation_id(verb: &str, path: &str, name: &str) -> (String, String) {
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    // The core group has paths of its own.
    if parts.first() == Some(&"api") {
        parts.splice(..1, ["apis", "core"]);
    }
    let mut id = verb.to_owned();
    let mut tag = String::new();
    match parts.as_slice() {
        ["apis", group, rest @ ..] => {
            let group = group.strip_suffix(".k8s.io").unwrap_or(group);
            id += &identifier(group, !id.is_empty());
            tag += &identifier(group, false);
            if let Some(version) = rest.first() {
                id += &identifier(version, !id.is_empty());
                tag = format!("{tag}_{}", identifier(version, false));
            }
        }
        [first, ..] => tag += &identifier(first, false),
        [] => {}
    }
    let capital = !id.is_empty();
    (id + &identifier(name, capital), tag)
}

/// The text without what no identifier has; a letter after that is a capital.
fn identifier(text: &str, mut capital: bool) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if !(c.is_alphabetic() || c == '_' || at != 0 && c.is_numeric()) {
            capital = true;
        } else if std::mem::take(&mut capital) {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::operation_id;

    #[test]
    fn ids_have_group_and_version_after_the_verb() {
        let check = |verb, path, name, id: &str, tag: &str| {
            assert_eq!(operation_id(verb, path, name), (id.to_owned(), tag.to_owned()));
        };
        check(
            "read",
            "/api/v1/namespaces/{namespace}/pods/{name}",
            "NamespacedPod",
            "readCoreV1NamespacedPod",
            "core_v1",
        );
        check(
            "delete",
            "/apis/apps/v1/x",
            "collectionNamespacedJob",
            "deleteAppsV1CollectionNamespacedJob",
            "apps_v1",
        );
        check(
            "list",
            "/apis/rbac.authorization.k8s.io/v1/roles",
            "RoleForAllNamespaces",
            "listRbacAuthorizationV1RoleForAllNamespaces",
            "rbacAuthorization_v1",
        );
        check("get", "/apis/apps/", "APIGroup", "getAppsAPIGroup", "apps");
        check("get", "/api/", "APIVersions", "getCoreAPIVersions", "core");
        check("get", "/apis/", "APIVersions", "getAPIVersions", "apis");
        check("get", "/version/", "CodeVersion", "getCodeVersion", "version");
    }
}
