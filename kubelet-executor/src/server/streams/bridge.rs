//! Bridges a client's streams to the runtime.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::HeaderValue;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_tungstenite::tungstenite::{
    self, Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{
    spdy::{Decoder, Encoder, Frame, Headers},
    upstream::{self, Upstream, UpstreamError},
    websocket::Socket,
};

/// How long a client may take to close after its command has ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Read size.
const READ_BYTES: usize = 32 << 10;
/// The subprotocol in which the runtime reports exit codes as a Status.
const REMOTE_COMMAND: &str = "v4.channel.k8s.io";

/// Channels of the WebSocket protocol.
mod channel {
    pub const STDIN: u8 = 0;
    pub const STDOUT: u8 = 1;
    pub const STDERR: u8 = 2;
    pub const ERROR: u8 = 3;
    pub const RESIZE: u8 = 4;
    /// Version 5: closes the channel in the next byte.
    pub const CLOSE: u8 = 255;
}

/// How a WebSocket subprotocol writes a channel's bytes, and the end of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoding {
    /// Text: the channel as a digit, then Base64. Else bytes: the channel as a byte, then the others.
    pub base64: bool,
    /// A failure is a plain text, and a success is nothing. Else both are a Status in JSON.
    pub plain_errors: bool,
}

impl Encoding {
    /// That of a subprotocol of exec and attach.
    pub fn of(protocol: &str) -> Self {
        Self { base64: protocol.contains("base64."), plain_errors: !protocol.starts_with('v') }
    }

    /// A message to the client.
    fn message(self, channel: u8, bytes: &[u8]) -> Message {
        if self.base64 {
            return Message::text(format!("{channel}{}", BASE64_STANDARD.encode(bytes)));
        }
        let mut message = BytesMut::with_capacity(1 + bytes.len());
        message.put_u8(channel);
        message.put_slice(bytes);
        Message::Binary(message.freeze())
    }

    /// The channel and the bytes of a client's message; `None` for one without either.
    fn parse(self, message: Bytes) -> Option<(u8, Bytes)> {
        let (channel, bytes) = (*message.first()?, message.slice(1..));
        if self.base64 {
            return Some((channel.checked_sub(b'0')?, BASE64_STANDARD.decode(bytes).ok()?.into()));
        }
        Some((channel, bytes))
    }
}

/// The text of a failure for a client that does not know a Status; `None` for a success.
fn plain_error(status: &[u8]) -> Option<String> {
    match serde_json::from_slice::<Value>(status) {
        Ok(status) if status["status"] == "Success" => None,
        Ok(status) => status["message"].as_str().map(str::to_owned),
        Err(_) => Some(String::from_utf8_lossy(status).into_owned()),
    }
}

/// The streams of an exec or attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamOptions {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// Unwraps SPDY that is tunnelled in a WebSocket.
pub(crate) async fn untunnel(socket: Socket, upstream: Upstream) {
    let (mut to_client, mut from_client) = socket.split();
    let (mut read, mut write) = tokio::io::split(upstream.stream);
    let inward = async {
        let mut taken = true;
        while let Some(Ok(message)) = from_client.next().await {
            match message {
                Message::Binary(bytes) if taken => taken = write.write_all(&bytes).await.is_ok(),
                Message::Close(_) => break,
                _ => {}
            }
        }
        let _ = write.shutdown().await;
    };
    let outward = async {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        while read.read_buf(&mut buffer).await.is_ok_and(|n| n > 0) {
            if to_client.send(Message::Binary(buffer.split().freeze())).await.is_err() {
                break;
            }
            buffer.reserve(READ_BYTES);
        }
        let _ = to_client.close().await;
    };
    tokio::select! {
        () = inward => return,
        () = outward => {}
    }
    discard(&mut from_client).await;
}

/// Reads what the client still sends until it closes: a connection that is closed with unread input is reset, and the
/// client would lose what it has not received yet.
async fn discard(
    from_client: &mut (impl futures::Stream<Item = Result<Message, tungstenite::Error>> + Unpin),
) {
    let ended = async { while let Some(Ok(_)) = from_client.next().await {} };
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, ended).await;
}

/// The SPDY stream ids of an exec or attach.
struct Streams {
    error: u32,
    stdin: Option<u32>,
    stdout: Option<u32>,
    stderr: Option<u32>,
    resize: Option<u32>,
}

