//! The audit layer. It assigns the request id, opens the audit record before authentication, and closes it when the
//! response body is sent or dropped, or when the upgraded connection ends.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body_util::BodyExt;
use shim_model::status::{self, Status};
use tower::{Layer, Service};

use super::body::{self, Request, Response};
use super::connection_guards::ConnectionGuards;
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

/// A service whose requests are audited.
#[derive(Clone, Debug)]
pub struct Audited<S> {
    pub(super) inner: S,
    layer: AuditLayer,
}

/// A request with its id and, if audit is enabled, its audit record.
#[derive(Debug)]
pub struct AuditedRequest {
    /// The request.
    pub request: Request,
    /// The id of the request.
    pub id: AuditId,
    /// The audit record; `None` if audit is disabled.
    pub audit: Option<Arc<AuditRequest>>,
}

/// Response extension: the handler panicked.
#[derive(Clone, Copy, Debug)]
pub struct Panicked;

impl<S> Service<Request> for Audited<S>
where
    S: Service<AuditedRequest, Response = Response, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response;
    type Error = Infallible;
    type Future = AuditedResponse<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let id = AuditId::of_request(request.headers());
        let audit = self.layer.log.as_ref().map(|log| {
            Arc::new(AuditRequest::open(log, id.clone(), request.uri(), request.headers(), self.layer.peer))
        });
        let handling = self.inner.call(AuditedRequest { request, id: id.clone(), audit: audit.clone() });
        AuditedResponse { handling, id, audit, closing: None }
    }
}

/// The future of an audited response. It allocates only if the request has an audit record.
pub struct AuditedResponse<F> {
    handling: F,
    id: AuditId,
    audit: Option<Arc<AuditRequest>>,
    /// Writes the response to the audit record.
    closing: Option<Pin<Box<dyn Future<Output = Response> + Send>>>,
}

impl<F> Future for AuditedResponse<F>
where
    F: Future<Output = Result<Response, Infallible>> + Unpin,
{
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.closing.is_none() {
            let mut response = ready!(Pin::new(&mut this.handling).poll(context))?;
            response.headers_mut().insert(AUDIT_ID, this.id.to_header());
            let Some(record) = this.audit.as_ref().and_then(|audit| audit.record()).cloned() else {
                return Poll::Ready(Ok(response));
            };
            this.closing = Some(Box::pin(close(record, response)));
        }
        let closing = this.closing.as_mut().expect("invariant: set above");
        closing.as_mut().poll(context).map(Ok)
    }
}

async fn close(record: Arc<AuditRecord>, mut response: Response) -> Response {
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
    if let Some(guards) = ConnectionGuards::find(&response) {
        guards.hold(ending);
        return response;
    }
    response.map(|inner| body::guarded(inner, ending))
}

/// Records the response object if the policy asks for it. As upstream, streams are not recorded.
///
/// # Errors
/// 500 if the response body fails.
pub async fn keep_response(record: &AuditRecord, response: Response) -> Result<Response, Status> {
    if record.level() < Level::RequestResponse || record.is_long_running() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map_err(status::internal)?.to_bytes();
    let decoded = serde_json::from_slice(&bytes).ok();
    if let Some(object) = decoded.or_else(|| shim_model::protobuf::decode_value(&bytes)) {
        record.set_response_object(object);
    }
    Ok(http::Response::from_parts(parts, body::full(bytes)))
}

/// Records the request object if the policy asks for it.
pub async fn keep_request(record: &AuditRecord, request: Request) -> Result<Request, Status> {
    if record.level() < Level::Request || record.is_long_running() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let bytes = body::read(body).await?;
    let decoded = serde_json::from_slice(&bytes).ok();
    let decoded = decoded.or_else(|| shim_model::protobuf::decode_value(&bytes));
    let decoded = decoded.or_else(|| shim_model::schema::plain_yaml(&bytes).ok().filter(|v| v.is_object()));
    if let Some(object) = decoded {
        record.complete_object(&object);
        record.set_request_object(object);
    }
    Ok(http::Request::from_parts(parts, body::full(bytes)))
}
