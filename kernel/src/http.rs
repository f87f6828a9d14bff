//! The master's HTTP handlers. This file routes; each family of paths has its own file. [`negotiate`] has the checks
//! that all share, in Mesos' order and with its messages.

pub(crate) mod bodies;
mod change;
mod explain;
mod links;
pub(crate) mod metrics;
pub(crate) mod negotiate;
mod operator;
#[allow(deprecated)] // deprecated calls are still answered
pub(crate) mod operator_parts;
mod operator_view;
pub(crate) mod paths;
pub(crate) mod prometheus;
pub(crate) mod query;
mod reservations;
mod scheduler;
pub(crate) mod shapes;
mod stream;
mod v0;

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{Method, Request, Response, body::Incoming};
use kernel_model::{resources::ConversionKind, scheduler::MasterInfo, time::Time};

use crate::{
    access::{Access, Realm},
    agent_link::{ADDRESS_RANGE_PATH, JOIN_PATH, JoinAuthority, LINK_PATH},
    clock::Clock,
    master_driver::{Counters, MasterQueue},
};
use bodies::BodyBudget;
pub(crate) use transport::server::Peer;
use v0::V0Endpoint;

/// The body of every response.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A response.
pub(crate) type Answer = Response<Body>;

/// The state that all handlers share.
pub(crate) struct Handlers {
    pub(crate) queue: MasterQueue,
    pub(crate) info: MasterInfo,
    pub(crate) heartbeat: Duration,
    pub(crate) flags: Vec<(String, String)>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
    pub(crate) access: Access,
    pub(crate) authority: Option<Arc<dyn JoinAuthority>>,
    pub(crate) bodies: Arc<BodyBudget>,
}

impl Handlers {
    pub(crate) fn started_at(&self) -> Time {
        self.clock.started_at()
    }

    /// Handles a request.
    pub(crate) async fn serve(self: Arc<Self>, peer: Peer, mut request: Request<Incoming>) -> Answer {
        request.extensions_mut().insert(self.bodies.share_of(peer.address.ip()));
        let gzip = negotiate::accepts_gzip(request.headers());
        let path = request.uri().path().to_owned();
        let answer = match canonical(&path) {
            LINK_PATH => links::upgrade(&self, &peer, request).await,
            JOIN_PATH => links::join(&self, &peer, request).await,
            ADDRESS_RANGE_PATH => links::address_range(&self, &peer, request).await,
            path => self.client(path, request).await.unwrap_or_else(|refusal| refusal),
        };
        negotiate::compress(answer, gzip).await
    }

    /// Handles a request of a framework or operator. Each path authenticates in its realm; unknown paths have none.
    async fn client(self: &Arc<Self>, path: &str, request: Request<Incoming>) -> Result<Answer, Answer> {
        let admit = |realm| self.access.admit(realm, request.headers());
        Ok(match paths::resolve(path, route).ok_or_else(negotiate::not_found)? {
            Route::Scheduler => {
                let caller = admit(Realm::MasterScheduler)?;
                scheduler::serve(self, caller, request).await
            }
            Route::Operator => {
                let caller = admit(Realm::MasterReadWrite)?;
                operator::serve(self, &caller, request).await
            }
            Route::Conversion(kind) => {
                let caller = admit(Realm::MasterReadWrite)?;
                reservations::serve(self, kind, &caller, request).await
            }
            Route::Teardown => {
                admit(Realm::MasterReadWrite)?;
                v0::teardown(self, request).await
            }
            Route::Unsupported(methods) => {
                admit(Realm::MasterReadWrite)?;
                negotiate::require_method(&request, methods)?;
                return Err(v0::unsupported(path));
            }
            Route::Endpoint(endpoint) => self.endpoint(path, endpoint, request).await?,
        })
    }

    async fn endpoint(
        &self,
        path: &str,
        endpoint: V0Endpoint,
        request: Request<Incoming>,
    ) -> Result<Answer, Answer> {
        if let Some(realm) = endpoint.realm() {
            self.access.admit(realm, request.headers())?;
        }
        negotiate::require_method(&request, endpoint.methods())?;
        match (endpoint, request.method()) {
            (V0Endpoint::Weights, &Method::PUT) => Ok(v0::put_weights(self, request).await),
            (V0Endpoint::Quota, &Method::POST) => Ok(v0::quota::set(self, request).await),
            (V0Endpoint::Quota, &Method::DELETE) => Ok(v0::quota::remove(self, path).await),
            (V0Endpoint::MaintenanceSchedule, &Method::POST) => Err(v0::unsupported(path)),
            _ => Ok(v0::serve(self, endpoint, &request).await),
        }
    }
}

/// What a path leads to.
enum Route {
    Scheduler,
    Operator,
    Teardown,
    Conversion(ConversionKind),
    /// An endpoint of Mesos that is not implemented, with its methods.
    Unsupported(&'static [&'static str]),
    Endpoint(V0Endpoint),
}

fn route(path: &str) -> Option<Route> {
    Some(match path {
        "/api/v1/scheduler" => Route::Scheduler,
        "/api/v1" => Route::Operator,
        "/teardown" => Route::Teardown,
        "/reserve" => Route::Conversion(ConversionKind::Reserve),
        "/unreserve" => Route::Conversion(ConversionKind::Unreserve),
        "/create-volumes" => Route::Conversion(ConversionKind::Create),
        "/destroy-volumes" => Route::Conversion(ConversionKind::Destroy),
        "/machine/down" | "/machine/up" => Route::Unsupported(&["POST"]),
        "/registrar(1)/registry" => Route::Unsupported(&[]),
        path => Route::Endpoint(v0::endpoint(path)?),
    })
}

/// The path without upstream's process prefix.
fn canonical(path: &str) -> &str {
    match path.strip_prefix("/master") {
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}
