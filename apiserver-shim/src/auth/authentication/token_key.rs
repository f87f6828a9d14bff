//! The cluster's key for the tokens of service accounts (ES256).

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::Serialize;
use serde_json::{Value, json};
use shim_core::secret_tokens::{SecretTokenClaims, SecretTokenSigner};

/// Signs tokens, and verifies their signatures.
pub struct TokenKey {
    id: String,
    signing: EncodingKey,
    /// The public half.
    pub(super) checking: DecodingKey,
    /// The public half as a JSON Web Key.
    pub(super) web_key: Value,
}

impl TokenKey {
    /// Reads a private key (PKCS#8 PEM).
    ///
    /// # Errors
    /// It is not such a key.
    pub fn parse(pem: &str) -> Result<TokenKey, shim_pki::PkiError> {
        use base64::Engine;
        use sha2::Digest;
        let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let der = shim_pki::authority::private_key_der(pem)?;
        let point = shim_pki::authority::public_point(pem)?;
        let (x, y) = (base64.encode(&point[1..33]), base64.encode(&point[33..]));
        let id = base64.encode(sha2::Sha256::digest(&point));
        let web_key =
            json!({"use": "sig", "kty": "EC", "kid": id, "crv": "P-256", "alg": "ES256", "x": x, "y": y});
        Ok(TokenKey {
            id,
            signing: EncodingKey::from_ec_der(&der),
            checking: DecodingKey::from_ec_der(&point),
            web_key,
        })
    }

    /// The token with these claims.
    ///
    /// # Errors
    /// The key cannot sign.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.signing)
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SecretTokenSigner for TokenKey {
    fn sign(&self, claims: &SecretTokenClaims) -> Option<String> {
        let signed = TokenKey::sign(self, claims);
        signed.inspect_err(|error| tracing::error!(%error, "a token for a Secret could not be signed")).ok()
    }
}
