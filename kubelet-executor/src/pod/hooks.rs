//! Runs probes (exec, HTTP, TCP, gRPC) and lifecycle hooks (exec, HTTP, sleep).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use executor_core::{
    action::EventRecord,
    probe::{ProbeFailure, ProbeKind},
    spec,
};
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use k8s_openapi::{
    api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Pod, Probe, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};
use transport::{
    client::{Client, ClientError, ClientOptions, ConnectError, dial},
    tls::unverified_client_config,
};

use crate::pod::context::NodeContext;

/// How much of a probe's output is shown.
const OUTPUT_BYTES_MAX: usize = 10 * 1024;

const PROBE_AGENT: &str = "kube-probe/1.36";

/// Upstream's limit of redirects.
const REDIRECTS_MAX: usize = 10;

/// The container that a probe or hook addresses.
pub(crate) struct Target<'a> {
    pub context: &'a NodeContext,
    pub container: &'a Container,
    pub container_id: &'a str,
    pub ip: &'a str,
}

/// Runs a probe once.
pub(crate) async fn probe(target: &Target<'_>, kind: ProbeKind) -> Result<(), ProbeFailure> {
    let Some(probe) = kind.of(target.container) else { return Ok(()) };
    let seconds = probe.timeout_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(1).max(1);
    let timeout = Duration::from_secs(seconds);
    let check = async {
        if let Some(action) = &probe.exec {
            let result = exec(target, action, timeout).await;
            result.map_err(|failure| failure.of_probe(|| late(target, probe, seconds)))
        } else if let Some(action) = &probe.http_get {
            port(target.container, &action.port).map_err(ProbeFailure::Errored)?;
            http_probe(target.container, target.ip, action).await.map_err(ProbeFailure::Failed)
        } else if let Some(action) = &probe.tcp_socket {
            port(target.container, &action.port).map_err(ProbeFailure::Errored)?;
            tcp(target, action).await.map_err(ProbeFailure::Failed)
        } else if let Some(action) = &probe.grpc {
            let address = authority(target.ip, u16::try_from(action.port).unwrap_or(0));
            let service = action.service.as_deref().unwrap_or_default();
            cri::health::check(&address, service, timeout).await.map_err(ProbeFailure::Failed)
        } else {
            Ok(())
        }
    };
    let done = tokio::time::timeout(timeout, check).await;
    done.unwrap_or_else(|_| Err(ProbeFailure::Failed(late(target, probe, seconds))))
}

/// What upstream says of a probe whose time is over.
fn late(target: &Target<'_>, probe: &Probe, seconds: u64) -> String {
    if let Some(action) = &probe.exec {
        let command = action.command.as_deref().unwrap_or_default().join(" ");
        format!("command timed out: {command:?} timed out after {seconds}s")
    } else if let Some(action) = &probe.http_get {
        let get = HttpGet { container: target.container, ip: target.ip, action, agent: PROBE_AGENT };
        let url = get.authority().map(|authority| format!("{}://{authority}{}", scheme(action), get.path()));
        let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        format!("Get \"{}\": {why}", url.unwrap_or_default())
    } else if let Some(action) = &probe.tcp_socket {
        let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(target.ip);
        let port = port(target.container, &action.port).unwrap_or(0);
        format!("dial tcp {}: i/o timeout", authority(host, port))
    } else {
        format!("timed out after {seconds}s")
    }
}

/// Why a hook did not succeed.
#[derive(Debug)]
pub(crate) enum HookFailure {
    /// With upstream's message.
    Failed(String),
    /// Its time was over. Upstream does not report this.
    TimedOut,
}

