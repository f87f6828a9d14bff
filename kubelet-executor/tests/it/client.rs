//! A client of the node's server, as the API server is: mutual TLS, WebSockets, tunnelled SPDY.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use kubelet_executor::spdy::{Decoder, Encoder, Frame};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};
use transport::tls::{ALPN_HTTP1, client_config};

pub struct NodeClient {
    config: Arc<rustls::ClientConfig>,
    endpoint: String,
    token: Option<String>,
}

/// The output of an exec.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exec {
    pub stdout: String,
    pub stderr: String,
    pub status: String,
}

impl NodeClient {
    pub fn new(dir: &Path, endpoint: &str) -> Self {
        Self::with("client", dir, endpoint)
    }

    pub fn with(certificate: &str, dir: &Path, endpoint: &str) -> Self {
        let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap();
        let (own, key) = (read(&format!("{certificate}.crt")), read(&format!("{certificate}.key")));
        let config = client_config(&read("ca.crt"), Some((&own, &key)), ALPN_HTTP1).unwrap();
        Self { config, endpoint: endpoint.to_owned(), token: None }
    }

    /// A client without a certificate.
    pub fn with_token(token: Option<&str>, dir: &Path, endpoint: &str) -> Self {
        let authority = std::fs::read_to_string(dir.join("ca.crt")).unwrap();
        let config = client_config(&authority, None, ALPN_HTTP1).unwrap();
        Self { config, endpoint: endpoint.to_owned(), token: token.map(str::to_owned) }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(&self.endpoint).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(self.config.clone()).connect(name, stream).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let stream = TokioIo::new(self.connect().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::get(path).header("host", "node");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn socket(&self, path: &str, protocol: &str) -> WebSocketStream<TlsStream<TcpStream>> {
        let mut request = format!("wss://127.0.0.1{path}").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
        tokio_tungstenite::client_async(request, self.connect().await).await.unwrap().0
    }

    /// Runs a command, and closes stdin after the input. With a terminal, the first message resizes it.
    pub async fn exec(&self, path: &str, stdin: &[&[u8]]) -> Exec {
        let mut socket = self.socket(path, "v5.channel.k8s.io").await;
        if path.contains("tty=1") {
            let size = [&[4_u8][..], br#"{"Width":100,"Height":40}"#].concat();
            socket.send(Message::Binary(size.into())).await.unwrap();
        }
        for piece in stdin {
            socket.send(Message::Binary([&[0_u8][..], piece].concat().into())).await.unwrap();
        }
        if path.contains("stdin=1") && !path.contains("tty=1") {
            socket.send(Message::Binary(vec![255, 0].into())).await.unwrap();
        }
        let mut exec = Exec::default();
        while let Some(Ok(message)) = socket.next().await {
            let Message::Binary(bytes) = message else { continue };
            let text = String::from_utf8_lossy(&bytes[1..]);
            match bytes[0] {
                1 => exec.stdout.push_str(&text),
                2 => exec.stderr.push_str(&text),
                _ => exec.status.push_str(&text),
            }
        }
        exec
    }

    /// Runs a command while sending it much input, which it may not read. Reads at the same time, as kubectl does.
    pub async fn exec_flooded(&self, path: &str, input_bytes: usize) -> Exec {
        let (mut write, mut read) = self.socket(path, "v5.channel.k8s.io").await.split();
        let input = async move {
            let piece = vec![0_u8; 32 << 10];
            for _ in 0..input_bytes / piece.len() {
                if write.send(Message::Binary(piece.clone().into())).await.is_err() {
                    break;
                }
            }
            write
        };
        let input = tokio::spawn(input);
        let mut exec = Exec::default();
        while let Some(Ok(message)) = read.next().await {
            let Message::Binary(bytes) = message else { continue };
            let text = String::from_utf8_lossy(&bytes[1..]);
            match bytes[0] {
                1 => exec.stdout.push_str(&text),
                _ => exec.status.push_str(&text),
            }
        }
        input.abort();
        exec
    }

    /// [`Self::exec_flooded`] over SPDY.
    pub async fn exec_spdy_flooded(&self, path: &str, input_bytes: usize) -> Exec {
        let (stream, mut encoder) = self.spdy_streams(path).await;
        let (read, mut write) = tokio::io::split(stream);
        let input = async move {
            let bytes = Bytes::from(vec![0_u8; 32 << 10]);
            for _ in 0..input_bytes / bytes.len() {
                let frame = Frame::Data { stream: 3, fin: false, bytes: bytes.clone() };
                if write.write_all(&encoder.encode(&frame)).await.is_err() {
                    break;
                }
            }
            write
        };
        let input = tokio::spawn(input);
        let exec = read_spdy(read).await;
        input.abort();
        exec
    }

    /// Runs a command over SPDY, as kubectl does where WebSockets are refused.
    pub async fn exec_spdy(&self, path: &str, stdin: &[u8]) -> Exec {
        let (mut stream, mut encoder) = self.spdy_streams(path).await;
        let input = Frame::Data { stream: 3, fin: true, bytes: Bytes::copy_from_slice(stdin) };
        stream.write_all(&encoder.encode(&input)).await.unwrap();
        read_spdy(stream).await
    }

    /// Opens the streams of an exec: error (1), stdin (3) and stdout (5).
    async fn spdy_streams(&self, path: &str) -> (TokioIo<hyper::upgrade::Upgraded>, Encoder) {
        let stream = TokioIo::new(self.connect().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let request = http::Request::post(path)
            .header("host", "node")
            .header("connection", "Upgrade")
            .header("upgrade", "SPDY/3.1")
            .header("x-stream-protocol-version", "v4.channel.k8s.io")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
        let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        let mut encoder = Encoder::default();
        for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
            let headers = vec![("streamtype".to_owned(), kind.to_owned())];
            let frame = Frame::SynStream { stream: id, fin: false, headers };
            stream.write_all(&encoder.encode(&frame)).await.unwrap();
        }
        (stream, encoder)
    }

    /// Sends bytes to a port of the Pod and returns the answer, over SPDY in a WebSocket as kubectl does.
    pub async fn forward(&self, path: &str, port: u16, bytes: &[u8]) -> String {
        let mut socket = self.socket(path, "SPDY/3.1+portforward.k8s.io").await;
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let headers = |kind: &str| {
            vec![
                ("streamtype".to_owned(), kind.to_owned()),
                ("port".to_owned(), port.to_string()),
                ("requestid".to_owned(), "0".to_owned()),
            ]
        };
        let data = Bytes::copy_from_slice(bytes);
        for frame in [
            Frame::SynStream { stream: 1, fin: true, headers: headers("error") },
            Frame::SynStream { stream: 3, fin: false, headers: headers("data") },
            Frame::Data { stream: 3, fin: false, bytes: data },
        ] {
            socket.send(Message::Binary(encoder.encode(&frame))).await.unwrap();
        }
        let mut answer = String::new();
        while let Some(Ok(message)) = socket.next().await {
            let Message::Binary(bytes) = message else { continue };
            decoder.push(&bytes);
            while let Some(frame) = decoder.next_frame().unwrap() {
                if let Frame::Data { stream: 3, fin, bytes } = frame {
                    answer.push_str(&String::from_utf8_lossy(&bytes));
                    if fin {
                        return answer;
                    }
                }
            }
        }
        answer
    }
}

/// Reads the output of an exec over SPDY to its end.
async fn read_spdy(mut stream: impl tokio::io::AsyncRead + Unpin) -> Exec {
    let (mut exec, mut decoder, mut buffer) = (Exec::default(), Decoder::default(), vec![0; 4096]);
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            return exec;
        }
        decoder.push(&buffer[..read]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            match frame {
                Frame::Data { stream: 1, bytes, .. } => {
                    exec.status.push_str(&String::from_utf8_lossy(&bytes))
                }
                Frame::Data { stream: 5, bytes, .. } => {
                    exec.stdout.push_str(&String::from_utf8_lossy(&bytes))
                }
                _ => {}
            }
        }
    }
}
