//! Users from the JSON Web Tokens of other issuers: the `AuthenticationConfiguration` that names the issuers, and which user a
//! token's claims make. The rules and messages are upstream's. Fetching keys and verifying signatures are the shell's.

use serde::Deserialize;
use serde_json::{Map, Value};
use shim_model::status;

mod claims;
mod expressions;
mod validation;

pub use claims::JwtUser;
pub use validation::CheckAuthority;

use expressions::Expression;

/// The group of the configuration; its versions are equal.
const VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];
const KIND: &str = "AuthenticationConfiguration";
/// Most issuers; upstream's.
const ISSUERS_MAX: usize = 64;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationConfigurationError {
    /// It is of another kind or version.
    #[error("expected {KIND} of apiserver.config.k8s.io/v1, found {0}")]
    Kind(String),
    /// Unknown members, or members of a wrong type.
    #[error(transparent)]
    Content(#[from] serde_json::Error),
    /// Values are not valid.
    #[error("{0}")]
    Invalid(String),
}

/// Who may authenticate beside the cluster's own users, validated.
#[derive(Debug, Default)]
pub struct AuthenticationConfiguration {
    /// The issuers of tokens.
    pub jwt: Vec<JwtAuthenticator>,
    /// Requests without credentials, if the configuration says something of them.
    pub anonymous: Option<Anonymous>,
}

/// Requests without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anonymous {
    /// Whether they are let in as `system:anonymous`.
    pub enabled: bool,
    /// The only paths for which they are; empty for all.
    pub paths: Vec<String>,
}

impl Default for Anonymous {
    fn default() -> Self {
        Anonymous { enabled: true, paths: Vec::new() }
    }
}

impl Anonymous {
    /// Whether a request without credentials may ask for this path.
    pub fn allows(&self, path: &str) -> bool {
        self.enabled && (self.paths.is_empty() || self.paths.iter().any(|allowed| allowed == path))
    }
}

/// One issuer, and how its claims are read.
#[derive(Debug)]
pub struct JwtAuthenticator {
    /// The issuer.
    pub issuer: Issuer,
    required_claims: Vec<(String, String)>,
    claim_rules: Vec<ValidationRule>,
    username: Mapping,
    groups: Option<Mapping>,
    uid: Option<Mapping>,
    extra: Vec<(String, Expression)>,
    user_rules: Vec<ValidationRule>,
}

/// An issuer of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The `iss` claim.
    pub url: String,
    /// Where its discovery document is, if not below the URL.
    pub discovery_url: Option<String>,
    /// PEM of the authorities that its server's certificate may be of; empty for those of the machine.
    pub certificate_authority: String,
    /// Tokens must be for one of these.
    pub audiences: Vec<String>,
}

/// A condition with the message for what does not meet it.
#[derive(Debug)]
struct ValidationRule {
    expression: Expression,
    message: String,
}

/// Where an attribute of the user comes from.
#[derive(Debug)]
enum Mapping {
    Claim { claim: String, prefix: String },
    Expression(Expression),
}

impl AuthenticationConfiguration {
    /// Decodes and validates a configuration. `own_issuers` are those that sign the cluster's own tokens.
    ///
    /// # Errors
    /// Another kind, unknown members, and values that are not valid.
    pub fn decode(
        value: &Value,
        own_issuers: &[&str],
        check_authority: CheckAuthority<'_>,
    ) -> Result<Self, AuthenticationConfigurationError> {
        let text = |member: &str| value.get(member).and_then(Value::as_str).unwrap_or("nothing");
        if text("kind") != KIND || !VERSIONS.contains(&text("apiVersion")) {
            let found = format!("{} of {}", text("kind"), text("apiVersion"));
            return Err(AuthenticationConfigurationError::Kind(found));
        }
        let file = File::deserialize(value)?;
        let mut errors = Vec::new();
        let configuration = validation::configuration(file, own_issuers, check_authority, &mut errors);
        match errors.is_empty() {
            true => Ok(configuration),
            false => Err(AuthenticationConfigurationError::Invalid(status::aggregate(&errors))),
        }
    }
}

/// The issuer that an unverified token names; empty if it names none.
pub fn untrusted_issuer(claims: &Map<String, Value>) -> &str {
    match claims.get("iss").and_then(Value::as_str).unwrap_or_default() {
        // The older form of Google's.
        "accounts.google.com" => "https://accounts.google.com",
        issuer => issuer,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    jwt: Option<Vec<FileJwt>>,
    anonymous: Option<FileAnonymous>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileAnonymous {
    #[serde(default)]
    enabled: bool,
    conditions: Option<Vec<FileCondition>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCondition {
    #[serde(default)]
    path: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct FileJwt {
    issuer: FileIssuer,
    claim_validation_rules: Option<Vec<FileClaimRule>>,
    claim_mappings: FileMappings,
    user_validation_rules: Option<Vec<FileUserRule>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct FileIssuer {
    url: String,
    #[serde(rename = "discoveryURL")]
    discovery_url: Option<String>,
    certificate_authority: String,
    audiences: Option<Vec<String>>,
    audience_match_policy: String,
    egress_selector_type: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct FileClaimRule {
    claim: String,
    required_value: String,
    expression: String,
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct FileMappings {
    username: FileMapping,
    groups: FileMapping,
    uid: FileUid,
    extra: Option<Vec<FileExtra>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FileMapping {
    claim: String,
    prefix: Option<String>,
    expression: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FileUid {
    claim: String,
    expression: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct FileExtra {
    key: String,
    value_expression: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FileUserRule {
    expression: String,
    message: String,
}

#[cfg(test)]
mod tests;
