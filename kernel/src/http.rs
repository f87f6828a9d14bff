//! The master's HTTP handlers. This file routes; each family of paths has its own file. [`negotiate`] has the checks
//! that all share, in Mesos' order and with its messages.

mod links;
mod metrics;
pub(crate) mod negotiate;
mod operator;
mod operator_view;
pub(crate) mod prometheus;
mod scheduler;
mod stream;
mod v0;

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use kernel_model::{scheduler::MasterInfo, time::Time};

use crate::{
    access::{Access, Realm},
    agent_link::{ADDRESS_RANGE_PATH, JOIN_PATH, JoinAuthority, LINK_PATH},
    clock::Clock,
    master_driver::{Counters, MasterQueue},
};
use negotiate::text;
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
}

impl Handlers {
    pub(crate) fn started_at(&self) -> Time {
        self.clock.started_at()
    }

    /// Handles a request.
    pub(crate) async fn serve(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        match canonical(&path) {
            LINK_PATH => links::upgrade(&self, &peer, request).await,
            JOIN_PATH => links::join(&self, &peer, request).await,
            ADDRESS_RANGE_PATH => links::address_range(&self, &peer, request).await,
            path => self.client(path, request).await.unwrap_or_else(|refusal| refusal),
        }
    }

    /// Handles a request of a framework or operator. Each path authenticates in its realm; unknown paths have none.
    async fn client(self: &Arc<Self>, path: &str, request: Request<Incoming>) -> Result<Answer, Answer> {
        let admit = |realm| self.access.admit(realm, request.headers());
        Ok(match path {
            "/api/v1/scheduler" => {
                let caller = admit(Realm::MasterScheduler)?;
                scheduler::serve(self, caller, request).await
            }
            "/api/v1" | "/api/v1/" => {
                admit(Realm::MasterReadWrite)?;
                operator::serve(self, request).await
            }
            "/teardown" => {
                admit(Realm::MasterReadWrite)?;
                v0::teardown(self, request).await
            }
            read => self.read(read, request).await?,
        })
    }

    async fn read(&self, path: &str, request: Request<Incoming>) -> Result<Answer, Answer> {
        let path = path.strip_suffix(".json").unwrap_or(path);
        let admit = |realm| self.access.admit(realm, request.headers());
        if v0::is_unsupported(path, request.method()) {
            admit(Realm::MasterReadWrite)?;
            let sentence = format!("{path} is not carried out by this version of Catamaran");
            return Err(text(StatusCode::NOT_IMPLEMENTED, sentence));
        }
        let Some(endpoint) = v0::endpoint(path) else {
            return Err(text(StatusCode::NOT_FOUND, ""));
        };
        if let Some(realm) = endpoint.realm() {
            admit(realm)?;
        }
        if endpoint == V0Endpoint::Weights && request.method() == Method::PUT {
            return Ok(v0::put_weights(self, request).await);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD | Method::POST | Method::DELETE) {
            return Err(negotiate::wrong_method(request.method(), &["GET"]));
        }
        Ok(v0::serve(self, endpoint, &request).await)
    }
}

/// The path without upstream's process prefix.
fn canonical(path: &str) -> &str {
    match path.strip_prefix("/master") {
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}
