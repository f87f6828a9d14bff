//! The ciphers of encryption at rest. The formats are upstream's: a nonce or initialization vector, then the encrypted value.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use cbc::cipher::block_padding::{NoPadding, Pkcs7};
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use crypto_secretbox::XSalsa20Poly1305;
use crypto_secretbox::aead::{Aead as SecretboxAead, KeyInit as SecretboxKeyInit};

/// The bytes of an AES block.
const BLOCK_BYTES: usize = 16;
/// The bytes of a nonce of AES-GCM.
const GCM_NONCE_BYTES: usize = 12;
/// The bytes of a nonce of secretbox, and those of its authentication.
const SECRETBOX_NONCE_BYTES: usize = 24;
const SECRETBOX_TAG_BYTES: usize = 16;

/// Why a value cannot be encrypted or decrypted; the messages are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CipherError {
    #[error("the stored data was shorter than the required size")]
    TooShort,
    #[error("the stored data is not a multiple of the block size")]
    BlockSize,
    #[error("invalid PKCS7 data (empty or not padded)")]
    NotPadded,
    #[error("invalid padding on input")]
    Padding,
    #[error("cipher: message authentication failed")]
    Authentication,
    #[error("output array was not large enough for encryption")]
    Secretbox,
    #[error("unable to read sufficient random bytes")]
    Random,
    #[error("crypto/aes: invalid key size")]
    KeySize,
}

/// AES-GCM. The store's key is authenticated, so that values cannot be moved.
pub(super) mod gcm {
    use super::*;

    pub(in super::super) fn seal(key: &[u8], value: &[u8], store_key: &str) -> Result<Vec<u8>, CipherError> {
        let nonce = random::<GCM_NONCE_BYTES>()?;
        let payload = Payload { msg: value, aad: store_key.as_bytes() };
        let sealed = match key.len() {
            16 => gcm::<Aes128>(key)?.encrypt(&nonce.into(), payload),
            24 => gcm::<Aes192>(key)?.encrypt(&nonce.into(), payload),
            _ => gcm::<Aes256>(key)?.encrypt(&nonce.into(), payload),
        };
        sealed.map(|sealed| [&nonce[..], &sealed].concat()).map_err(|_| CipherError::Authentication)
    }

    pub(in super::super) fn open(key: &[u8], kept: &[u8], store_key: &str) -> Result<Vec<u8>, CipherError> {
        let (nonce, sealed) = kept.split_first_chunk::<GCM_NONCE_BYTES>().ok_or(CipherError::TooShort)?;
        let payload = Payload { msg: sealed, aad: store_key.as_bytes() };
        let opened = match key.len() {
            16 => gcm::<Aes128>(key)?.decrypt(nonce.into(), payload),
            24 => gcm::<Aes192>(key)?.decrypt(nonce.into(), payload),
            _ => gcm::<Aes256>(key)?.decrypt(nonce.into(), payload),
        };
        opened.map_err(|_| CipherError::Authentication)
    }

    fn gcm<C>(key: &[u8]) -> Result<AesGcm<C, U12>, CipherError>
    where
        AesGcm<C, U12>: KeyInit,
    {
        AesGcm::new_from_slice(key).map_err(|_| CipherError::KeySize)
    }
}

/// AES-CBC with PKCS#7 padding.
pub(super) mod aes_cbc {
    use super::*;

    pub(in super::super) fn seal(key: &[u8], value: &[u8]) -> Result<Vec<u8>, CipherError> {
        let iv = random::<BLOCK_BYTES>()?;
        let sealed = match key.len() {
            16 => start::<cbc::Encryptor<Aes128>>(key, &iv)?.encrypt_padded_vec::<Pkcs7>(value),
            24 => start::<cbc::Encryptor<Aes192>>(key, &iv)?.encrypt_padded_vec::<Pkcs7>(value),
            _ => start::<cbc::Encryptor<Aes256>>(key, &iv)?.encrypt_padded_vec::<Pkcs7>(value),
        };
        Ok([&iv[..], &sealed].concat())
    }

    pub(in super::super) fn open(key: &[u8], kept: &[u8]) -> Result<Vec<u8>, CipherError> {
        let (iv, sealed) = kept.split_first_chunk::<BLOCK_BYTES>().ok_or(CipherError::TooShort)?;
        let opened = match key.len() {
            16 => start::<cbc::Decryptor<Aes128>>(key, iv)?.decrypt_padded_vec::<NoPadding>(sealed),
            24 => start::<cbc::Decryptor<Aes192>>(key, iv)?.decrypt_padded_vec::<NoPadding>(sealed),
            _ => start::<cbc::Decryptor<Aes256>>(key, iv)?.decrypt_padded_vec::<NoPadding>(sealed),
        };
        unpad(opened.map_err(|_| CipherError::BlockSize)?)
    }

    fn start<M: KeyIvInit>(key: &[u8], iv: &[u8; BLOCK_BYTES]) -> Result<M, CipherError> {
        M::new_from_slices(key, iv).map_err(|_| CipherError::KeySize)
    }

    /// Removes the padding, which must be right as a whole.
    fn unpad(mut padded: Vec<u8>) -> Result<Vec<u8>, CipherError> {
        let count = padded.last().map_or(0, |last| usize::from(*last));
        if count == 0 || count > padded.len() {
            return Err(CipherError::NotPadded);
        }
        let padding = padded.split_off(padded.len() - count);
        if padding.iter().any(|byte| usize::from(*byte) != count) {
            return Err(CipherError::Padding);
        }
        Ok(padded)
    }
}

