//! A hand-written server of the protocol, and checks against it.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::{
    HeaderMap, Request, Response,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::*;

/// Answers every call with this message and gRPC status.
async fn server(message: &'static [u8], code: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request: Request<Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let mut frame = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
                frame.extend_from_slice(message);
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", code.parse().unwrap());
                let frames = [Frame::data(Bytes::from(frame)), Frame::trailers(trailers)];
                let body = StreamBody::new(futures::stream::iter(frames.map(Ok::<_, Infallible>)));
                let head = Response::builder().header("content-type", "application/grpc");
                Ok::<_, Infallible>(head.body(body).unwrap())
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_server_reports_its_health() {
    assert_eq!(check(&server(&[8, 1], "0").await, "", LIMIT).await, Ok(()));
    let sick = check(&server(&[8, 2], "0").await, "web", LIMIT).await.unwrap_err();
    assert_eq!(sick, "service unhealthy (responded with \"NOT_SERVING\")");
    let other = check(&server(&[], "12").await, "", LIMIT).await.unwrap_err();
    assert!(other.starts_with("error: this server does not implement the grpc health protocol"), "{other}");
}

#[tokio::test]
async fn a_port_that_merely_listens_is_not_healthy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mute = check(&address, "", Duration::from_millis(100)).await.unwrap_err();
    assert!(mute.starts_with("timeout: "), "{mute}");
    drop(listener);
    let closed = check(&address, "", LIMIT).await.unwrap_err();
    assert!(closed.starts_with("error: failed to connect service at"), "{closed}");
}
