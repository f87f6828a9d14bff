//! One TLS connection to the server, over HTTP/2 where the server speaks it.

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use e2e::kubeconfig::Access;

/// Types of the body of a PATCH.
const STRATEGIC_MERGE_PATCH: &str = "application/strategic-merge-patch+json";
/// Server-side apply.
pub const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// Types of the answers.
const JSON: &str = "application/json";
/// The binary encoding of built-in kinds.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// How often a request is tried again after 429 (too many requests).
const RETRIES_MAX: u32 = 100;

/// An HTTP/2 window large enough for a list of 20,000 Pods without window updates.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// A connection. Its requests are sequential; clones (HTTP/2 only) share it.
pub struct Connection {
    sender: Sender,
    access: Access,
    /// What it accepts.
    pub accept: &'static str,
    /// The type of its patches.
    pub patch_type: &'static str,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Connects, with the TLS and HTTP handshakes.
    pub async fn open(access: &Access) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(&access.authority).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(access.tls.clone()).connect(access.name.clone(), stream).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        let sender = if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
            let (sender, connection) = builder.handshake(stream).await?;
            // A pending request receives the error; nothing else needs it.
            tokio::spawn(async move { drop(connection.await) });
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await?;
            tokio::spawn(async move { drop(connection.await) });
            Sender::Http1(sender)
        };
        Ok(Connection { sender, access: access.clone(), accept: JSON, patch_type: STRATEGIC_MERGE_PATCH })
    }

    /// Another handle to the same connection (HTTP/2 only).
    pub fn share(&self) -> Option<Connection> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => {
                let (sender, access) = (Sender::Http2(sender.clone()), self.access.clone());
                Some(Connection { sender, access, accept: self.accept, patch_type: self.patch_type })
            }
        }
    }

    /// Sends a request and returns the response before its body has arrived.
    pub async fn start(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let is_patch = method == Method::PATCH;
        let mut request = Request::builder()
            .method(method)
            .header(ACCEPT, self.accept)
            .header(USER_AGENT, "catamaran-bench");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, if is_patch { self.patch_type } else { JSON });
        }
        if let Some(token) = &self.access.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = Full::new(body);
        match &mut self.sender {
            Sender::Http1(sender) => {
                let request = request.uri(path).header(HOST, &self.access.authority);
                sender.ready().await?;
                Ok(sender.send_request(request.body(body)?).await?)
            }
            Sender::Http2(sender) => {
                let request = request.uri(format!("https://{}{path}", self.access.authority));
                sender.ready().await?;
                Ok(sender.send_request(request.body(body)?).await?)
            }
        }
    }

    /// Sends a request and reads the whole response. Waits and tries again after 429.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        for _ in 0..RETRIES_MAX {
            let answer = self.start(method.clone(), path, body.clone()).await?;
            let status = answer.status();
            let bytes = answer.into_body().collect().await?.to_bytes();
            if status != StatusCode::TOO_MANY_REQUESTS {
                return Ok((status, bytes));
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        bail!("{method} {path}: the server stayed too busy")
    }

    /// Like `send`; an error unless the response is a success.
    pub async fn expect(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let (status, bytes) =
            self.send(method.clone(), path, body).await.with_context(|| format!("{method} {path}"))?;
        match status.is_success() {
            true => Ok(bytes),
            false => bail!("{method} {path}: {status}: {}", String::from_utf8_lossy(&bytes)),
        }
    }
}

/// Splits a streamed body into lines.
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    /// The lines of a response; an error unless it is a success.
    pub fn of(answer: Response<Incoming>) -> anyhow::Result<Lines> {
        match answer.status().is_success() {
            true => Ok(Lines { body: answer.into_body(), buffer: Vec::new() }),
            false => bail!("the watch was refused: {}", answer.status()),
        }
    }

    /// Passes the next complete lines to `take`; `false` at the end of the stream.
    pub async fn next(&mut self, mut take: impl FnMut(&[u8])) -> anyhow::Result<bool> {
        let Some(frame) = self.body.frame().await else { return Ok(false) };
        let Ok(chunk) = frame?.into_data() else { return Ok(true) };
        let mut rest: &[u8] = &chunk;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            match self.buffer.is_empty() {
                true => take(&rest[..end]),
                false => {
                    self.buffer.extend_from_slice(&rest[..end]);
                    take(&self.buffer);
                    self.buffer.clear();
                }
            }
            rest = &rest[end + 1..];
        }
        self.buffer.extend_from_slice(rest);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
