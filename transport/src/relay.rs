//! Relays an upgraded connection between a client and a server.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Read size.
const BUFFER_BYTES: usize = 32 << 10;
/// How long a client may take to close after its server has.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Copies bytes in both directions until either side closes.
///
/// A server may end while the client still sends: a command that does not read all of its input, for instance. Then the
/// rest of the input is read and discarded. A connection that is closed with unread input is reset, and the client would
/// lose what it has not received yet: the exit code.
pub async fn relay<C, S>(client: C, server: S)
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let outward = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::select! {
        () = forward(&mut from_client, &mut to_server) => return,
        () = outward => {}
    }
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, discard(&mut from_client)).await;
}

/// Copies until the client closes; discards what the server no longer reads.
async fn forward(from_client: &mut (impl AsyncRead + Unpin), to_server: &mut (impl AsyncWrite + Unpin)) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        let written = match to_server.write_all(&buffer[..read]).await {
            Ok(()) => to_server.flush().await,
            Err(error) => Err(error),
        };
        if written.is_err() {
            return discard(from_client).await;
        }
    }
}

/// Reads until the end.
async fn discard(from_client: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(1..) = from_client.read(&mut buffer).await {}
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A connected pair of sockets.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    /// More than the sockets' buffers hold.
    const MUCH: usize = 32 << 20;

    #[tokio::test]
    async fn the_servers_last_bytes_arrive_although_it_does_not_read_the_input() {
        let (client, near) = pair().await;
        let (far, mut server) = pair().await;
        let relayed = tokio::spawn(relay(near, far));
        let (mut read, mut write) = client.into_split();
        let input = tokio::spawn(async move { write.write_all(&vec![1; MUCH]).await });
        let mut five = [0; 5];
        server.read_exact(&mut five).await.unwrap();
        server.write_all(&five).await.unwrap();
        // With unread input, this resets the connection to the relay.
        drop(server);
        let mut output = Vec::new();
        read.read_to_end(&mut output).await.unwrap();
        assert_eq!(output, five);
        input.await.unwrap().expect("the rest of the input is discarded");
        drop(read);
        relayed.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_closes_ends_the_relay() {
        let (client, near) = pair().await;
        let (far, mut server) = pair().await;
        let relayed = tokio::spawn(relay(near, far));
        drop(client);
        relayed.await.unwrap();
        assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
