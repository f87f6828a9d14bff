//! Plain HTTP on a port that has TLS only: the client is told so, in the words of Go's HTTP server.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REFUSAL: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// The beginnings of requests that Go's server recognizes.
const BEGINNINGS: [&[u8; 5]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];
/// How long the rest of the request is read. Closing a connection with unread bytes would discard the answer.
const DRAIN_MAX: Duration = Duration::from_millis(500);
/// How much of it is read: more than a usual request with its headers.
const DRAIN_BYTES_MAX: u64 = 256 << 10;

/// Answers a request in plain HTTP. Returns whether there was one; nothing is read otherwise.
pub async fn refuse_plain_http(tcp: &mut TcpStream) -> std::io::Result<bool> {
    let mut first = [0u8; 5];
    if tcp.peek(&mut first[..1]).await? == 0 || first[0] == super::TLS_HANDSHAKE {
        return Ok(false);
    }
    let mut peeked = 1;
    while peeked < first.len() && BEGINNINGS.iter().any(|begins| begins[..peeked] == first[..peeked]) {
        tcp.readable().await?;
        let now = tcp.peek(&mut first).await?;
        if now == peeked {
            // The beginning of a request, and then nothing: wait for more without a busy loop.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        peeked = now;
    }
    if !BEGINNINGS.contains(&&first) {
        return Ok(false);
    }
    tcp.write_all(REFUSAL).await?;
    tcp.shutdown().await?;
    let mut rest = tcp.take(DRAIN_BYTES_MAX);
    let mut nowhere = tokio::io::sink();
    let drained = tokio::io::copy(&mut rest, &mut nowhere);
    let _ = tokio::time::timeout(DRAIN_MAX, drained).await;
    Ok(true)
}
