//! ZooKeeper's messages: big-endian numbers, strings and buffers with their length, in frames with theirs.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest frame that is read. ZooKeeper itself refuses more than 1 MiB by default; lists of children may be longer.
pub const FRAME_BYTES_MAX: usize = 4 << 20;

/// The xid of events of watches.
pub const XID_WATCH: i32 = -1;
/// The xid of pings.
pub const XID_PING: i32 = -2;
/// The xid of authentication.
pub const XID_AUTH: i32 = -4;

const OP_CREATE: i32 = 1;
const OP_DELETE: i32 = 2;
const OP_EXISTS: i32 = 3;
const OP_GET_DATA: i32 = 4;
const OP_SET_DATA: i32 = 5;
const OP_GET_CHILDREN: i32 = 8;
const OP_PING: i32 = 11;
const OP_AUTH: i32 = 100;
const OP_CLOSE: i32 = -11;

/// The node is deleted when its session ends.
pub const EPHEMERAL: i32 = 1;
/// The server appends a number to the name.
pub const SEQUENTIAL: i32 = 2;

/// The error of a node that does not exist.
const ERROR_NO_NODE: i32 = -101;
/// The error of a node that has changed.
const ERROR_BAD_VERSION: i32 = -103;
/// The error of a node that exists already.
const ERROR_NODE_EXISTS: i32 = -110;
/// Errors of a session or server that has ended, which another connection does not have: a lost connection, a request that took too
/// long, an expired session, one that has moved to another server, and a server that is not in service.
const ERRORS_OF_CONNECTION: [i32; 5] = [-4, -7, -112, -118, -122];
/// Other errors that a client may meet.
const ERROR_NAMES: [(i32, &str); 8] = [
    (-5, "marshalling error"),
    (-6, "unimplemented"),
    (-8, "bad arguments"),
    (-102, "not authenticated"),
    (-108, "ephemeral nodes may not have children"),
    (-111, "not empty"),
    (-114, "invalid acl"),
    (-115, "authentication failed"),
];

/// A server's answer that is not success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ServerError {
    #[error("no node")]
    NoNode,
    #[error("node exists")]
    NodeExists,
    #[error("bad version")]
    BadVersion,
    #[error("{}", name(*.0))]
    Other(i32),
}

impl ServerError {
    /// Whether it is of the connection and not of the request.
    pub fn is_of_connection(self) -> bool {
        matches!(self, ServerError::Other(code) if ERRORS_OF_CONNECTION.contains(&code))
    }
}

fn name(code: i32) -> String {
    let known = ERROR_NAMES.iter().find(|(known, _)| *known == code);
    known.map_or_else(|| format!("ZooKeeper error {code}"), |(_, name)| (*name).to_owned())
}

/// Bytes that are no message of ZooKeeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of ZooKeeper that does not parse")]
pub struct Malformed;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Request<'a> {
    /// A node that everybody may read and only its creator may change if it authenticated; `flags` are [`EPHEMERAL`] and
    /// [`SEQUENTIAL`].
    Create {
        path: &'a str,
        data: &'a [u8],
        flags: i32,
        authenticated: bool,
    },
    /// With a watch for the node's creation.
    Exists {
        path: &'a str,
    },
    Data {
        path: &'a str,
    },
    /// Only if the node has this version.
    SetData {
        path: &'a str,
        data: &'a [u8],
        version: i32,
    },
    /// Only if the node has this version.
    Delete {
        path: &'a str,
        version: i32,
    },
    /// With a watch for changes, if so wanted.
    Children {
        path: &'a str,
        watch: bool,
    },
    Ping,
    /// For the scheme `digest`, `user:password`.
    Authenticate {
        scheme: &'a str,
        credentials: &'a [u8],
    },
    Close,
}

/// The head of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Reply {
    pub xid: i32,
    pub error: Option<ServerError>,
    pub body: Bytes,
}

/// The answer to [`connect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The session timeout that the server grants, in milliseconds; zero if it refuses.
    pub timeout: i32,
    /// The session.
    pub session: i64,
}

fn put_buffer(to: &mut BytesMut, bytes: &[u8]) {
    // Requests have paths and contents of a few hundred bytes.
    to.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    to.put_slice(bytes);
}

/// Puts the length before a message.
fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(4 + message.len());
    put_buffer(&mut framed, message);
    framed.freeze()
}

/// The first message of a connection: a new session with this timeout in milliseconds.
pub fn connect(timeout: i32) -> Bytes {
    let mut message = BytesMut::new();
    message.put_i32(0); // protocol version
    message.put_i64(0); // last seen transaction
    message.put_i32(timeout);
    message.put_i64(0); // no session yet
    put_buffer(&mut message, &[0; 16]);
    message.put_u8(0); // not read-only
    frame(&message)
}

