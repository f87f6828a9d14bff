//! A master for tests: HTTP/1.1 by hand, so that it can do what no master does.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use kernel_wire::{recordio, v1};
use prost::Message;

/// What the master does with a connection that subscribes.
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

/// What it has received.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) call: v1::scheduler::Call,
    pub(super) head: String,
}

pub(super) struct FakeMaster {
    pub(super) address: String,
    received: Mutex<mpsc::Receiver<Received>>,
    /// The open stream.
    stream: Arc<Mutex<Option<TcpStream>>>,
}

impl FakeMaster {
    pub(super) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, received) = mpsc::channel();
        let stream = Arc::new(Mutex::new(None));
        let current = stream.clone();
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (behaviour, sender, current) = (behaviour.clone(), sender.clone(), current.clone());
                thread::spawn(move || serve(connection, &behaviour, &sender, &current));
            }
        });
        FakeMaster { address, received: Mutex::new(received), stream }
    }

    /// The next call of a type.
    pub(super) fn next(&self, kind: v1::scheduler::call::Type) -> Received {
        let received = self.received.lock().unwrap();
        loop {
            let next = received.recv_timeout(Duration::from_secs(10)).unwrap();
            if next.call.r#type() == kind {
                return next;
            }
        }
    }

    /// Sends an event on the open stream.
    pub(super) fn send(&self, event: &v1::scheduler::Event) {
        let mut stream = self.stream.lock().unwrap();
        write_chunk(stream.as_mut().unwrap(), &recordio::frame(&event.encode_to_vec())).unwrap();
    }

    /// Closes the open stream.
    pub(super) fn disconnect(&self) {
        let stream = self.stream.lock().unwrap().take().unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    }
}

fn serve(
    mut connection: TcpStream,
    behaviour: &Behaviour,
    received: &mpsc::Sender<Received>,
    current: &Mutex<Option<TcpStream>>,
) {
    while let Some(request) = read_request(&mut connection) {
        let kind = request.call.r#type();
        let _ = received.send(request);
        let outcome = if kind == v1::scheduler::call::Type::Subscribe {
            subscribe(&mut connection, behaviour, current)
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

fn subscribe(
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
            connection.write_all(HEAD)?;
            let master_info = v1::MasterInfo { id: "m".into(), ip: 1, port: 5050, ..Default::default() };
            let event = v1::scheduler::Event {
                r#type: Some(v1::scheduler::event::Type::Subscribed as i32),
                subscribed: Some(v1::scheduler::event::Subscribed {
                    framework_id: v1::FrameworkId { value: "f".into() },
                    heartbeat_interval_seconds: Some(15.0),
                    master_info: Some(master_info),
                }),
                ..Default::default()
            };
            write_chunk(connection, &recordio::frame(&event.encode_to_vec()))?;
            *current.lock().unwrap() = Some(connection.try_clone()?);
        }
    }
    Ok(())
}

fn write_chunk(connection: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    connection.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
    connection.write_all(bytes)?;
    connection.write_all(b"\r\n")
}

fn read_request(connection: &mut TcpStream) -> Option<Received> {
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
    Some(Received { call: v1::scheduler::Call::decode(body.as_slice()).ok()?, head })
}
