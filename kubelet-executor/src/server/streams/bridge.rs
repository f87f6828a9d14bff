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
/// The runtime's subprotocol of port-forward.
const PORT_FORWARD: &str = "portforward.k8s.io";

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

/// A channel whose stream is to be opened with these headers.
struct Wanted {
    number: u8,
    is_input: bool,
    is_output: bool,
    headers: Headers,
}

/// A channel of the client and the runtime's stream that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Channel {
    number: u8,
    stream: u32,
    /// Whether the client writes it.
    is_input: bool,
    /// Whether the runtime writes it.
    is_output: bool,
}

/// A connection to the runtime with its streams open.
pub(crate) struct Session {
    read: ReadHalf<TokioIo<hyper::upgrade::Upgraded>>,
    write: WriteHalf<TokioIo<hyper::upgrade::Upgraded>>,
    encoder: Encoder,
    channels: Vec<Channel>,
    /// The stream of the Status of a command.
    status: Option<u32>,
    /// The first messages to the client.
    greetings: Vec<(u8, Vec<u8>)>,
}

impl Session {
    /// Connects and opens the streams of an exec or attach.
    pub async fn open(url: &str, options: StreamOptions) -> Result<Self, UpstreamError> {
        let kinds = [
            (true, channel::ERROR, "error"),
            (options.stdin, channel::STDIN, "stdin"),
            (options.stdout, channel::STDOUT, "stdout"),
            (options.stderr && !options.tty, channel::STDERR, "stderr"),
            (options.tty, channel::RESIZE, "resize"),
        ];
        let wanted = kinds.into_iter().filter(|(on, ..)| *on).map(|(_, number, kind)| {
            let is_input = matches!(number, channel::STDIN | channel::RESIZE);
            Wanted {
                number,
                is_input,
                is_output: !is_input,
                headers: vec![("streamtype".into(), kind.into())],
            }
        });
        let mut session = Self::connect(url, REMOTE_COMMAND, wanted.collect()).await?;
        session.status = session.channels.first().map(|channel| channel.stream);
        // Clients take the first message as the sign that all streams are open.
        let outputs =
            session.channels.iter().filter(|channel| channel.is_output).map(|channel| channel.number);
        session.greetings = vec![(outputs.min().unwrap_or(channel::ERROR), Vec::new())];
        Ok(session)
    }

    /// Connects and opens two streams for each port: its bytes, and why they cannot be forwarded. Each begins with the port.
    pub async fn open_ports(url: &str, ports: &[u16]) -> Result<Self, UpstreamError> {
        let mut wanted = Vec::new();
        let mut greetings = Vec::new();
        for (at, port) in (0_u8..).zip(ports) {
            let headers = |kind: &str| -> Headers {
                let named =
                    [("streamtype", kind), ("port", &port.to_string()), ("requestid", &at.to_string())];
                named.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
            };
            let (data, error) = (2 * at, 2 * at + 1);
            // The runtime expects the error stream first.
            wanted.push(Wanted {
                number: error,
                is_input: false,
                is_output: true,
                headers: headers("error"),
            });
            wanted.push(Wanted { number: data, is_input: true, is_output: true, headers: headers("data") });
            greetings.extend([data, error].map(|channel| (channel, port.to_le_bytes().to_vec())));
        }
        let session = Self::connect(url, PORT_FORWARD, wanted).await?;
        Ok(Self { greetings, ..session })
    }

    async fn connect(url: &str, protocol: &'static str, wanted: Vec<Wanted>) -> Result<Self, UpstreamError> {
        let upstream = upstream::connect(url, &[HeaderValue::from_static(protocol)]).await?;
        let (read, mut write) = tokio::io::split(upstream.stream);
        let mut encoder = Encoder::default();
        let mut bytes = BytesMut::new();
        let mut channels = Vec::new();
        for (stream, each) in (1..).step_by(2).zip(wanted) {
            let Wanted { number, is_input, is_output, headers } = each;
            bytes.put_slice(&encoder.encode(&Frame::SynStream { stream, fin: false, headers }));
            channels.push(Channel { number, stream, is_input, is_output });
        }
        write.write_all(&bytes).await.map_err(|e| UpstreamError::Connect(e.to_string()))?;
        Ok(Self { read, write, encoder, channels, status: None, greetings: Vec::new() })
    }

