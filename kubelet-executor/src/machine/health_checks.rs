//! The listeners of Services' health checks: load balancers ask there whether this node has endpoints of a Service.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use executor_core::services::{
    health_checks::{HealthCheck, answer},
    routes::ObjectKey,
};
use http::{HeaderName, HeaderValue, Response, header};
use http_body_util::Full;
use hyper::service::service_fn;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use transport::server::{Peer, ServerOptions, Tls};

/// Connections to one health check: load balancers open one for each question.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take for its question, and be silent.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How many endpoints this node has, for load balancers that send packets in proportion.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// The health checks of this node.
pub(crate) struct HealthChecks {
    /// Where they listen.
    address: IpAddr,
    open: BTreeMap<ObjectKey, OpenCheck>,
    /// Those whose failure was logged.
    has_warned: BTreeSet<ObjectKey>,
    /// Whether the rules are set. Shared with the answers.
    rules_are_set: Arc<AtomicBool>,
}

/// A listener. It is closed when this is dropped.
struct OpenCheck {
    port: u16,
    local_endpoints: Arc<AtomicUsize>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Drop for OpenCheck {
    fn drop(&mut self) {
        self.stop.cancel();
        self.serving.abort();
    }
}

impl HealthChecks {
    pub fn new(address: IpAddr) -> Self {
        Self { address, open: BTreeMap::new(), has_warned: BTreeSet::new(), rules_are_set: Arc::default() }
    }

    /// Opens and closes listeners, and changes what they say. Returns whether all listen that should.
    pub async fn synchronize(
        &mut self,
        wanted: &BTreeMap<ObjectKey, HealthCheck>,
        rules_are_set: bool,
    ) -> bool {
        self.rules_are_set.store(rules_are_set, Ordering::Relaxed);
        let stale =
            |key: &ObjectKey, check: &OpenCheck| wanted.get(key).is_none_or(|new| new.port != check.port);
        let closed: Vec<ObjectKey> =
            self.open.iter().filter(|(key, check)| stale(key, check)).map(|(key, _)| key.clone()).collect();
        for key in closed {
            if let Some(check) = self.open.remove(&key) {
                check.close().await;
            }
        }
        self.has_warned.retain(|key| wanted.contains_key(key));
        let mut complete = true;
        for (key, check) in wanted {
            match self.open.get(key) {
                Some(open) => open.local_endpoints.store(check.local_endpoints, Ordering::Relaxed),
                None => complete &= self.start(key, *check).await,
            }
        }
        complete
    }

    async fn start(&mut self, key: &ObjectKey, check: HealthCheck) -> bool {
        let (namespace, name, port) = (&key.0, &key.1, check.port);
        match TcpListener::bind((self.address, port)).await {
            Ok(listener) => {
                tracing::debug!(namespace, name, port, "the health check of a Service listens");
                self.has_warned.remove(key);
                self.open.insert(key.clone(), self.serve(listener, key, check));
                true
            }
            Err(error) => {
                if self.has_warned.insert(key.clone()) {
                    let address = self.address;
                    tracing::warn!(%error, namespace, name, %address, port, "the health check of a Service cannot listen");
                }
                false
            }
        }
    }

    fn serve(&self, listener: TcpListener, key: &ObjectKey, check: HealthCheck) -> OpenCheck {
        let local_endpoints = Arc::new(AtomicUsize::new(check.local_endpoints));
        let (key, count, rules) = (key.clone(), local_endpoints.clone(), self.rules_are_set.clone());
        let respond = move |_: &Peer| {
            let (key, count, rules) = (key.clone(), count.clone(), rules.clone());
            Ok(service_fn(move |_request| {
                let rules_are_set = rules.load(Ordering::Relaxed);
                let response = response(&key, count.load(Ordering::Relaxed), rules_are_set);
                std::future::ready(Ok::<_, Infallible>(response))
            }))
        };
        let options = ServerOptions {
            first_request_timeout: HEAD_TIMEOUT,
            header_timeout: Some(HEAD_TIMEOUT),
            title_case_headers: true,
            ..ServerOptions::new("health check", CONNECTIONS_MAX)
        };
        let stop = CancellationToken::new();
        let serving = transport::server::serve(listener, Tls::Plain, options, respond, stop.clone());
        OpenCheck { port: check.port, local_endpoints, stop, serving: tokio::spawn(serving) }
    }
}

impl OpenCheck {
    /// Closes the listener: its port is free afterwards.
    async fn close(mut self) {
        self.stop.cancel();
        let _ = (&mut self.serving).await;
    }
}

/// The answer, to any method and path as kube-proxy's.
fn response(key: &ObjectKey, local_endpoints: usize, rules_are_set: bool) -> Response<Full<Bytes>> {
    let (status, body) = answer(key, local_endpoints, rules_are_set);
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status.try_into().expect("invariant: 200 and 503 are status codes");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(WEIGHT, HeaderValue::from(local_endpoints));
    response
}

#[cfg(test)]
mod tests {
    //! Listeners on loopback open, answer, change and close.

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    fn wanted(checks: &[(&str, u16, usize)]) -> BTreeMap<ObjectKey, HealthCheck> {
        let one = |(name, port, count): &(&str, u16, usize)| {
            (("ns".to_owned(), (*name).to_owned()), HealthCheck { port: *port, local_endpoints: *count })
        };
        checks.iter().map(one).collect()
    }

    async fn ask(port: u16) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    /// Two ports that nobody listens on.
    async fn free_ports() -> [u16; 2] {
        let (one, two) = (TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await);
        [one, two].map(|listener| listener.unwrap().local_addr().unwrap().port())
    }

    #[tokio::test]
    async fn listeners_follow_the_services() {
        let [first, second] = free_ports().await;
        let mut checks = HealthChecks::new([127, 0, 0, 1].into());
        assert!(checks.synchronize(&wanted(&[("a", first, 2)]), true).await);
        let answer = ask(first).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
        for header in [
            "Content-Type: application/json",
            "X-Content-Type-Options: nosniff",
            "X-Load-Balancing-Endpoint-Weight: 2",
        ] {
            assert!(answer.contains(&format!("{header}\r\n")), "{answer}");
        }
        assert!(answer.contains("\"localEndpoints\": 2,"), "{answer}");
        // Its last endpoint leaves; another Service comes; then it moves to another port.
        assert!(checks.synchronize(&wanted(&[("a", first, 0), ("b", second, 1)]), true).await);
        assert!(ask(first).await.unwrap().starts_with("HTTP/1.0 503"));
        assert!(ask(second).await.unwrap().contains("\"name\": \"b\""));
        assert!(checks.synchronize(&wanted(&[("a", second, 1)]), false).await);
        assert_eq!(ask(first).await, None);
        assert!(ask(second).await.unwrap().starts_with("HTTP/1.0 503"), "no rules");
        drop(checks);
        tokio::task::yield_now().await;
    }

    #[tokio::test]
    async fn a_taken_port_is_tried_again() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut checks = HealthChecks::new([127, 0, 0, 1].into());
        assert!(!checks.synchronize(&wanted(&[("a", port, 1)]), true).await);
        drop(taken);
        assert!(checks.synchronize(&wanted(&[("a", port, 1)]), true).await);
        assert!(ask(port).await.unwrap().starts_with("HTTP/1.0 200"));
    }
}
