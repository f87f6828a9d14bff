//! One session with one server of an ensemble. When its connection is lost, so is the session: the user connects again.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use crate::codec::{self, Malformed, Reply, Request, ServerError, XID_AUTH, XID_WATCH};

/// How long one server may take to accept a connection and a session.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The session timeout that is asked for unless another is wanted; Mesos' default.
const SESSION: Duration = Duration::from_secs(10);

/// How a client authenticates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// As `digest`.
    pub scheme: String,
    /// For `digest`, `user:password`.
    pub credentials: Vec<u8>,
}

/// What a session is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// The timeout that is asked for. The server chooses within its own bounds.
    pub timeout: Duration,
    /// Who the client is.
    pub authentication: Option<Authentication>,
}

/// Why a session has ended, or a request failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SessionError {
    /// None of the servers can be used; with the reason of the last.
    #[error("no ZooKeeper server of {servers} can be reached: {reason}")]
    Unreachable { servers: String, reason: String },
    #[error("the connection to ZooKeeper is lost: {0}")]
    Lost(#[from] std::io::Error),
    #[error("ZooKeeper does not answer")]
    Silent,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("ZooKeeper refused the session")]
    Refused,
    #[error("Failed to authenticate with ZooKeeper: {0}")]
    Unauthenticated(ServerError),
}

/// A session. Its requests are sent one after the other.
pub struct Session {
    stream: TcpStream,
    received: BytesMut,
    xid: i32,
    /// After so long without an answer the server is given up; it does the same with us.
    timeout: Duration,
    authenticated: bool,
    /// Events of watches that have come while a reply was awaited.
    events: usize,
}

impl Session {
    /// Connects to the first server (`host:port`) that answers, beginning with the one at `first` (modulo their number), and
    /// authenticates with `user:password` if given.
    pub async fn connect(
        servers: &[String],
        first: usize,
        digest: Option<&str>,
    ) -> Result<Self, SessionError> {
        let authentication = digest.map(|digest| Authentication {
            scheme: "digest".to_owned(),
            credentials: digest.as_bytes().to_vec(),
        });
        Self::connect_with(servers, first, &SessionOptions { timeout: SESSION, authentication }).await
    }

    /// The same with other options.
    pub async fn connect_with(
        servers: &[String],
        first: usize,
        options: &SessionOptions,
    ) -> Result<Self, SessionError> {
        let mut reason = "there is none".to_owned();
        for index in 0..servers.len() {
            let server = &servers[(first + index) % servers.len()];
            match timeout(CONNECT_MAX, Self::open(server, options)).await {
                Ok(Ok(session)) => return Ok(session),
                // The other servers would say the same.
                Ok(Err(error @ SessionError::Unauthenticated(_))) => return Err(error),
                Ok(Err(error)) => reason = format!("{server}: {error}"),
                Err(_) => reason = format!("{server}: no answer within {CONNECT_MAX:?}"),
            }
        }
        Err(SessionError::Unreachable { servers: servers.join(","), reason })
    }

