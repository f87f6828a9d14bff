//! Authentication by client certificate, service account token, bootstrap token or a token of another issuer
//! ([`super::oidc`]), else as anonymous; and impersonation (`impersonation`).
//!
//! Tokens are JWTs signed with the cluster's service account key (ES256). A token is valid only while the objects
//! that it is bound to exist with the same UID: its service account, and its Pod if it names one. Secrets may hold tokens without
//! an end (`secret_tokens`).

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shim_core::bootstrap_tokens;
use shim_core::controllers::served;
use shim_core::jwt::JwtUser;
use shim_model::go_quote::{Quoted, go_quote_list};
use shim_model::status::{self, Status};
use shim_pki::Identity;

use super::oidc::Issuers;
use crate::storage::registry::{Registry, now};

mod bound_object;
mod impersonation;
mod secret_tokens;
mod token_key;

pub use bound_object::BoundObject;
pub use impersonation::Impersonation;
pub use secret_tokens::SecretTokenUses;
pub use token_key::TokenKey;

use bound_object::Gone;
use secret_tokens::UseSender;

/// The default audience of tokens: this API server.
pub const DEFAULT_AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";
/// The group that may do anything.
pub const MASTERS: &str = "system:masters";
/// The group of all authenticated users.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of all anonymous requests.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Prefix of the WebSocket sub-protocol that carries a token.
pub const WEBSOCKET_TOKEN: &str = "base64url.bearer.authorization.k8s.io.";
/// Prefix of service account user names.
pub const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct User {
    pub name: String,
    /// UID, if it has one.
    pub uid: String,
    pub groups: Vec<String>,
    /// Additional attributes of the user.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user in `system:masters`, for calls from inside the API server.
    pub fn system(name: &str) -> User {
        let groups = vec![MASTERS.to_owned(), AUTHENTICATED.to_owned()];
        User { name: name.to_owned(), groups, ..User::default() }
    }

    /// A component of this process, such as `system:kube-scheduler`.
    pub fn component(name: &str, groups: &[&str]) -> User {
        let groups = groups.iter().chain(&[AUTHENTICATED]).map(|group| (*group).to_owned()).collect();
        User { name: name.to_owned(), groups, ..User::default() }
    }

    /// A service account, for a component that writes as one.
    pub fn service_account(namespace: &str, name: &str) -> User {
        let groups = service_account_groups(namespace);
        User { name: format!("{SERVICE_ACCOUNT}{namespace}:{name}"), groups, ..User::default() }
    }

    /// A service account that a check names. It has not been authenticated, and lacks that group as upstream.
    pub fn named_service_account(namespace: &str, name: &str) -> User {
        let mut user = User::service_account(namespace, name);
        user.groups.retain(|group| group != AUTHENTICATED);
        user
    }

    /// The user that a verified client certificate names.
    pub fn certified(identity: Identity) -> User {
        let mut groups = identity.groups;
        groups.push(AUTHENTICATED.to_owned());
        User { name: identity.user, groups, ..User::default() }
    }

    /// The anonymous user.
    pub fn anonymous() -> User {
        let groups = vec![UNAUTHENTICATED.to_owned()];
        User { name: "system:anonymous".to_owned(), groups, ..User::default() }
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The user as a `UserInfo` object.
    pub fn to_value(&self) -> Value {
        let mut out = json!({"username": self.name, "groups": self.groups});
        if !self.uid.is_empty() {
            out["uid"] = self.uid.as_str().into();
        }
        if !self.extra.is_empty() {
            out["extra"] = json!(self.extra);
        }
        out
    }
}

/// Issues and verifies tokens and authenticates requests.
pub struct Authenticator {
    registry: Registry,
    issuer: String,
    key: TokenKey,
    issuers: Option<Arc<Issuers>>,
    uses: Option<UseSender>,
}

/// Why [`Authenticator::check_issued`] refuses a token.
enum Refused {
    /// It was issued here and does not hold, or it is no token.
    Ours(String),
    /// It has other claims than the tokens that are issued here.
    Other(String),
}

/// The subject of a token to be issued.
#[derive(Clone, Debug)]
pub struct TokenSubject {
    /// Namespace of the service account.
    pub namespace: String,
    /// The service account.
    pub service_account: BoundObject,
    /// The Pod that the token is bound to.
    pub pod: Option<BoundObject>,
    /// The Secret that the token is bound to.
    pub secret: Option<BoundObject>,
    /// The node of that Pod, or the one that the token is bound to if it is bound to no Pod.
    pub node: Option<BoundObject>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: KubernetesClaims,
    nbf: i64,
    sub: String,
}

#[derive(Serialize, Deserialize)]
struct KubernetesClaims {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<BoundObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<BoundObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<BoundObject>,
    serviceaccount: BoundObject,
}

impl Authenticator {
    /// Creates an authenticator from the cluster's service account key (PKCS#8 PEM). `issuer` is the `iss` claim of
    /// tokens.
    pub fn new(registry: Registry, key_pem: &str, issuer: &str) -> Result<Authenticator, shim_pki::PkiError> {
        let key = TokenKey::parse(key_pem)?;
        Ok(Authenticator { registry, issuer: issuer.to_owned(), key, issuers: None, uses: None })
    }

    /// With users of other issuers.
    #[must_use]
    pub fn with_issuers(self, issuers: Arc<Issuers>) -> Authenticator {
        Authenticator { issuers: Some(issuers), ..self }
    }

    /// The `iss` claim of tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public key as a JSON Web Key, for others that verify tokens.
    pub fn web_key(&self) -> &Value {
        &self.key.web_key
    }

    /// Authenticates a request for this path without a client certificate.
    pub async fn authenticate(&self, headers: &HeaderMap, path: &str) -> Result<User, Status> {
        let allows_anonymous = || self.issuers.as_ref().is_none_or(|issuers| issuers.allows_anonymous(path));
        match bearer(headers)? {
            None if allows_anonymous() => Ok(User::anonymous()),
            None => Err(status::unauthorized()),
            Some(token) => self.check_token(&token, &[]).await.map(|(user, _)| user).map_err(|why| {
                tracing::debug!(why, "token refused");
                status::unauthorized()
            }),
        }
    }

    /// Verifies a token for one of `audiences` (empty: this server). Returns the user and the audiences that match.
    pub async fn check_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<(User, Vec<String>), String> {
        let mut own = vec![DEFAULT_AUDIENCE.to_owned(), self.issuer.clone()];
        own.dedup();
        let wanted = if audiences.is_empty() { &own[..] } else { audiences };
        // Such tokens have no audience here, or one that the issuer's configuration names: they are for this server.
        let for_this_server = |user: User| {
            let served: Vec<String> = wanted.iter().filter(|a| own.contains(a)).cloned().collect();
            match served.is_empty() {
                true => Err("the token is not for these audiences".to_owned()),
                false => Ok((user, served)),
            }
        };
        if let Some(user) = self.bootstrap_user(token) {
            return for_this_server(user);
        }
        if let Some(issuers) = &self.issuers
            && let Some(found) = issuers.authenticate(token).await
        {
            return found.and_then(|user| for_this_server(issued_user(user)));
        }
        match self.check_issued(token, wanted) {
            Err(Refused::Other(why)) => match self.check_in_secret(token) {
                Some(checked) => {
                    checked.map_err(|why| format!("[invalid bearer token, {why}]")).and_then(for_this_server)
                }
                None => Err(why),
            },
            checked => checked.map_err(|(Refused::Other(why) | Refused::Ours(why))| why),
        }
    }

    /// Verifies a token that [`Authenticator::issue`] made.
    fn check_issued(&self, token: &str, wanted: &[String]) -> Result<(User, Vec<String>), Refused> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[&self.issuer]);
        // Verified below, because the error message lists the audiences.
        validation.validate_aud = false;
        validation.validate_nbf = true;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key.checking, &validation)
            .map_err(|e| match e.kind() {
                // As upstream, what is no token of this server has no reason.
                ErrorKind::InvalidToken => Refused::Ours("invalid bearer token".to_owned()),
                ErrorKind::InvalidIssuer => Refused::Other("invalid bearer token".to_owned()),
                ErrorKind::Json(_) | ErrorKind::MissingRequiredClaim(_) => {
                    Refused::Other(format!("invalid bearer token: {e}"))
                }
                _ => Refused::Ours(format!("invalid bearer token: {e}")),
            })?
            .claims;
        let served: Vec<String> = claims.aud.iter().filter(|a| wanted.contains(a)).cloned().collect();
        if served.is_empty() {
            return Err(Refused::Ours(format!(
                "[invalid bearer token, token audiences {} is invalid for the target audiences {}]",
                go_quote_list(&claims.aud),
                go_quote_list(wanted)
            )));
        }
        self.check_bound(&claims.kubernetes)
            .map_err(|why| Refused::Ours(format!("[invalid bearer token, {why}]")))?;
        Ok((user_of(claims), served))
    }

    /// The user of a bootstrap token.
    fn bootstrap_user(&self, token: &str) -> Option<User> {
        let token = bootstrap_tokens::parse(token)?;
        let name = format!("{}{}", bootstrap_tokens::NAME_PREFIX, token.0);
        let secret = self.registry.peek(served("", "secrets"), bootstrap_tokens::NAMESPACE, &name)?;
        let (name, mut groups) = bootstrap_tokens::authenticate(&secret.value(), token, now().seconds())?;
        groups.push(AUTHENTICATED.to_owned());
        Some(User { name, groups, ..User::default() })
    }

    /// Issues a token that is valid for `seconds` from `now` (Unix time).
    pub fn issue(
        &self,
        subject: TokenSubject,
        audiences: Vec<String>,
        now: i64,
        seconds: i64,
    ) -> Result<String, Status> {
        let claims = Claims {
            aud: audiences,
            exp: now + seconds,
            iat: now,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            nbf: now,
            sub: format!("{SERVICE_ACCOUNT}{}:{}", subject.namespace, subject.service_account.name),
            kubernetes: KubernetesClaims {
                namespace: subject.namespace,
                node: subject.node,
                pod: subject.pod,
                secret: subject.secret,
                serviceaccount: subject.service_account,
            },
        };
        self.key.sign(&claims).map_err(status::internal)
    }

    /// Whether what a token is bound to still exists.
    fn check_bound(&self, bound: &KubernetesClaims) -> Result<(), String> {
        let namespace = &bound.namespace;
        let account = &bound.serviceaccount;
        self.check_alive("serviceaccounts", namespace, account).map_err(|gone| match gone {
            Gone::Removed => format!("serviceaccounts {} not found", Quoted(&account.name)),
            Gone::Replaced { uid } => {
                format!("service account UID ({uid}) does not match claim ({})", account.uid)
            }
            Gone::Deleted => format!("service account {namespace}/{} has been deleted", account.name),
        })?;
        let (plural, what, object) = match bound {
            KubernetesClaims { pod: Some(pod), .. } => ("pods", "pod", pod),
            KubernetesClaims { secret: Some(secret), .. } => ("secrets", "secret", secret),
            KubernetesClaims { node: Some(node), .. } => ("nodes", "node", node),
            _ => return Ok(()),
        };
        let namespace = if plural == "nodes" { "" } else { namespace };
        self.check_alive(plural, namespace, object).map_err(|gone| match gone {
            Gone::Replaced { uid } => {
                format!("{what} UID ({uid}) does not match service account {what} ref claim ({})", object.uid)
            }
            Gone::Removed | Gone::Deleted => "service account token has been invalidated".to_owned(),
        })
    }

    fn check_alive(&self, plural: &'static str, namespace: &str, object: &BoundObject) -> Result<(), Gone> {
        let found = self.registry.peek(served("", plural), namespace, &object.name);
        object.check(found.as_ref().map(|found| found.header()), now().seconds())
    }
}

