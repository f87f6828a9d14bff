//! Forwards requests for group-versions of aggregated API servers. Upstream: kube-aggregator's `handler_proxy.go`.

use http::header::UPGRADE;
use shim_model::status::{self, Status};

use super::body::{Request, Response};
use super::forward::{ForwardError, Onward};
use super::reply;
use crate::aggregation::{Aggregator, RemoteServer, set_user};
use crate::auth::authentication::User;

/// Forwards a request; `None` if this server answers the path.
pub async fn serve(
    aggregator: &Aggregator,
    path: &str,
    user: &User,
    request: impl FnOnce() -> Request,
) -> Option<Result<Response, Status>> {
    let server = aggregator.find_path(path.strip_prefix("/openapi/v3").unwrap_or(path))?;
    // Boxed: the future of every request would have room for this one.
    Some(Box::pin(forward(aggregator, &server, user, request())).await)
}

/// Forwards a request to a server.
pub async fn forward(
    aggregator: &Aggregator,
    server: &RemoteServer,
    user: &User,
    request: Request,
) -> Result<Response, Status> {
    if !server.is_available {
        return Ok(reply::text(503, "service unavailable\n"));
    }
    let upgrades = request.headers().contains_key(UPGRADE);
    let client = match aggregator.client(server, upgrades) {
        Ok(client) => client,
        Err(error) => return Ok(reply::text(500, format!("{error}\n"))),
    };
    let uri = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let authority = server.authority();
    let onward = Onward { uri: format!("https://{authority}{uri}"), authority, prefix: String::new() };
    match onward.send(&client, request, |headers| set_user(headers, user)).await {
        Ok(response) => Ok(response),
        Err(ForwardError::Request(error)) => Err(status::internal(error)),
        Err(ForwardError::Client(error)) => {
            Ok(reply::text(503, format!("error trying to reach service: {error}\n")))
        }
    }
}
