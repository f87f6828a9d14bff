//! The agent's HTTP server: the executor API, reads of the operator API, and the unversioned endpoints that tools still
//! use.
//!
//! This file listens and routes; each family of paths has its own file. Content negotiation and messages are shared
//! with the master (`http::negotiate`).

mod executor_api;
mod executor_stream;
mod files;
mod operator_api;
mod v0;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::{Request, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use kernel_model::ids::{ContainerId, ExecutorId, FrameworkId};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::{
    agent::AgentOptions,
    agent_driver::AgentQueue,
    clock::Clock,
    http::{Answer, negotiate::text},
    runtime::ProcessRuntime,
};

/// Open connections: an executor has one or two, and a machine a few hundred executors.
const CONNECTIONS_MAX: usize = 4096;

/// How long a client has to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The state that all handlers share.
pub(crate) struct Handlers {
    queue: AgentQueue,
    runtime: ProcessRuntime,
    flags: Vec<(String, String)>,
    clock: Clock,
    /// The containers of subscribed executors, added to the statuses that they send.
    containers: Mutex<BTreeMap<(FrameworkId, ExecutorId), ContainerId>>,
    ip: String,
}

impl Handlers {
    pub(crate) fn new(
        queue: AgentQueue,
        runtime: ProcessRuntime,
        options: &AgentOptions,
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
        ];
        let flags = flags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let ip = options.advertise_ip.to_string();
        Arc::new(Self { queue, runtime, flags, clock, containers: Mutex::default(), ip })
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        match canonical(&path) {
            "/api/v1/executor" => executor_api::serve(self, request).await,
            "/api/v1" | "/api/v1/" => operator_api::serve(self, request).await,
            other => v0::serve(self, other, request).await,
        }
    }

    fn containers(&self) -> std::sync::MutexGuard<'_, BTreeMap<(FrameworkId, ExecutorId), ContainerId>> {
        self.containers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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

fn secs(length: Duration) -> String {
    format!("{}secs", length.as_secs_f64())
}

/// Accepts connections until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, handlers: Arc<Handlers>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let handlers = handlers.clone();
                connections.spawn(async move {
                    connection(stream, handlers).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the agent's HTTP server cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, handlers: Arc<Handlers>) {
    // One record per TCP segment: some clients wait for the end of a record.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let handlers = handlers.clone();
        async move { Ok::<_, Infallible>(handlers.answer(request).await) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection to the agent's HTTP server ended");
    }
}
