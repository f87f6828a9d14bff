//! The server side of a WebSocket handshake.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

/// Limit of a client's message; kubectl's have 32 KiB.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// A WebSocket over an upgraded connection.
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Whether a request asks for a WebSocket.
pub(crate) fn is_requested(headers: &HeaderMap) -> bool {
    has_token(headers, header::UPGRADE, "websocket") && headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

/// Whether a header's list has a token, ignoring case.
pub(crate) fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    list(headers, name).any(|word| word.eq_ignore_ascii_case(token))
}

/// The elements of a list header, in order.
pub(crate) fn list(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// The client's first subprotocol that is supported; the empty one if it offers none.
pub(crate) fn choose<'a>(headers: &HeaderMap, ours: &[&'a str]) -> Option<&'a str> {
    let none_offered = !headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    list(headers, header::SEC_WEBSOCKET_PROTOCOL)
        .chain(none_offered.then_some(""))
        .find_map(|offered| ours.iter().find(|our| **our == offered).copied())
}

/// The response that completes the handshake.
pub(crate) fn accept<B: Default>(headers: &HeaderMap, protocol: &'static str) -> Response<B> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key)) {
        out.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if !protocol.is_empty() {
        out.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    response
}

/// The WebSocket, once the response is sent.
pub(crate) async fn open(upgraded: Upgraded) -> Socket {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await
}
