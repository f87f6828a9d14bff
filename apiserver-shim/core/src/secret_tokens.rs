//! Tokens of service accounts that are kept in Secrets and have no end: what they claim, when they hold, and the labels that
//! track their use. Rules, names and messages are upstream's (`pkg/serviceaccount/legacy.go`).

use memchr::memmem;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shim_model::object::StoredObject;
use shim_model::{access, base64};
use subtle::ConstantTimeEq;

use crate::rows::{Seconds, rfc3339, seconds};

/// The type of the Secrets.
pub const SECRET_TYPE: &str = "kubernetes.io/service-account-token";
/// The annotation with the name of the service account.
pub const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
/// The annotation with the UID of the service account.
pub const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// The label with the day on which the token was last used.
pub const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// The label with the day since which the token is not accepted.
pub const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// The issuer of the tokens.
pub const ISSUER: &str = "kubernetes/serviceaccount";

const DAY: Seconds = 24 * 3600;

/// The claims of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretTokenClaims {
    #[serde(rename = "iss", default)]
    issuer: String,
    /// Namespace of the Secret and of the service account.
    #[serde(rename = "kubernetes.io/serviceaccount/namespace", default)]
    pub namespace: String,
    /// Name of the Secret.
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name", default)]
    pub secret: String,
    /// Name of the service account.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name", default)]
    pub account: String,
    /// UID of the service account.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid", default)]
    pub account_uid: String,
    /// Name of the user.
    #[serde(rename = "sub", default)]
    pub subject: String,
}

impl SecretTokenClaims {
    /// The claims of the token in a Secret for a service account of its namespace.
    pub fn new(namespace: &str, secret: &str, account: &str, account_uid: &str) -> SecretTokenClaims {
        SecretTokenClaims {
            issuer: ISSUER.to_owned(),
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            account: account.to_owned(),
            account_uid: account_uid.to_owned(),
            subject: subject(namespace, account),
        }
    }

    fn complete(&self) -> Result<(), SecretTokenError> {
        let claims = [
            ("sub", &self.subject),
            ("namespace", &self.namespace),
            ("secretName", &self.secret),
            ("serviceAccountName", &self.account),
            ("serviceAccountUID", &self.account_uid),
        ];
        if let Some((name, _)) = claims.into_iter().find(|(_, value)| value.is_empty()) {
            return Err(SecretTokenError::Missing(name));
        }
        match self.subject == subject(&self.namespace, &self.account) {
            true => Ok(()),
            false => Err(SecretTokenError::Subject),
        }
    }
}

fn subject(namespace: &str, account: &str) -> String {
    format!("system:serviceaccount:{namespace}:{account}")
}

/// Signs tokens with the cluster's key for service accounts.
pub trait SecretTokenSigner: std::fmt::Debug + Send + Sync {
    /// The token with these claims; `None` if it could not be signed, which the signer reports.
    fn sign(&self, claims: &SecretTokenClaims) -> Option<String>;
}

/// Why a token with a valid signature is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SecretTokenError {
    #[error("{0} claim is missing")]
    Missing(&'static str),
    #[error("sub claim is invalid")]
    Subject,
    /// The Secret is gone or being deleted.
    #[error("Token has been invalidated")]
    Invalidated,
    /// The Secret has another token by now.
    #[error("Token does not match server's copy")]
    Replaced,
    #[error("serviceaccounts \"{0}\" not found")]
    NoAccount(String),
    #[error("ServiceAccount {namespace}/{account} has been deleted")]
    AccountDeleted { namespace: String, account: String },
    #[error("ServiceAccount UID ({found}) does not match claim ({claimed})")]
    AccountUid { found: String, claimed: String },
    /// The Secret has the label [`INVALID_SINCE`]. The token was used all the same.
    #[error(
        "the token in secret {namespace}/{secret} for service account {namespace}/{account} has been marked invalid. Use \
         tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label \
         from the secret to temporarily allow use of this token"
    )]
    Marked { namespace: String, secret: String, account: String },
}

/// Whether a token whose signature is valid holds, given the Secret and the service account that it names.
///
/// # Errors
/// Why it does not.
pub fn check(
    claims: &SecretTokenClaims,
    token: &str,
    secret: Option<&Value>,
    account: Option<&Value>,
) -> Result<(), SecretTokenError> {
    claims.complete()?;
    let secret = secret.filter(|secret| !is_deleted(secret)).ok_or(SecretTokenError::Invalidated)?;
    let stored = base64::decode(access::text(secret, &["data", "token"])).unwrap_or_default();
    if !bool::from(stored.ct_eq(token.as_bytes())) {
        return Err(SecretTokenError::Replaced);
    }
    let SecretTokenClaims { namespace, account: name, account_uid, .. } = claims;
    let account = account.ok_or_else(|| SecretTokenError::NoAccount(name.clone()))?;
    if is_deleted(account) {
        return Err(SecretTokenError::AccountDeleted { namespace: namespace.clone(), account: name.clone() });
    }
    let found = access::text(account, &["metadata", "uid"]);
    if found != account_uid {
        return Err(SecretTokenError::AccountUid { found: found.to_owned(), claimed: account_uid.clone() });
    }
    match access::text(secret, &["metadata", "labels", INVALID_SINCE]) {
        "" => Ok(()),
        _ => Err(SecretTokenError::Marked {
            namespace: namespace.clone(),
            secret: claims.secret.clone(),
            account: name.clone(),
        }),
    }
}

