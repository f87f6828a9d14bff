//! Passes a request on to another server and its response back, upgraded connections included.

mod pages;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    LOCATION, UPGRADE,
};
use http::uri::Authority;
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use transport::client::{Client, ClientError};
use transport::relay::relay;

use super::body::{BoxError, Request, Response, empty, full, stream as streamed};
use super::connection_guards::ConnectionGuards;
use super::node_proxy::without_token;

/// The largest page whose links are rewritten, in bytes. Upstream has no limit, and keeps all of it in memory.
const PAGE_MAX: usize = 16 << 20;

/// Headers that concern one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The path that the client asked for, as upstream tells the backend.
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// What a backend cannot allow for this server.
const CROSS_ORIGIN: [&str; 4] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

/// Marks a response that another server has made: it is passed on as it is.
#[derive(Clone, Copy)]
pub struct Forwarded;

/// Why there is no response of a backend.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The request has no form that could be sent.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// The backend did not respond.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A request on its way to a backend.
pub struct Onward {
    /// The absolute URI at the backend.
    pub uri: String,
    /// `host`, or `host:port`, of the backend.
    pub authority: String,
    /// The path of the proxy, before the backend's.
    pub prefix: String,
}

impl Onward {
    /// Sends the request with the headers that `add` sets beside the client's.
    pub async fn send(
        self,
        client: &Client,
        mut request: Request,
        add: impl FnOnce(&mut HeaderMap),
    ) -> Result<Response, ForwardError> {
        let upgrades = request.headers().contains_key(UPGRADE);
        let upgraded = upgrades.then(|| hyper::upgrade::on(&mut request));
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let mut onward = self.request(request, upgrades)?;
        add(onward.headers_mut());
        let mut answer = client.send_streamed(onward).await?;
        self.rewrite_location(answer.headers_mut(), host.as_deref());
        let response = pass_back(answer, upgraded);
        Ok(if self.has_links(&response) {
            self.rewrite_page(response, host.as_deref()).await
        } else {
            response
        })
    }

    /// Whether the response is a page whose links lead to the backend. A redirect is not read.
    fn has_links(&self, response: &Response) -> bool {
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        !self.prefix.is_empty()
            && !response.headers().contains_key(LOCATION)
            && kind.split(';').next().is_some_and(|kind| kind.trim() == "text/html")
    }

    /// Lets the links of a page lead through the proxy. A page that is too large, or cannot be read, is passed on as it is.
    async fn rewrite_page(&self, response: Response, host: Option<&str>) -> Response {
        let (mut head, mut body) = response.into_parts();
        let mut page = Vec::new();
        while page.len() <= PAGE_MAX {
            match body.frame().await {
                None => {
                    let encoding = head.headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
                    let through = |link: &str| self.behind_proxy(link, host);
                    if let Some(Ok(rewritten)) = pages::rewrite(&page, encoding.unwrap_or_default(), through)
                    {
                        head.headers.remove(CONTENT_LENGTH);
                        page = rewritten;
                    }
                    return Response::from_parts(head, full(page));
                }
                Some(Ok(frame)) => page.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Some(Err(error)) => {
                    let failed = stream::once(async { Err(error) });
                    let read = stream::once(async { Ok(Bytes::from(page)) });
                    return Response::from_parts(head, streamed(read.chain(failed)));
                }
            }
        }
        let read = stream::once(async { Ok(Bytes::from(page)) });
        let rest = body.into_data_stream();
        Response::from_parts(head, streamed(read.chain(rest)))
    }

    /// The request for the backend. Its body is passed on while it arrives.
    fn request(&self, request: Request, upgrades: bool) -> Result<Request, http::Error> {
        let mut onward = http::Request::builder().method(request.method().clone()).uri(&self.uri);
        if let Some(headers) = onward.headers_mut() {
            copy_headers(request.headers(), headers, upgrades);
            headers.insert(HOST, HeaderValue::from_str(&self.authority)?);
            if let Ok(uri) = HeaderValue::from_str(request.uri().path()) {
                headers.insert(FORWARDED_URI, uri);
            }
        }
        let body = if upgrades { empty() } else { request.into_body() };
        onward.body(body)
    }

    /// As upstream: a redirect to the backend itself leads through the proxy.
    fn rewrite_location(&self, headers: &mut HeaderMap, host: Option<&str>) {
        let rewritten =
            headers.get(LOCATION).and_then(|location| self.behind_proxy(location.to_str().ok()?, host));
        if let Some(rewritten) = rewritten.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(LOCATION, rewritten);
        }
    }

    /// The path through the proxy, if a redirect has an absolute path on the backend; `host` is what the client asked.
    fn behind_proxy(&self, location: &str, host: Option<&str>) -> Option<String> {
        // `Uri` has no form without a scheme and with a host.
        let with_scheme = location.strip_prefix("//").map(|rest| format!("http://{rest}"));
        let uri: Uri = with_scheme.as_deref().unwrap_or(location).parse().ok()?;
        let authority = uri.authority().map(Authority::as_str);
        let ours = authority.is_none_or(|to| to == self.authority || Some(to) == host);
        let path = uri.path();
        if !ours || !path.starts_with('/') || path.starts_with(&self.prefix) {
            return None;
        }
        // The fragment is not part of `Uri`.
        let rest = location.find(['?', '#']).map_or("", |at| &location[at..]);
        Some(format!("{}{path}{rest}", self.prefix))
    }
}

/// The backend's answer. If it switches protocols, the connection of the client that `upgraded` is joined with its own.
fn pass_back(mut answer: http::Response<Incoming>, upgraded: Option<OnUpgrade>) -> Response {
    let mut response = http::Response::new(empty());
    *response.status_mut() = answer.status();
    response.extensions_mut().insert(Forwarded);
    let switches = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    copy_headers(answer.headers(), response.headers_mut(), switches);
    // Only this server may allow other origins to use it.
    for name in CROSS_ORIGIN {
        response.headers_mut().remove(name);
    }
    match upgraded.filter(|_| switches) {
        Some(ours) => {
            let theirs = hyper::upgrade::on(&mut answer);
            let guards = ConnectionGuards::of_upgrade(&mut response);
            tokio::spawn(async move {
                let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) else { return };
                relay(TokioIo::new(ours), TokioIo::new(theirs)).await;
                // The request ends with the connection.
                drop(guards);
            });
        }
        None => {
            let parts = answer.into_body().into_data_stream().map_err(|e| Box::new(e) as BoxError);
            *response.body_mut() = streamed(parts);
        }
    }
    response
}

/// Copies headers between the two connections: none that concern one connection only, and none that identify the
/// client to this server.
fn copy_headers(from: &HeaderMap, to: &mut HeaderMap, upgrades: bool) {
    let named: Vec<String> = from
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    for (name, value) in from {
        let hop = HOP_BY_HOP.contains(&name.as_str()) || named.iter().any(|n| n == name.as_str());
        let kept = upgrades && matches!(*name, CONNECTION | UPGRADE);
        if (hop && !kept) || identifies(name) {
            continue;
        }
        if let Some(value) = without_token(name, value) {
            to.append(name.clone(), value);
        }
    }
}

fn identifies(name: &HeaderName) -> bool {
    *name == AUTHORIZATION || name.as_str().starts_with("impersonate-")
}

#[cfg(test)]
mod tests;
