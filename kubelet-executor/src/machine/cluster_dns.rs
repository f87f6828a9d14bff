//! The sockets of cluster DNS: Pods of this machine ask at the gateway of their network. Names of the cluster are answered here,
//! others by the machine's name servers.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use executor_core::dns::{
    message::{Code, Query, Record, Sections, kind, read_answer, rotate},
    zone::{Answer, Zone},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::watch,
    time::timeout,
};

mod shares;

use shares::{Place, Shares};

/// The port of DNS.
const PORT: u16 = 53;
/// The longest message over TCP.
const MESSAGE_MAX: usize = 65_535;
/// How long one name server of the machine may take, as of the resolver library by default.
const SERVER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a TCP client may be silent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Questions that wait for a name server at once; each has a socket. Others are answered with SERVFAIL.
const WAITING_MAX: usize = 512;
/// TCP connections at once; others are closed.
const CONNECTIONS_MAX: usize = 256;
/// Pause between attempts to listen: the address exists from the machine's first Pod on.
const RETRY: Duration = Duration::from_millis(250);

/// The names of the cluster; `None` until they are known.
pub(crate) type Names = watch::Receiver<Option<Arc<Zone>>>;

/// What answers questions.
struct Server {
    names: Names,
    /// The machine's name servers.
    servers: Vec<IpAddr>,
    waiting: Arc<Shares>,
    connections: Arc<Shares>,
}

/// How a question came, and so who has to be asked for other names and how long an answer may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// Answers questions until the process ends.
pub(crate) async fn serve(address: Ipv4Addr, names: Names, servers: Vec<String>) {
    let servers = servers.iter().filter_map(|server| server.parse().ok());
    // A machine that asks this server would ask in a circle.
    let servers = servers.filter(|server| *server != IpAddr::V4(address)).collect();
    let server = Arc::new(Server::new(names, servers));
    let at = SocketAddr::from((address, PORT));
    let (udp, tcp) = listen(at).await;
    tracing::info!(%at, "cluster DNS listens");
    tokio::join!(server.clone().serve_udp(Arc::new(udp)), server.serve_tcp(tcp));
}

async fn listen(at: SocketAddr) -> (UdpSocket, TcpListener) {
    let mut has_warned = false;
    loop {
        let bound =
            async { Ok::<_, std::io::Error>((UdpSocket::bind(at).await?, TcpListener::bind(at).await?)) };
        match bound.await {
            Ok(bound) => return bound,
            Err(error) if error.kind() != std::io::ErrorKind::AddrNotAvailable && !has_warned => {
                has_warned = true;
                tracing::warn!(%error, %at, "cluster DNS cannot listen");
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

impl Server {
    fn new(names: Names, servers: Vec<IpAddr>) -> Self {
        let (waiting, connections) = (Shares::new(WAITING_MAX), Shares::new(CONNECTIONS_MAX));
        Self { names, servers, waiting, connections }
    }

    async fn serve_udp(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            let (length, client) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // As when an earlier answer found no client any more.
                    tracing::debug!(%error, "receiving a DNS question");
                    continue;
                }
            };
            let message = buffer[..length].to_vec();
            let (server, socket) = (self.clone(), socket.clone());
            // Answers from memory do not wait; the others are bounded by `waiting`.
            tokio::spawn(async move {
                if let Some(answer) = server.answer(&message, Transport::Udp, client.ip()).await
                    && let Err(error) = socket.send_to(&answer, client).await
                {
                    tracing::debug!(%error, "sending a DNS answer");
                }
            });
        }
    }

    async fn serve_tcp(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, client) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "accepting a DNS client");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            let Some(place) = self.connections.take(client.ip()) else { continue };
            let server = self.clone();
            tokio::spawn(async move {
                if let Err(error) = server.serve_client(stream, client.ip(), place).await {
                    tracing::debug!(%error, "serving a DNS client");
                }
            });
        }
    }

    async fn serve_client(
        &self,
        mut stream: TcpStream,
        client: IpAddr,
        _place: Place,
    ) -> std::io::Result<()> {
        loop {
            let Some(message) = timeout(IDLE_TIMEOUT, read_message(&mut stream)).await?? else {
                return Ok(());
            };
            let Some(answer) = self.answer(&message, Transport::Tcp, client).await else {
                return Ok(());
            };
            timeout(IDLE_TIMEOUT, write_message(&mut stream, &answer)).await??;
        }
    }

    /// The answer to a message, if it gets one.
    async fn answer(&self, message: &[u8], transport: Transport, client: IpAddr) -> Option<Vec<u8>> {
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(refusal) => return refusal,
        };
        let max = if transport == Transport::Tcp { MESSAGE_MAX } else { query.udp_max() };
        let zone = self.names.borrow().clone();
        let Some(zone) = zone else {
            return Some(query.answer(Code::ServerFailure, Sections::default(), max));
        };
        let authority = Zone::authority(1);
        let nothing = Sections { authority: Some(&authority), ..Sections::default() };
        Some(match zone.answer(&query) {
            Answer::Records { mut answers, additional } => {
                if let Some(alias) = zone.leads_out(&answers).map(str::to_owned) {
                    self.follow(&query, &alias, &mut answers, client).await;
                }
                rotate(&mut answers, usize::from(random()));
                let found = Sections { answers: &answers, authority: None, additional: &additional };
                query.answer(Code::NoError, if answers.is_empty() { nothing } else { found }, max)
            }
            Answer::NoName => query.answer(Code::NameError, nothing, max),
            Answer::Elsewhere => match self.ask(message, transport, client).await {
                Some(answer) => answer,
                None => query.answer(Code::ServerFailure, Sections::default(), max),
            },
        })
    }

    /// Asks for the addresses of an alias that leads out of the cluster: clients expect them in the same answer.
    async fn follow(&self, query: &Query, alias: &str, records: &mut Vec<Record>, client: IpAddr) {
        if !matches!(query.kind, kind::A | kind::AAAA) {
            return;
        }
        let question = Query::new(random(), alias, query.kind);
        let bytes = question.bytes();
        let answer = match self.ask(&bytes, Transport::Udp, client).await {
            Some(cut) if is_truncated(&cut) => self.ask(&bytes, Transport::Tcp, client).await,
            answer => answer,
        };
        records
            .extend(answer.and_then(|answer| Some(read_answer(&question, &answer)?.1)).into_iter().flatten());
    }

    /// Asks the machine's name servers for a client, one after the other. Their answer is passed on as it is.
    async fn ask(&self, message: &[u8], transport: Transport, client: IpAddr) -> Option<Vec<u8>> {
        let _place = self.waiting.take(client)?;
        for server in &self.servers {
            let at = SocketAddr::from((*server, PORT));
            let asked = async {
                match transport {
                    Transport::Udp => ask_by_udp(at, message).await,
                    Transport::Tcp => ask_by_tcp(at, message).await,
                }
            };
            match timeout(SERVER_TIMEOUT, asked).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%error, %at, "asking a name server"),
                Err(_) => tracing::debug!(%at, "a name server does not answer"),
            }
        }
        None
    }
}

