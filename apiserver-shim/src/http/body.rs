//! Bodies: what a request carries, read up to a limit, and what a response sends, whole or as a stream.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use shim_model::status::{self, Status};

/// An error of a transport, whatever it is.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A request's or response's body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
/// A response of the facade.
pub type Response = http::Response<Body>;
/// A request to the facade.
pub type Request = http::Request<Body>;

/// Most bytes of a request's body (upstream's default, 3 MiB).
pub const BODY_BYTES_MAX: usize = 3 << 20;
/// How long a client may take to send its body: slow ones must not hold memory for ever.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(30);

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// No body.
pub fn empty() -> Body {
    full(Bytes::new())
}

/// A body that is sent as its parts come.
pub fn stream<S>(parts: S) -> Body
where
    S: futures::Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
{
    use futures::StreamExt;
    StreamBody::new(parts.map(|part| part.map(Frame::data))).boxed_unsync()
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
