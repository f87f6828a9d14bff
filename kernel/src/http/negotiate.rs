//! Content negotiation: method, content type, body and `Accept` of requests, and the form of responses.

use std::{
    io::{Read, Write},
    time::Duration,
};

use bytes::Bytes;
use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    http::request,
};
use kernel_core::master::Refusal;
use kernel_wire::{
    codec::{ContentType, DecodeError, decode},
    prost::{Message, Name},
};
use tokio::sync::Semaphore;

use super::{
    Answer, Body,
    bodies::{self, BodyLease, BodyShare},
    query::{self, Query},
};
use crate::master_driver::CallError;

/// The longest body of a call: an ACCEPT with thousands of launches.
pub(crate) const BODY_BYTES_MAX: usize = 32 << 20;

/// How long a client has to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Responses from this size on are compressed for clients that accept gzip, as in Mesos.
const GZIP_FROM_BYTES: usize = 1024;

/// Responses up to this size are compressed where they are made: it takes about a millisecond.
const GZIP_INLINE_BYTES_MAX: usize = 64 * 1024;

/// Large bodies that are decompressed or decoded at a time: a value of two bytes of JSON takes 32 while it is decoded.
static COMPUTATIONS: Semaphore = Semaphore::const_new(2);

/// The whole body of a response, for [`compress`].
#[derive(Clone)]
struct WholeBody(Bytes);

/// A complete body.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A response in plain text, Mesos' only form of errors.
pub(crate) fn text(status: StatusCode, sentence: impl Into<String>) -> Answer {
    let sentence: String = sentence.into();
    let sentence = Bytes::from(sentence);
    let mut response = match sentence.is_empty() {
        true => Response::new(full(sentence)),
        false => ok("text/plain; charset=utf-8", sentence),
    };
    *response.status_mut() = status;
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
        Refusal::Invalid(_) | Refusal::Unforced(_) => StatusCode::BAD_REQUEST,
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
    /// Whether it takes long to look at.
    pub(crate) is_large: bool,
    /// The memory of its body, to be kept until it is carried out.
    pub(crate) lease: Option<BodyLease>,
}

/// Computes what takes long for a large call on another thread, few at a time.
pub(crate) async fn compute<T: Send + 'static>(
    is_large: bool,
    compute: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Answer> {
    if !is_large {
        return Ok(compute());
    }
    let _permit = COMPUTATIONS.acquire().await;
    let failed = |_| text(StatusCode::INTERNAL_SERVER_ERROR, "The call could not be decoded");
    tokio::task::spawn_blocking(compute).await.map_err(failed)
}

