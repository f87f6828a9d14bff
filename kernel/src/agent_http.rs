//! The agent's HTTP server: the executor API, the operator API, and the unversioned endpoints that tools still
//! use.
//!
//! This file listens and routes; each family of paths has its own file. Content negotiation and messages are shared
//! with the master (`http::negotiate`).

mod attach;
mod container_calls;
mod containers;
mod executor_api;
mod executor_stream;
mod file_pages;
mod file_pool;
mod files;
mod media_types;
mod mime_types;
mod operator_api;
mod statistics;
mod v0;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::{Request, StatusCode, body::Incoming, service::service_fn};
use kernel_model::ids::{ContainerId, ExecutorId, FrameworkId};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use transport::server::{Peer, Tls};

use crate::{
    access::{Access, RunAsPolicy, executor_tokens::ExecutorTokens},
    agent::AgentOptions,
    agent_driver::AgentQueue,
    clock::Clock,
    http::{
        Answer,
        negotiate::{accepts_gzip, compress, not_found, text},
        paths,
    },
    runtime::Runtime,
    server::server_options,
};

/// Open connections: an executor has one or two, and a machine a few hundred executors.
const CONNECTIONS_MAX: usize = 4096;

/// The state that all handlers share.
pub(crate) struct Handlers {
    queue: AgentQueue,
    runtime: Runtime,
    flags: Vec<(String, String)>,
    clock: Clock,
    /// The containers of subscribed executors, added to the statuses that they send.
    containers: Mutex<BTreeMap<(FrameworkId, ExecutorId), ContainerId>>,
    ip: String,
    access: Access,
    /// Which users the callers of the operator API may run containers as.
    run_as: RunAsPolicy,
    tokens: ExecutorTokens,
    files: file_pool::FilePool,
}

impl Handlers {
    pub(crate) fn new(
        queue: AgentQueue,
        runtime: Runtime,
        options: &AgentOptions,
        tokens: ExecutorTokens,
        clock: Clock,
    ) -> Arc<Self> {
        let flags = [
            ("hostname", options.hostname.clone()),
            ("ip", options.listen.ip().to_string()),
            ("advertise_ip", options.advertise_ip.to_string()),
            ("port", options.listen.port().to_string()),
            ("work_dir", options.work_dir.display().to_string()),
            ("resources", options.resources.clone().unwrap_or_default()),
            ("executor_registration_timeout", secs(options.executor_registration_timeout)),
            ("executor_reregistration_timeout", secs(options.executor_reregistration_timeout)),
            ("resource_estimator", printed(options.oversubscription.estimator.as_ref())),
            ("qos_controller", printed(options.oversubscription.controller.as_ref())),
            ("oversubscribed_resources_interval", secs(options.oversubscription.estimate_every)),
            ("qos_correction_interval_min", secs(options.oversubscription.correct_every)),
        ];
        let flags = flags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let ip = options.advertise_ip.to_string();
        let access = options.access.clone();
        let anonymous_root = access.anonymous_root();
        let run_as = RunAsPolicy { anonymous_root, ..options.run_as.clone() };
        let (containers, files) = Default::default();
        Arc::new(Self { queue, runtime, flags, clock, containers, ip, access, run_as, tokens, files })
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Answer {
        let gzip = accepts_gzip(request.headers());
        compress(self.route(request).await, gzip).await
    }

    async fn route(self: &Arc<Self>, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let Some(route) = paths::resolve(canonical(&path), route) else { return not_found() };
        match route {
            Route::Executor => executor_api::serve(self, request).await,
            Route::Operator => operator_api::serve(self, request).await,
            Route::Page(page) => v0::serve(self, page, request).await,
        }
    }

    fn containers(&self) -> std::sync::MutexGuard<'_, BTreeMap<(FrameworkId, ExecutorId), ContainerId>> {
        self.containers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What a path leads to.
enum Route {
    Executor,
    Operator,
    Page(&'static str),
}

fn route(path: &str) -> Option<Route> {
    match path {
        "/api/v1/executor" => Some(Route::Executor),
        "/api/v1" => Some(Route::Operator),
        path => v0::page(path).map(Route::Page),
    }
}

/// The path without upstream's process prefix, escaped or not.
fn canonical(path: &str) -> &str {
    const PREFIXES: [&str; 3] = ["/slave(1)", "/slave%281%29", "/slave"];
    let rest = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix));
    rest.filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

/// 503: the agent has stopped.
fn agent_stopped() -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, "The agent is not running")
}

fn printed(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

fn secs(length: Duration) -> String {
    format!("{}secs", length.as_secs_f64())
}

/// Serves connections until the task is aborted.
pub(crate) async fn serve(listener: TcpListener, handlers: Arc<Handlers>) {
    let make_service = move |_: &Peer| {
        let handlers = handlers.clone();
        Ok(service_fn(move |request: Request<Incoming>| {
            let handlers = handlers.clone();
            async move { Ok::<_, Infallible>(handlers.answer(request).await) }
        }))
    };
    let options = server_options("agent", CONNECTIONS_MAX);
    // Dropped with this task, the token's guard closes the connections.
    let stop = CancellationToken::new();
    let _closes = stop.clone().drop_guard();
    transport::server::serve(listener, Tls::Plain, options, make_service, stop).await;
}
