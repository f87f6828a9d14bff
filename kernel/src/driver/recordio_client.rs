//! A client of the v1 API in protobuf: one connection per request, with whole or RecordIO responses.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::TokioIo;
use kernel_wire::{codec::ContentType, recordio::Decoder};
use tokio::net::TcpStream;

use super::DriverError;

/// The longest record and response: the state of a large cluster.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// The records of a response.
pub(super) struct Records {
    response: Response<Incoming>,
    decoder: Decoder,
}

impl Records {
    /// The next record; `None` at the end of the stream, clean or not.
    pub(super) async fn next_record(&mut self) -> Option<Bytes> {
        loop {
            match self.decoder.next_record() {
                Ok(Some(record)) => return Some(record),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a stream of the master does not parse");
                    return None;
                }
            }
            match self.response.body_mut().frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.decoder.push(data);
                    }
                }
                Some(Err(_)) | None => return None,
            }
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }
}

/// Posts a protobuf body and returns the response's head; any status but success is an error.
async fn post(
    master: &str,
    path: &str,
    stream: Option<&str>,
    body: Bytes,
) -> Result<Response<Incoming>, DriverError> {
    let tcp = TcpStream::connect(master).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.map_err(unreachable)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the master ended");
        }
    });
    let mut request = Request::post(path)
        .header(header::HOST, master)
        .header(header::CONTENT_TYPE, ContentType::Protobuf.as_str())
        .header(header::ACCEPT, ContentType::Protobuf.as_str());
    if let Some(stream) = stream {
        request = request.header("Mesos-Stream-Id", stream);
    }
    let request = request.body(Full::new(body)).map_err(unreachable)?;
    let response = sender.send_request(request).await.map_err(unreachable)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = read_body(response).await?;
    let text = format!("{status}: {}", String::from_utf8_lossy(&text));
    Err(match status.is_client_error() {
        true if status != StatusCode::REQUEST_TIMEOUT => DriverError::Refused(text),
        _ => DriverError::Unreachable(text),
    })
}

/// Posts and reads the whole response.
pub(super) async fn ask(
    master: &str,
    path: &str,
    stream: Option<&str>,
    body: Bytes,
) -> Result<Bytes, DriverError> {
    read_body(post(master, path, stream, body).await?).await
}

/// Posts and reads the response record by record.
pub(super) async fn open(master: &str, path: &str, body: Bytes) -> Result<Records, DriverError> {
    let response = post(master, path, None, body).await?;
    Ok(Records { response, decoder: Decoder::new(ANSWER_BYTES_MAX) })
}

async fn read_body(response: Response<Incoming>) -> Result<Bytes, DriverError> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok(body.map_err(unreachable)?.to_bytes())
}

pub(super) fn unreachable(error: impl ToString) -> DriverError {
    DriverError::Unreachable(error.to_string())
}
