//! Priority and fairness of HTTP requests: the seats of a request are held until its response is complete, those of a watch until
//! its initial events are sent. Streams to Pods and Services need no seats.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{HeaderName, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

use super::body::{self, Body, BoxError, Response};
use super::deadline::Deadline;
use super::reply;
use crate::flow_control::{Asking, Classification, Cost, FlowControl, Refused, Seats};
use crate::request::info::RequestInfo;
use crate::storage::catalog::ServedResource;

const FLOW_SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const PRIORITY_LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// How long a watch may hold its seats: initial events are written within milliseconds where the client reads.
const WATCH_BEGIN_MAX: Duration = Duration::from_secs(5);

/// A classified request, with its seats unless it was refused.
pub struct Admitted {
    class: Classification,
    seats: Option<Seats>,
    is_watch: bool,
}

/// Waits until a request may be served. `admitted` receives its class and seats. Returns the response of a refusal.
pub async fn enter(
    flow: &FlowControl,
    asking: Asking<'_>,
    (info, resource, deadline): (&RequestInfo, Option<&Arc<ServedResource>>, Deadline),
    admitted: &mut Option<Admitted>,
) -> Result<(), Response> {
    let is_watch = info.verb == "watch";
    if info.is_long_running() && !is_watch {
        return Ok(());
    }
    let Some(class) = flow.classify(asking) else { return Ok(()) };
    let entered = flow.enter(&class, asking, cost(info, resource), deadline.of_wait()).await;
    let (seats, refused) = match entered {
        Ok(seats) => (Some(seats), Ok(())),
        Err(refused) => (None, Err(too_many(refused))),
    };
    *admitted = Some(Admitted { class, seats, is_watch });
    refused
}

/// What a request costs: a list, or a watch that begins with the present objects, as many seats as it has objects to read.
fn cost(info: &RequestInfo, resource: Option<&Arc<ServedResource>>) -> Cost {
    let begins_with_list = || match info.query.get("sendInitialEvents") {
        Some(_) => info.query.flag("sendInitialEvents"),
        None => matches!(info.query.text("resourceVersion"), "" | "0"),
    };
    let lists = match info.verb {
        "list" => true,
        "watch" => begins_with_list(),
        _ => false,
    };
    let store =
        resource.filter(|_| lists && info.selected_name().is_empty()).and_then(|resource| resource.store());
    let Some(store) = store else { return Cost::Single };
    let objects = store.cache().len();
    let limit = info.query.text("limit").parse::<usize>().ok().filter(|limit| *limit > 0);
    Cost::List(limit.map_or(objects, |limit| limit.min(objects)))
}

fn too_many(refused: Refused) -> Response {
    let mut response = reply::text(429, "Too many requests, please try again later.\n");
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RETRY_AFTER, HeaderValue::from(refused.retry_after));
    response
}

/// Names the schema and the level in the response, and returns the seats when the response is complete.
pub fn finish(admitted: Option<Admitted>, mut response: Response) -> Response {
    let Some(Admitted { class, seats, is_watch }) = admitted else { return response };
    let headers = response.headers_mut();
    headers.insert(FLOW_SCHEMA_UID, class.flow_schema_uid().clone());
    headers.insert(PRIORITY_LEVEL_UID, class.priority_level_uid().clone());
    let Some(seats) = seats else { return response };
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| match is_watch {
        true => UntilBegun { body, seats: held(seats) }.boxed_unsync(),
        false => body::guarded(body, seats),
    })
}

/// A body that returns the seats when it has nothing to send for the first time.
struct UntilBegun {
    body: Body,
    seats: HeldSeats,
}

type HeldSeats = Arc<Mutex<Option<Seats>>>;

/// Seats that are returned after [`WATCH_BEGIN_MAX`] at the latest: the body of a client that does not read is not polled.
fn held(seats: Seats) -> HeldSeats {
    let held = Arc::new(Mutex::new(Some(seats)));
    let late = Arc::downgrade(&held);
    tokio::spawn(async move {
        tokio::time::sleep(WATCH_BEGIN_MAX).await;
        if let Some(held) = late.upgrade() {
            release(&held);
        }
    });
    held
}

fn release(held: &HeldSeats) {
    held.lock().expect("invariant: no holder of the lock panics").take();
}

impl http_body::Body for UntilBegun {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if !matches!(frame, Poll::Ready(Some(Ok(_)))) {
            release(&self.seats);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