/// Runs a hook to completion.
pub(crate) async fn hook(
    target: &Target<'_>,
    pod: &Arc<Pod>,
    handler: &LifecycleHandler,
    limit: Duration,
) -> Result<(), HookFailure> {
    let failed = |kind: String, error: String| {
        let (container, pod) = (&target.container.name, spec::full_name(pod));
        format!("{kind} for Container \"{container}\" in Pod \"{pod}\" failed - error: {error}")
    };
    let run = async {
        if let Some(action) = &handler.exec {
            let command = action.command.as_deref().unwrap_or_default();
            let result = exec(target, action, limit).await;
            result.map_err(|failure| {
                let kind = format!("Exec lifecycle hook ([{}])", command.join(" "));
                let output = failure.output();
                format!("{}, message: {output:?}", failed(kind, failure.to_string()))
            })
        } else if let Some(action) = &handler.http_get {
            http_hook(target, pod, action).await.map_err(|error| {
                failed(format!("HTTP lifecycle hook ({})", action.path.as_deref().unwrap_or_default()), error)
            })
        } else if let Some(action) = &handler.sleep {
            tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
            Ok(())
        } else {
            // As upstream: tcpSocket is in the API for probes, and fails as a hook.
            Err("Cannot run handler: invalid handler".to_owned())
        }
    };
    match tokio::time::timeout(limit, run).await {
        Ok(result) => result.map_err(HookFailure::Failed),
        Err(_) => Err(HookFailure::TimedOut),
    }
}

/// A command in a container that did not succeed.
#[derive(Debug, thiserror::Error)]
enum ExecFailure {
    #[error("{0}")]
    Runtime(#[from] cri::Error),
    #[error("command '{command}' exited with {code}: {stderr}")]
    Exited { command: String, code: i32, stdout: String, stderr: String },
}

impl ExecFailure {
    fn output(&self) -> String {
        match self {
            Self::Runtime(_) => String::new(),
            Self::Exited { stdout, stderr, .. } => {
                let mut output = format!("{stdout}{stderr}");
                output.truncate(output.floor_char_boundary(OUTPUT_BYTES_MAX));
                output
            }
        }
    }

    /// The failure of a probe: the command's output as it is, which may be nothing, as upstream.
    fn of_probe(self, late: impl FnOnce() -> String) -> ProbeFailure {
        let output = self.output();
        match self {
            Self::Runtime(error) if error.kind == cri::ErrorKind::DeadlineExceeded => {
                ProbeFailure::Failed(late())
            }
            Self::Runtime(error) => ProbeFailure::Errored(error.message),
            Self::Exited { .. } => ProbeFailure::Failed(output),
        }
    }
}

async fn exec(target: &Target<'_>, action: &ExecAction, timeout: Duration) -> Result<(), ExecFailure> {
    let command = action.command.as_deref().unwrap_or_default();
    let answer = target.context.runtime.exec(target.container_id, command, timeout).await?;
    if answer.exit_code == 0 {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Err(ExecFailure::Exited {
        command: command.join(" "),
        code: answer.exit_code,
        stdout: text(&answer.stdout),
        stderr: text(&answer.stderr),
    })
}

async fn http_probe(container: &Container, ip: &str, action: &HTTPGetAction) -> Result<(), String> {
    let get = HttpGet { container, ip, action, agent: PROBE_AGENT };
    match get.send(scheme(action)).await {
        Ok(200..400) => Ok(()),
        Ok(status) => Err(format!("HTTP probe failed with statuscode: {status}")),
        Err(failure) => Err(failure.message),
    }
}

/// Every response counts as success. A server without TLS is asked again over plain HTTP.
async fn http_hook(target: &Target<'_>, pod: &Arc<Pod>, action: &HTTPGetAction) -> Result<(), String> {
    let get = HttpGet { container: target.container, ip: target.ip, action, agent: "kube-lifecycle/1.36" };
    let failure = match get.send(scheme(action)).await {
        Ok(_) => return Ok(()),
        Err(failure) => failure,
    };
    if !failure.without_tls || get.send("http").await.is_err() {
        return Err(failure.message);
    }
    let host = get.authority()?;
    target.context.recorder.record(
        pod,
        EventRecord {
            container: None,
            warning: true,
            reason: "LifecycleHTTPFallback",
            message: format!(
                "request to HTTPS lifecycle hook {host} got HTTP response, retry with HTTP succeeded"
            ),
        },
    );
    Ok(())
}

fn scheme(action: &HTTPGetAction) -> &'static str {
    if action.scheme.as_deref() == Some("HTTPS") { "https" } else { "http" }
}

/// The GET request of a probe or hook.
struct HttpGet<'a> {
    container: &'a Container,
    ip: &'a str,
    action: &'a HTTPGetAction,
    agent: &'static str,
}

