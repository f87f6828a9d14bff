//! Frameworks that revive at once and decline everything, over the public scheduler API, until each has seen every agent: the cost
//! of showing the cluster to everybody.

mod messages;

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::measure::Meter;
use messages::Event;

const PATH: &str = "/api/v1/scheduler";
const PROTOBUF: &str = "application/x-protobuf";
const STREAM_ID: &str = "mesos-stream-id";

/// How long one run may take: twice the default offer timeout.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);

/// Arguments of the load.
#[derive(Args, Clone)]
pub struct Offers {
    /// Address of the master's HTTP API
    #[arg(long, value_name = "HOST:PORT")]
    pub mesos: String,
    /// Process ids of the server, for CPU and memory
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Number of agents of the cluster
    #[arg(long, default_value_t = 1_000)]
    pub agents: usize,
    /// Number of frameworks, each in a role of its own
    #[arg(long, default_value_t = 50)]
    pub frameworks: usize,
}

impl Offers {
    /// Runs the load.
    pub async fn run(&self) -> anyhow::Result<Value> {
        let mut frameworks = Vec::new();
        for number in 0..self.frameworks {
            frameworks.push(Framework::subscribe(&self.mesos, number).await?);
        }
        let (start, started) = watch::channel(false);
        let workers: Vec<_> = frameworks
            .into_iter()
            .map(|framework| tokio::spawn(framework.see_all(self.agents, started.clone())))
            .collect();
        let meter = Meter::start(&self.pids)?;
        start.send(true)?;
        let (mut offers, mut calls) = (0, 0);
        // The streams stay open until all are done: a framework that leaves would free its share for the others.
        let mut open = Vec::new();
        for worker in workers {
            let (framework, seen) = tokio::time::timeout(RUN_TIMEOUT, worker)
                .await
                .with_context(|| format!("not everything was seen after {RUN_TIMEOUT:?}"))???;
            offers += seen.offers;
            calls += seen.calls;
            open.push(framework);
        }
        let spent = meter.stop()?;
        let mut line = spent.report("offers", "offer made, sent and declined", offers);
        line.insert("wall_ms".to_owned(), (spent.wall.as_secs_f64() * 1e3).round().into());
        line.insert("calls".to_owned(), calls.into());
        line.insert("agents".to_owned(), self.agents.into());
        line.insert("frameworks".to_owned(), self.frameworks.into());
        Ok(Value::Object(line))
    }
}

/// What a framework saw.
#[derive(Default)]
struct Seen {
    agents: HashSet<String>,
    offers: usize,
    calls: usize,
}

/// A subscribed framework: one connection for its events, one for its calls.
struct Framework {
    id: String,
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

impl Framework {
    /// Subscribes with its role suppressed.
    async fn subscribe(authority: &str, number: usize) -> anyhow::Result<Framework> {
        let mut subscription = connect(authority).await?;
        let name = format!("bench-{number}");
        let body = messages::subscribe(&name, &name);
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
    async fn record(&mut self) -> anyhow::Result<Bytes> {
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

    async fn call(&mut self, body: Vec<u8>) -> anyhow::Result<()> {
        let request = request(&self.authority, Some(&self.stream_id), body)?;
        self.calls.ready().await?;
        let answer = self.calls.send_request(request).await?;
        let status = answer.status();
        let text = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&text));
        Ok(())
    }

    /// Revives at the start, and declines until it has seen all agents.
    async fn see_all(
        mut self,
        agents: usize,
        mut started: watch::Receiver<bool>,
    ) -> anyhow::Result<(Framework, Seen)> {
        started.wait_for(|started| *started).await?;
        let mut seen = Seen::default();
        self.call(messages::revive(&self.id)).await?;
        while seen.agents.len() < agents {
            let record = self.record().await?;
            let event = Event::read(&record)?;
            if let Some(why) = event.error {
                bail!("ERROR: {why}");
            }
            if event.offers.is_empty() {
                continue;
            }
            for (_, agent) in &event.offers {
                if !seen.agents.contains(*agent) {
                    seen.agents.insert((*agent).to_owned());
                }
            }
            seen.offers += event.offers.len();
            seen.calls += 1;
            let decline = messages::decline(&self.id, event.offers.iter().map(|(id, _)| *id));
            self.call(decline).await?;
        }
        Ok((self, seen))
    }
}