/// A connection to the runtime with its streams open.
pub(crate) struct Session {
    read: ReadHalf<TokioIo<hyper::upgrade::Upgraded>>,
    write: WriteHalf<TokioIo<hyper::upgrade::Upgraded>>,
    encoder: Encoder,
    streams: Streams,
}

impl Session {
    /// Connects and opens the requested streams.
    pub async fn open(url: &str, options: StreamOptions) -> Result<Self, UpstreamError> {
        let upstream = upstream::connect(url, &[HeaderValue::from_static(REMOTE_COMMAND)]).await?;
        let (read, mut write) = tokio::io::split(upstream.stream);
        let mut encoder = Encoder::default();
        let mut next = 1;
        let mut bytes = BytesMut::new();
        let mut open = |kind: &str, on: bool| {
            on.then(|| {
                let stream = next;
                next += 2;
                let headers: Headers = vec![("streamtype".to_owned(), kind.to_owned())];
                bytes.put_slice(&encoder.encode(&Frame::SynStream { stream, fin: false, headers }));
                stream
            })
        };
        let streams = Streams {
            error: open("error", true).unwrap_or_default(),
            stdin: open("stdin", options.stdin),
            stdout: open("stdout", options.stdout),
            stderr: open("stderr", options.stderr && !options.tty),
            resize: open("resize", options.tty),
        };
        write.write_all(&bytes).await.map_err(|e| UpstreamError::Connect(e.to_string()))?;
        Ok(Self { read, write, encoder, streams })
    }

    /// Bridges WebSocket channels until the runtime is done or the client is gone.
    pub async fn carry(self, socket: Socket, encoding: Encoding) {
        let Session { read, write, encoder, streams } = self;
        let (mut to_client, mut from_client) = socket.split();
        // Clients take the first message as the sign that all streams are open.
        let first = [(streams.stdout, channel::STDOUT), (streams.stderr, channel::STDERR)];
        let lowest = first.into_iter().find_map(|(stream, channel)| stream.map(|_| channel));
        let greeting = encoding.message(lowest.unwrap_or(channel::ERROR), &[]);
        if to_client.send(greeting).await.is_err() {
            return;
        }
        let (pongs, pings) = tokio::sync::mpsc::channel(8);
        tokio::select! {
            () = inward(&mut from_client, write, encoder, (&streams, encoding), pings) => return,
            () = outward(read, &mut to_client, (&streams, encoding), pongs) => {}
        }
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let closed = async {
            let _ = to_client.send(Message::Close(Some(close))).await;
        };
        // At once: a client that still sends may not read before it is read from.
        tokio::join!(closed, discard(&mut from_client));
    }
}

/// Client to runtime.
async fn inward(
    from_client: &mut (impl futures::Stream<Item = Result<Message, tungstenite::Error>> + Unpin),
    mut write: impl tokio::io::AsyncWrite + Unpin,
    mut encoder: Encoder,
    (streams, encoding): (&Streams, Encoding),
    mut pings: tokio::sync::mpsc::Receiver<u32>,
) {
    // Input is dropped once the runtime no longer reads it; its output may still be in flight to the client.
    let mut taken = true;
    loop {
        let frame = tokio::select! {
            Some(id) = pings.recv() => Some(Frame::Ping { id }),
            message = from_client.next() => match message {
                Some(Ok(Message::Binary(bytes))) => to_frame(encoding.parse(bytes), streams),
                // Older browser clients send text; the bytes are the same.
                Some(Ok(Message::Text(text))) => to_frame(encoding.parse(Bytes::from(text)), streams),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => None,
            },
        };
        if let Some(frame) = frame.filter(|_| taken) {
            taken = write.write_all(&encoder.encode(&frame)).await.is_ok();
        }
    }
}

/// Converts a client's message to an SPDY frame; unknown channels are dropped.
fn to_frame(message: Option<(u8, Bytes)>, streams: &Streams) -> Option<Frame> {
    let (channel, bytes) = message?;
    match channel {
        channel::STDIN => Some(Frame::Data { stream: streams.stdin?, fin: false, bytes }),
        channel::RESIZE => Some(Frame::Data { stream: streams.resize?, fin: false, bytes }),
        channel::CLOSE if bytes.first() == Some(&channel::STDIN) => {
            Some(Frame::Data { stream: streams.stdin?, fin: true, bytes: Bytes::new() })
        }
        _ => None,
    }
}