/// Encodes a request with its frame.
pub fn encode(xid: i32, request: &Request<'_>) -> Bytes {
    let mut message = BytesMut::new();
    let (xid, operation) = match request {
        Request::Create { .. } => (xid, OP_CREATE),
        Request::Exists { .. } => (xid, OP_EXISTS),
        Request::Data { .. } => (xid, OP_GET_DATA),
        Request::SetData { .. } => (xid, OP_SET_DATA),
        Request::Delete { .. } => (xid, OP_DELETE),
        Request::Children { .. } => (xid, OP_GET_CHILDREN),
        Request::Ping => (XID_PING, OP_PING),
        Request::Authenticate { .. } => (XID_AUTH, OP_AUTH),
        Request::Close => (xid, OP_CLOSE),
    };
    message.put_i32(xid);
    message.put_i32(operation);
    match request {
        Request::Create { path, data, flags, authenticated } => {
            put_buffer(&mut message, path.as_bytes());
            put_buffer(&mut message, data);
            put_acl(&mut message, *authenticated);
            message.put_i32(*flags);
        }
        Request::Exists { path } | Request::Children { path, watch: true } => {
            put_buffer(&mut message, path.as_bytes());
            message.put_u8(1);
        }
        Request::Data { path } | Request::Children { path, watch: false } => {
            put_buffer(&mut message, path.as_bytes());
            message.put_u8(0);
        }
        Request::SetData { path, data, version } => {
            put_buffer(&mut message, path.as_bytes());
            put_buffer(&mut message, data);
            message.put_i32(*version);
        }
        Request::Delete { path, version } => {
            put_buffer(&mut message, path.as_bytes());
            message.put_i32(*version);
        }
        Request::Authenticate { scheme, credentials } => {
            message.put_i32(0);
            put_buffer(&mut message, scheme.as_bytes());
            put_buffer(&mut message, credentials);
        }
        Request::Ping | Request::Close => {}
    }
    frame(&message)
}

/// Everybody may do everything; or everybody may read and the creator do everything.
fn put_acl(to: &mut BytesMut, authenticated: bool) {
    const READ: i32 = 1;
    const ALL: i32 = 31;
    let entries: &[(i32, &str, &str)] = if authenticated {
        &[(READ, "world", "anyone"), (ALL, "auth", "")]
    } else {
        &[(ALL, "world", "anyone")]
    };
    to.put_i32(i32::try_from(entries.len()).unwrap_or_default());
    for (permissions, scheme, id) in entries {
        to.put_i32(*permissions);
        put_buffer(to, scheme.as_bytes());
        put_buffer(to, id.as_bytes());
    }
}

/// Takes a whole frame from received bytes; `None` while it is incomplete.
pub fn take_frame(received: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
    let Some(length) = received.get(..4) else { return Ok(None) };
    let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(Malformed);
    }
    if received.len() < 4 + length {
        return Ok(None);
    }
    received.advance(4);
    Ok(Some(received.split_to(length).freeze()))
}

/// Parses the answer to [`connect`].
pub fn parse_connected(mut frame: Bytes) -> Result<Connected, Malformed> {
    frame.try_get_i32().map_err(|_| Malformed)?;
    let timeout = frame.try_get_i32().map_err(|_| Malformed)?;
    let session = frame.try_get_i64().map_err(|_| Malformed)?;
    Ok(Connected { timeout, session })
}

/// Parses the head of a reply or event.
pub fn parse_reply(mut frame: Bytes) -> Result<Reply, Malformed> {
    let xid = frame.try_get_i32().map_err(|_| Malformed)?;
    frame.try_get_i64().map_err(|_| Malformed)?; // transaction
    let error = match frame.try_get_i32().map_err(|_| Malformed)? {
        0 => None,
        ERROR_NO_NODE => Some(ServerError::NoNode),
        ERROR_NODE_EXISTS => Some(ServerError::NodeExists),
        ERROR_BAD_VERSION => Some(ServerError::BadVersion),
        other => Some(ServerError::Other(other)),
    };
    Ok(Reply { xid, error, body: frame })
}

fn take_buffer(body: &mut Bytes) -> Result<Bytes, Malformed> {
    match body.try_get_i32().map_err(|_| Malformed)? {
        -1 => Ok(Bytes::new()),
        length => match usize::try_from(length) {
            Ok(length) if length <= body.remaining() => Ok(body.split_to(length)),
            _ => Err(Malformed),
        },
    }
}

fn take_string(body: &mut Bytes) -> Result<String, Malformed> {
    String::from_utf8(take_buffer(body)?.to_vec()).map_err(|_| Malformed)
}

/// The body of the reply to [`Request::Children`].
pub fn parse_children(mut body: Bytes) -> Result<Vec<String>, Malformed> {
    let count = body.try_get_i32().map_err(|_| Malformed)?.max(0);
    // Each takes at least its length; the count is not believed.
    let mut children = Vec::new();
    for _ in 0..count {
        children.push(take_string(&mut body)?);
    }
    Ok(children)
}

/// The body of the reply to [`Request::Data`].
pub fn parse_data(mut body: Bytes) -> Result<Bytes, Malformed> {
    take_buffer(&mut body)
}