/// A number that nobody can guess.
fn random() -> u16 {
    let [first, second, ..] = *uuid::Uuid::new_v4().as_bytes();
    u16::from_be_bytes([first, second])
}

/// Whether an answer says that it has been cut (the bit TC).
fn is_truncated(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

async fn ask_by_udp(server: SocketAddr, message: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(message).await?;
    let mut buffer = vec![0; MESSAGE_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Another id is an answer to nothing that was asked here.
        if buffer.get(..2) == message.get(..2) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_by_tcp(server: SocketAddr, message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_message(&mut stream, message).await?;
    let answer = read_message(&mut stream).await?;
    answer.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

/// Reads a message with its length; `None` at the end of the stream.
async fn read_message(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        length => length?,
    };
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

#[cfg(test)]
mod tests {
    //! A server on loopback answers over both transports.

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 9));

    fn server(zone: Option<Zone>) -> Server {
        let (_, names) = watch::channel(zone.map(Arc::new));
        Server::new(names, Vec::new())
    }

    /// The response code.
    async fn code(server: &Server, name: &str) -> u8 {
        let question = Query::new(9, name, kind::TXT).bytes();
        server.answer(&question, Transport::Udp, CLIENT).await.unwrap()[3] & 0xf
    }

    #[tokio::test]
    async fn names_fail_until_they_are_known_and_others_without_a_name_server() {
        let known = server(Some(Zone::new(&Default::default(), &Default::default(), None)));
        assert_eq!(code(&known, "dns-version.cluster.local").await, Code::NoError as u8);
        assert_eq!(code(&known, "none.svc.cluster.local").await, Code::NameError as u8);
        assert_eq!(code(&known, "example.org").await, Code::ServerFailure as u8);
        assert_eq!(code(&server(None), "dns-version.cluster.local").await, Code::ServerFailure as u8);
        assert_eq!(known.answer(&[0; 3], Transport::Udp, CLIENT).await, None);
    }

    #[tokio::test]
    async fn a_tcp_client_asks_more_than_once() {
        let known = server(Some(Zone::new(&Default::default(), &Default::default(), None)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(Arc::new(known).serve_tcp(listener));
        let mut stream = TcpStream::connect(at).await.unwrap();
        for _ in 0..2 {
            write_message(&mut stream, &Query::new(3, "dns-version.cluster.local", kind::TXT).bytes())
                .await
                .unwrap();
            let answer = read_message(&mut stream).await.unwrap().unwrap();
            assert!(answer.windows(5).any(|bytes| bytes == b"1.1.0"), "{answer:?}");
        }
        // A message of another server than the one asked is not taken.
        let question = Query::new(3, "dns-version.cluster.local", kind::TXT).bytes();
        assert!(ask_by_tcp(at, &question[..4]).await.is_err());
    }
    #[tokio::test]
    async fn a_client_with_too_many_connections_is_closed_and_others_are_served() {
        let known = Arc::new(server(Some(Zone::new(&Default::default(), &Default::default(), None))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(known.clone().serve_tcp(listener));
        let places: Vec<Place> = std::iter::from_fn(|| known.connections.take(at.ip())).collect();
        let mut refused = TcpStream::connect(at).await.unwrap();
        assert!(read_message(&mut refused).await.is_ok_and(|message| message.is_none()));
        let other = tokio::net::TcpSocket::new_v4().unwrap();
        other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut other = other.connect(at).await.unwrap();
        write_message(&mut other, &Query::new(3, "dns-version.cluster.local", kind::TXT).bytes())
            .await
            .unwrap();
        assert!(read_message(&mut other).await.unwrap().is_some());
        drop(places);
    }

    #[tokio::test]
    async fn questions_of_one_client_do_not_keep_others_from_the_name_servers() {
        let server = server(Some(Zone::default()));
        let places: Vec<Place> = std::iter::from_fn(|| server.waiting.take(CLIENT)).collect();
        assert_eq!(places.len(), WAITING_MAX / 2);
        assert_eq!(server.ask(&[0; 12], Transport::Udp, CLIENT).await, None);
        assert!(server.waiting.take([10, 244, 0, 10].into()).is_some());
    }
}
