//! Collects the files of ConfigMap, Secret, downward API and projected volumes.

use std::{collections::BTreeMap, path::Path};

use executor_core::{
    field,
    payload::{self, Files},
    spec,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccountTokenProjection, Volume,
};

use super::{Cause, VolumeBuilder};
use crate::api::TokenRequest;

/// The default lifetime of a projected token.
const TOKEN_SECONDS: i64 = 3600;
/// A token is renewed when this percentage of its lifetime is over, as upstream.
const TOKEN_RENEW_PERCENT: i64 = 80;
/// Prefix of the files that record token expiry. They are beside the volumes, where containers do not see them.
const TOKEN_RECORD: &str = ".token-expiry";

type Values = BTreeMap<String, Vec<u8>>;

/// The files of a volume at `dir`, whose Pod may have an `fsGroup`; `None` if it is of another kind.
pub(super) async fn files(
    builder: &VolumeBuilder<'_>,
    pod: &Pod,
    volume: &Volume,
    (dir, group): (&Path, Option<u32>),
) -> Result<Option<Files>, Cause> {
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let optional = source.optional == Some(true);
        let values = config_map(builder, pod, &source.name, optional).await?;
        payload::select(&mut files, &values, items(&source.items), source.default_mode, optional)?;
    } else if let Some(source) = &volume.secret {
        let optional = source.optional == Some(true);
        let name = source.secret_name.as_deref().unwrap_or_default();
        let values = secret(builder, pod, name, optional).await?;
        payload::select(&mut files, &values, items(&source.items), source.default_mode, optional)?;
    } else if let Some(source) = &volume.downward_api {
        downward(builder, pod, &mut files, source.items.as_deref().unwrap_or_default(), source.default_mode)?;
    } else if let Some(source) = &volume.projected {
        let mode = source.default_mode;
        for part in source.sources.iter().flatten() {
            if let Some(part) = &part.config_map {
                let optional = part.optional == Some(true);
                let values = config_map(builder, pod, &part.name, optional).await?;
                payload::select(&mut files, &values, items(&part.items), mode, optional)?;
            } else if let Some(part) = &part.secret {
                let optional = part.optional == Some(true);
                let values = secret(builder, pod, &part.name, optional).await?;
                payload::select(&mut files, &values, items(&part.items), mode, optional)?;
            } else if let Some(part) = &part.downward_api {
                downward(builder, pod, &mut files, part.items.as_deref().unwrap_or_default(), mode)?;
            } else if let Some(part) = &part.service_account_token {
                let token = token(builder, pod, part, dir).await?;
                let mode = payload::mode(mode, payload::DEFAULT_MODE);
                payload::add_token(&mut files, &part.path, token, mode, (spec::common_user(pod), group))?;
            } else {
                return Err(Cause::Unsupported);
            }
        }
    } else {
        return Ok(None);
    }
    Ok(Some(files))
}

fn items(items: &Option<Vec<KeyToPath>>) -> Option<&[KeyToPath]> {
    items.as_deref()
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

async fn config_map(
    builder: &VolumeBuilder<'_>,
    pod: &Pod,
    name: &str,
    optional: bool,
) -> Result<Values, Cause> {
    match builder.api.config_map(namespace(pod), name).await? {
        Some(map) => Ok(payload::config_map_values(&map)),
        None if optional => Ok(Values::new()),
        None => Err(Cause::Missing("configmap", name.to_owned())),
    }
}

async fn secret(builder: &VolumeBuilder<'_>, pod: &Pod, name: &str, optional: bool) -> Result<Values, Cause> {
    match builder.api.secret(namespace(pod), name).await? {
        Some(secret) => Ok(payload::secret_values(&secret)),
        None if optional => Ok(Values::new()),
        None => Err(Cause::Missing("secret", name.to_owned())),
    }
}

fn downward(
    builder: &VolumeBuilder<'_>,
    pod: &Pod,
    files: &mut Files,
    items: &[DownwardAPIVolumeFile],
    default_mode: Option<i32>,
) -> Result<(), Cause> {
    let default = payload::mode(default_mode, payload::DEFAULT_MODE);
    for item in items {
        let text = if let Some(reference) = &item.field_ref {
            field::field(pod, builder.node, &reference.field_path)?
        } else if let Some(reference) = &item.resource_field_ref {
            let name = reference.container_name.as_deref().unwrap_or_default();
            let container =
                spec::container(pod, name).ok_or_else(|| Cause::Missing("container", name.to_owned()))?;
            field::resource(&container, builder.node, &reference.resource, reference.divisor.as_ref())?
        } else {
            String::new()
        };
        payload::add(files, &item.path, text.into_bytes(), payload::mode(item.mode, default))?;
    }
    Ok(())
}

/// The volume's token, or a new one if it expires soon. The expiry is recorded, so that a restarted executor does not
/// request a new token.
async fn token(
    builder: &VolumeBuilder<'_>,
    pod: &Pod,
    request: &ServiceAccountTokenProjection,
    dir: &Path,
) -> Result<Vec<u8>, Cause> {
    let seconds = request.expiration_seconds.unwrap_or(TOKEN_SECONDS);
    let volume = dir.file_name().unwrap_or_default().to_string_lossy();
    let record = dir.with_file_name(format!("{TOKEN_RECORD}-{volume}-{}", request.path.replace('/', "_")));
    if let Some(token) = current_token(&record, &dir.join(&request.path), seconds) {
        return Ok(token);
    }
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let account = spec::spec(pod).service_account_name.clone().filter(|name| !name.is_empty());
    let fresh = builder
        .api
        .token(&TokenRequest {
            namespace: namespace(pod).to_owned(),
            account: account.unwrap_or_else(|| "default".to_owned()),
            audience: request.audience.clone().filter(|audience| !audience.is_empty()),
            expiration_seconds: seconds,
            pod: (text(&pod.metadata.name), text(&pod.metadata.uid)),
        })
        .await?;
    // If this fails, the token is renewed too early, which is harmless.
    let _ = std::fs::write(&record, fresh.expires_at.to_string());
    Ok(fresh.token.into_bytes())
}

fn current_token(record: &Path, file: &Path, seconds: i64) -> Option<Vec<u8>> {
    let expires_at: Timestamp = std::fs::read_to_string(record).ok()?.parse().ok()?;
    let left = expires_at.as_second() - Timestamp::now().as_second();
    if left * 100 < seconds * (100 - TOKEN_RENEW_PERCENT) {
        return None;
    }
    std::fs::read(file).ok().filter(|token| !token.is_empty())
}
