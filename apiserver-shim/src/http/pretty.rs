//! Pretty-printing of responses: if `?pretty` asks for it, or if the client is a browser, curl or Wget.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Uri};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::body::{Response, full};
use crate::request::query::Query;

/// User agents of interactive clients.
const VIEWERS: [&str; 3] = ["curl", "Wget", "Mozilla/5.0"];
/// Larger responses are not pretty-printed: nobody reads them, and it would cost megabytes.
const PRETTY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Whether the response to a request is pretty-printed.
pub fn is_wanted(uri: &Uri, headers: &HeaderMap) -> bool {
    if uri.path().trim_end_matches('/') == "/version" || uri.path() == "/" {
        return true;
    }
    if !uri.path().starts_with("/api") {
        return false;
    }
    let raw = uri.query().unwrap_or("");
    if raw.contains("pretty") {
        let query = Query::parse(raw);
        let asked = query.text("pretty");
        if !asked.is_empty() {
            return matches!(asked, "1" | "t" | "T" | "true" | "TRUE" | "True");
        }
    }
    let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
    VIEWERS.iter().any(|viewer| agent.starts_with(viewer))
}

/// Pretty-prints a JSON response; any other response is returned unchanged.
pub async fn pretty_print(response: Response) -> Response {
    let json = HeaderValue::from_static("application/json");
    let typed =
        response.headers().get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(json.as_bytes()));
    let whole = response.body().size_hint().exact().is_some_and(|n| n > 0 && n <= PRETTY_BYTES_MAX);
    if !typed || !whole {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => Bytes::new(),
    };
    parts.headers.remove(CONTENT_LENGTH);
    http::Response::from_parts(parts, full(indent(&bytes)))
}

/// Indents JSON by two spaces per level and keeps the order of members.
fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let (mut in_text, mut escaped, mut empty) = (false, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    for byte in json {
        if in_text {
            out.push(*byte);
            in_text = *byte != b'"' || escaped;
            escaped = *byte == b'\\' && !escaped;
            continue;
        }
        if byte.is_ascii_whitespace() {
            continue;
        }
        let closing = matches!(byte, b'}' | b']');
        if closing {
            depth = depth.saturating_sub(1);
        }
        // Empty objects and lists stay on one line.
        if std::mem::take(&mut empty) != closing {
            line(&mut out, depth);
        }
        out.push(*byte);
        match byte {
            b'{' | b'[' => {
                depth += 1;
                empty = true;
            }
            b',' => line(&mut out, depth),
            b':' => out.push(b' '),
            b'"' => in_text = true,
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests;