/// The body of the reply to [`Request::Data`], with the node's version.
pub fn parse_versioned(mut body: Bytes) -> Result<(Bytes, i32), Malformed> {
    let data = take_buffer(&mut body)?;
    // Transactions and times of creation and change.
    if body.remaining() < 32 {
        return Err(Malformed);
    }
    body.advance(32);
    Ok((data, body.try_get_i32().map_err(|_| Malformed)?))
}

/// The body of the reply to [`Request::Create`]: the path with its number.
pub fn parse_path(mut body: Bytes) -> Result<String, Malformed> {
    take_string(&mut body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_encoded_as_zookeeper_expects() {
        let children = encode(7, &Request::Children { path: "/m", watch: true });
        assert_eq!(children.as_ref(), b"\0\0\0\x0f\0\0\0\x07\0\0\0\x08\0\0\0\x02/m\x01");
        assert_eq!(encode(7, &Request::Ping).as_ref(), b"\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b");
        let create = encode(
            1,
            &Request::Create { path: "/a", data: b"d", flags: EPHEMERAL | SEQUENTIAL, authenticated: false },
        );
        let wanted = b"\0\0\0\x32\0\0\0\x01\0\0\0\x01\0\0\0\x02/a\0\0\0\x01d\
            \0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone\0\0\0\x03";
        assert_eq!(create.as_ref(), wanted);
        let set = encode(2, &Request::SetData { path: "/a", data: b"d", version: 3 });
        let wanted = b"\0\0\0\x17\0\0\0\x02\0\0\0\x05\0\0\0\x02/a\0\0\0\x01d\0\0\0\x03";
        assert_eq!(set.as_ref(), wanted);
        let delete = encode(2, &Request::Delete { path: "/a", version: 3 });
        assert_eq!(delete.as_ref(), b"\0\0\0\x12\0\0\0\x02\0\0\0\x02\0\0\0\x02/a\0\0\0\x03");
        // Version, transaction, timeout, session, password, read-only.
        assert_eq!(connect(10_000).len(), 4 + 4 + 8 + 4 + 8 + 4 + 16 + 1);
    }

    #[test]
    fn replies_are_parsed() {
        let reply = parse_reply(Bytes::from_static(b"\0\0\0\x07\0\0\0\0\0\0\0\x09\xff\xff\xff\x9b")).unwrap();
        assert_eq!(reply, Reply { xid: 7, error: Some(ServerError::NoNode), body: Bytes::new() });
        let body = Bytes::from_static(b"\0\0\0\x02\0\0\0\x01a\0\0\0\x02bc");
        assert_eq!(parse_children(body).unwrap(), ["a", "bc"]);
        assert_eq!(parse_data(Bytes::from_static(b"\0\0\0\x01xSTAT")).unwrap(), "x");
        assert_eq!(parse_data(Bytes::from_static(b"\xff\xff\xff\xff")).unwrap(), "");
        let mut versioned = b"\0\0\0\x01x".to_vec();
        versioned.extend([0; 32]);
        assert_eq!(parse_versioned(versioned.clone().into()), Err(Malformed));
        versioned.extend([0, 0, 0, 7]);
        assert_eq!(parse_versioned(versioned.into()).unwrap(), (Bytes::from_static(b"x"), 7));
        let expired = ServerError::Other(-112);
        assert!(expired.is_of_connection() && !ServerError::NoNode.is_of_connection());
        assert_eq!(ServerError::Other(-102).to_string(), "not authenticated");
        assert_eq!(ServerError::Other(-99).to_string(), "ZooKeeper error -99");
        for malformed in [b"".as_slice(), b"\x7f\xff\xff\xff\0\0\0\x01", b"\0\0\0\x01\0\0\0\x09a"] {
            assert_eq!(parse_children(Bytes::copy_from_slice(malformed)), Err(Malformed));
        }
    }

    #[test]
    fn frames_are_bounded() {
        let mut received = BytesMut::from(b"\0\x40\0\x01".as_slice());
        assert_eq!(take_frame(&mut received), Err(Malformed));
        let mut negative = BytesMut::from(b"\xff\xff\xff\xff".as_slice());
        assert_eq!(take_frame(&mut negative), Err(Malformed));
    }

    proptest! {
        /// However a stream is split, its frames are the same, and nothing that a server sends panics.
        #[test]
        fn any_bytes_are_frames_or_errors(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5), cut in 1..20usize) {
            let stream: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
            let mut received = BytesMut::new();
            let mut frames = Vec::new();
            for part in stream.chunks(cut) {
                received.extend_from_slice(part);
                while let Some(frame) = take_frame(&mut received).unwrap() {
                    frames.push(frame.to_vec());
                }
            }
            prop_assert_eq!(&frames, &messages);
            for frame in frames.into_iter().map(Bytes::from) {
                let _ = parse_connected(frame.clone());
                let _ = parse_path(frame.clone());
                let _ = parse_data(frame.clone());
                let _ = parse_versioned(frame.clone());
                let _ = parse_children(frame.clone());
                let _ = parse_reply(frame);
            }
        }
    }
}
