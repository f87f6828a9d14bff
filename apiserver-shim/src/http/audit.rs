//! The audit layer: gives every request its id, opens its audit before it is authenticated, and closes it when the body of
//! the answer is sent or given up.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use shim_model::status::Status;
use tower::{Layer, Service};

use super::body::{self, Body, BoxError, Request, Response};
use crate::auth::audit::record::Ending;
use crate::auth::audit::{AUDIT_ID, AuditId, AuditLog, AuditRecord, AuditRequest, Level, Stage};

/// Puts [`Audited`] around a service.
#[derive(Clone, Debug, Default)]
pub struct AuditLayer {
    /// The log, if there is a policy.
    pub log: Option<Arc<AuditLog>>,
    /// The other end of the connection.
    pub peer: Option<IpAddr>,
}

impl<S> Layer<S> for AuditLayer {
    type Service = Audited<S>;

    fn layer(&self, inner: S) -> Audited<S> {
        Audited { inner, layer: self.clone() }
    }
}

/// A service whose requests are audited. The inner one finds the [`AuditId`] and, if there is a log, an
/// `Arc<AuditRequest>` among the request's extensions.
#[derive(Clone, Debug)]
pub struct Audited<S> {
    inner: S,
    layer: AuditLayer,
}

/// Marks the answer to a request whose handler panicked.
#[derive(Clone, Copy, Debug)]
pub struct Panicked;

/// An answer that is being made.
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
    // One that was not authenticated has been recorded as started already.
    if code == http::StatusCode::UNAUTHORIZED.as_u16() {
        return response;
    }
    if record.is_long_running() {
        record.write(Stage::ResponseStarted).await;
    }
    let ending = record.ending().await;
    response.map(|inner| AuditedBody { inner, ending: Some(ending) }.boxed_unsync())
}

/// Keeps the object of an answer, if the policy wants it. Streams are not kept, as upstream.
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

/// Keeps the object of a request, if the policy wants it.
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

/// A body whose end is the end of the request.
struct AuditedBody {
    inner: Body,
    ending: Option<Ending>,
}

impl http_body::Body for AuditedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = http_body::Body::poll_frame(Pin::new(&mut self.inner), context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) || http_body::Body::is_end_stream(&self.inner) {
            self.ending = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.inner)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.inner)
    }
}
