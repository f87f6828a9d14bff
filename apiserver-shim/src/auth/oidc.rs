//! Tokens of other issuers (OpenID Connect): which issuers there are, from flags or a file that is read again when it changes, and
//! the users of their tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shim_core::jwt::{
    Anonymous, AuthenticationConfiguration, AuthenticationConfigurationError, JwtAuthenticator, JwtUser,
    untrusted_issuer,
};
use shim_model::schema::plain_yaml;
use transport::tls::{TlsError, certificates};

mod distributed;
mod keys;
mod provider;
mod token;

use distributed::DistributedClaims;
pub use keys::ALGORITHMS;
use provider::Provider;
use token::{Token, Verification};

use crate::auth::authentication::DEFAULT_AUDIENCE;
use crate::storage::registry::now;

/// How often the file is looked at; upstream's.
const RELOAD_PERIOD: Duration = Duration::from_secs(60);
/// How long new issuers may take to be reachable before the previous ones remain; upstream's.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How often that is looked at.
const RELOAD_POLL: Duration = Duration::from_millis(200);

/// Why issuers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    #[allow(missing_docs)]
    Read { path: PathBuf, source: std::io::Error },
    /// The file is no YAML.
    #[error("invalid YAML: {0}")]
    Yaml(String),
    /// The configuration is not valid.
    #[error(transparent)]
    Configuration(#[from] AuthenticationConfigurationError),
    /// An algorithm that tokens must not be signed with.
    #[error("oidc: unsupported signing alg: {0:?}")]
    Algorithm(String),
    /// A certificate authority cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The flags `--oidc-…`.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct OidcFlags {
    pub issuer_url: String,
    pub client_id: String,
    pub username_claim: String,
    pub username_prefix: String,
    pub groups_claim: String,
    pub groups_prefix: String,
    /// Claims with the values that they must have.
    pub required_claims: Vec<(String, String)>,
    pub signing_algorithms: Vec<String>,
    pub ca_file: Option<PathBuf>,
}

/// Who may authenticate beside the cluster's own users.
#[derive(Debug, Default)]
pub struct AuthenticationOptions {
    configuration: AuthenticationConfiguration,
    algorithms: Vec<String>,
    /// The file that it was read from, with the digest of its content.
    file: Option<(PathBuf, [u8; 32])>,
}

impl AuthenticationOptions {
    /// Reads the file of `--authentication-config`.
    ///
    /// # Errors
    /// It cannot be read or is not valid.
    pub fn read(path: &Path) -> Result<AuthenticationOptions, OidcError> {
        let (configuration, digest) = read(path)?;
        let algorithms = ALGORITHMS.map(str::to_owned).to_vec();
        Ok(AuthenticationOptions { configuration, algorithms, file: Some((path.to_owned(), digest)) })
    }

    /// The issuer of the flags `--oidc-…`.
    ///
    /// # Errors
    /// Flags that are not valid, and a file of authorities that cannot be read.
    pub fn of_flags(flags: &OidcFlags) -> Result<AuthenticationOptions, OidcError> {
        if let Some(wrong) = flags.signing_algorithms.iter().find(|name| !ALGORITHMS.contains(&name.as_str()))
        {
            return Err(OidcError::Algorithm(wrong.clone()));
        }
        let authority = match &flags.ca_file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| OidcError::Read { path: path.clone(), source })?,
        };
        let prefix = match (flags.username_prefix.as_str(), flags.username_claim.as_str()) {
            ("", "email") | ("-", _) => String::new(),
            ("", _) => format!("{}#", flags.issuer_url),
            (prefix, _) => prefix.to_owned(),
        };
        let mut mappings = json!({"username": {"claim": flags.username_claim, "prefix": prefix}});
        if !flags.groups_claim.is_empty() {
            mappings["groups"] = json!({"claim": flags.groups_claim, "prefix": flags.groups_prefix});
        }
        let rule = |(claim, value): &(String, String)| json!({"claim": claim, "requiredValue": value});
        let configuration = decode(&json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "jwt": [{
                "issuer": {"url": flags.issuer_url, "audiences": [flags.client_id], "certificateAuthority": authority},
                "claimMappings": mappings,
                "claimValidationRules": flags.required_claims.iter().map(rule).collect::<Vec<_>>(),
            }],
        }))?;
        Ok(AuthenticationOptions { configuration, algorithms: flags.signing_algorithms.clone(), file: None })
    }
}

fn decode(value: &Value) -> Result<AuthenticationConfiguration, AuthenticationConfigurationError> {
    let check_authority = |pem: &str| {
        certificates(pem)
            .map(drop)
            .map_err(|_| "data does not contain any valid RSA or ECDSA certificates".to_owned())
    };
    AuthenticationConfiguration::decode(value, &[DEFAULT_AUDIENCE], &check_authority)
}

fn read(path: &Path) -> Result<(AuthenticationConfiguration, [u8; 32]), OidcError> {
    let bytes = std::fs::read(path).map_err(|source| OidcError::Read { path: path.to_owned(), source })?;
    let value = plain_yaml(&bytes).map_err(OidcError::Yaml)?;
    Ok((decode(&value)?, Sha256::digest(&bytes).into()))
}

