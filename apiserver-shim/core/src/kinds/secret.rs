//! Secrets: `stringData` is merged into `data`, and well-known types require their keys.

use super::configmap::{DATA_MAX, sealed};
use super::{FieldName, Strategy, cells, named, warnings};
use serde_json::Value;
use shim_model::access;
use shim_model::base64;
use shim_model::field::{FieldError, index};
use shim_model::names;
use shim_model::time::Instant;

use crate::secret_tokens;

pub(super) struct Secret;

impl Strategy for Secret {
    fn default(&self, object: &mut Value) {
        if let Some(Value::Object(plain)) = access::remove(object, &["stringData"]) {
            let data = access::object_mut(object, &["data"]);
            for (key, value) in plain {
                data.insert(key, base64::encode(value.as_str().unwrap_or("").as_bytes()).into());
            }
        }
        access::set_if_zero(access::as_object(object), "type", "Opaque");
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        if access::text(new, &["type"]) != "kubernetes.io/tls" {
            return Vec::new();
        }
        let of = |key: &str| base64::decode(access::text(new, &["data", key])).unwrap_or_default();
        Vec::from_iter(warnings::key_pair_error(&of("tls.crt"), &of("tls.key")))
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut size = 0;
        for (key, value) in access::entries(object, &["data"]) {
            let field = index("data", key);
            errors.extend(
                names::config_key(key).into_iter().map(|d| FieldError::invalid(field.clone(), key, d)),
            );
            size += value.as_str().map_or(0, |s| s.len() / 4 * 3);
        }
        if size > DATA_MAX {
            errors.push(FieldError::too_long("data", DATA_MAX));
        }
        errors.extend(required_keys(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if new.get("type") != old.get("type") {
            errors.push(FieldError::invalid("type", new["type"].clone(), "field is immutable"));
        }
        errors.extend(sealed(new, old, &["data"]));
        errors.extend(self.validate_create(new));
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        vec![
            cells::name(object),
            object["type"].clone(),
            cells::count(object, &["data"]),
            cells::age(object, now),
        ]
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        named([("type", access::text(object, &["type"]).to_owned())])
    }

    fn selectable_fields(&self) -> Vec<&str> {
        vec!["type"]
    }
}

fn required_keys(object: &Value) -> Vec<FieldError> {
    let has = |key: &str| access::get(object, &["data", key]).is_some();
    let missing = |key: &str| (!has(key)).then(|| FieldError::required(index("data", key), ""));
    let json = |key: &str| match access::get(object, &["data", key]).and_then(Value::as_str) {
        None => Some(FieldError::required(index("data", key), "")),
        Some(encoded) => {
            let valid = base64::decode(encoded).is_some_and(|b| serde_json::from_slice::<Value>(&b).is_ok());
            (!valid).then(|| {
                FieldError::invalid(index("data", key), "<secret contents redacted>", "invalid character")
            })
        }
    };
    match access::text(object, &["type"]) {
        secret_tokens::SECRET_TYPE => {
            let name = secret_tokens::ACCOUNT_NAME;
            let found = access::text(object, &["metadata", "annotations", name]);
            Vec::from_iter(
                found.is_empty().then(|| FieldError::required(index("metadata.annotations", name), "")),
            )
        }
        "kubernetes.io/tls" => ["tls.crt", "tls.key"].into_iter().filter_map(missing).collect(),
        "kubernetes.io/ssh-auth" => missing("ssh-privatekey").into_iter().collect(),
        "kubernetes.io/dockercfg" => json(".dockercfg").into_iter().collect(),
        "kubernetes.io/dockerconfigjson" => json(".dockerconfigjson").into_iter().collect(),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            ["username", "password"].into_iter().filter_map(missing).collect()
        }
        _ => Vec::new(),
    }
}
