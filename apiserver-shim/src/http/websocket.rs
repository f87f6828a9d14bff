//! WATCH and logs over a WebSocket, as browsers use it: the events of an ordinary watch, one message each, which is binary for
//! events in protobuf and text for others; and the bytes of a log as they come. (WebSockets of exec and similar subresources are
//! the executor's; `node_proxy` copies their bytes.)

use base64::{Engine, prelude::BASE64_STANDARD as STANDARD};
use bytes::{Buf, Bytes};
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

/// The protocol whose messages are the bytes of one stream.
const BINARY: &str = "binary.k8s.io";
/// The protocol whose messages are those bytes in Base64.
const BASE64: &str = "base64.binary.k8s.io";
/// Maximum message size from the client. Clients of a watch have nothing to send; a longer message ends the
/// connection.
const CLIENT_BYTES_MAX: usize = 1024;

/// Whether a request asks for a WebSocket.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|u| u.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// How a body becomes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Messages {
    /// A line is an event in JSON.
    Lines,
    /// Each event has its length before it.
    LengthPrefixed,
    /// The bytes as they come, after an empty message.
    Bytes,
    /// The same in Base64.
    Base64,
}

impl Messages {
    /// The messages of the next bytes of a body.
    fn of(self, mut data: Bytes) -> Vec<Message> {
        match self {
            Self::Lines => {
                let lines = data.split(|b| *b == b'\n').filter(|line| !line.is_empty());
                // Events are JSON, which is always UTF-8.
                lines.map(|line| Message::text(String::from_utf8_lossy(line).into_owned())).collect()
            }
            Self::LengthPrefixed => {
                let mut events = Vec::new();
                while data.len() >= 4 {
                    let length = data.get_u32() as usize;
                    events.push(Message::binary(data.split_to(length.min(data.len()))));
                }
                events
            }
            Self::Bytes => vec![Message::binary(data)],
            Self::Base64 => vec![Message::text(STANDARD.encode(&data))],
        }
    }
}

/// Converts the response of a WATCH into a WebSocket upgrade. The request ends with the connection.
pub(super) fn carry_watch(
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
    watch: Response,
) -> Result<Response, Status> {
    let framed = watch.headers().get(CONTENT_TYPE).is_some_and(|ty| ty == messages::STREAM_TYPE);
    let messages = if framed { Messages::LengthPrefixed } else { Messages::Lines };
    carry(headers, upgrade, offered_protocols(headers).next(), messages, watch)
}

/// Converts a log into a WebSocket upgrade with one of upstream's protocols for one stream of bytes.
pub(super) fn carry_log(
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
    log: Response,
) -> Result<Response, Status> {
    let supported = |protocol: &&str| [BINARY, BASE64].contains(protocol);
    let protocol = offered_protocols(headers).find(supported);
    if protocol.is_none() && offered_protocols(headers).next().is_some() {
        let offered: Vec<&str> = offered_protocols(headers).collect();
        return Err(status::bad_request(format!(
            "requested protocol(s) are not supported: [{}]; supports [ {BINARY} {BASE64}]",
            offered.join(" ")
        )));
    }
    let messages = if protocol == Some(BASE64) { Messages::Base64 } else { Messages::Bytes };
    carry(headers, upgrade, protocol, messages, log)
}

/// The protocols that a client offers, without the one that is its token.
fn offered_protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    let each = offered.flat_map(|value| value.split(',')).map(str::trim);
    each.filter(|protocol| !protocol.is_empty() && !protocol.starts_with(WEBSOCKET_TOKEN))
}

fn carry(
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
    protocol: Option<&str>,
    messages: Messages,
    answer: Response,
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
    if let Some(protocol) = protocol.and_then(|p| HeaderValue::from_str(p).ok()) {
        out.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let body = answer.into_body();
    let guards = ConnectionGuards::of_upgrade(&mut response);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        if let Err(error) = run(upgraded, body, messages).await {
            tracing::debug!(%error, "websocket ended");
        }
        drop(guards);
    });
    Ok(response)
}

async fn run(upgraded: Upgraded, mut body: Body, messages: Messages) -> Result<(), Error> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(CLIENT_BYTES_MAX))
        .max_frame_size(Some(CLIENT_BYTES_MAX));
    let stream = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config));
    let (mut send, mut receive) = stream.await.split();
    match messages {
        Messages::Bytes => send.send(Message::binary(Bytes::new())).await?,
        Messages::Base64 => send.send(Message::text("")).await?,
        Messages::Lines | Messages::LengthPrefixed => {}
    }
    loop {
        tokio::select! {
            // Reading also answers pings.
            said = receive.next() => match said {
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(said) => {
                    said?;
                }
            },
            frame = body.frame() => {
                let Some(Ok(frame)) = frame else { break };
                for message in messages.of(frame.into_data().unwrap_or_default()) {
                    send.feed(message).await?;
                }
                send.flush().await?;
            }
        }
    }
    send.send(Message::Close(None)).await
}
