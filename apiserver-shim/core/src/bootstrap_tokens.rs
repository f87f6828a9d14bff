//! Bootstrap tokens: Secrets of a type of their own, with which machines authenticate once and recognize their cluster.

use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;
use shim_model::{access, base64};
use subtle::ConstantTimeEq;

use crate::rows::{Seconds, seconds};

/// The type of the Secrets.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// The namespace of the Secrets.
pub const NAMESPACE: &str = "kube-system";
/// The prefix of their names; the rest is the token's id.
pub const NAME_PREFIX: &str = "bootstrap-token-";
/// The group of all users with such a token.
const GROUP: &str = "system:bootstrappers";
/// The prefix of the users' names.
const USER_PREFIX: &str = "system:bootstrap:";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;
/// The longest name of a group, after the prefix.
const GROUP_MAX: usize = 256;

/// Splits `id.secret`; `None` if the text has another form.
pub fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (id.len() == ID_LENGTH && secret.len() == SECRET_LENGTH && plain(id) && plain(secret))
        .then_some((id, secret))
}

fn data(secret: &Value, key: &str) -> String {
    let decoded = base64::decode(access::text(secret, &["data", key])).unwrap_or_default();
    String::from_utf8(decoded).unwrap_or_default()
}

/// When a token's Secret expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Expiration {
    Never,
    At(Seconds),
    /// The time cannot be read: the token counts as expired.
    Unreadable,
}

/// When a token expires.
pub fn expiration(secret: &Value) -> Expiration {
    match data(secret, "expiration") {
        never if never.is_empty() => Expiration::Never,
        text => seconds(&text).map_or(Expiration::Unreadable, Expiration::At),
    }
}

fn is_expired(secret: &Value, now: Seconds) -> bool {
    match expiration(secret) {
        Expiration::Never => false,
        Expiration::At(time) => time <= now,
        Expiration::Unreadable => true,
    }
}

fn is_token(secret: &Value) -> bool {
    access::text(secret, &["type"]) == SECRET_TYPE
        && access::get(secret, &["metadata", "deletionTimestamp"]).is_none()
}

/// The user and the groups of a token, if its Secret allows it to authenticate.
pub fn authenticate(
    secret: &Value,
    (id, token_secret): (&str, &str),
    now: Seconds,
) -> Option<(String, Vec<String>)> {
    let same: bool = data(secret, "token-secret").as_bytes().ct_eq(token_secret.as_bytes()).into();
    let allowed = is_token(secret)
        && same
        && data(secret, "token-id") == id
        && !is_expired(secret, now)
        && data(secret, "usage-bootstrap-authentication") == "true";
    if !allowed {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    let extra = data(secret, "auth-extra-groups");
    for group in extra.split(',').filter(|_| !extra.is_empty()) {
        if !is_group(group) {
            return None;
        }
        groups.push(group.to_owned());
    }
    groups.sort_unstable();
    groups.dedup();
    Some((format!("{USER_PREFIX}{id}"), groups))
}

fn is_group(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':')) else { return false };
    let last = rest.bytes().last().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let plain =
        rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b':' | b'-'));
    last && plain && rest.len() <= GROUP_MAX
}

/// The id and the secret of a token that signs the cluster's address.
pub fn signing_token(secret: &Value, now: Seconds) -> Option<(String, String)> {
    let (id, token_secret) = (data(secret, "token-id"), data(secret, "token-secret"));
    let name = access::text(secret, &["metadata", "name"]).strip_prefix(NAME_PREFIX)?;
    let signs = access::text(secret, &["type"]) == SECRET_TYPE
        && name == id
        && id.len() == ID_LENGTH
        && !token_secret.is_empty()
        && !is_expired(secret, now)
        && data(secret, "usage-bootstrap-signing") == "true";
    signs.then_some((id, token_secret))
}

/// The detached JSON web signature of a content: who knows the token can check that the content is from its cluster.
pub fn sign(content: &str, id: &str, token_secret: &str) -> String {
    let url = |bytes: &[u8]| base64::encode(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_");
    let header = url(serde_json::json!({"alg": "HS256", "kid": id}).to_string().as_bytes());
    let signed = format!("{header}.{}", url(content.as_bytes()));
    let mut mac = Hmac::<Sha256>::new_from_slice(token_secret.as_bytes())
        .expect("invariant: HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    format!("{header}..{}", url(&mac.finalize().into_bytes()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn secret(members: &[(&str, &str)]) -> Value {
        let mut data = serde_json::Map::new();
        let fixed = [("token-id", "abcdef"), ("token-secret", "0123456789abcdef")];
        for (key, value) in fixed.iter().chain(members) {
            data.insert((*key).to_owned(), base64::encode(value.as_bytes()).into());
        }
        json!({"metadata": {"name": "bootstrap-token-abcdef", "namespace": NAMESPACE}, "type": SECRET_TYPE, "data": data})
    }

    const TOKEN: (&str, &str) = ("abcdef", "0123456789abcdef");
    const LOGIN: (&str, &str) = ("usage-bootstrap-authentication", "true");

    #[test]
    fn tokens_have_one_form() {
        assert_eq!(parse("abcdef.0123456789abcdef"), Some(TOKEN));
        for wrong in [
            "",
            "abcdef",
            "Abcdef.0123456789abcdef",
            "abcde.0123456789abcdef",
            "abcdef.0123456789abcde.",
            "a.b.c",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_authenticates_by_its_secret() {
        let now = seconds("2026-06-01T00:00:00Z").unwrap();
        let groups = |members: &[(&str, &str)], token| {
            authenticate(&secret(members), token, now).map(|(_, groups)| groups)
        };
        assert_eq!(groups(&[LOGIN], TOKEN).unwrap(), ["system:bootstrappers"]);
        let extra = ("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token");
        assert_eq!(groups(&[LOGIN, extra], TOKEN).unwrap().len(), 2);
        assert_eq!(groups(&[LOGIN, ("auth-extra-groups", "system:masters")], TOKEN), None);
        assert_eq!(groups(&[LOGIN], ("abcdef", "0123456789abcdeg")), None);
        assert_eq!(groups(&[], TOKEN), None);
        assert!(groups(&[LOGIN, ("expiration", "2026-07-01T00:00:00Z")], TOKEN).is_some());
        assert_eq!(groups(&[LOGIN, ("expiration", "2026-05-01T00:00:00Z")], TOKEN), None);
        assert_eq!(groups(&[LOGIN, ("expiration", "soon")], TOKEN), None);
        let mut other = secret(&[LOGIN]);
        other["type"] = json!("Opaque");
        assert_eq!(authenticate(&other, TOKEN, now), None);
    }

    /// Checked with another implementation of JSON web signatures (Python's `hmac` over the same parts).
    #[test]
    fn signatures_are_detached() {
        assert_eq!(
            sign("content", "abcdef", "0123456789abcdef"),
            "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..psz1NayrXM3IaFzKZGsb5n_mBl7MjtlsZ1xE8MRmF_4"
        );
    }
}
