//! Requests that are no calls.

use std::net::SocketAddr;

use expect_test::expect;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{shortened, with_neighbour};
use crate::client::{TIMEOUT, send};

const JSON: &str = "POST /api/v1/scheduler HTTP/1.1\r\nContent-Type: application/json";
const PROTOBUF: &str = "POST /api/v1/scheduler HTTP/1.1\r\nContent-Type: application/x-protobuf";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

/// A DECLINE whose filter is this JSON.
fn decline(seconds: &str) -> Vec<u8> {
    format!(
        r#"{{"type":"DECLINE","framework_id":{{"value":"x"}},"decline":{{"offer_ids":[],"filters":{{"refuse_seconds":{seconds}}}}}}}"#
    )
    .into_bytes()
}

fn nested(open: &str, close: &str, levels: usize) -> Vec<u8> {
    format!("{}1{}", open.repeat(levels), close.repeat(levels)).into_bytes()
}

fn rows() -> Vec<(&'static str, String, Vec<u8>)> {
    let gzipped = format!("{JSON}\r\nContent-Encoding: gzip");
    let json = |name, body: Vec<u8>| (name, JSON.to_owned(), body);
    let protobuf = |name, body: Vec<u8>| (name, PROTOBUF.to_owned(), body);
    let typed = |name, content: &str| {
        (name, format!("POST /api/v1/scheduler HTTP/1.1\r\nContent-Type: {content}"), b"{}".to_vec())
    };
    let packed = gzip(br#"{"type":"REVIVE","framework_id":{"value":"x"}}"#);
    vec![
        json("doubled key", br#"{"type":"SUBSCRIBE","type":"REVIVE"}"#.to_vec()),
        json("doubled key, nested", br#"{"type":"REVIVE","framework_id":{"value":"x","value":1}}"#.to_vec()),
        json("arrays in arrays", nested("[", "]", 100_000)),
        json("objects in objects", nested(r#"{"a":"#, "}", 100_000)),
        json("199 levels of nothing", nested(r#"{"a":"#, "}", 199)),
        json("not a number", decline("NaN")),
        json("not a number, as a text", decline("\"NaN\"")),
        json("infinite", decline("1e999")),
        json("infinite, as a text", decline("\"-Infinity\"")),
        json("an array as a number", decline("[[1]]")),
        json("an integer of 400 digits", decline(&"9".repeat(400))),
        json("half a value", br#"{"type":"REVIVE","framework_id":{"va"#.to_vec()),
        json("two values", b"{}{}".to_vec()),
        json("no text", b"\xff\xfe\x00".to_vec()),
        json("half a surrogate", br#"{"type":"REVIVE","framework_id":{"value":"\ud800"}}"#.to_vec()),
        json("an id of NUL", br#"{"type":"REVIVE","framework_id":{"value":"\u0000"}}"#.to_vec()),
        json("an id of a megabyte", {
            format!(r#"{{"type":"REVIVE","framework_id":{{"value":"{}"}}}}"#, "x".repeat(1 << 20))
                .into_bytes()
        }),
        json("an array of empty arrays", format!("[{}[]]", "[],".repeat(1 << 20)).into_bytes()),
        protobuf("JSON", b"{}".to_vec()),
        protobuf("nothing", Vec::new()),
        protobuf("a length beyond the end", vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        protobuf("groups in groups", vec![0x0b; 100_000]),
        protobuf("a varint without end", vec![0xff; 100]),
        protobuf("field 0", vec![0x02, 0x00]),
        protobuf("a text that is none", vec![0x0a, 0x04, 0x0a, 0x02, 0xff, 0xfe, 0x10, 0x0a]),
        typed("a charset", "application/json; charset=utf-8"),
        typed("capitals", "Application/JSON"),
        typed("a record stream", "application/recordio"),
        typed("nothing", ""),
        ("no gzip", gzipped.clone(), b"{}".to_vec()),
        ("half a gzip member", gzipped.clone(), packed[..packed.len() - 4].to_vec()),
        ("two gzip members", gzipped.clone(), packed.repeat(2)),
        ("a gzip bomb", gzipped, gzip(&vec![b' '; 64 << 20])),
        ("an unknown encoding", format!("{JSON}\r\nContent-Encoding: br"), packed),
    ]
}

#[tokio::test]
async fn bodies_that_are_no_calls_are_refused() {
    let (master, mut neighbour) = with_neighbour().await;
    let mut shown = String::new();
    for (name, head, body) in rows() {
        let answer = send(master.mesos_address(), &head, &body).await;
        let status = answer.status;
        shown += &format!("{name}: {status} {}\n", shortened(&answer.text().await).escape_debug());
        neighbour.assert_served().await;
    }
    expect![[r#"
        doubled key: 400 Failed to validate scheduler::Call: Expecting \'framework_id\' to be present
        doubled key, nested: 400 Failed to convert JSON into Call protobuf: Not expecting a JSON number for field \'value\'
        arrays in arrays: 400 Failed to parse body into JSON: syntax error at line 1 near: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[... (199861 bytes)
        objects in objects: 400 Failed to parse body into JSON: syntax error at line 1 near: \"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":... (599061 bytes)
        199 levels of nothing: 400 Failed to validate scheduler::Call: Expecting \'type\' to be present
        not a number: 400 Failed to parse body into JSON: syntax error at line 1 near: NaN}}}
        not a number, as a text: 400 Failed to convert JSON into Call protobuf: Failed to parse \'NaN\' as a JSON number for field \'refuse_seconds\': syntax error at line 1 near: NaN
        infinite: 400 Failed to parse body into JSON: Value out of range
        infinite, as a text: 400 Framework cannot be found
        an array as a number: 400 Failed to convert JSON into Call protobuf: Not expecting a JSON array for field \'refuse_seconds\'
        an integer of 400 digits: 400 Failed to parse body into JSON: Value out of range
        half a value: 400 Failed to parse body into JSON: syntax error at line 1 near: 
        two values: 400 Failed to parse body into JSON: Parsed JSON included non-whitespace trailing characters: {}
        no text: 400 Failed to parse body into JSON: syntax error at line 1 near: ��
        half a surrogate: 400 Failed to parse body into JSON: syntax error at line 1 near: \"}}
        an id of NUL: 400 Framework cannot be found
        an id of a megabyte: 400 Framework cannot be found
        an array of empty arrays: 400 Failed to convert JSON into Call protobuf: Expecting a JSON object
        JSON: 400 Failed to parse body into Call protobuf
        nothing: 400 Failed to validate scheduler::Call: Expecting \'type\' to be present
        a length beyond the end: 400 Failed to parse body into Call protobuf
        groups in groups: 400 Failed to parse body into Call protobuf
        a varint without end: 400 Failed to parse body into Call protobuf
        field 0: 400 Failed to parse body into Call protobuf
        a text that is none: 400 Failed to parse body into Call protobuf
        a charset: 415 Expecting \'Content-Type\' of application/json or application/x-protobuf
        capitals: 415 Expecting \'Content-Type\' of application/json or application/x-protobuf
        a record stream: 415 Expecting \'Content-Type\' of application/json or application/x-protobuf
        nothing: 415 Expecting \'Content-Type\' of application/json or application/x-protobuf
        no gzip: 400 Failed to decompress body
        half a gzip member: 400 Failed to decompress body
        two gzip members: 400 Failed to decompress body
        a gzip bomb: 413 The body is longer than 33554432 bytes
        an unknown encoding: 400 Failed to parse body into JSON: syntax error at line 1 near: ���V*�,HU�R
    "#]].assert_eq(&shown);
    master.shutdown().await;
}

/// Sends bytes, and returns the first line of what comes back; nothing if the connection ends first.
async fn exchange(address: SocketAddr, bytes: &[u8], end: bool) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the master listens");
    // The master may answer before it has read everything.
    let _ = stream.write_all(bytes).await;
    if end {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut answer)).await.expect("an answer in time");
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn requests_that_are_no_http_end_their_connection() {
    let (master, mut neighbour) = with_neighbour().await;
    let head = format!("{JSON}\r\nHost: x\r\nAuthorization: Basic dGVzdDpzZWNyZXQ=\r\nConnection: close");
    let chunked = |chunks: &str| format!("{head}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let endless = format!("{}\r\n{}\r\n", "1000000", " ".repeat(16 << 20)).repeat(3);
    let rows = [
        ("no HTTP", "\x16\x03\x01\x02\x00\x01\r\n\r\n".to_owned(), false),
        ("a head of a megabyte", format!("{head}\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)), false),
        ("a thousand headers", format!("{head}\r\n{}\r\n", "X: x\r\n".repeat(1000)), false),
        ("a length that is none", format!("{head}\r\nContent-Length: -1\r\n\r\n"), false),
        ("two lengths", format!("{head}\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"), false),
        ("a chunk of no size", chunked("zz\r\n{}\r\n0\r\n\r\n"), false),
        ("a chunk of 2^64", chunked("10000000000000000\r\n{}\r\n0\r\n\r\n"), false),
        ("chunks without end", chunked(&endless), false),
        ("half a body", format!("{head}\r\nContent-Length: 100\r\n\r\n{{}}"), true),
        ("half a chunk", chunked("10\r\n{}"), true),
    ];
    let mut shown = String::new();
    for (name, request, end) in rows {
        let answer = exchange(master.mesos_address(), request.as_bytes(), end).await;
        shown += &format!("{name}: {answer}\n");
        neighbour.assert_served().await;
    }
    expect![[r#"
        no HTTP: HTTP/1.1 400 Bad Request
        a head of a megabyte: HTTP/1.1 431 Request Header Fields Too Large
        a thousand headers: HTTP/1.1 431 Request Header Fields Too Large
        a length that is none: HTTP/1.1 400 Bad Request
        two lengths: HTTP/1.1 400 Bad Request
        a chunk of no size: HTTP/1.1 400 Bad Request
        a chunk of 2^64: HTTP/1.1 400 Bad Request
        chunks without end: HTTP/1.1 413 Payload Too Large
        half a body: HTTP/1.1 400 Bad Request
        half a chunk: HTTP/1.1 400 Bad Request
    "#]]
    .assert_eq(&shown);
    master.shutdown().await;
}

/// Bodies that never end keep neither small calls nor large ones of others from being read.
#[tokio::test]
async fn bodies_that_never_end_hold_up_nobody() {
    let (master, mut neighbour) = with_neighbour().await;
    let address = master.mesos_address();
    let head = format!(
        "{JSON}\r\nHost: x\r\nAuthorization: Basic dGVzdDpzZWNyZXQ=\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(address).await.expect("the master listens");
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.write_all(b"100000\r\n").await.expect("sent");
        stream.write_all(&vec![b' '; 512 << 10]).await.expect("sent");
        held.push(stream);
        if held.len() % 20 == 0 {
            neighbour.assert_served().await;
        }
    }
    let ids: Vec<_> = (0..20_000).map(|n| json!({"value": format!("offer-{n}")})).collect();
    let decline = json!({"decline": {"offer_ids": ids}});
    assert_eq!(neighbour.framework.call("DECLINE", decline).await, 202);
    drop(held);
    master.shutdown().await;
}

/// Values of a few bytes of text take many times their size in memory and long to decode: the master goes on meanwhile.
#[tokio::test]
async fn large_bodies_are_decoded_beside_small_ones() {
    const BODIES: usize = 4;
    let (master, mut neighbour) = with_neighbour().await;
    let address = master.mesos_address();
    let mut large = tokio::task::JoinSet::new();
    for _ in 0..BODIES {
        large.spawn(async move {
            let body = format!("[{}1]", "1,".repeat(1 << 18));
            send(address, JSON, body.as_bytes()).await.status
        });
    }
    let mut refused = 0;
    while refused < BODIES {
        neighbour.assert_served().await;
        while let Some(status) = large.try_join_next() {
            assert_eq!(status.expect("no panic"), 400);
            refused += 1;
        }
    }
    master.shutdown().await;
}
