//! The public keys of an issuer (JSON Web Keys), and signatures by them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use p521::ecdsa::signature::Verifier;
use serde::Deserialize;
use serde_json::Value;

/// The algorithms that tokens may be signed with, as upstream allows them.
pub const ALGORITHMS: [&str; 9] =
    ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// The keys of an issuer.
#[derive(Default)]
pub(super) struct KeySet(Vec<Key>);

struct Key {
    id: String,
    public: PublicKey,
}

enum PublicKey {
    Rsa(DecodingKey),
    P256(DecodingKey),
    P384(DecodingKey),
    P521(p521::ecdsa::VerifyingKey),
}

#[derive(Deserialize)]
struct JsonWebKey {
    kty: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
}

impl KeySet {
    /// Reads a key set. Keys of other types are left out.
    pub(super) fn parse(bytes: &[u8]) -> Result<KeySet, serde_json::Error> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(bytes)?;
        Ok(KeySet(document.keys.into_iter().filter_map(|key| Key::parse(key).ok().flatten()).collect()))
    }

    /// Whether one of the keys has signed the message. Without a key id all are tried.
    pub(super) fn verifies(&self, algorithm: &str, key_id: &str, message: &str, signature: &str) -> bool {
        let named = self.0.iter().filter(|key| key_id.is_empty() || key.id == key_id);
        named.into_iter().any(|key| key.public.verifies(algorithm, message, signature))
    }
}

impl Key {
    fn parse(value: Value) -> Result<Option<Key>, jsonwebtoken::errors::Error> {
        let Ok(key) = serde_json::from_value::<JsonWebKey>(value) else { return Ok(None) };
        let public = match (key.kty.as_str(), key.crv.as_str()) {
            ("RSA", _) => PublicKey::Rsa(DecodingKey::from_rsa_components(&key.n, &key.e)?),
            ("EC", "P-256") => PublicKey::P256(DecodingKey::from_ec_components(&key.x, &key.y)?),
            ("EC", "P-384") => PublicKey::P384(DecodingKey::from_ec_components(&key.x, &key.y)?),
            ("EC", "P-521") => match p521(&key.x, &key.y) {
                Some(public) => PublicKey::P521(public),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(Key { id: key.kid, public }))
    }
}

fn p521(x: &str, y: &str) -> Option<p521::ecdsa::VerifyingKey> {
    const COORDINATE_BYTES: usize = 66;
    let coordinate = |text: &str| -> Option<[u8; COORDINATE_BYTES]> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let mut padded = [0; COORDINATE_BYTES];
        padded.get_mut(COORDINATE_BYTES.checked_sub(bytes.len())?..)?.copy_from_slice(&bytes);
        Some(padded)
    };
    // The marker of an uncompressed point, then its coordinates.
    let point = [&[4][..], &coordinate(x)?, &coordinate(y)?].concat();
    p521::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok()
}

