//! A raw HTTP client that sees chunks and records as they arrive.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// The timeout of every wait in these tests.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// A response whose body has not been read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The next chunk; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        timeout(TIMEOUT, self.reader.read_line(&mut line)).await.expect("a chunk in time").ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; length + 2];
        self.reader.read_exact(&mut chunk).await.ok()?;
        chunk.truncate(length);
        (length > 0).then_some(chunk)
    }

    /// The only record of the next chunk.
    pub(crate) async fn record(&mut self) -> Option<Vec<u8>> {
        let chunk = self.chunk().await?;
        let end = chunk.iter().position(|b| *b == b'\n').expect("a length line");
        let length: usize = std::str::from_utf8(&chunk[..end]).expect("digits").parse().expect("a number");
        assert_eq!(chunk.len(), end + 1 + length, "one record a chunk");
        Some(chunk[end + 1..].to_vec())
    }

    pub(crate) async fn event(&mut self) -> Option<Value> {
        self.record().await.map(|record| serde_json::from_slice(&record).expect("JSON"))
    }

    /// The next event of this type; others before it are skipped.
    pub(crate) async fn event_of(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event().await.unwrap_or_else(|| panic!("the stream ended before {kind}"));
            if event["type"] == kind {
                return event;
            }
        }
    }

    pub(crate) async fn text(mut self) -> String {
        let mut bytes = Vec::new();
        match self.header("content-length").map(|n| n.parse().expect("a length")) {
            Some(length) => {
                bytes.resize(length, 0);
                self.reader.read_exact(&mut bytes).await.expect("the whole body");
            }
            None => {
                while let Some(chunk) = self.chunk().await {
                    bytes.extend(chunk);
                }
            }
        }
        String::from_utf8(bytes).expect("text")
    }
}

/// The principal `test` with the secret `secret`.
const AUTHORIZATION: &str = "\r\nAuthorization: Basic dGVzdDpzZWNyZXQ=";

/// Sends a request, with the credentials of the principal `test` unless it has others.
pub(crate) async fn send(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let authorization =
        if head.to_ascii_lowercase().contains("\nauthorization:") { "" } else { AUTHORIZATION };
    send_unchanged(address, &format!("{head}{authorization}"), body).await
}

/// Sends a request unchanged and reads the response's head.
pub(crate) async fn send_unchanged(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("the master listens");
    stream
        .write_all(format!("{head}\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())
        .await
        .expect("sent");
    stream.write_all(body).await.expect("sent");
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        timeout(TIMEOUT, reader.read_line(&mut line)).await.expect("an answer in time").expect("readable");
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let status = lines[0].split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let headers = lines[1..].iter().filter_map(|l| l.split_once(": "));
    let headers = headers.map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())).collect();
    Answer { status, headers, reader }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, &format!("GET {path} HTTP/1.1"), b"").await
}

pub(crate) async fn post_json(address: SocketAddr, path: &str, body: &Value, stream: Option<&str>) -> Answer {
    let stream = stream.map(|id| format!("\r\nMesos-Stream-Id: {id}")).unwrap_or_default();
    let head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/json{stream}");
    send(address, &head, body.to_string().as_bytes()).await
}

/// A framework subscribed in JSON.
pub(crate) struct Framework {
    pub(crate) id: String,
    pub(crate) stream: String,
    pub(crate) events: Answer,
    address: SocketAddr,
}

impl Framework {
    /// Subscribes; `info` is merged into a minimal description.
    pub(crate) async fn subscribe(address: SocketAddr, info: Value) -> Self {
        let mut framework_info = serde_json::json!({"user": "root", "name": "test"});
        let object = framework_info.as_object_mut().expect("an object");
        object.extend(info.as_object().expect("an object").clone());
        let mut call =
            serde_json::json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": framework_info}});
        if let Some(id) = info.get("id") {
            call["framework_id"] = id.clone();
        }
        Self::subscribe_with(address, &call).await
    }

    /// Subscribes with a whole call.
    pub(crate) async fn subscribe_with(address: SocketAddr, call: &Value) -> Self {
        let mut events = post_json(address, "/master/api/v1/scheduler", call, None).await;
        assert_eq!(events.status, 200);
        let subscribed = events.event().await.expect("an event");
        assert_eq!(subscribed["type"], "SUBSCRIBED", "{subscribed}");
        assert_eq!(events.event().await.expect("an event")["type"], "HEARTBEAT");
        let id = subscribed["subscribed"]["framework_id"]["value"].as_str().expect("an id").to_owned();
        let stream = events.header("mesos-stream-id").expect("a stream id").to_owned();
        Self { id, stream, events, address }
    }

    /// The master's.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next event that is no heartbeat.
    pub(crate) async fn next_event(&mut self) -> Value {
        loop {
            let event = self.events.event().await.expect("the stream lives");
            if event["type"] != "HEARTBEAT" {
                return event;
            }
        }
    }

    /// Calls with the framework's id and stream; returns the status.
    pub(crate) async fn call(&self, kind: &str, parts: Value) -> u16 {
        self.answer_to(kind, parts).await.status
    }

    /// Calls with the framework's id and stream.
    pub(crate) async fn answer_to(&self, kind: &str, parts: Value) -> Answer {
        let mut call = serde_json::json!({"type": kind, "framework_id": {"value": self.id}});
        call.as_object_mut().expect("an object").extend(parts.as_object().expect("an object").clone());
        post_json(self.address, "/api/v1/scheduler", &call, Some(&self.stream)).await
    }
}
