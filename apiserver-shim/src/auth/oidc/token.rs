//! A JSON Web Token before its signature is verified, and what is checked of it beside the signature. The messages are
//! upstream's.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use shim_model::go_quote::go_quote_list;

use super::provider::Provider;

/// Seconds by which clocks may differ where a token is not valid yet.
const NOT_BEFORE_LEEWAY: i64 = 5 * 60;

/// A token. Nothing in it may be believed until its signature is verified.
#[derive(Debug)]
pub(super) struct Token<'t> {
    pub algorithm: String,
    pub key_id: String,
    /// Whether its header names extensions that must be understood (RFC 7515, section 4.1.11). This server knows none.
    has_critical: bool,
    /// An object.
    pub claims: Value,
    /// What is signed.
    pub message: &'t str,
    /// In base64.
    pub signature: &'t str,
}

/// How tokens are verified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verification<'a> {
    /// The algorithms that they may be signed with.
    pub algorithms: &'a [String],
    /// Unix time.
    pub now: i64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
    #[serde(default, rename = "crit", deserialize_with = "present")]
    has_critical: bool,
}

/// True for a member of any value, also null.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

impl Token<'_> {
    /// Parses a token; `None` if it is no signed JSON Web Token with an object in it.
    pub(super) fn parse(token: &str) -> Option<Token<'_>> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.').filter(|(_, payload)| !payload.contains('.'))?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        claims.is_object().then_some(Token {
            algorithm: header.alg,
            key_id: header.kid,
            has_critical: header.has_critical,
            claims,
            message,
            signature,
        })
    }

    /// Checks audience, times, algorithm and signature.
    pub(super) async fn verify(
        &self,
        provider: &Arc<Provider>,
        audiences: &[String],
        Verification { algorithms, now }: Verification<'_>,
    ) -> Result<(), String> {
        self.check(audiences, now)?;
        if !algorithms.contains(&self.algorithm) {
            return Err(format!(
                "oidc: id token signed with unsupported algorithm, expected {algorithms:?} got {:?}",
                self.algorithm
            ));
        }
        provider.verify(self).await
    }

    /// Checks header, audience and times; `now` is Unix time.
    fn check(&self, audiences: &[String], now: i64) -> Result<(), String> {
        if self.has_critical {
            return Err("oidc: malformed jwt: unsupported critical header (crit)".to_owned());
        }
        let (expiry, not_before) = (self.time("exp")?.unwrap_or(i64::MIN), self.time("nbf")?);
        self.time("iat")?;
        let found = self.audiences();
        if !found.iter().any(|audience| audiences.iter().any(|wanted| wanted == audience)) {
            let (wanted, found) = (go_quote_list(audiences), go_quote_list(&found));
            return Err(format!("oidc: expected audience in {wanted} got {found}"));
        }
        if expiry < now {
            return Err(format!("oidc: token is expired (Token Expiry: {expiry})"));
        }
        if not_before.is_some_and(|not_before| now + NOT_BEFORE_LEEWAY < not_before) {
            return Err("oidc: current time before the nbf (not before) time".to_owned());
        }
        Ok(())
    }

    fn audiences(&self) -> Vec<&str> {
        match &self.claims["aud"] {
            Value::String(audience) => vec![audience],
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// A time among the claims; null is as none.
    fn time(&self, claim: &str) -> Result<Option<i64>, String> {
        match &self.claims[claim] {
            Value::Null => Ok(None),
            Value::Number(number) => {
                Ok(number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64)))
            }
            _ => Err(format!("oidc: failed to unmarshal claims: {claim} is not a number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(claims: Value, now: i64) -> Result<(), String> {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}.c2ln", encode(&json!({"alg": "RS256", "kid": "k"})), encode(&claims));
        let token = Token::parse(&text).unwrap();
        assert_eq!(
            (token.algorithm.as_str(), token.key_id.as_str(), token.signature),
            ("RS256", "k", "c2ln")
        );
        token.check(&["a".to_owned(), "b".to_owned()], now)
    }

    #[test]
    fn audience_and_times_are_checked() {
        assert_eq!(check(json!({"aud": "a", "exp": 10}), 10), Ok(()));
        assert_eq!(check(json!({"aud": ["x", "b"], "exp": 10.5, "nbf": 310}), 10), Ok(()));
        let other = check(json!({"aud": ["x"], "exp": 10}), 0).unwrap_err();
        assert_eq!(other, r#"oidc: expected audience in ["a" "b"] got ["x"]"#);
        assert!(check(json!({"exp": 10}), 0).is_err());
        assert!(check(json!({"aud": "a", "exp": 10}), 11).unwrap_err().contains("expired"));
        assert!(check(json!({"aud": "a"}), 0).unwrap_err().contains("expired"));
        assert!(check(json!({"aud": "a", "exp": 1000, "nbf": 311}), 10).unwrap_err().contains("nbf"));
    }

    #[test]
    fn times_that_are_no_numbers_are_refused() {
        for claim in ["exp", "nbf", "iat"] {
            for wrong in [json!("10"), json!([10]), json!({}), json!(true)] {
                let mut claims = json!({"aud": "a", "exp": 10, "nbf": 10, "iat": 10});
                claims[claim] = wrong;
                let wanted = format!("oidc: failed to unmarshal claims: {claim} is not a number");
                assert_eq!(check(claims, 10), Err(wanted));
            }
        }
        assert_eq!(check(json!({"aud": "a", "exp": 10, "nbf": null, "iat": 1.5}), 10), Ok(()));
    }

    #[test]
    fn critical_headers_are_refused() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"aud": "a", "exp": 10}"#);
        for crit in [r#"["b64"]"#, "[]", "null"] {
            let header =
                URL_SAFE_NO_PAD.encode(format!(r#"{{"alg": "RS256", "b64": false, "crit": {crit}}}"#));
            let text = format!("{header}.{payload}.c2ln");
            let refused = Token::parse(&text).unwrap().check(&["a".to_owned()], 10);
            assert!(refused.unwrap_err().contains("crit"), "{crit}");
        }
    }

    #[test]
    fn other_tokens_are_none() {
        for text in
            ["", "abcdef.0123456789abcdef", "a.b", "a.b.c.d", "e30.e30.c2ln", "eyJhbGciOiJub25lIn0.W10.x"]
        {
            assert!(Token::parse(text).is_none(), "{text}");
        }
    }
}
