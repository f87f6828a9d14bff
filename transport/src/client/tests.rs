//! The client's errors.

use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use super::*;

async fn failure(options: ClientOptions, url: &str) -> ClientError {
    let request = Request::get(url).body(Full::default()).unwrap();
    Client::new(options).send(request).await.unwrap_err()
}

#[tokio::test]
async fn a_refused_connection_reads_as_in_go() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = failure(ClientOptions::default(), &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(error.to_string(), format!("dial tcp 127.0.0.1:{port}: connect: connection refused"));
}

#[tokio::test]
async fn a_server_that_does_not_respond_times_out() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = ClientOptions { response_timeout: Duration::from_millis(50), ..ClientOptions::default() };
    let error = failure(options, &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(error.to_string(), format!("127.0.0.1:{port} did not respond within 50ms"));
}

#[tokio::test]
async fn a_client_without_tls_refuses_https() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let error = failure(ClientOptions::default(), &format!("https://127.0.0.1:{port}/")).await;
    let expected = format!("TLS handshake with 127.0.0.1:{port}: this client has no TLS");
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_uri_without_a_server_is_refused() {
    let error = failure(ClientOptions::default(), "ftp://127.0.0.1/").await;
    assert!(matches!(error, ClientError::Connect(ConnectError::Uri { .. })), "{error}");
}
