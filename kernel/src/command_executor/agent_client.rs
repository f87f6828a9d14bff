//! A minimal HTTP/1.1 client of the agent: the executor needs two kinds of request to one local peer.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use bytes::Bytes;
use kernel_model::executor::{Call, Event};
use kernel_wire::{
    executor_api::{self, ParsedExecutorCall},
    prost::Message,
    recordio::Decoder,
    v1,
};

use super::Settings;

/// The deadline of the agent's accept and of its response.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The longest event: a task with all its data.
const EVENT_BYTES_MAX: usize = 64 << 20;

const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A client of the agent.
pub(super) struct AgentClient {
    settings: Settings,
    /// The connection of calls, kept open between updates.
    calls: Option<BufReader<TcpStream>>,
}

/// The events of a subscription.
pub(super) struct Events {
    stream: BufReader<TcpStream>,
    records: Decoder,
}

struct Head {
    status: u16,
    length: Option<u64>,
}

impl AgentClient {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, calls: None }
    }

    /// Sends a call that has no response body. If the kept connection has died, repeats it once on a new one.
    pub(super) fn call(&mut self, call: Call) -> io::Result<()> {
        let body = self.encode(call);
        if let Some(kept) = self.calls.take()
            && let Ok(status) = self.exchange(kept, &body)
        {
            return accepted(status);
        }
        let connection = self.connect(Some(ANSWER_MAX))?;
        let status = self.exchange(connection, &body)?;
        accepted(status)
    }

    fn exchange(&mut self, mut stream: BufReader<TcpStream>, body: &[u8]) -> io::Result<u16> {
        self.post(&mut stream, body)?;
        let head = read_head(&mut stream)?;
        io::copy(&mut stream.by_ref().take(head.length.unwrap_or(0)), &mut io::sink())?;
        if head.length.is_some() {
            self.calls = Some(stream);
        }
        Ok(head.status)
    }

    /// Subscribes on a separate connection.
    pub(super) fn subscribe(&self, call: Call) -> io::Result<Events> {
        let mut stream = self.connect(None)?;
        self.post(&mut stream, &self.encode(call))?;
        let head = read_head(&mut stream)?;
        if head.status != 200 {
            return Err(io::Error::other(format!("the agent refuses the subscription with {}", head.status)));
        }
        Ok(Events { stream, records: Decoder::new(EVENT_BYTES_MAX) })
    }

    fn encode(&self, call: Call) -> Vec<u8> {
        let (framework_id, executor_id) =
            (self.settings.framework_id.clone(), self.settings.executor_id.clone());
        executor_api::call_to_wire(&ParsedExecutorCall { framework_id, executor_id, call }).encode_to_vec()
    }

    fn connect(&self, answer_max: Option<Duration>) -> io::Result<BufReader<TcpStream>> {
        let mut addresses = self.settings.endpoint.to_socket_addrs()?;
        let address = addresses.next().ok_or_else(|| io::Error::other("the agent's address is empty"))?;
        let stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(answer_max)?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        Ok(BufReader::new(stream))
    }

    fn post(&self, stream: &mut BufReader<TcpStream>, body: &[u8]) -> io::Result<()> {
        let mut request = format!(
            "POST /api/v1/executor HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-protobuf\r\n\
             Accept: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
            self.settings.endpoint,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        stream.get_mut().write_all(&request)
    }
}

impl Events {
    /// The next event; an error ends the stream.
    pub(super) fn next(&mut self) -> io::Result<Event> {
        loop {
            while let Some(record) = self.records.next_record().map_err(io::Error::other)? {
                if let Some(event) = decode(record)? {
                    return Ok(event);
                }
            }
            let chunk = read_chunk(&mut self.stream)?;
            self.records.push(&chunk);
        }
    }
}

fn decode(record: Bytes) -> io::Result<Option<Event>> {
    let message = v1::executor::Event::decode(record).map_err(io::Error::other)?;
    executor_api::event_from_wire(message).map_err(io::Error::other)
}

fn accepted(status: u16) -> io::Result<()> {
    match status {
        202 => Ok(()),
        other => Err(io::Error::other(format!("the agent refuses the call with {other}"))),
    }
}

fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<Head> {
    let first = read_line(stream)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("the agent does not speak HTTP"))?;
    let mut head = Head { status, length: None };
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            return Ok(head);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            head.length = value.trim().parse().ok();
        }
    }
}

fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// Reads one chunk of a chunked body.
fn read_chunk(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let size = read_line(stream)?;
    let digits = size.split(';').next().unwrap_or_default().trim();
    let length = usize::from_str_radix(digits, 16).map_err(io::Error::other)?;
    if length == 0 || length > EVENT_BYTES_MAX {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut chunk = vec![0; length];
    stream.read_exact(&mut chunk)?;
    read_line(stream)?;
    Ok(chunk)
}
