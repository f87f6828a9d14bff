//! Base64 as Kubernetes writes bytes in JSON: standard alphabet, padded.

use ::base64::Engine as _;
use ::base64::engine::general_purpose::STANDARD;

/// Encodes bytes.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Decodes a text; `None` if it is malformed.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Decodes the bytes of a text; `None` if it is malformed.
pub fn decode_bytes(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}