/// NaCl's secretbox: XSalsa20 and Poly1305.
pub(super) mod secretbox {
    use super::*;

    pub(in super::super) fn seal(key: &[u8], value: &[u8]) -> Result<Vec<u8>, CipherError> {
        let nonce = random::<SECRETBOX_NONCE_BYTES>()?;
        let sealed = SecretboxAead::encrypt(&cipher(key)?, &nonce.into(), value);
        sealed.map(|sealed| [&nonce[..], &sealed].concat()).map_err(|_| CipherError::Secretbox)
    }

    pub(in super::super) fn open(key: &[u8], kept: &[u8]) -> Result<Vec<u8>, CipherError> {
        if kept.len() < SECRETBOX_NONCE_BYTES + SECRETBOX_TAG_BYTES {
            return Err(CipherError::TooShort);
        }
        let (nonce, sealed) = kept.split_at(SECRETBOX_NONCE_BYTES);
        SecretboxAead::decrypt(&cipher(key)?, nonce.into(), sealed).map_err(|_| CipherError::Secretbox)
    }

    fn cipher(key: &[u8]) -> Result<XSalsa20Poly1305, CipherError> {
        SecretboxKeyInit::new_from_slice(key).map_err(|_| CipherError::KeySize)
    }
}

fn random<const N: usize>() -> Result<[u8; N], CipherError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| CipherError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OpenSSL's AES, and the test vector of NaCl.
    #[test]
    fn values_of_other_implementations_are_read() {
        use base64::Engine;
        let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        let (key, value) = (b"0123456789abcdef0123456789abcdef", br#"{"kind":"Secret"}"#);
        let cbc = decode("AAECAwQFBgcICQoLDA0ODxU+wSYYMMZRCGz1n85Y6LgOsyOeJPeM/XODw2b0Fhan");
        assert_eq!(aes_cbc::open(key, &cbc).unwrap(), value);
        let gcm = decode("AAECAwQFBgcICQoLVsfQFbd88JaKjxTdA6qlJptT+lYQZ+f2br+GTHOZw3AG");
        assert_eq!(gcm::open(key, &gcm, "/registry/core/secrets/a/b").unwrap(), value);
        let gcm = decode("AAECAwQFBgcICQoL1DnJWveWYsU+23Ziy+PoKo8N9i7CNo5oU9fnmOmdJ0h2");
        assert_eq!(gcm::open(&key[..24], &gcm, "/registry/core/secrets/a/b").unwrap(), value);
        let key = decode("GydVZHPphdRizVEZeppGx2AJVJ6sZHTyBsTuCET2g4k=");
        let kept = concat!(
            "aWlu6VW2K3PNYr2odfxz1oIZ4ANregs38//HcD+UAOUqfftLPTMF2Y6ZO59IaBJzwpZQujL8ds5IMy6nFk2WpEdvuMUxoRhqwN/B",
            "fJjc6HtNp/AR7EjJcnHSwg+bko/iJw1vuGPVFzi0ju7jFKfMirkyFkVI5SaukCJDaFF6z+q9a7NzK8Dp2pmDK2HKAbbeViRKnojV",
            "+bN5c/YipD0UplmbH2VMtFp041Wl",
        );
        let opened = secretbox::open(&key, &decode(kept)).unwrap();
        assert_eq!((opened.len(), &opened[..4]), (131, &[0xbe, 0x07, 0x5f, 0xc5][..]));
    }

    #[test]
    fn what_is_sealed_is_opened() {
        for length in [16, 24, 32] {
            let (key, other) = (vec![7; length], vec![8; length]);
            for value in ["", "a", "sixteen bytes ok", "more than one block of sixteen bytes"] {
                let value = value.as_bytes();
                let sealed = gcm::seal(&key, value, "/a").unwrap();
                assert_eq!(gcm::open(&key, &sealed, "/a").unwrap(), value);
                assert_eq!(gcm::open(&key, &sealed, "/b"), Err(CipherError::Authentication));
                assert_eq!(gcm::open(&other, &sealed, "/a"), Err(CipherError::Authentication));
                let sealed = aes_cbc::seal(&key, value).unwrap();
                assert_eq!(sealed.len(), 16 + (value.len() / 16 + 1) * 16);
                assert_eq!(aes_cbc::open(&key, &sealed).unwrap(), value);
                assert_ne!(aes_cbc::open(&other, &sealed).as_deref(), Ok(value));
                assert_eq!(aes_cbc::open(&key, &sealed[..sealed.len() - 1]), Err(CipherError::BlockSize));
            }
        }
        let (key, other) = ([7; 32], [8; 32]);
        let sealed = secretbox::seal(&key, b"value").unwrap();
        assert_eq!(secretbox::open(&key, &sealed).unwrap(), b"value");
        assert_eq!(secretbox::open(&other, &sealed), Err(CipherError::Secretbox));
        assert_eq!(secretbox::open(&key, &sealed[..30]), Err(CipherError::TooShort));
        assert_eq!(gcm::open(&key, b"short", ""), Err(CipherError::TooShort));
        assert_eq!(aes_cbc::open(&key, b"short"), Err(CipherError::TooShort));
        assert_eq!(aes_cbc::open(&key, &[1; 16]), Err(CipherError::NotPadded));
    }
}