    async fn open(server: &str, options: &SessionOptions) -> Result<Self, SessionError> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let mut session = Session {
            stream,
            received: BytesMut::new(),
            xid: 0,
            timeout: options.timeout,
            authenticated: false,
            events: 0,
        };
        session
            .stream
            .write_all(&codec::connect(i32::try_from(options.timeout.as_millis()).unwrap_or(i32::MAX)))
            .await?;
        let connected = codec::parse_connected(session.frame().await?)?;
        let granted = u64::try_from(connected.timeout).unwrap_or_default();
        if granted == 0 {
            return Err(SessionError::Refused);
        }
        session.timeout = Duration::from_millis(granted);
        if let Some(Authentication { scheme, credentials }) = &options.authentication {
            let request = Request::Authenticate { scheme, credentials };
            session.stream.write_all(&codec::encode(XID_AUTH, &request)).await?;
            session.reply(XID_AUTH).await.map_err(|error| match error {
                SessionError::Server(error) => SessionError::Unauthenticated(error),
                other => other,
            })?;
            session.authenticated = true;
        }
        Ok(session)
    }

    /// The names of a node's children; a watch tells of their next change.
    pub async fn children(&mut self, path: &str) -> Result<Vec<String>, SessionError> {
        Ok(codec::parse_children(self.request(&Request::Children { path, watch: true }).await?)?)
    }

    /// The names of a node's children, without a watch.
    pub async fn children_now(&mut self, path: &str) -> Result<Vec<String>, SessionError> {
        Ok(codec::parse_children(self.request(&Request::Children { path, watch: false }).await?)?)
    }

    /// The content of a node with its version.
    pub async fn versioned_data(&mut self, path: &str) -> Result<(Bytes, i32), SessionError> {
        Ok(codec::parse_versioned(self.request(&Request::Data { path }).await?)?)
    }

    /// Replaces the content of a node that has this version.
    pub async fn set_data(&mut self, path: &str, data: &[u8], version: i32) -> Result<(), SessionError> {
        self.request(&Request::SetData { path, data, version }).await.map(|_| ())
    }

    /// Deletes a node that has this version.
    pub async fn delete(&mut self, path: &str, version: i32) -> Result<(), SessionError> {
        self.request(&Request::Delete { path, version }).await.map(|_| ())
    }

    /// Creates a lasting node.
    pub async fn create_lasting(&mut self, path: &str, data: &[u8]) -> Result<(), SessionError> {
        self.create(path, data, 0).await.map(|_| ())
    }

    /// The longest pause between requests or pings that keeps the session alive.
    pub fn ping_interval(&self) -> Duration {
        self.timeout / 3
    }

    /// Keeps the session alive.
    pub async fn ping(&mut self) -> Result<(), SessionError> {
        self.send(&codec::encode(0, &Request::Ping)).await?;
        self.reply(codec::XID_PING).await.map(|_| ())
    }

    /// The content of a node.
    pub async fn data(&mut self, path: &str) -> Result<Bytes, SessionError> {
        Ok(codec::parse_data(self.request(&Request::Data { path }).await?)?)
    }

    /// Whether a node exists; a watch tells of its creation or next change.
    pub async fn exists(&mut self, path: &str) -> Result<bool, SessionError> {
        match self.request(&Request::Exists { path }).await {
            Ok(_) => Ok(true),
            Err(SessionError::Server(ServerError::NoNode)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates a node with its parents, all of them lasting, unless they exist.
    pub async fn create_path(&mut self, path: &str) -> Result<(), SessionError> {
        let ends = path.char_indices().skip(1).filter(|(_, c)| *c == '/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            match self.create(&path[..end], b"", 0).await {
                Ok(_) | Err(SessionError::Server(ServerError::NodeExists)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Creates a node that lasts as long as this session, with a number after its name; returns its path.
    pub async fn create_ephemeral_sequential(
        &mut self,
        path: &str,
        data: &[u8],
    ) -> Result<String, SessionError> {
        self.create(path, data, codec::EPHEMERAL | codec::SEQUENTIAL).await
    }

    async fn create(&mut self, path: &str, data: &[u8], flags: i32) -> Result<String, SessionError> {
        let request = Request::Create { path, data, flags, authenticated: self.authenticated };
        Ok(codec::parse_path(self.request(&request).await?)?)
    }

    /// Waits until a watch tells of a change, and keeps the session alive meanwhile.
    pub async fn changed(&mut self) -> Result<(), SessionError> {
        let pause = self.ping_interval();
        while self.events == 0 {
            match timeout(pause, self.frame()).await {
                Ok(frame) => self.take_event(&codec::parse_reply(frame?)?),
                Err(_) => self.ping().await?,
            }
        }
        self.events = 0;
        Ok(())
    }

    /// Ends the session, and with it its ephemeral nodes.
    pub async fn close(mut self) -> Result<(), SessionError> {
        self.request(&Request::Close).await.map(|_| ())
    }

    async fn request(&mut self, request: &Request<'_>) -> Result<Bytes, SessionError> {
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        let xid = self.xid;
        self.send(&codec::encode(xid, request)).await?;
        self.reply(xid).await
    }

    async fn send(&mut self, frame: &[u8]) -> Result<(), SessionError> {
        timeout(self.timeout, self.stream.write_all(frame))
            .await
            .map_err(|_| SessionError::Silent)?
            .map_err(SessionError::Lost)
    }

    /// The body of the reply with this xid. Events that come before it are counted.
    async fn reply(&mut self, xid: i32) -> Result<Bytes, SessionError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let frame = timeout_at(deadline, self.frame()).await.map_err(|_| SessionError::Silent)??;
            let reply = codec::parse_reply(frame)?;
            if reply.xid == xid {
                return match reply.error {
                    None => Ok(reply.body),
                    Some(error) => Err(error.into()),
                };
            }
            self.take_event(&reply);
        }
    }

    fn take_event(&mut self, reply: &Reply) {
        if reply.xid == XID_WATCH {
            self.events += 1;
        }
    }

    /// The next whole frame. May be cancelled: what was read is kept.
    async fn frame(&mut self) -> Result<Bytes, SessionError> {
        loop {
            if let Some(frame) = codec::take_frame(&mut self.received)? {
                return Ok(frame);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(SessionError::Lost(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}