/// The issuers of tokens, and what is done with requests without credentials.
pub struct Issuers {
    current: ArcSwap<Vec<ServedIssuer>>,
    algorithms: Vec<String>,
    anonymous: Anonymous,
    file: Option<(PathBuf, [u8; 32])>,
}

/// One issuer. The task that reads its discovery document ends with it.
struct ServedIssuer {
    authenticator: JwtAuthenticator,
    provider: Arc<Provider>,
    distributed: Option<DistributedClaims>,
    initializing: tokio::task::JoinHandle<()>,
}

impl Drop for ServedIssuer {
    fn drop(&mut self) {
        self.initializing.abort();
    }
}

impl ServedIssuer {
    fn start(authenticator: JwtAuthenticator) -> Result<ServedIssuer, TlsError> {
        let provider = Arc::new(Provider::new(authenticator.issuer.clone())?);
        let claim = authenticator.groups_claim();
        let distributed = claim.map(|claim| DistributedClaims::new(claim, &authenticator.issuer));
        let initializing = tokio::spawn(provider.clone().initialize());
        Ok(ServedIssuer { authenticator, provider, distributed, initializing })
    }

    async fn user(&self, mut token: Token<'_>, algorithms: &[String]) -> Result<JwtUser, String> {
        let verification = Verification { algorithms, now: now().seconds() };
        let verified = token.verify(&self.provider, &self.authenticator.issuer.audiences, verification).await;
        verified.map_err(|why| format!("oidc: verify token: {why}"))?;
        if let (Some(distributed), Some(claims)) = (&self.distributed, token.claims.as_object_mut()) {
            let expanded = distributed.expand(claims, &self.provider, verification).await;
            expanded.map_err(|why| format!("oidc: could not expand distributed claims: {why}"))?;
        }
        self.authenticator.user(&token.claims)
    }
}

impl Issuers {
    /// Starts to read the discovery documents of the issuers. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A certificate authority cannot be used.
    pub fn start(options: AuthenticationOptions) -> Result<Issuers, OidcError> {
        let AuthenticationOptions { configuration, algorithms, file } = options;
        let anonymous = configuration.anonymous.clone().unwrap_or_default();
        let current = ArcSwap::from_pointee(start_all(configuration)?);
        Ok(Issuers { current, algorithms, anonymous, file })
    }

    /// Whether a request without credentials may ask for this path.
    pub fn allows_anonymous(&self, path: &str) -> bool {
        self.anonymous.allows(path)
    }

    /// The user of a token; `None` if it is of none of these issuers.
    pub async fn authenticate(&self, token: &str) -> Option<Result<JwtUser, String>> {
        let issuers = self.current.load_full();
        if issuers.is_empty() {
            return None;
        }
        let token = Token::parse(token)?;
        let url = untrusted_issuer(token.claims.as_object()?);
        let issuer = issuers.iter().find(|issuer| issuer.authenticator.issuer.url == url)?;
        Some(issuer.user(token, &self.algorithms).await)
    }

    /// Reads the file again whenever it has changed. If it is not valid, or an issuer cannot be reached, the previous issuers
    /// remain.
    pub async fn follow(self: Arc<Self>) {
        let Some((path, mut used)) = self.file.clone() else { return };
        loop {
            tokio::time::sleep(RELOAD_PERIOD).await;
            match read(&path) {
                Ok((_, digest)) if digest == used => {}
                Ok((configuration, digest)) => {
                    if self.replace(configuration).await {
                        used = digest;
                        tracing::info!(path = %path.display(), "authentication configuration loaded again");
                    }
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(
                        error,
                        "authentication configuration not loaded; the previous one remains"
                    );
                }
            }
        }
    }

    /// Replaces the issuers when the new ones can be reached.
    async fn replace(&self, configuration: AuthenticationConfiguration) -> bool {
        if configuration.anonymous.clone().unwrap_or_default() != self.anonymous {
            tracing::warn!("a change of anonymous authentication needs a restart");
        }
        let issuers = match start_all(configuration) {
            Ok(issuers) => issuers,
            Err(error) => {
                tracing::error!(%error, "authentication configuration not loaded; the previous one remains");
                return false;
            }
        };
        let reached = async {
            while !issuers.iter().all(|issuer| issuer.provider.is_initialized()) {
                tokio::time::sleep(RELOAD_POLL).await;
            }
        };
        if tokio::time::timeout(RELOAD_TIMEOUT, reached).await.is_err() {
            tracing::error!(
                "an issuer of the new authentication configuration cannot be reached; the previous ones remain"
            );
            return false;
        }
        self.current.store(Arc::new(issuers));
        true
    }
}

fn start_all(configuration: AuthenticationConfiguration) -> Result<Vec<ServedIssuer>, TlsError> {
    configuration.jwt.into_iter().map(ServedIssuer::start).collect()
}