    /// Bridges WebSocket channels until the runtime is done or the client is gone.
    pub async fn carry(self, socket: Socket, encoding: Encoding) {
        let Session { read, write, encoder, channels, status, greetings } = self;
        let (mut to_client, mut from_client) = socket.split();
        for (number, bytes) in greetings {
            if to_client.send(encoding.message(number, &bytes)).await.is_err() {
                return;
            }
        }
        let (pongs, pings) = tokio::sync::mpsc::channel(8);
        tokio::select! {
            () = inward(&mut from_client, write, encoder, (&channels, encoding), pings) => return,
            () = outward(read, &mut to_client, (&channels, status, encoding), pongs) => {}
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
    (channels, encoding): (&[Channel], Encoding),
    mut pings: tokio::sync::mpsc::Receiver<u32>,
) {
    // Input is dropped once the runtime no longer reads it; its output may still be in flight to the client.
    let mut taken = true;
    loop {
        let frame = tokio::select! {
            Some(id) = pings.recv() => Some(Frame::Ping { id }),
            message = from_client.next() => match message {
                Some(Ok(Message::Binary(bytes))) => to_frame(encoding.parse(bytes), channels),
                // Older browser clients send text; the bytes are the same.
                Some(Ok(Message::Text(text))) => to_frame(encoding.parse(Bytes::from(text)), channels),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => None,
            },
        };
        if let Some(frame) = frame.filter(|_| taken) {
            taken = write.write_all(&encoder.encode(&frame)).await.is_ok();
        }
    }
}

/// Converts a client's message to an SPDY frame; those for other channels are dropped.
fn to_frame(message: Option<(u8, Bytes)>, channels: &[Channel]) -> Option<Frame> {
    let (number, bytes) = message?;
    let input = |number| channels.iter().find(|channel| channel.is_input && channel.number == number);
    if let Some(channel) = input(number) {
        return Some(Frame::Data { stream: channel.stream, fin: false, bytes });
    }
    let closed = bytes.first().filter(|_| number == channel::CLOSE);
    closed.and_then(|closed| input(*closed)).map(|channel| Frame::Data {
        stream: channel.stream,
        fin: true,
        bytes: Bytes::new(),
    })
}

/// Runtime to client, until the runtime has closed all its streams or the connection.
async fn outward(
    mut read: impl tokio::io::AsyncRead + Unpin,
    to_client: &mut (impl futures::Sink<Message, Error = tungstenite::Error> + Unpin),
    (channels, status_stream, encoding): (&[Channel], Option<u32>, Encoding),
    pongs: tokio::sync::mpsc::Sender<u32>,
) {
    let outputs = || channels.iter().filter(|channel| channel.is_output);
    let mut open: Vec<u32> = outputs().map(|channel| channel.stream).collect();
    let mut decoder = Decoder::default();
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    // A Status that is to be told as a plain text.
    let mut status = Vec::new();
    loop {
        match decoder.next_frame() {
            Ok(Some(Frame::Data { stream, fin, bytes }))
                if encoding.plain_errors && Some(stream) == status_stream =>
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
                let channel = outputs().find(|channel| channel.stream == stream);
                if let Some(channel) = channel.filter(|_| !bytes.is_empty())
                    && to_client.send(encoding.message(channel.number, &bytes)).await.is_err()
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
    fn messages_go_to_the_streams_of_their_channels() {
        let data = Channel { number: 2, stream: 7, is_input: true, is_output: true };
        let error = Channel { number: 3, stream: 5, is_input: false, is_output: true };
        let frame = |number, bytes: &'static [u8]| {
            to_frame(Some((number, Bytes::from_static(bytes))), &[error, data])
        };
        let hi = Bytes::from_static(b"hi");
        assert_eq!(frame(2, b"hi"), Some(Frame::Data { stream: 7, fin: false, bytes: hi }));
        assert_eq!(
            frame(channel::CLOSE, &[2]),
            Some(Frame::Data { stream: 7, fin: true, bytes: Bytes::new() })
        );
        for (number, bytes) in [(3, &b"hi"[..]), (4, b"hi"), (channel::CLOSE, &[3]), (channel::CLOSE, &[])] {
            assert_eq!(frame(number, bytes), None);
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
