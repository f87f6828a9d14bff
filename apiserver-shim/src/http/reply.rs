//! Responses: a status, an object or a list in the negotiated encoding, with warnings and compression.

use std::io::Write;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WARNING,
};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::Value;
use shim_model::protobuf;
use shim_model::schema::Media;
use shim_model::status::Status;

use super::body::{Response, full};

/// Minimum size of a compressed response (upstream's threshold).
const GZIP_BYTES_MIN: u64 = 128 * 1024;
/// Maximum length of one warning, in bytes.
const WARNING_BYTES_MAX: usize = 256;
/// Maximum length of all warnings together, in bytes.
const WARNINGS_BYTES_MAX: usize = 4 * 1024;

/// A response of encoded JSON.
pub fn json(code: u16, bytes: impl Into<Bytes>) -> Response {
    typed(code, "application/json", bytes)
}

/// A plain text response.
pub fn text(code: u16, text: impl Into<String>) -> Response {
    typed(code, "text/plain; charset=utf-8", text.into())
}

/// A response without a body.
pub fn no_content() -> Response {
    let mut response = http::Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A response with this Content-Type.
pub fn typed(code: u16, media_type: &'static str, bytes: impl Into<Bytes>) -> Response {
    let mut response = http::Response::new(full(bytes));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Encodes a decoded value.
pub fn value(code: u16, media: Media, value: &Value) -> Response {
    match media {
        Media::Json => json(code, value.to_string() + "\n"),
        Media::Yaml => typed(code, "application/yaml", shim_model::yaml::to_string(value)),
        Media::Protobuf => match protobuf::encode_value(value) {
            Some(message) => typed(code, protobuf::MEDIA_TYPE, message),
            None => {
                let refused = shim_model::status::no_protobuf(value["kind"].as_str().unwrap_or_default());
                let message = protobuf::encode_value(&refused.to_value()).unwrap_or_default();
                typed(refused.code, protobuf::MEDIA_TYPE, message)
            }
        },
    }
}

/// Converts encoded JSON to the negotiated encoding.
pub fn bytes(code: u16, media: Media, bytes: Bytes) -> Response {
    match media {
        Media::Json => json(code, bytes),
        Media::Yaml | Media::Protobuf => match serde_json::from_slice::<Value>(&bytes) {
            Ok(decoded) => value(code, media, &decoded),
            Err(_) => json(code, bytes),
        },
    }
}

/// Encodes a `Status`.
pub fn status(status: &Status, media: Media) -> Response {
    let mut response = value(status.code, media, &status.to_value());
    let seconds = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if seconds > 0 {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Adds `Warning` headers, limited in length and number.
pub fn add_warnings(response: &mut Response, warnings: &[String]) {
    let mut left = WARNINGS_BYTES_MAX;
    let mut said: Vec<&str> = Vec::new();
    for warning in warnings {
        if said.contains(&warning.as_str()) {
            continue;
        }
        said.push(warning);
        let mut text = warning.as_str();
        if left < WARNINGS_BYTES_MAX && text.len() > left {
            return;
        }
        if left.saturating_sub(text.len()) == 0 {
            let mut end = WARNING_BYTES_MAX.min(text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text = &text[..end];
        }
        left = left.saturating_sub(text.len());
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// Compresses a large response if the client accepts gzip.
pub async fn compress(request: &HeaderMap, response: Response) -> Response {
    let size = response.body().size_hint();
    let whole = size.exact().is_some_and(|n| n >= GZIP_BYTES_MIN);
    if !whole || response.headers().contains_key(CONTENT_ENCODING) || !accepts_gzip(request) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => Bytes::new(),
    };
    // Level 1: on a local network latency matters more than size.
    let mut encoder =
        flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 4), flate2::Compression::fast());
    match encoder.write_all(&bytes).and_then(|()| encoder.finish()) {
        Ok(packed) => {
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
            http::Response::from_parts(parts, full(packed))
        }
        Err(_) => http::Response::from_parts(parts, full(bytes)),
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let texts = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    texts.flat_map(|t| t.split(',')).any(|t| {
        let (coding, quality) = t.split_once(';').unwrap_or((t, ""));
        coding.trim().eq_ignore_ascii_case("gzip") && quality.trim() != "q=0"
    })
}
