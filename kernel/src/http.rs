//! The master's HTTP doors. This file routes; each family of paths has a file of its own, and [`negotiate`] has the checks
//! that all share, in Mesos' order and words.

mod links;
mod metrics;
pub(crate) mod negotiate;
mod operator;
mod operator_view;
mod scheduler;
mod stream;
mod v0;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use kernel_model::{scheduler::MasterInfo, time::Time};

use crate::{
    agent_link::{JOIN_PATH, JoinAuthority, LINK_PATH},
    clock::Clock,
    master_driver::{Counters, MasterQueue},
};
use negotiate::text;

/// The body of every answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An answer.
pub(crate) type Answer = Response<Body>;

/// What all doors share.
pub(crate) struct Doors {
    pub(crate) queue: MasterQueue,
    pub(crate) info: MasterInfo,
    pub(crate) heartbeat: Duration,
    pub(crate) flags: Vec<(String, String)>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
    pub(crate) authority: Option<Arc<dyn JoinAuthority>>,
}

/// Who is at the other end of a connection.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Whether the connection is TLS.
    pub(crate) tls: bool,
    /// The client's verified certificate, DER.
    pub(crate) certificate: Option<Arc<[u8]>>,
}

impl Doors {
    pub(crate) fn started_at(&self) -> Time {
        self.clock.started_at()
    }

    /// Answers one request.
    pub(crate) async fn serve(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        match canonical(&path) {
            "/api/v1/scheduler" => scheduler::serve(&self, request).await,
            "/api/v1" | "/api/v1/" => operator::serve(&self, request).await,
            LINK_PATH => links::upgrade(&self, &peer, request).await,
            JOIN_PATH => links::join(&self, &peer, request).await,
            "/teardown" => v0::teardown(&self, request).await,
            read => self.read(read, request).await,
        }
    }

    async fn read(&self, path: &str, request: Request<Incoming>) -> Answer {
        let path = path.strip_suffix(".json").unwrap_or(path);
        if v0::is_unsupported(path, request.method()) {
            let sentence = format!("{path} is not carried out by this version of Catamaran");
            return text(StatusCode::NOT_IMPLEMENTED, sentence);
        }
        if path == "/weights" && request.method() == Method::PUT {
            return v0::put_weights(self, request).await;
        }
        let Some(page) = v0::page(path) else {
            return text(StatusCode::NOT_FOUND, "");
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD | Method::POST | Method::DELETE) {
            return negotiate::wrong_method(request.method(), &["GET"]);
        }
        v0::serve(self, page, &request).await
    }
}

/// The path without the process prefix that upstream's libraries use.
fn canonical(path: &str) -> &str {
    match path.strip_prefix("/master") {
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}
