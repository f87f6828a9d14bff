//! Tokens of executors: JSON web tokens as in Mesos, with the claims `fid`, `eid` and `cid` (framework, executor and
//! container), signed with a key that only this agent has. A token is valid for one run of one executor.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use hyper::{HeaderMap, StatusCode, header};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use kernel_model::ids::{ContainerId, ExecutorId, FrameworkId};
use serde_json::{Map, Value, json};

use super::{Realm, unauthorized};
use crate::http::{Answer, negotiate::text};

/// The file of the key, in the agent's private directory.
const KEY_FILE: &str = "executor-key";

/// The environment variable that the token is passed in.
pub(crate) const TOKEN_VARIABLE: &str = "MESOS_EXECUTOR_AUTHENTICATION_TOKEN";

/// Issues and verifies tokens.
#[derive(Clone)]
pub(crate) struct ExecutorTokens {
    signing: EncodingKey,
    verifying: DecodingKey,
}

/// The claims of a verified token.
#[derive(Debug)]
pub(crate) struct TokenClaims(Map<String, Value>);

impl ExecutorTokens {
    /// Opens the key below `directory`, or creates it. It is kept over restarts of the agent, which executors survive.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(KEY_FILE);
        let key = match fs::read_to_string(&path) {
            Ok(key) if !key.trim().is_empty() => key,
            Ok(_) => create_key(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create_key(&path)?,
            Err(error) => return Err(error),
        };
        let key = key.trim().as_bytes();
        Ok(Self { signing: EncodingKey::from_secret(key), verifying: DecodingKey::from_secret(key) })
    }

    /// The token of an executor's run.
    pub(crate) fn issue(
        &self,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        container_id: &ContainerId,
    ) -> Result<String, io::Error> {
        let claims = json!({
            "fid": framework_id.as_str(),
            "eid": executor_id.as_str(),
            "cid": container_id.as_str(),
        });
        encode(&Header::new(Algorithm::HS256), &claims, &self.signing).map_err(io::Error::other)
    }

    /// The claims of a request's token; `None` without a header `Authorization`.
    pub(crate) fn verify(&self, headers: &HeaderMap) -> Result<Option<TokenClaims>, Answer> {
        let Some(authorization) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
        let invalid = |why: &str| {
            let realm = Realm::AgentExecutor.name();
            let challenge =
                format!("Bearer realm=\"{realm}\", error=\"invalid_token\", error_description=\"{why}\"");
            unauthorized(&challenge)
        };
        let malformed = || invalid("Malformed 'Authorization' header");
        let authorization = authorization.to_str().map_err(|_| malformed())?;
        let parts: Vec<&str> = authorization.split(' ').collect();
        let [scheme, token] = parts.as_slice() else { return Err(malformed()) };
        if !scheme.eq_ignore_ascii_case("Bearer") {
            return Err(invalid(&format!("Scheme '{}' unsupported", quotable(scheme))));
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        match decode::<Map<String, Value>>(token, &self.verifying, &validation) {
            Ok(token) if token.claims.is_empty() => Err(invalid("JWT claims missing")),
            Ok(token) => Ok(Some(TokenClaims(token.claims))),
            Err(error) => Err(invalid(&format!("Invalid JWT: {}", quotable(&error.to_string())))),
        }
    }
}

/// 401 for an executor without a token.
pub(crate) fn token_missing() -> Answer {
    unauthorized(&format!("Bearer realm=\"{}\"", Realm::AgentExecutor.name()))
}

/// The text without what would end a quoted string in a header.
fn quotable(text: &str) -> String {
    text.chars().filter(|c| (' '..='~').contains(c) && !matches!(c, '"' | '\\')).collect()
}

impl TokenClaims {
    /// Whether the token is of this run of this executor; otherwise 403 with Mesos' text.
    pub(crate) fn require(
        &self,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        container_id: &ContainerId,
    ) -> Result<(), Answer> {
        let has = |name: &str, value: &str| self.0.get(name).and_then(Value::as_str) == Some(value);
        let lacks = if !has("fid", framework_id.as_str()) {
            format!("an 'fid' claim with the framework ID {framework_id}, which is set in the call")
        } else if !has("eid", executor_id.as_str()) {
            format!("an 'eid' claim with the executor ID {executor_id}, which is set in the call")
        } else if !has("cid", container_id.as_str()) {
            "a 'cid' claim with the correct active ContainerID".to_owned()
        } else {
            return Ok(());
        };
        let principal = json!({ "claims": self.0 });
        let sentence = format!("Authenticated principal '{principal}' does not contain {lacks}");
        Err(text(StatusCode::FORBIDDEN, sentence))
    }
}

/// Two random UUIDs have 244 random bits.
fn create_key(path: &Path) -> io::Result<String> {
    let key = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(key.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    Ok(key)
}
