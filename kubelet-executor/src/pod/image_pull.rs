//! Pulls the images of containers and volumes: pull policy, credentials, Events.

use std::{collections::BTreeMap, time::Instant};

use base64::Engine;
use cri::v1;
use executor_core::{
    action::{EventRecord, StartFailure},
    image_name::{self, ImageName},
    spec,
};
use k8s_openapi::api::core::v1::Secret;

use crate::pod::containers::Start;

/// An image that a container needs.
pub(crate) struct Wanted<'a> {
    pub image: &'a str,
    pub policy: Option<&'a str>,
    /// It is the content of a volume: Events are about the Pod.
    pub of_volume: bool,
}

/// Makes sure that an image is on the node.
pub(crate) async fn ensure(
    start: &Start,
    wanted: &Wanted<'_>,
    sandbox: &v1::PodSandboxConfig,
) -> Result<v1::Image, (StartFailure, String)> {
    let image = wanted.image;
    let record = |reason, message| {
        let container = (!wanted.of_volume).then(|| start.name.clone());
        let event = EventRecord { container, warning: false, reason, message };
        start.context.recorder.record(&start.pod, event);
    };
    if image.is_empty() {
        return Err((StartFailure::InvalidImageName, "the container has no image".to_owned()));
    }
    let name = image_name::parse(image).map_err(|problem| {
        let message = format!(
            "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": {problem}"
        );
        (StartFailure::InvalidImageName, message)
    })?;
    let runtime = &start.context.runtime;
    let failed = |error: cri::Error| (StartFailure::ErrImagePull, error.message);
    let policy = wanted.policy.unwrap_or_else(|| default_policy(&name));
    let present = runtime.image(image).await.map_err(failed)?;
    match (policy, present) {
        ("Never" | "IfNotPresent", Some(present)) => {
            let event = format!(
                "Container image \"{image}\" already present on machine and can be accessed by the pod"
            );
            record("Pulled", event);
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
    record("Pulling", format!("Pulling image \"{image}\""));
    let begun = Instant::now();
    let auth = credentials(start, &name.registry).await;
    let auth = auth.map_err(|error| (StartFailure::ErrImagePull, error.to_string()))?;
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
    record("Pulled", event);
    Ok(pulled)
}

/// The default policy: `Always` without a tag or with `latest`, else `IfNotPresent`.
fn default_policy(name: &ImageName) -> &'static str {
    if name.is_mutable() { "Always" } else { "IfNotPresent" }
}

/// A pull secret whose content does not decode.
#[derive(Debug, thiserror::Error)]
enum PullSecretError {
    #[error("pull secret \"{0}\": {1}")]
    Json(String, serde_json::Error),
    #[error("pull secret \"{0}\": the auth field of \"{1}\" is not base64 of user:password")]
    Auth(String, String),
}

/// Credentials for a registry from the Pod's pull secrets. Missing secrets are skipped, as upstream does: the registry
/// may not require them.
async fn credentials(start: &Start, registry: &str) -> Result<Option<v1::AuthConfig>, PullSecretError> {
    let namespace = start.pod.metadata.namespace.as_deref().unwrap_or("default");
    for reference in spec::spec(&start.pod).image_pull_secrets.iter().flatten() {
        match start.context.api.secret(namespace, &reference.name).await {
            Ok(Some(secret)) => {
                if let Some(auth) = from_secret(&reference.name, &secret, registry)? {
                    return Ok(Some(auth));
                }
            }
            Ok(None) => tracing::debug!(name = reference.name, "pull secret not found"),
            Err(error) => tracing::debug!(%error, "cannot read pull secret"),
        }
    }
    Ok(None)
}

/// The entry for a registry in a `kubernetes.io/dockerconfigjson` or `kubernetes.io/dockercfg` Secret.
fn from_secret(
    name: &str,
    secret: &Secret,
    registry: &str,
) -> Result<Option<v1::AuthConfig>, PullSecretError> {
    #[derive(serde::Deserialize)]
    struct Entry {
        username: Option<String>,
        password: Option<String>,
        auth: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct DockerConfig {
        #[serde(default)]
        auths: BTreeMap<String, Entry>,
    }
    let Some(data) = &secret.data else { return Ok(None) };
    let malformed = |error| PullSecretError::Json(name.to_owned(), error);
    let auths = match (data.get(".dockerconfigjson"), data.get(".dockercfg")) {
        (Some(json), _) => serde_json::from_slice::<DockerConfig>(&json.0).map_err(malformed)?.auths,
        (None, Some(json)) => serde_json::from_slice(&json.0).map_err(malformed)?,
        (None, None) => return Ok(None),
    };
    let host_of = |key: &str| {
        let key = key.trim_start_matches("https://").trim_start_matches("http://");
        let host = key.split('/').next().unwrap_or(key).to_owned();
        if host == "index.docker.io" { "docker.io".to_owned() } else { host }
    };
    let Some((key, entry)) = auths.into_iter().find(|(key, _)| host_of(key) == registry) else {
        return Ok(None);
    };
    let (username, password) = match entry.auth.as_deref().filter(|auth| !auth.is_empty()) {
        Some(auth) => decode_auth(auth).ok_or_else(|| PullSecretError::Auth(name.to_owned(), key))?,
        None => (entry.username.unwrap_or_default(), entry.password.unwrap_or_default()),
    };
    Ok(Some(v1::AuthConfig { username, password, ..Default::default() }))
}

/// Decodes base64 of `user:password`.
fn decode_auth(auth: &str) -> Option<(String, String)> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(auth).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
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
            (&format!("ghcr.io/a/b@sha256:{}", "0".repeat(64)), "IfNotPresent", "ghcr.io"),
        ];
        for (image, policy, host) in table {
            let name = image_name::parse(image).unwrap();
            assert_eq!((default_policy(&name), name.registry.as_str()), (policy, host), "{image}");
        }
    }

    #[test]
    fn pull_secrets_are_found_by_registry() {
        let secret = |config: &str| Secret {
            data: Some([(".dockerconfigjson".to_owned(), k8s_openapi::ByteString(config.into()))].into()),
            ..Default::default()
        };
        let valid = secret(r#"{"auths":{"https://reg.example/v1/":{"auth":"dTpw"}}}"#);
        let auth = from_secret("s", &valid, "reg.example").unwrap().unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "p"));
        assert!(from_secret("s", &valid, "other").unwrap().is_none());
        for malformed in [r#"{"auths":[]}"#, r#"{"auths":{"reg.example":{"auth":"?"}}}"#] {
            let error = from_secret("s", &secret(malformed), "reg.example").unwrap_err();
            assert!(error.to_string().starts_with("pull secret \"s\": "), "{error}");
        }
    }
}
