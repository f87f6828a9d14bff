//! Which Secrets the Pods of a ServiceAccount may reference (annotation `kubernetes.io/enforce-mountable-secrets`), and what mirror
//! Pods may reference at all.

use serde_json::Value;
use shim_model::access;

use crate::authorization::references::{MIRROR, References};

/// The annotation of ServiceAccounts whose Pods may reference only the Secrets that the account lists.
pub const ENFORCE_ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";

/// Whether a Pod represents a static Pod of its node.
pub fn is_mirror(pod: &Value) -> bool {
    access::get(pod, &["metadata", "annotations", MIRROR]).is_some()
}

/// Why a mirror Pod may not be created.
pub fn refuse_mirror(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    if !access::text(spec, &["serviceAccountName"]).is_empty() {
        return Some("a mirror pod may not reference service accounts");
    }
    if !References::of_any(pod).secrets.is_empty() {
        return Some("a mirror pod may not reference secrets");
    }
    let mut sources =
        access::list(spec, &["volumes"]).iter().flat_map(|v| access::list(v, &["projected", "sources"]));
    sources
        .any(|source| access::get(source, &["serviceAccountToken"]).is_some())
        .then_some("a mirror pod may not use ServiceAccountToken volume projections")
}

/// Whether the Pods of a ServiceAccount are limited to its Secrets.
pub fn is_limited(account: &Value) -> bool {
    let text = access::text(account, &["metadata", "annotations", ENFORCE_ANNOTATION]);
    matches!(text, "1" | "t" | "T" | "TRUE" | "true" | "True")
}

/// Why a Pod may not have its references to Secrets.
pub fn refuse_pod(pod: &Value, account: &Value) -> Option<String> {
    let (spec, name) = (&pod["spec"], access::text(account, &["metadata", "name"]));
    let known = names(account, "secrets");
    for volume in access::list(spec, &["volumes"]) {
        let Some(source) = access::get(volume, &["secret"]) else { continue };
        let secret = access::text(source, &["secretName"]);
        if !known.contains(&secret) {
            return Some(format!("volume with secret.secretName={}", unknown_secret(secret, name)));
        }
    }
    refuse_containers(spec, ("initContainers", "init container"), (&known, name))
        .or_else(|| refuse_containers(spec, ("containers", "container"), (&known, name)))
        .or_else(|| refuse_pull_secrets(spec, account))
}

/// Why a Pod may not have the references of its ephemeral containers.
pub fn refuse_ephemeral(pod: &Value, account: &Value) -> Option<String> {
    let known = names(account, "secrets");
    let name = access::text(account, &["metadata", "name"]);
    refuse_containers(&pod["spec"], ("ephemeralContainers", "ephemeral container"), (&known, name))
}

fn names<'a>(object: &'a Value, list: &str) -> Vec<&'a str> {
    access::list(object, &[list]).iter().map(|item| access::text(item, &["name"])).collect()
}

fn unknown_secret(secret: &str, account: &str) -> String {
    format!("\"{secret}\" is not allowed because service account {account} does not reference that secret")
}

fn refuse_containers(
    spec: &Value,
    (list, noun): (&str, &str),
    (known, account): (&[&str], &str),
) -> Option<String> {
    for container in access::list(spec, &[list]) {
        let own = access::text(container, &["name"]);
        for variable in access::list(container, &["env"]) {
            let Some(source) = access::get(variable, &["valueFrom", "secretKeyRef"]) else { continue };
            let secret = access::text(source, &["name"]);
            if !known.contains(&secret) {
                let (variable, why) = (access::text(variable, &["name"]), unknown_secret(secret, account));
                return Some(format!(
                    "{noun} {own} with envVar {variable} referencing secret.secretName={why}"
                ));
            }
        }
        for source in access::list(container, &["envFrom"]) {
            let Some(source) = access::get(source, &["secretRef"]) else { continue };
            let secret = access::text(source, &["name"]);
            if !known.contains(&secret) {
                let why = unknown_secret(secret, account);
                return Some(format!("{noun} {own} with envFrom referencing secret.secretName={why}"));
            }
        }
    }
    None
}

fn refuse_pull_secrets(spec: &Value, account: &Value) -> Option<String> {
    let known = names(account, "imagePullSecrets");
    let own = names(spec, "imagePullSecrets");
    let at = own.iter().position(|secret| !known.contains(secret))?;
    let account = access::text(account, &["metadata", "name"]);
    Some(format!(
        "imagePullSecrets[{at}].name=\"{}\" is not allowed because service account {account} does not reference that imagePullSecret",
        own[at]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": spec})
    }

    #[test]
    fn only_secrets_of_the_account_may_be_referenced() {
        let account = json!({
            "metadata": {"name": "s", "annotations": {ENFORCE_ANNOTATION: "true"}},
            "secrets": [{"name": "ok"}], "imagePullSecrets": [{"name": "pull"}],
        });
        assert!(is_limited(&account));
        assert!(!is_limited(&json!({"metadata": {"annotations": {ENFORCE_ANNOTATION: "yes"}}})));
        let env =
            |name: &str| json!([{"name": "E", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}]);
        let ours = pod(json!({
            "volumes": [{"name": "v", "secret": {"secretName": "ok"}}],
            "containers": [{"name": "c", "env": env("ok")}], "imagePullSecrets": [{"name": "pull"}],
        }));
        assert_eq!(refuse_pod(&ours, &account), None);
        for (spec, why) in [
            (
                json!({"volumes": [{"name": "v", "secret": {"secretName": "no"}}]}),
                "volume with secret.secretName=\"no\" is not allowed because service account s does not reference that secret",
            ),
            (
                json!({"containers": [{"name": "c", "env": env("no")}]}),
                "container c with envVar E referencing secret.secretName=\"no\" is not allowed because service account s does not reference that secret",
            ),
            (
                json!({"initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "no"}}]}]}),
                "init container i with envFrom referencing secret.secretName=\"no\" is not allowed because service account s does not reference that secret",
            ),
            (
                json!({"imagePullSecrets": [{"name": "pull"}, {"name": "no"}]}),
                "imagePullSecrets[1].name=\"no\" is not allowed because service account s does not reference that imagePullSecret",
            ),
        ] {
            assert_eq!(refuse_pod(&pod(spec), &account).as_deref(), Some(why));
        }
        let ephemeral = pod(json!({"ephemeralContainers": [{"name": "e", "env": env("no")}]}));
        assert_eq!(refuse_pod(&ephemeral, &account), None);
        assert!(
            refuse_ephemeral(&ephemeral, &account)
                .unwrap()
                .starts_with("ephemeral container e with envVar E")
        );
    }

    #[test]
    fn mirror_pods_reference_nothing() {
        let mirror = |spec: Value| json!({"metadata": {"annotations": {MIRROR: "x"}}, "spec": spec});
        assert!(is_mirror(&mirror(json!({}))));
        assert_eq!(refuse_mirror(&mirror(json!({}))), None);
        for (spec, why) in [
            (json!({"serviceAccountName": "s"}), "a mirror pod may not reference service accounts"),
            (
                json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}),
                "a mirror pod may not reference secrets",
            ),
            (
                json!({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
                "a mirror pod may not use ServiceAccountToken volume projections",
            ),
        ] {
            assert_eq!(refuse_mirror(&mirror(spec)), Some(why));
        }
    }
}
