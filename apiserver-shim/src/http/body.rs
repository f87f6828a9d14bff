//! Request and response bodies: reading with a size limit, and sending in one piece or as a stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use shim_model::status::{self, Status};

/// A boxed error of any transport.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A request or response body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
/// A response of the API server.
pub type Response = http::Response<Body>;
/// A request to the API server.
pub type Request = http::Request<Body>;

/// Maximum size of a request body (upstream's default, 3 MiB).
pub const BODY_BYTES_MAX: usize = 3 << 20;
/// Time limit for receiving a request body; slow clients must not hold memory forever.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(30);

/// A body of the given bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// An empty body.
pub fn empty() -> Body {
    full(Bytes::new())
}

/// A body that streams its parts.
pub fn stream<S>(parts: S) -> Body
where
    S: futures::Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
{
    use futures::StreamExt;
    StreamBody::new(parts.map(|part| part.map(Frame::data))).boxed_unsync()
}

/// A body that drops `guard` when it ends or is dropped.
pub fn guarded(body: Body, guard: impl Send + Unpin + 'static) -> Body {
    Guarded { body, guard: Some(guard) }.boxed_unsync()
}

/// Reads a body to its end.
pub async fn read(mut body: Body) -> Result<Bytes, Status> {
    let reading = async {
        let mut first = Bytes::new();
        let mut rest: Option<BytesMut> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| status::bad_request(format!("unable to read the body: {e}")))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = data.len() + rest.as_ref().map_or(first.len(), BytesMut::len);
            if length > BODY_BYTES_MAX {
                return Err(status::too_large(BODY_BYTES_MAX));
            }
            match &mut rest {
                Some(buffer) => buffer.extend_from_slice(&data),
                None if first.is_empty() => first = data,
                None => {
                    let mut buffer = BytesMut::with_capacity(length * 2);
                    buffer.extend_from_slice(&first);
                    buffer.extend_from_slice(&data);
                    rest = Some(buffer);
                }
            }
        }
        Ok(rest.map_or(first, BytesMut::freeze))
    };
    match tokio::time::timeout(BODY_WAIT_MAX, reading).await {
        Ok(read) => read,
        Err(_) => Err(status::timeout("request body did not arrive within the allotted time", 0)),
    }
}

struct Guarded<G> {
    body: Body,
    guard: Option<G>,
}

impl<G: Unpin> http_body::Body for Guarded<G> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = http_body::Body::poll_frame(Pin::new(&mut self.body), context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) || http_body::Body::is_end_stream(&self.body) {
            self.guard = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}