impl PublicKey {
    fn verifies(&self, algorithm: &str, message: &str, signature: &str) -> bool {
        let with = |key: &DecodingKey, algorithm: Algorithm| {
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm).unwrap_or(false)
        };
        match (self, algorithm) {
            (PublicKey::Rsa(key), "RS256") => with(key, Algorithm::RS256),
            (PublicKey::Rsa(key), "RS384") => with(key, Algorithm::RS384),
            (PublicKey::Rsa(key), "RS512") => with(key, Algorithm::RS512),
            (PublicKey::Rsa(key), "PS256") => with(key, Algorithm::PS256),
            (PublicKey::Rsa(key), "PS384") => with(key, Algorithm::PS384),
            (PublicKey::Rsa(key), "PS512") => with(key, Algorithm::PS512),
            (PublicKey::P256(key), "ES256") => with(key, Algorithm::ES256),
            (PublicKey::P384(key), "ES384") => with(key, Algorithm::ES384),
            (PublicKey::P521(key), "ES512") => {
                let decoded = URL_SAFE_NO_PAD.decode(signature).ok();
                let signature = decoded.and_then(|bytes| p521::ecdsa::Signature::from_slice(&bytes).ok());
                signature.is_some_and(|signature| key.verify(message.as_bytes(), &signature).is_ok())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Made with OpenSSL.
    #[test]
    fn signatures_of_all_families_are_verified() {
        let rsa = concat!(
            "ueD8R1_Ok97N-a-fywOleJLZvmdB5JZIxbgrSEX1Ze9xpX0N5x8B_e8nkk-qKh2MhFD4gZBK-sH-o282KCW4EIWx_T9nf_WKXw8I",
            "cKtSWSc8gir3W_ez3mNr3OnzuRQ89ZOjCySn1AK04Lbh9A08UAkNZLII818PSuKcRb58VOj7jcoHZvnSqkjOiiWnSNlMA8gi9fTZ",
            "2FMNqQk5x0SvKIV_76Be-WjEf62c789SkXAG3PvaObvVDAZjJYKnaFmFfKEoBRisBuzgWwo6by2ZkJWVfuSQJUmqzkW-4jNNINP9",
            "h5d2_Hoesltmk88f708svoYJ51nQb6M4RtY-LbQ3FQ",
        );
        let ec = |id: &str, x: &str, y: &str| json!({"kty": "EC", "kid": id, "crv": id, "x": x, "y": y});
        let set = json!({"keys": [
            {"kty": "RSA", "kid": "rsa", "n": rsa, "e": "AQAB"},
            ec("P-256", "xjo_1fsIkvlSt4njQMYATqvQaUQjZO9kJttijvpPyJU", "cCR32LTR5Mr4aDjDylp0jl4_HU1mqHvm-V71XzncwYs"),
            ec("P-384", "wu5YX0hiZAul7wL80PLwRRGdpr1GcHx8jDo6fUTMbwk_ZknEPMeaijjuOqo6pK_C", "E_-2OLEpeOmJ9JYVi9nXkz1xt4laF0lITX9ziB3-YmUuSBi_NmihY0nHahJgZvgH"),
            ec("P-521", "ABPtPNHIeUi_-Oo_X_u-T9zRyedh_rbE92wH1_RaAUxMaYYIZbiOIod1IHDMfmw28RxTWbv5SuWACPyk15DtzufL", "AOF3Nn9_hpBAqIClYUc7ZubDdewFqT6l-jMZMCNk6ywOxh-yVHvJMElaRdh2z1FzBkG7SDWJWi4BolOBLD-6__A4"),
            {"kty": "oct", "kid": "other"}, {"kty": "EC", "crv": "P-521", "x": "", "y": ""}, 5,
        ]});
        let keys = KeySet::parse(set.to_string().as_bytes()).unwrap();
        assert_eq!(keys.0.len(), 4);
        let table = [
            (
                "RS256",
                "rsa",
                concat!(
                    "hTbx6LrFF29KW9fB06Trnb1IHo-PIjYRe6ZdUi-jZPHUqE25eM_17Kl5cIH-bOCbpqBbgqrQv41Br1-EdsWuWJ_Ud2hzkqdhe6H2",
                    "Fi1tUoBo16u8VIz9xJxrtf8fLr-zib5_-2kbvKqmJ9xrlk79-8Bb46Azo_CZrzR7E70wZi0gKy-4z-CerI70JySQDjVUUNRNyPrU",
                    "mdxoDqzWD5g2_N41U46-wYnZRbG7h5-LNvDs6XCtVztdK2beBjyLqhd9Oq3NvO4PT_Rc1QcC0xUbDstzdlrtvdojLeDcO8FAI9n-",
                    "e0s-yf54JJjq3bRN7edO7Tj5Mk9B_lOwElmJPobNbQ",
                ),
            ),
            (
                "PS384",
                "rsa",
                concat!(
                    "ke8KT4ck6oDeChJfWpk9kbPxkGLXojl9yuOITMeQaULiN4e_C-HxLtnw5eIwOAqH8gkgZVVoWTz-R-bfVvRjBWYNMv-XeLmON0QP",
                    "svd-mbCoBmB32xfggNmbD-llpVSKgIDFOq06wNGBPq4yuSqDgVWXQC7p5PXcCgQcQ3ZbBAeT4Tg9vOSUimBK4l3QX5scbZNRNswY",
                    "wv_Bub3GdZNjTt96G4h_bSImOLizbcS_epfCig1JR6LM8uh3QIphdhTR0nw8xjt-wdKojO_jDrIWTfZw63_nEgxi-eFMGPAsALIU",
                    "J7f98aKT72OwsX75PHnPAZcwqanh24nHpE7nwSWMyA",
                ),
            ),
            (
                "ES256",
                "P-256",
                "-68sn3Y7h8DlgjawH9C5hOQx-PmfgZQz8hFeoAOfoKzDbh8aBEYKqmO3eEa7qGxd9PLIEV6JVu5RG49SSWY3Cw",
            ),
            (
                "ES384",
                "P-384",
                concat!(
                    "-wjd89jvNFWB3oKbusD2nwmK9NL6PqLpkl_AepnxRWptYHg30FnX28yqJG5AW2GKbDsp-Bp3pmQKH8SVXiw8U70vD46jHDKzwNkX",
                    "VZHoyRlOZbFY6AqXS-JvXeGnAh9_",
                ),
            ),
            (
                "ES512",
                "P-521",
                concat!(
                    "AJpWgFfagf_MR-ghOk1R7kElrSjPa7jUDfJCogFOQaX40DrfVfORHCrQMRAlDDKcGHtBrU6tHNF_LsEfeelNAkRjAMc-XHHn2387",
                    "iclt_6DD_9UZGa9abztkGiSDkCfh5zG6qKEdyBjEt6etA4O9JQIhM30nYbOvb3F11aQwuW63mOYH",
                ),
            ),
        ];
        for (algorithm, id, signature) in table {
            for id in [id, ""] {
                assert!(keys.verifies(algorithm, id, "header.payload", signature), "{algorithm}");
            }
            assert!(!keys.verifies(algorithm, id, "header.other", signature));
            assert!(!keys.verifies(algorithm, "absent", "header.payload", signature));
            assert!(!keys.verifies("HS256", id, "header.payload", signature));
            assert!(!keys.verifies("none", id, "header.payload", ""));
        }
    }
}
