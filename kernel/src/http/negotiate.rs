//! Content negotiation: method, content type, body and `Accept` of requests, and the form of responses.

use std::{io::Write, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use kernel_core::master::Refusal;
use kernel_wire::{
    codec::{ContentType, DecodeError, decode},
    prost::{Message, Name},
};

use super::{Answer, Body};
use crate::master_driver::CallError;

/// The longest body of a call: an ACCEPT with thousands of launches.
pub(crate) const BODY_BYTES_MAX: usize = 32 << 20;

/// How long a client has to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Responses from this size on are compressed for clients that accept gzip.
const GZIP_FROM_BYTES: usize = 1024;

/// A complete body.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A response in plain text, Mesos' only form of errors.
pub(crate) fn text(status: StatusCode, sentence: impl Into<String>) -> Answer {
    let sentence: String = sentence.into();
    let mut response = Response::new(full(sentence.clone()));
    *response.status_mut() = status;
    if !sentence.is_empty() {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    response
}

/// 405, with the allowed methods.
pub(crate) fn wrong_method(got: &Method, allowed: &[&str]) -> Answer {
    let names: Vec<String> = allowed.iter().map(|name| format!("'{name}'")).collect();
    let sentence =
        format!("405 Method Not Allowed. Expecting one of {{ {} }}, but received '{got}'.", names.join(", "));
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, sentence);
    if let Ok(value) = HeaderValue::from_str(&allowed.join(", ")) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

/// 405 unless the method is one of these; an empty list allows all.
pub(crate) fn require_method<B>(request: &Request<B>, allowed: &[&str]) -> Result<(), Answer> {
    match allowed.is_empty() || allowed.contains(&request.method().as_str()) {
        true => Ok(()),
        false => Err(wrong_method(request.method(), allowed)),
    }
}

/// 404 for a path without an endpoint.
pub(crate) fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 Not Found.")
}

/// 501 for a call whose type is unknown.
pub(crate) fn not_implemented() -> Answer {
    text(StatusCode::NOT_IMPLEMENTED, "501 Not Implemented.")
}

/// 503: the master has stopped.
pub(crate) fn stopped() -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, "The master is not running")
}

/// The response to a call that failed.
pub(crate) fn call_error(call_error: CallError) -> Answer {
    let refusal = match call_error {
        CallError::Refused(refusal) => refusal,
        CallError::Stopped(_) => return stopped(),
    };
    let status = match refusal {
        Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
        Refusal::Forbidden(_) => StatusCode::FORBIDDEN,
        Refusal::NotFound(_) => StatusCode::NOT_FOUND,
        Refusal::Conflict(_) => StatusCode::CONFLICT,
        Refusal::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
        Refusal::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    text(status, refusal.to_string())
}

/// A decoded request.
pub(crate) struct ParsedRequest<M> {
    pub(crate) call: M,
    pub(crate) headers: HeaderMap,
}

/// Checks method, content type, body and message, in this order.
pub(crate) async fn parse<M: Message + Name + Default>(
    request: Request<Incoming>,
) -> Result<ParsedRequest<M>, Answer> {
    require_method(&request, &["POST"])?;
    let content = content_type(request.headers())?;
    let (head, body) = request.into_parts();
    let body = read_body(body).await?;
    let call =
        decode(content, &body).map_err(|e: DecodeError| text(StatusCode::BAD_REQUEST, e.to_string()))?;
    Ok(ParsedRequest { call, headers: head.headers })
}

fn content_type(headers: &HeaderMap) -> Result<ContentType, Answer> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Err(content_type_missing());
    };
    [ContentType::Json, ContentType::Protobuf].into_iter().find(|c| value == c.as_str()).ok_or_else(|| {
        text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
        )
    })
}

/// 400 for a call without content type.
pub(crate) fn content_type_missing() -> Answer {
    text(StatusCode::BAD_REQUEST, "Expecting 'Content-Type' to be present")
}

/// Reads the whole body, with limits on size and time.
pub(crate) async fn read_body(body: Incoming) -> Result<Bytes, Answer> {
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(text(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The body is longer than {BODY_BYTES_MAX} bytes"),
        )),
        Ok(Err(_)) => Err(text(StatusCode::BAD_REQUEST, "The body ended too early")),
        Err(_) => Err(text(StatusCode::REQUEST_TIMEOUT, "The body did not come in time")),
    }
}

/// The content type of the response: JSON if it is acceptable.
pub(crate) fn accepted(headers: &HeaderMap) -> Result<ContentType, Answer> {
    let wants = |media: &str| accepts(headers, media);
    if wants("application/json") {
        return Ok(ContentType::Json);
    }
    if wants("application/x-protobuf") {
        return Ok(ContentType::Protobuf);
    }
    Err(text(
        StatusCode::NOT_ACCEPTABLE,
        "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'",
    ))
}

/// Whether the header `Accept` allows a media type.
pub(crate) fn accepts(headers: &HeaderMap, media: &str) -> bool {
    header_allows(headers, &header::ACCEPT, media)
}

/// Whether a header like `Accept` allows a media type. The most specific range that is listed decides; without the header
/// everything is allowed.
pub(crate) fn header_allows(headers: &HeaderMap, name: &HeaderName, media: &str) -> bool {
    if !headers.contains_key(name) {
        return true;
    }
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let ranges: Vec<(String, bool)> = lines.flat_map(|line| line.split(',')).map(media_range).collect();
    let family = media.split('/').next().unwrap_or_default();
    let candidates = [media, &format!("{family}/*"), "*/*"];
    candidates
        .iter()
        .find_map(|wanted| ranges.iter().find(|(name, _)| name == wanted))
        .is_some_and(|(_, allowed)| *allowed)
}

/// The name of a media range, and whether its quality is above zero.
fn media_range(text: &str) -> (String, bool) {
    let compact: String = text.to_ascii_lowercase().split([' ', '\t']).collect();
    let mut parts = compact.split(';');
    let name = parts.next().unwrap_or_default().to_owned();
    let qualities: Vec<&str> = parts.filter_map(|part| part.strip_prefix("q=")).collect();
    let allowed = match qualities[..] {
        [quality] => quality.parse::<f64>().is_ok_and(|quality| quality > 0.0),
        _ => true,
    };
    (name, allowed)
}

/// 200 with a body, compressed if the client accepts that.
pub(crate) fn ok(media: &'static str, body: Bytes, headers: &HeaderMap) -> Answer {
    let takes_gzip = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .any(|line| line.split(',').any(|e| matches!(e.trim().split(';').next(), Some("gzip" | "*"))));
    if takes_gzip && body.len() >= GZIP_FROM_BYTES {
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
        if encoder.write_all(&body).is_ok()
            && let Ok(packed) = encoder.finish()
        {
            let mut response = with_type(media, packed.into());
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            return response;
        }
    }
    with_type(media, body)
}

fn with_type(media: &'static str, body: Bytes) -> Answer {
    with_header(Response::new(full(body)), header::CONTENT_TYPE, media)
}

/// Adds a header.
pub(crate) fn with_header(mut response: Answer, name: HeaderName, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}
