//! Who may use the HTTP APIs of master and agent: HTTP Basic for frameworks and operators with Mesos' realms and texts, and
//! tokens for executors ([`executor_tokens`]). The master's own process and agents with a certificate do not come this way.

pub(crate) mod acls;
pub(crate) mod executor_tokens;

use std::{collections::BTreeMap, fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{HeaderMap, StatusCode, header};
use kernel_model::caller::{Caller, IN_PROCESS_PRINCIPAL};
use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::http::{
    Answer,
    negotiate::{text, with_header},
};

pub use acls::{AclError, parse_acls};
pub use kernel_core::master::RunAsPolicy;

/// The text of `/health` on a server without authentication.
const OPEN_WARNING: &str =
    "warning: this API is open to clients without credentials (--mesos-anonymous); they run tasks as ";

/// A principal with its secret. `Debug` does not print the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The name that the owner is known by.
    pub principal: String,
    secret: String,
}

impl Credential {
    /// A principal with its secret.
    pub fn new(principal: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { principal: principal.into(), secret: secret.into() }
    }

    /// The value of the header `Authorization`.
    pub fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.principal, self.secret)))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("principal", &self.principal).finish_non_exhaustive()
    }
}

/// Why a credentials file cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CredentialsError {
    #[error("Invalid json format: {0}")]
    Json(String),
    #[error("Failed to parse credentials: {0}")]
    Shape(&'static str),
    #[error("principal '{0}' is listed twice")]
    Twice(String),
    #[error("principal '{0}' is reserved")]
    Reserved(String),
    #[error("principal '{0}' cannot be sent with HTTP Basic: it is empty or contains a colon")]
    Name(String),
    #[error("the secret of principal '{0}' is empty")]
    Secret(String),
}

impl Credential {
    /// The credentials of a file in Mesos' form, in their order.
    pub fn parse_list(json: &str) -> Result<Vec<Self>, CredentialsError> {
        let value: Value =
            serde_json::from_str(json).map_err(|error| CredentialsError::Json(error.to_string()))?;
        let list = value["credentials"]
            .as_array()
            .ok_or(CredentialsError::Shape("expecting a list 'credentials'"))?;
        let credential = |entry: &Value| {
            let field = |name: &str| entry[name].as_str().map(str::to_owned);
            let principal = field("principal").ok_or(CredentialsError::Shape("expecting 'principal'"))?;
            let secret = field("secret").ok_or(CredentialsError::Shape("expecting 'secret'"))?;
            if principal == IN_PROCESS_PRINCIPAL {
                return Err(CredentialsError::Reserved(principal));
            }
            if principal.is_empty() || principal.contains(':') {
                return Err(CredentialsError::Name(principal));
            }
            if secret.is_empty() {
                return Err(CredentialsError::Secret(principal));
            }
            Ok(Self { principal, secret })
        };
        list.iter().map(credential).collect()
    }
}

/// The principals that may authenticate, with their secrets.
#[derive(Clone, Default)]
pub struct Credentials(BTreeMap<String, String>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Credentials {
    /// Parses Mesos' form: `{"credentials": [{"principal": "…", "secret": "…"}]}`.
    pub fn parse(json: &str) -> Result<Self, CredentialsError> {
        let mut all = BTreeMap::new();
        for Credential { principal, secret } in Credential::parse_list(json)? {
            if all.insert(principal.clone(), secret).is_some() {
                return Err(CredentialsError::Twice(principal));
            }
        }
        Ok(Self(all))
    }

    /// The credentials of one principal.
    pub fn one(credential: &Credential) -> Self {
        Self(BTreeMap::from([(credential.principal.clone(), credential.secret.clone())]))
    }

    /// The principal of a header `Authorization`; `None` if it proves none. The secret is compared in constant time.
    fn verify(&self, authorization: &[u8]) -> Option<String> {
        let (scheme, encoded) = std::str::from_utf8(authorization).ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("Basic") {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (principal, secret) = decoded.split_once(':')?;
        let expected = self.0.get(principal);
        let same = expected.map_or("", String::as_str).as_bytes().ct_eq(secret.as_bytes());
        (bool::from(same) && expected.is_some()).then(|| principal.to_owned())
    }
}

/// The authentication realms of Mesos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Realm {
    MasterReadOnly,
    MasterReadWrite,
    MasterScheduler,
    AgentReadOnly,
    AgentReadWrite,
    AgentExecutor,
}

impl Realm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Realm::MasterReadOnly => "mesos-master-readonly",
            Realm::MasterReadWrite => "mesos-master-readwrite",
            Realm::MasterScheduler => "mesos-master-scheduler",
            Realm::AgentReadOnly => "mesos-agent-readonly",
            Realm::AgentReadWrite => "mesos-agent-readwrite",
            Realm::AgentExecutor => "mesos-agent-executor",
        }
    }
}

/// The rules of one server. The default admits nobody.
#[derive(Debug, Clone, Default)]
pub struct Access {
    credentials: Arc<Credentials>,
    anonymous: bool,
    anonymous_executors: bool,
    anonymous_root: bool,
}

impl Access {
    /// Clients need one of these credentials.
    pub fn with(credentials: Credentials) -> Self {
        Self { credentials: Arc::new(credentials), ..Self::default() }
    }

    /// Clients and executors may come without credentials, too. `root` says whether the master lets them run tasks as root.
    pub fn or_anonymous(self, root: bool) -> Self {
        Self { anonymous: true, anonymous_executors: true, anonymous_root: root, ..self }
    }

    /// Executors may come without a token: client libraries exist that send none.
    pub fn or_anonymous_executors(self) -> Self {
        Self { anonymous_executors: true, ..self }
    }

    /// Whether clients without credentials may run tasks as root.
    pub(crate) fn anonymous_root(&self) -> bool {
        self.anonymous_root
    }

    /// Whether executors may come without a token.
    pub(crate) fn anonymous_executors(&self) -> bool {
        self.anonymous_executors
    }

    /// The caller of a request. A request whose credentials are wrong is refused even where none are needed.
    pub(crate) fn admit(&self, realm: Realm, headers: &HeaderMap) -> Result<Caller, Answer> {
        let Some(authorization) = headers.get(header::AUTHORIZATION) else {
            return match self.anonymous {
                true => Ok(Caller::Anonymous),
                false => Err(unauthorized(&basic_challenge(realm))),
            };
        };
        let principal = self.credentials.verify(authorization.as_bytes());
        principal.map(Caller::Principal).ok_or_else(|| unauthorized(&basic_challenge(realm)))
    }

    /// The body of `/health`.
    pub(crate) fn health(&self) -> String {
        match (self.anonymous, self.anonymous_root) {
            (false, _) => String::new(),
            (true, false) => format!("{OPEN_WARNING}unprivileged users"),
            (true, true) => format!("{OPEN_WARNING}every user, root included"),
        }
    }
}

fn basic_challenge(realm: Realm) -> String {
    format!("Basic realm=\"{}\"", realm.name())
}

/// 401 with Mesos' text.
pub(crate) fn unauthorized(challenge: &str) -> Answer {
    let response = text(StatusCode::UNAUTHORIZED, "401 Unauthorized.");
    with_header(response, header::WWW_AUTHENTICATE, challenge)
}

#[cfg(test)]
mod tests;
