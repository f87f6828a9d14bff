//! Client of a master's v1 API in protobuf: responses whole, or record by record.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use kernel_wire::{codec::ContentType, recordio::Decoder};
use transport::client::{Client, ClientOptions};

use super::DriverError;
use crate::access::Credential;

/// How long a master may take to begin its response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest record, and the longest whole response: the state of a large cluster.
const RESPONSE_BYTES_MAX: usize = 512 << 20;

/// The records of a streamed response.
pub(super) struct RecordStream {
    response: Response<Incoming>,
    decoder: Decoder,
}

impl RecordStream {
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

/// Posts to one master. Clones share connections.
#[derive(Clone)]
pub(super) struct MasterClient {
    client: Client,
    /// `host:port`.
    master: Arc<str>,
    /// The header `Authorization`.
    authorization: Option<Arc<str>>,
}

impl MasterClient {
    pub(super) fn new(master: impl Into<String>) -> Self {
        let options = ClientOptions { response_timeout: RESPONSE_TIMEOUT, ..ClientOptions::default() };
        Self { client: Client::new(options), master: master.into().into(), authorization: None }
    }

    pub(super) fn with_credential(self, credential: &Credential) -> Self {
        Self { authorization: Some(credential.basic().into()), ..self }
    }

    /// Posts a protobuf body and returns the whole body of the response.
    pub(super) async fn call(
        &self,
        path: &str,
        stream: Option<&str>,
        body: Bytes,
    ) -> Result<Bytes, DriverError> {
        whole(self.post(path, stream, body).await?).await
    }

    /// Posts a protobuf body and reads the response record by record.
    pub(super) async fn open(&self, path: &str, body: Bytes) -> Result<RecordStream, DriverError> {
        let response = self.post(path, None, body).await?;
        Ok(RecordStream { response, decoder: Decoder::new(RESPONSE_BYTES_MAX) })
    }

    /// The head of a successful response.
    async fn post(
        &self,
        path: &str,
        stream: Option<&str>,
        body: Bytes,
    ) -> Result<Response<Incoming>, DriverError> {
        let mut request = Request::post(format!("http://{}{path}", self.master))
            .header(header::CONTENT_TYPE, ContentType::Protobuf.as_str())
            .header(header::ACCEPT, ContentType::Protobuf.as_str());
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, &**authorization);
        }
        if let Some(stream) = stream {
            request = request.header("Mesos-Stream-Id", stream);
        }
        let request = request.body(Full::new(body)).map_err(unreachable)?;
        let response = self.client.send(request).await.map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = whole(response).await?;
        let text = format!("{status}: {}", String::from_utf8_lossy(&text));
        Err(match status.is_client_error() {
            true if status != StatusCode::REQUEST_TIMEOUT => DriverError::Refused(text),
            _ => DriverError::Unreachable(text),
        })
    }
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, DriverError> {
    let body = Limited::new(response.into_body(), RESPONSE_BYTES_MAX).collect().await;
    Ok(body.map_err(unreachable)?.to_bytes())
}

pub(super) fn unreachable(error: impl ToString) -> DriverError {
    DriverError::Unreachable(error.to_string())
}
