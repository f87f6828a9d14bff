//! A framework on the public Mesos v1 scheduler API, in protobuf: one connection for its events, one for its calls.

pub mod messages;

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use messages::Event;

const PATH: &str = "/api/v1/scheduler";
const PROTOBUF: &str = "application/x-protobuf";
const STREAM_ID: &str = "mesos-stream-id";

/// A subscribed framework: one connection for its events, one for its calls.
pub struct Framework {
    /// Its id.
    pub id: String,
    stream_id: String,
    authority: String,
    events: Response<Incoming>,
    buffer: BytesMut,
    calls: http1::SendRequest<Full<Bytes>>,
}

async fn connect(authority: &str) -> anyhow::Result<http1::SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // A pending request receives the error; nothing else needs it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn request(authority: &str, stream_id: Option<&str>, body: Vec<u8>) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request =
        Request::post(PATH).header(HOST, authority).header(CONTENT_TYPE, PROTOBUF).header(ACCEPT, PROTOBUF);
    if let Some(id) = stream_id {
        request = request.header(STREAM_ID, id);
    }
    Ok(request.body(Full::new(body.into()))?)
}

/// GET of a JSON document.
pub async fn get(authority: &str, path: &str) -> anyhow::Result<serde_json::Value> {
    let mut connection = connect(authority).await?;
    let request = Request::get(path).header(HOST, authority).body(Full::default())?;
    let answer = connection.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "GET {path}: {status}: {}", String::from_utf8_lossy(&body));
    Ok(serde_json::from_slice(&body)?)
}

impl Framework {
    /// Subscribes under this name and in a role of this name, suppressed.
    pub async fn subscribe(authority: &str, name: &str) -> anyhow::Result<Framework> {
        let mut subscription = connect(authority).await?;
        let body = messages::subscribe(name, name);
        let events = subscription.send_request(request(authority, None, body)?).await?;
        ensure!(events.status().is_success(), "SUBSCRIBE: {}", events.status());
        let stream_id = events.headers().get(STREAM_ID).context("the answer has no stream id")?;
        let stream_id = stream_id.to_str()?.to_owned();
        let (authority, buffer) = (authority.to_owned(), BytesMut::new());
        let calls = connect(&authority).await?;
        let mut framework = Framework { id: String::new(), stream_id, authority, events, buffer, calls };
        while framework.id.is_empty() {
            let record = framework.record().await?;
            let event = Event::read(&record)?;
            if let Some(why) = event.error {
                bail!("SUBSCRIBE: {why}");
            }
            framework.id = event.framework_id.unwrap_or_default().to_owned();
        }
        Ok(framework)
    }

    /// The next record of the event stream.
    pub async fn record(&mut self) -> anyhow::Result<Bytes> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let length: usize = std::str::from_utf8(&self.buffer[..end])?.parse()?;
                if self.buffer.len() > end + length {
                    let record = self.buffer.split_to(end + 1 + length).freeze();
                    return Ok(record.slice(end + 1..));
                }
            }
            let frame = self.events.body_mut().frame().await.context("the stream ended")??;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    /// Makes a call; the answer must be a success.
    pub async fn call(&mut self, body: Vec<u8>) -> anyhow::Result<()> {
        let request = request(&self.authority, Some(&self.stream_id), body)?;
        self.calls.ready().await?;
        let answer = self.calls.send_request(request).await?;
        let status = answer.status();
        let text = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&text));
        Ok(())
    }
}
