//! The audit layer. It assigns the request id, opens the audit record before authentication, and closes it when the
//! response body is sent or dropped.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use shim_model::status::Status;
use tower::{Layer, Service};

use super::body::{self, Request, Response};
use crate::auth::audit::{AUDIT_ID, AuditId, AuditLog, AuditRecord, AuditRequest, Level, Stage};

/// Wraps a service in [`Audited`].
#[derive(Clone, Debug, Default)]
pub struct AuditLayer {
    /// The audit log; `None` if audit is disabled.
    pub log: Option<Arc<AuditLog>>,
    /// The client's address.
    pub peer: Option<IpAddr>,
}

impl<S> Layer<S> for AuditLayer {
    type Service = Audited<S>;

    fn layer(&self, inner: S) -> Audited<S> {
        Audited { inner, layer: self.clone() }
    }
}

/// A service whose requests are audited. The inner service finds the [`AuditId`] in the request's extensions and, if
/// audit is enabled, an `Arc<AuditRequest>`.
#[derive(Clone, Debug)]
pub struct Audited<S> {
    inner: S,
    layer: AuditLayer,
}

/// Response extension: the handler panicked.
#[derive(Clone, Copy, Debug)]
pub struct Panicked;

/// The future of a response.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl<S> Service<Request> for Audited<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future = Answering>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let id = AuditId::of_request(request.headers());
        let opened = self.layer.log.as_ref().map(|log| {
            Arc::new(AuditRequest::open(log, id.clone(), request.uri(), request.headers(), self.layer.peer))
        });
        if let Some(opened) = &opened {
            request.extensions_mut().insert(opened.clone());
        }
        request.extensions_mut().insert(id.clone());
        let answering = self.inner.call(request);
        Box::pin(async move {
            let mut response = answering.await?;
            response.headers_mut().insert(AUDIT_ID, id.to_header());
            Ok(match opened.as_ref().and_then(|opened| opened.record()) {
                Some(record) => close(record, response).await,
                None => response,
            })
        })
    }
}

async fn close(record: &Arc<AuditRecord>, mut response: Response) -> Response {
    let status = response.extensions_mut().remove::<Arc<Status>>();
    let code = response.status().as_u16();
    record.respond(code, status.as_deref());
    if response.extensions_mut().remove::<Panicked>().is_some() {
        record.write(Stage::Panic).await;
        return response;
    }
    // The `ResponseStarted` event of a failed authentication has been written already.
    if code == http::StatusCode::UNAUTHORIZED.as_u16() {
        return response;
    }
    if record.is_long_running() {
        record.write(Stage::ResponseStarted).await;
    }
    let ending = record.ending().await;
    response.map(|inner| body::guarded(inner, ending))
}

/// Records the response object if the policy asks for it. As upstream, streams are not recorded.
pub async fn keep_response(record: &AuditRecord, response: Response) -> Response {
    if record.level() < Level::RequestResponse || record.is_long_running() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default();
    if let Ok(object) = serde_json::from_slice(&bytes) {
        record.set_response_object(object);
    }
    http::Response::from_parts(parts, body::full(bytes))
}

/// Records the request object if the policy asks for it.
pub async fn keep_request(record: &AuditRecord, request: Request) -> Result<Request, Status> {
    if record.level() < Level::Request || record.is_long_running() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let bytes = body::read(body).await?;
    let decoded = serde_json::from_slice(&bytes).ok();
    let decoded = decoded.or_else(|| shim_model::schema::plain_yaml(&bytes).ok().filter(|v| v.is_object()));
    if let Some(object) = decoded {
        record.complete_object(&object);
        record.set_request_object(object);
    }
    Ok(http::Request::from_parts(parts, body::full(bytes)))
}
