//! Image pulls: pull policy, credentials, Events.

use std::{collections::BTreeMap, time::Instant};

use base64::Engine;
use cri::v1;
use executor_core::{action::StartFailure, image_name, spec};
use k8s_openapi::api::core::v1::{Container, Secret};

use crate::pod::containers::Start;

/// Makes sure that the container's image is on the node.
pub(crate) async fn ensure(
    start: &Start,
    container: &Container,
    sandbox: &v1::PodSandboxConfig,
) -> Result<v1::Image, (StartFailure, String)> {
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        return Err((StartFailure::InvalidImageName, "the container has no image".to_owned()));
    }
    if let Some(problem) = image_name::problem(image) {
        let event = format!(
            "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": {problem}"
        );
        return Err((StartFailure::InvalidImageName, event));
    }
    let runtime = &start.context.runtime;
    let failed = |error: cri::Error| {
        let reason = if error.message.contains("invalid reference format") {
            StartFailure::InvalidImageName
        } else {
            StartFailure::ErrImagePull
        };
        (reason, error.message)
    };
    let policy = container.image_pull_policy.as_deref().unwrap_or_else(|| default_policy(image));
    let present = runtime.image(image).await.map_err(failed)?;
    match (policy, present) {
        ("Never" | "IfNotPresent", Some(present)) => {
            let event = format!(
                "Container image \"{image}\" already present on machine and can be accessed by the pod"
            );
            start.record(false, "Pulled", event);
            return Ok(present);
        }
        ("Never", None) => {
            let event = format!("Container image \"{image}\" is not present with pull policy of Never");
            return Err((StartFailure::ErrImageNeverPull, event));
        }
        // Images that were built on this machine have no registry.
        (_, Some(present)) if image.starts_with("localhost/catamaran/") => return Ok(present),
        _ => {}
    }
    start.record(false, "Pulling", format!("Pulling image \"{image}\""));
    let begun = Instant::now();
    let auth = credentials(start, image).await;
    runtime.pull(image, auth, sandbox.clone()).await.map_err(failed)?;
    let pulled = runtime.image(image).await.map_err(failed)?;
    let Some(pulled) = pulled else {
        return Err((StartFailure::ErrImagePull, "the pulled image does not exist".to_owned()));
    };
    let took = begun.elapsed();
    let event = format!(
        "Successfully pulled image \"{image}\" in {:.3}s ({:.3}s including waiting). Image size: {} bytes.",
        took.as_secs_f64(),
        took.as_secs_f64(),
        pulled.size
    );
    start.record(false, "Pulled", event);
    Ok(pulled)
}

/// The default policy: `Always` without a tag or with `latest`, else `IfNotPresent`.
fn default_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or(image);
    let fixed = image.contains('@') || name.split_once(':').is_some_and(|(_, tag)| tag != "latest");
    if fixed { "IfNotPresent" } else { "Always" }
}

/// Credentials for the image's registry from the Pod's pull secrets. Missing secrets are skipped, as upstream does:
/// the registry may not require them.
async fn credentials(start: &Start, image: &str) -> Option<v1::AuthConfig> {
    let namespace = start.pod.metadata.namespace.as_deref().unwrap_or("default");
    for reference in spec::spec(&start.pod).image_pull_secrets.iter().flatten() {
        match start.context.api.secret(namespace, &reference.name).await {
            Ok(Some(secret)) => {
                if let Some(auth) = from_secret(&secret, registry(image)) {
                    return Some(auth);
                }
            }
            Ok(None) => tracing::debug!(name = reference.name, "pull secret not found"),
            Err(error) => tracing::debug!(%error, "cannot read pull secret"),
        }
    }
    None
}

fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

fn from_secret(secret: &Secret, registry: &str) -> Option<v1::AuthConfig> {
    #[derive(serde::Deserialize)]
    struct Entry {
        username: Option<String>,
        password: Option<String>,
        auth: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Auths {
        auths: BTreeMap<String, Entry>,
    }
    let data = secret.data.as_ref()?;
    let auths = match (data.get(".dockerconfigjson"), data.get(".dockercfg")) {
        (Some(json), _) => serde_json::from_slice::<Auths>(&json.0).ok()?.auths,
        (None, Some(json)) => serde_json::from_slice(&json.0).ok()?,
        (None, None) => return None,
    };
    let host_of = |key: &str| {
        let key = key.trim_start_matches("https://").trim_start_matches("http://");
        let host = key.split('/').next().unwrap_or(key).to_owned();
        if host == "index.docker.io" { "docker.io".to_owned() } else { host }
    };
    let (_, entry) = auths.into_iter().find(|(key, _)| host_of(key) == registry)?;
    let decoded = entry.auth.as_deref().and_then(|auth| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(auth).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
    });
    let (username, password) = match decoded {
        Some(pair) => pair,
        None => (entry.username?, entry.password?),
    };
    Some(v1::AuthConfig { username, password, ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_registries_follow_from_names() {
        let table = [
            ("nginx", "Always", "docker.io"),
            ("nginx:latest", "Always", "docker.io"),
            ("nginx:1", "IfNotPresent", "docker.io"),
            ("localhost:5000/a/b", "Always", "localhost:5000"),
            ("localhost:5000/a/b:2", "IfNotPresent", "localhost:5000"),
            ("ghcr.io/a/b@sha256:0", "IfNotPresent", "ghcr.io"),
        ];
        for (image, policy, host) in table {
            assert_eq!((default_policy(image), registry(image)), (policy, host), "{image}");
        }
    }

    #[test]
    fn pull_secrets_are_found_by_registry() {
        let config = r#"{"auths":{"https://reg.example/v1/":{"auth":"dTpw"}}}"#;
        let data = [(".dockerconfigjson".to_owned(), k8s_openapi::ByteString(config.into()))].into();
        let secret = Secret { data: Some(data), ..Default::default() };
        let auth = from_secret(&secret, "reg.example").unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "p"));
        assert!(from_secret(&secret, "other").is_none());
    }
}
