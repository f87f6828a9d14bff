//! A master or an agent for tests: HTTP/1.1 by hand, so that it can do what no server does.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use kernel_wire::{recordio, v1};
use prost::Message;

/// What the server does with a connection that subscribes.
#[derive(Debug, Clone)]
pub(super) enum Behaviour {
    /// Answers, and sends heartbeats on request.
    Proper,
    /// Takes the request and never answers.
    Silent,
    /// Answers with these bytes and keeps the connection.
    Raw(Vec<u8>),
    /// Sends the head of an answer without end.
    EndlessHead,
    /// Answers with a stream that has one byte every 20 ms and never a record.
    Dribble,
    /// Subscribes, and never answers a call.
    DeafToCalls,
    /// Closes at once.
    Hangup,
}

impl Behaviour {
    /// Those that answer nothing useful.
    pub(super) fn hostile() -> Vec<Self> {
        let raw = |text: &str| Self::Raw(text.as_bytes().to_vec());
        let endless = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n";
        vec![
            Self::Silent,
            Self::EndlessHead,
            Self::Dribble,
            Self::Hangup,
            raw("this is no HTTP\r\n\r\n"),
            raw("HTTP/1.1 500 Oh\r\nContent-Length: 1000000000000\r\n\r\nx"),
            raw("HTTP/1.1 307 Go\r\nLocation: //127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
            raw(&format!("{endless}99999999999999999999999\n")),
            raw(&format!("{endless}18446744073709551615\n")),
            raw(&format!("{endless}3\n\u{7f}\u{7f}\u{7f}")),
            raw(&format!("{endless}-1\n")),
        ]
    }
}

/// The API that a server has.
pub(super) trait Protocol: 'static {
    type Call: Message + Default + Send;
    type Kind: PartialEq + Send;
    type Event: Message;

    const SUBSCRIBE: Self::Kind;

    fn kind(call: &Self::Call) -> Self::Kind;

    /// The event SUBSCRIBED.
    fn subscribed() -> Self::Event;
}

/// The scheduler API of a master.
pub(super) struct SchedulerApi;

impl Protocol for SchedulerApi {
    type Call = v1::scheduler::Call;
    type Kind = v1::scheduler::call::Type;
    type Event = v1::scheduler::Event;

    const SUBSCRIBE: Self::Kind = v1::scheduler::call::Type::Subscribe;

    fn kind(call: &Self::Call) -> Self::Kind {
        call.r#type()
    }

    fn subscribed() -> Self::Event {
        let master_info = v1::MasterInfo { id: "m".into(), ip: 1, port: 5050, ..Default::default() };
        v1::scheduler::Event {
            r#type: Some(v1::scheduler::event::Type::Subscribed as i32),
            subscribed: Some(v1::scheduler::event::Subscribed {
                framework_id: v1::FrameworkId { value: "f".into() },
                heartbeat_interval_seconds: Some(15.0),
                master_info: Some(master_info),
            }),
            ..Default::default()
        }
    }
}

/// The executor API of an agent.
pub(super) struct ExecutorApi;

impl Protocol for ExecutorApi {
    type Call = v1::executor::Call;
    type Kind = v1::executor::call::Type;
    type Event = v1::executor::Event;

    const SUBSCRIBE: Self::Kind = v1::executor::call::Type::Subscribe;

    fn kind(call: &Self::Call) -> Self::Kind {
        call.r#type()
    }

    fn subscribed() -> Self::Event {
        v1::executor::Event {
            r#type: Some(v1::executor::event::Type::Subscribed as i32),
            subscribed: Some(v1::executor::event::Subscribed::default()),
            ..Default::default()
        }
    }
}

/// What it has received.
#[derive(Debug)]
pub(super) struct Received<C> {
    pub(super) call: C,
    pub(super) head: String,
}

pub(super) struct FakeServer<P: Protocol> {
    pub(super) address: String,
    received: Mutex<mpsc::Receiver<Received<P::Call>>>,
    /// The open stream.
    stream: Arc<Mutex<Option<TcpStream>>>,
}

pub(super) type FakeMaster = FakeServer<SchedulerApi>;
pub(super) type FakeAgent = FakeServer<ExecutorApi>;

impl<P: Protocol> FakeServer<P> {
    pub(super) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, received) = mpsc::channel();
        let stream = Arc::new(Mutex::new(None));
        let current = stream.clone();
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (behaviour, sender, current) = (behaviour.clone(), sender.clone(), current.clone());
                thread::spawn(move || serve::<P>(connection, &behaviour, &sender, &current));
            }
        });
        FakeServer { address, received: Mutex::new(received), stream }
    }

    /// The next call of a type.
    pub(super) fn next(&self, kind: P::Kind) -> Received<P::Call> {
        let received = self.received.lock().unwrap();
        loop {
            let next = received.recv_timeout(Duration::from_secs(10)).unwrap();
            if P::kind(&next.call) == kind {
                return next;
            }
        }
    }

    /// Sends an event on the open stream.
    pub(super) fn send(&self, event: &P::Event) {
        let mut stream = self.stream.lock().unwrap();
        write_chunk(stream.as_mut().unwrap(), &recordio::frame(&event.encode_to_vec())).unwrap();
    }

    /// Closes the open stream.
    pub(super) fn disconnect(&self) {
        let stream = self.stream.lock().unwrap().take().unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    }
}

fn serve<P: Protocol>(
    mut connection: TcpStream,
    behaviour: &Behaviour,
    received: &mpsc::Sender<Received<P::Call>>,
    current: &Mutex<Option<TcpStream>>,
) {
    while let Some(request) = read_request(&mut connection) {
        let kind = P::kind(&request.call);
        let _ = received.send(request);
        let outcome = if kind == P::SUBSCRIBE {
            subscribe::<P>(&mut connection, behaviour, current)
        } else if matches!(behaviour, Behaviour::DeafToCalls) {
            Ok(())
        } else {
            connection.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        };
        if outcome.is_err() || matches!(behaviour, Behaviour::Hangup) {
            return;
        }
    }
}

fn subscribe<P: Protocol>(
    connection: &mut TcpStream,
    behaviour: &Behaviour,
    current: &Mutex<Option<TcpStream>>,
) -> std::io::Result<()> {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\
        Mesos-Stream-Id: stream-1\r\nTransfer-Encoding: chunked\r\n\r\n";
    match behaviour {
        Behaviour::Silent | Behaviour::Hangup => {}
        Behaviour::Raw(bytes) => connection.write_all(bytes)?,
        Behaviour::EndlessHead => {
            connection.write_all(b"HTTP/1.1 200 OK\r\n")?;
            while connection.write_all(b"X-Header: of a head that never ends\r\n").is_ok() {}
        }
        Behaviour::Dribble => {
            connection.write_all(HEAD)?;
            write_chunk(connection, b"1000000\n")?;
            while write_chunk(connection, b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        }
        Behaviour::Proper | Behaviour::DeafToCalls => {
            // Whoever has seen SUBSCRIBED finds the stream.
            let mut current = current.lock().unwrap();
            connection.write_all(HEAD)?;
            write_chunk(connection, &recordio::frame(&P::subscribed().encode_to_vec()))?;
            *current = Some(connection.try_clone()?);
        }
    }
    Ok(())
}

fn write_chunk(connection: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    connection.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
    connection.write_all(bytes)?;
    connection.write_all(b"\r\n")
}

fn read_request<C: Message + Default>(connection: &mut TcpStream) -> Option<Received<C>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let length = head.to_lowercase().split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    Some(Received { call: C::decode(body.as_slice()).ok()?, head })
}