/// Checks method, content type, body and message, in this order.
pub(crate) async fn parse<M: Message + Name + Default + 'static>(
    request: Request<Incoming>,
) -> Result<ParsedRequest<M>, Answer> {
    require_method(&request, &["POST"])?;
    let content = content_type(request.headers())?;
    let (head, body) = request.into_parts();
    let (body, lease) = read_leased(&head, body).await?;
    let is_large = body.len() > bodies::SMALL_BYTES_MAX;
    let decoded = compute(is_large, move || decode(content, &body)).await?;
    let call = decoded.map_err(|e: DecodeError| text(StatusCode::BAD_REQUEST, e.to_string()))?;
    Ok(ParsedRequest { call, headers: head.headers, is_large, lease })
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

/// [`read_leased`] for a request whose body counts for no budget.
pub(crate) async fn read_body(headers: &HeaderMap, body: Incoming) -> Result<Bytes, Answer> {
    read(headers, body, &mut None).await
}

/// Reads the whole body, with limits on size, time and the memory of all of the client's bodies, and decompresses it. Like Mesos it
/// knows no other encoding than gzip: a body in another one is taken as it is.
pub(crate) async fn read_leased(
    head: &request::Parts,
    body: Incoming,
) -> Result<(Bytes, Option<BodyLease>), Answer> {
    let mut lease = head.extensions.get::<BodyShare>().map(BodyShare::lease);
    let body = read(&head.headers, body, &mut lease).await?;
    Ok((body, lease))
}

async fn read(headers: &HeaderMap, body: Incoming, lease: &mut Option<BodyLease>) -> Result<Bytes, Answer> {
    let body = match tokio::time::timeout(BODY_TIMEOUT, collect(body, lease)).await {
        Ok(body) => body?,
        Err(_) => return Err(text(StatusCode::REQUEST_TIMEOUT, "The body did not come in time")),
    };
    if headers.get(header::CONTENT_ENCODING).is_none_or(|encoding| encoding != "gzip") {
        return Ok(body);
    }
    let body = compute(true, move || decompress(&body)).await??;
    grow(lease, body.len())?;
    Ok(body)
}

async fn collect(mut body: Incoming, lease: &mut Option<BodyLease>) -> Result<Bytes, Answer> {
    let (mut first, mut all) = (Bytes::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| text(StatusCode::BAD_REQUEST, "The body ended too early"))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = first.len().max(all.len()) + data.len();
        if length > BODY_BYTES_MAX {
            return Err(too_long());
        }
        grow(lease, length)?;
        if first.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

/// 503 if the client's other bodies leave no room for one of this length.
fn grow(lease: &mut Option<BodyLease>, length: usize) -> Result<(), Answer> {
    match lease.as_mut().is_none_or(|lease| lease.grow_to(length)) {
        true => Ok(()),
        false => {
            let why = "Too many large requests are being read: send fewer of them at a time";
            Err(text(StatusCode::SERVICE_UNAVAILABLE, why))
        }
    }
}

fn too_long() -> Answer {
    text(StatusCode::PAYLOAD_TOO_LARGE, format!("The body is longer than {BODY_BYTES_MAX} bytes"))
}

fn undecodable() -> Answer {
    text(StatusCode::BAD_REQUEST, "Failed to decompress body")
}

/// The content of one gzip member with nothing behind it, of at most [`BODY_BYTES_MAX`].
fn decompress(compressed: &[u8]) -> Result<Bytes, Answer> {
    let mut decoder = GzDecoder::new(compressed);
    let mut body = Vec::new();
    let read = decoder.by_ref().take(BODY_BYTES_MAX as u64 + 1).read_to_end(&mut body);
    match read {
        Ok(length) if length > BODY_BYTES_MAX => Err(too_long()),
        Ok(_) if decoder.into_inner().is_empty() => Ok(body.into()),
        Ok(_) | Err(_) => Err(undecodable()),
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

/// 200 with a body.
pub(crate) fn ok(media: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(full(body.clone()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    if body.len() >= GZIP_FROM_BYTES {
        response.extensions_mut().insert(WholeBody(body));
    }
    response
}

/// 200 with JSON, or with a call of the script's function that the parameter `jsonp` names.
pub(crate) fn json(body: String, jsonp: Option<&str>) -> Answer {
    match jsonp {
        Some(function) => ok("text/javascript", format!("{function}({body})").into()),
        None => ok("application/json", body.into()),
    }
}

/// `/logging/toggle`: the level is always 0, since logs are configured when the process starts.
pub(crate) fn logging_toggle(query: &Query) -> Answer {
    match query::logging_level(query) {
        Err(why) => text(StatusCode::BAD_REQUEST, why),
        Ok(None) => text(StatusCode::OK, "0\n"),
        Ok(Some(0)) => text(StatusCode::OK, ""),
        Ok(Some(_)) => text(
            StatusCode::NOT_IMPLEMENTED,
            "The logging level cannot be changed at run time: set CATAMARAN_LOG and restart",
        ),
    }
}

/// Whether a request accepts gzip: what it says of gzip counts, and else what it says of all encodings.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let encodings: Vec<(String, bool)> = lines.flat_map(|line| line.split(',')).map(media_range).collect();
    let allowed =
        |wanted: &str| encodings.iter().find(|(name, _)| name == wanted).map(|(_, allowed)| *allowed);
    allowed("gzip").or_else(|| allowed("*")).unwrap_or(false)
}

/// The last step of every response: compresses a whole body that is large enough. Streams and files stay as they are.
pub(crate) async fn compress(mut response: Answer, accepted: bool) -> Answer {
    let Some(WholeBody(body)) = response.extensions_mut().remove::<WholeBody>().filter(|_| accepted) else {
        return response;
    };
    let compressed = match body.len() <= GZIP_INLINE_BYTES_MAX {
        true => gzip(&body),
        false => tokio::task::spawn_blocking(move || gzip(&body)).await.ok().flatten(),
    };
    if let Some(compressed) = compressed {
        *response.body_mut() = full(compressed);
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

/// Adds a header.
pub(crate) fn with_header(mut response: Answer, name: HeaderName, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(lines: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
        }
        accepts_gzip(&headers)
    }

    #[test]
    fn gzip_is_accepted_as_mesos_reads_it() {
        let yes: [&[&str]; 6] = [
            &["gzip"],
            &["deflate, GZIP;q=0.5"],
            &["*"],
            &["gzip;q=1;q=0"],
            &["br", "gzip"],
            &["gzip, *;q=0"],
        ];
        let no: [&[&str]; 6] =
            [&[], &[""], &["gzip;q=0.0"], &["gzip;q=0, *"], &["*;q=0"], &["deflate, gzip;q=x"]];
        assert!(yes.iter().all(|lines| accepting(lines)));
        assert!(!no.iter().any(|lines| accepting(lines)));
    }

    #[test]
    fn a_body_is_one_gzip_member_of_bounded_size() {
        let packed = gzip(b"text").unwrap();
        assert_eq!(&decompress(&packed).unwrap()[..], b"text");
        let status = |packed: &[u8]| decompress(packed).unwrap_err().status().as_u16();
        assert_eq!(status(b""), 400);
        assert_eq!(status(b"plain text"), 400);
        assert_eq!(status(&packed[..packed.len() - 1]), 400, "cut off");
        assert_eq!(status(&[&packed[..], b"x"].concat()), 400, "something follows");
        assert_eq!(status(&[&packed[..], &packed[..]].concat()), 400, "two members");
        assert_eq!(decompress(&gzip(&vec![0; BODY_BYTES_MAX]).unwrap()).unwrap().len(), BODY_BYTES_MAX);
        let bomb = gzip(&vec![0; BODY_BYTES_MAX + 1]).unwrap();
        assert!(bomb.len() < BODY_BYTES_MAX / 100);
        assert_eq!(status(&bomb), 413);
    }
}