/// The value that [`LAST_USED`] of a Secret whose token is used now must be given; `None` if it is right already.
pub fn due_last_used(secret: &Value, now: Seconds) -> Option<String> {
    let stored = access::text(secret, &["metadata", "labels", LAST_USED]);
    // The clocks of several servers may differ by a little, and tomorrow's date is as good.
    let today = date(now);
    (stored != today && stored != date(now + DAY)).then_some(today)
}

/// The day of a time, as the labels have it.
pub fn date(at: Seconds) -> String {
    let mut text = rfc3339(at);
    text.truncate("2026-11-30".len());
    text
}

/// The start of the day that a label names; `None` if it names none.
pub fn start_of(day: &str) -> Option<Seconds> {
    (day.len() == "2026-11-30".len()).then(|| seconds(&format!("{day}T00:00:00Z")))?
}

/// Whether a stored Secret may have a token of a service account. Few have, and the others need no decoding.
pub fn may_have_token(secret: &StoredObject) -> bool {
    memmem::find(&secret.bytes, SECRET_TYPE.as_bytes()).is_some()
}

/// Whether a ServiceAccount lists a Secret.
pub fn lists(account: &Value, secret: &str) -> bool {
    access::list(account, &["secrets"]).iter().any(|listed| access::text(listed, &["name"]) == secret)
}

fn is_deleted(object: &Value) -> bool {
    access::get(object, &["metadata", "deletionTimestamp"]).is_some()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_upstreams() {
        let claims = serde_json::to_value(SecretTokenClaims::new("ns", "tok", "sa", "u1")).unwrap();
        expect![[r#"{"iss":"kubernetes/serviceaccount","kubernetes.io/serviceaccount/namespace":"ns","kubernetes.io/serviceaccount/secret.name":"tok","kubernetes.io/serviceaccount/service-account.name":"sa","kubernetes.io/serviceaccount/service-account.uid":"u1","sub":"system:serviceaccount:ns:sa"}"#]]
        .assert_eq(&claims.to_string());
    }

    #[test]
    fn tokens_hold_while_their_secret_and_account_exist() {
        let claims = SecretTokenClaims::new("ns", "tok", "sa", "u1");
        let secret = json!({"metadata": {"labels": {}}, "data": {"token": base64::encode(b"t")}});
        let account = json!({"metadata": {"uid": "u1"}});
        let deleted = json!({"metadata": {"uid": "u1", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let marked = json!({"metadata": {"labels": {INVALID_SINCE: "2026-01-01"}}, "data": {"token": base64::encode(b"t")}});
        let other = json!({"metadata": {"uid": "u2"}});
        let foreign = SecretTokenClaims { subject: "system:serviceaccount:ns:root".into(), ..claims.clone() };
        let empty = SecretTokenClaims { account_uid: String::new(), ..claims.clone() };
        let (secret, account) = (Some(&secret), Some(&account));
        let table = [
            check(&claims, "t", secret, account),
            check(&empty, "t", secret, account),
            check(&foreign, "t", secret, account),
            check(&claims, "t", None, account),
            check(&claims, "t", Some(&deleted), account),
            check(&claims, "T", secret, account),
            check(&claims, "t", secret, None),
            check(&claims, "t", secret, Some(&deleted)),
            check(&claims, "t", secret, Some(&other)),
            check(&claims, "t", Some(&marked), account),
        ];
        let text = table.map(|row| row.map_or_else(|why| why.to_string(), |()| "holds".to_owned()));
        expect![[r#"
            holds
            serviceAccountUID claim is missing
            sub claim is invalid
            Token has been invalidated
            Token has been invalidated
            Token does not match server's copy
            serviceaccounts "sa" not found
            ServiceAccount ns/sa has been deleted
            ServiceAccount UID (u2) does not match claim (u1)
            the token in secret ns/tok for service account ns/sa has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the 'kubernetes.io/legacy-token-invalid-since' label from the secret to temporarily allow use of this token
        "#]]
        .assert_eq(&(text.join("\n") + "\n"));
    }

    #[test]
    fn a_use_is_noted_once_a_day() {
        let now = seconds("2026-11-30T23:59:00Z").unwrap();
        let used = |day: &str| json!({"metadata": {"labels": {LAST_USED: day}}});
        assert_eq!(due_last_used(&json!({}), now).as_deref(), Some("2026-11-30"));
        assert_eq!(due_last_used(&used("2026-11-29"), now).as_deref(), Some("2026-11-30"));
        assert_eq!(due_last_used(&used("2026-11-30"), now), None);
        assert_eq!(due_last_used(&used("2026-12-01"), now), None);
        assert_eq!(start_of("2026-11-30").map(date).as_deref(), Some("2026-11-30"));
        assert_eq!(start_of("yesterday"), None);
        assert_eq!(start_of("2026-13-30"), None);
    }
}
