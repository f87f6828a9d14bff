//! Bridges a client's streams to the runtime.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::HeaderValue;
use hyper_util::rt::TokioIo;
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
    pub async fn carry(self, socket: Socket) {
        let Session { read, write, encoder, streams } = self;
        let (mut to_client, mut from_client) = socket.split();
        // Clients take the first message as the sign that all streams are open.
        let first = [(streams.stdout, channel::STDOUT), (streams.stderr, channel::STDERR)];
        let lowest = first.into_iter().find_map(|(stream, channel)| stream.map(|_| channel));
        let greeting = Bytes::copy_from_slice(&[lowest.unwrap_or(channel::ERROR)]);
        if to_client.send(Message::Binary(greeting)).await.is_err() {
            return;
        }
        let (pongs, pings) = tokio::sync::mpsc::channel(8);
        tokio::select! {
            () = inward(&mut from_client, write, encoder, &streams, pings) => return,
            () = outward(read, &mut to_client, &streams, pongs) => {}
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
    streams: &Streams,
    mut pings: tokio::sync::mpsc::Receiver<u32>,
) {
    // Input is dropped once the runtime no longer reads it; its output may still be in flight to the client.
    let mut taken = true;
    loop {
        let frame = tokio::select! {
            Some(id) = pings.recv() => Some(Frame::Ping { id }),
            message = from_client.next() => match message {
                Some(Ok(Message::Binary(bytes))) => to_frame(bytes, streams),
                // Older browser clients send text; the bytes are the same.
                Some(Ok(Message::Text(text))) => to_frame(Bytes::from(text), streams),
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
fn to_frame(message: Bytes, streams: &Streams) -> Option<Frame> {
    let (channel, bytes) = (*message.first()?, message.slice(1..));
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
    streams: &Streams,
    pongs: tokio::sync::mpsc::Sender<u32>,
) {
    let mut open: Vec<u32> =
        [Some(streams.error), streams.stdout, streams.stderr].into_iter().flatten().collect();
    let mut decoder = Decoder::default();
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        match decoder.next_frame() {
            Ok(Some(Frame::Data { stream, fin, bytes })) => {
                if !bytes.is_empty() && to_client.send(to_message(stream, &bytes, streams)).await.is_err() {
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

fn to_message(stream: u32, bytes: &Bytes, streams: &Streams) -> Message {
    let channel = if stream == streams.error {
        channel::ERROR
    } else if Some(stream) == streams.stderr {
        channel::STDERR
    } else {
        channel::STDOUT
    };
    let mut message = BytesMut::with_capacity(1 + bytes.len());
    message.put_u8(channel);
    message.put_slice(bytes);
    Message::Binary(message.freeze())
}