/// Runtime to client, until the runtime has closed all its streams or the connection.
async fn outward(
    mut read: impl tokio::io::AsyncRead + Unpin,
    to_client: &mut (impl futures::Sink<Message, Error = tungstenite::Error> + Unpin),
    (streams, encoding): (&Streams, Encoding),
    pongs: tokio::sync::mpsc::Sender<u32>,
) {
    let mut open: Vec<u32> =
        [Some(streams.error), streams.stdout, streams.stderr].into_iter().flatten().collect();
    let mut decoder = Decoder::default();
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    // A Status that is to be told as a plain text.
    let mut status = Vec::new();
    loop {
        match decoder.next_frame() {
            Ok(Some(Frame::Data { stream, fin, bytes }))
                if encoding.plain_errors && stream == streams.error =>
            {
                status.extend_from_slice(&bytes);
                if fin {
                    open.retain(|other| *other != stream);
                }
                let complete =
                    serde_json::from_slice::<Value>(&status).is_ok() || (fin && !status.is_empty());
                if let Some(text) = complete.then(|| plain_error(&std::mem::take(&mut status))).flatten()
                    && to_client.send(encoding.message(channel::ERROR, text.as_bytes())).await.is_err()
                {
                    return;
                }
            }
            Ok(Some(Frame::Data { stream, fin, bytes })) => {
                if !bytes.is_empty()
                    && to_client.send(encoding.message(channel_of(stream, streams), &bytes)).await.is_err()
                {
                    return;
                }
                if fin {
                    open.retain(|other| *other != stream);
                }
            }
            Ok(Some(Frame::RstStream { stream, .. })) => open.retain(|other| *other != stream),
            Ok(Some(Frame::SynReply { stream, fin: true, .. })) => open.retain(|other| *other != stream),
            // A server's ping has an even id; an odd one would answer ours, and we send none.
            Ok(Some(Frame::Ping { id })) if id % 2 == 0 => {
                let _ = pongs.try_send(id);
            }
            Ok(Some(Frame::GoAway { .. })) => return,
            Ok(Some(_)) => {}
            Ok(None) => {
                if open.is_empty() {
                    return;
                }
                buffer.clear();
                buffer.reserve(READ_BYTES);
                match read.read_buf(&mut buffer).await {
                    Ok(n) if n > 0 => decoder.push(&buffer),
                    _ => return,
                }
            }
            Err(error) => {
                tracing::warn!(%error, "protocol error on the runtime's stream");
                return;
            }
        }
    }
}

fn channel_of(stream: u32, streams: &Streams) -> u8 {
    if stream == streams.error {
        channel::ERROR
    } else if Some(stream) == streams.stderr {
        channel::STDERR
    } else {
        channel::STDOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_each_protocol() {
        let binary = Encoding::of("v4.channel.k8s.io");
        let text = Encoding::of("base64.channel.k8s.io");
        assert_eq!(binary, Encoding { base64: false, plain_errors: false });
        assert_eq!(text, Encoding { base64: true, plain_errors: true });
        assert_eq!(Encoding::of("v4.base64.channel.k8s.io"), Encoding { base64: true, plain_errors: false });
        assert_eq!(Encoding::of(""), Encoding { base64: false, plain_errors: true });
        assert_eq!(binary.message(1, b"hi"), Message::binary(&b"\x01hi"[..]));
        assert_eq!(text.message(1, b"hi"), Message::text("1aGk="));
        let parse = |encoding: Encoding, message: &'static [u8]| encoding.parse(Bytes::from_static(message));
        assert_eq!(parse(binary, b"\x00hi"), Some((0, Bytes::from_static(b"hi"))));
        assert_eq!(parse(text, b"0aGk="), Some((0, Bytes::from_static(b"hi"))));
        for wrong in [&b""[..], b"0?", b"\x00aGk="] {
            assert_eq!(parse(text, wrong), None);
        }
    }

    #[test]
    fn a_status_as_plain_text() {
        assert_eq!(plain_error(br#"{"status":"Success"}"#), None);
        let failed = br#"{"status":"Failure","message":"command terminated with non-zero exit code"}"#;
        assert_eq!(plain_error(failed).as_deref(), Some("command terminated with non-zero exit code"));
        assert_eq!(plain_error(b"broken").as_deref(), Some("broken"));
    }
}
