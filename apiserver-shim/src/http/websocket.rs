//! WATCH over a WebSocket, as browsers use it: the events of an ordinary watch, one message each, which is binary for events
//! in protobuf and text for others. (WebSockets of
//! exec and similar subresources are the executor's; `node_proxy` copies their bytes.)

use bytes::Buf;
use futures::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use shim_model::status::{self, Status};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::body::{Body, Response, empty};
use super::connection_guards::ConnectionGuards;
use super::messages;
use crate::auth::authentication::WEBSOCKET_TOKEN;

/// Maximum message size from the client. Clients of a watch have nothing to send; a longer message ends the
/// connection.
const CLIENT_BYTES_MAX: usize = 1024;

/// Whether a request asks for a WebSocket.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|u| u.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Converts the response of a WATCH into a WebSocket upgrade. The request ends with the connection.
pub(super) fn carry(
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
    watch: Response,
) -> Result<Response, Status> {
    let (Some(key), Some(upgrade)) = (headers.get(SEC_WEBSOCKET_KEY), upgrade) else {
        return Err(status::bad_request("the WebSocket handshake is not complete"));
    };
    let accept = derive_accept_key(key.as_bytes());
    let mut response = http::Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).map_err(status::internal)?);
    let offered = headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|v| v.to_str().ok()).unwrap_or("");
    let protocol =
        offered.split(',').map(str::trim).find(|p| !p.is_empty() && !p.starts_with(WEBSOCKET_TOKEN));
    if let Some(protocol) = protocol.and_then(|p| HeaderValue::from_str(p).ok()) {
        out.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let binary = watch.headers().get(CONTENT_TYPE).is_some_and(|ty| ty == messages::STREAM_TYPE);
    let body = watch.into_body();
    let guards = ConnectionGuards::of_upgrade(&mut response);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        if let Err(error) = run(upgraded, body, binary).await {
            tracing::debug!(%error, "websocket watch ended");
        }
        drop(guards);
    });
    Ok(response)
}

async fn run(upgraded: Upgraded, mut events: Body, binary: bool) -> Result<(), Error> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(CLIENT_BYTES_MAX))
        .max_frame_size(Some(CLIENT_BYTES_MAX));
    let stream = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config));
    let (mut send, mut receive) = stream.await.split();
    loop {
        tokio::select! {
            // Reading also answers pings.
            said = receive.next() => match said {
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(said) => {
                    said?;
                }
            },
            frame = events.frame() => {
                let Some(Ok(frame)) = frame else { break };
                let mut data = frame.into_data().unwrap_or_default();
                // Each event has its length before it.
                while binary && data.len() >= 4 {
                    let length = data.get_u32() as usize;
                    let event = data.split_to(length.min(data.len()));
                    send.feed(Message::binary(event)).await?;
                }
                for line in data.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
                    // Events are JSON, which is always UTF-8.
                    send.feed(Message::text(String::from_utf8_lossy(line).into_owned())).await?;
                }
                send.flush().await?;
            }
        }
    }
    send.send(Message::Close(None)).await
}