/// The token of a request: from the Authorization header or, because browsers cannot set headers of a WebSocket
/// handshake, from an offered sub-protocol.
fn bearer(headers: &HeaderMap) -> Result<Option<String>, Status> {
    if let Some(header) = headers.get(AUTHORIZATION) {
        let text = header.to_str().map_err(|_| status::unauthorized())?;
        let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        return Ok(token.map(|(_, token)| token.trim().to_owned()).filter(|t| !t.is_empty()));
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    let token = offered.flat_map(|v| v.split(',')).find_map(|p| p.trim().strip_prefix(WEBSOCKET_TOKEN));
    let Some(encoded) = token else { return Ok(None) };
    use base64::Engine;
    let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('='));
    let token = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    token.map(Some).ok_or_else(status::unauthorized)
}

/// The user of another issuer's token.
fn issued_user(user: JwtUser) -> User {
    let JwtUser { name, uid, mut groups, extra } = user;
    if !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    User { name, uid, groups, extra }
}

fn user_of(claims: Claims) -> User {
    let namespace = &claims.kubernetes.namespace;
    let mut extra = BTreeMap::new();
    let mut note = |key: &str, value: String| {
        extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
    };
    note("credential-id", format!("JTI={}", claims.jti));
    if let Some(pod) = &claims.kubernetes.pod {
        note("pod-name", pod.name.clone());
        note("pod-uid", pod.uid.clone());
    }
    if let Some(node) = &claims.kubernetes.node {
        note("node-name", node.name.clone());
        note("node-uid", node.uid.clone());
    }
    User {
        groups: service_account_groups(namespace),
        name: claims.sub,
        uid: claims.kubernetes.serviceaccount.uid,
        extra,
    }
}

fn service_account_groups(namespace: &str) -> Vec<String> {
    vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        AUTHENTICATED.to_owned(),
    ]
}