/// Why there is no response.
struct HttpFailure {
    message: String,
    /// The TLS handshake failed; certificates are not verified.
    without_tls: bool,
}

impl From<String> for HttpFailure {
    fn from(message: String) -> Self {
        Self { message, without_tls: false }
    }
}

impl HttpGet<'_> {
    fn authority(&self) -> Result<String, String> {
        let host = self.action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(self.ip);
        Ok(authority(host, port(self.container, &self.action.port)?))
    }

    fn path(&self) -> String {
        let path = self.action.path.as_deref().unwrap_or_default();
        if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
    }

    /// Sends the request, follows redirects, and returns the status of the last response.
    async fn send(&self, scheme: &str) -> Result<u16, HttpFailure> {
        let authority = self.authority()?;
        // A client of its own: like upstream's, a probe never reuses a connection.
        let options =
            ClientOptions { tls: Some(Arc::new(unverified_client_config)), ..ClientOptions::default() };
        let client = Client::new(options);
        let mut path = self.path();
        for _ in 0..=REDIRECTS_MAX {
            let url = format!("{scheme}://{authority}{path}");
            let response =
                client.send(self.request(&url, &authority)?).await.map_err(|error| HttpFailure {
                    message: format!("Get \"{url}\": {error}"),
                    without_tls: matches!(error, ClientError::Connect(ConnectError::Tls { .. })),
                })?;
            let status = response.status().as_u16();
            let redirected = redirect(response.headers(), &authority);
            let _ = Limited::new(response.into_body(), OUTPUT_BYTES_MAX).collect().await;
            match (status, redirected) {
                (301 | 302 | 303 | 307 | 308, Some(redirected)) => path = redirected,
                _ => return Ok(status),
            }
        }
        Err(format!("stopped after {REDIRECTS_MAX} redirects").into())
    }

    fn request(&self, url: &str, authority: &str) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::get(url).header("user-agent", self.agent).header("accept", "*/*");
        let headers = || self.action.http_headers.iter().flatten();
        if !headers().any(|header| header.name.eq_ignore_ascii_case("host")) {
            request = request.header("host", authority);
        }
        for header in headers() {
            request = request.header(&header.name, &header.value);
        }
        request.header("connection", "close").body(Full::new(Bytes::new())).map_err(|e| e.to_string())
    }
}

/// The target of a redirect on the same server. Redirects to other servers are not followed; any answer of this one
/// counts as success.
fn redirect(headers: &http::HeaderMap, authority: &str) -> Option<String> {
    let location = headers.get(http::header::LOCATION)?.to_str().ok()?;
    let there: http::Uri = location.parse().ok()?;
    let here = there.authority().is_none_or(|other| other.as_str() == authority);
    here.then(|| there.path_and_query().map_or("/", |path| path.as_str()).to_owned())
        .filter(|path| path.starts_with('/'))
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

async fn tcp(target: &Target<'_>, action: &TCPSocketAction) -> Result<(), String> {
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(target.ip);
    tcp_connect(host, port(target.container, &action.port)?).await
}

async fn tcp_connect(host: &str, port: u16) -> Result<(), String> {
    dial(host, port).await.map(drop).map_err(|error| error.to_string())
}

/// Resolves a port number or a named port; the error is upstream's.
fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            match ports.find(|port| port.name.as_ref() == Some(name)) {
                Some(port) => port.container_port,
                None => {
                    name.parse().map_err(|_| format!("strconv.Atoi: parsing {name:?}: invalid syntax"))?
                }
            }
        }
    };
    let port = u16::try_from(number).ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("invalid port number: {number}"))
}

/// The address for the Pod's probes.
pub(crate) fn address<'a>(context: &'a NodeContext, pod: &Pod, ips: &'a [String]) -> &'a str {
    if spec::spec(pod).host_network == Some(true) {
        return &context.host_ip;
    }
    ips.first().map_or(&context.host_ip, |ip| ip)
}

#[cfg(test)]
mod tests;
