//! Carrying out probes and lifecycle hooks: commands in the container, HTTP and TCP to the Pod, a pause.

use std::time::Duration;

use bytes::Bytes;
use executor_core::{probe::ProbeKind, spec};
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use k8s_openapi::{
    api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Pod, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{http_client::HttpClient, shared::Shared};

/// The part of a probe's output that is shown.
const OUTPUT_BYTES_MAX: usize = 10 * 1024;

/// What a check is done against.
pub(crate) struct Target<'a> {
    pub shared: &'a Shared,
    pub container: &'a Container,
    pub container_id: &'a str,
    /// The Pod's address.
    pub ip: &'a str,
}

/// Runs a probe once.
pub(crate) async fn probe(target: &Target<'_>, kind: ProbeKind) -> Result<(), String> {
    let Some(probe) = kind.of(target.container) else { return Ok(()) };
    let seconds = probe.timeout_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(1).max(1);
    let timeout = Duration::from_secs(seconds);
    let check = async {
        if let Some(action) = &probe.exec {
            exec(target, action, timeout).await
        } else if let Some(action) = &probe.http_get {
            http_get(target, action).await
        } else if let Some(action) = &probe.tcp_socket {
            tcp(target, action).await
        } else if let Some(action) = &probe.grpc {
            // The protocol needs a second gRPC client here; a listening port is the best that can be said without.
            tcp_connect(target.ip, u16::try_from(action.port).unwrap_or(0)).await
        } else {
            Ok(())
        }
    };
    match tokio::time::timeout(timeout, check).await {
        Ok(result) => result,
        Err(_) => Err(format!("timed out after {seconds}s")),
    }
}

/// Runs a hook to its end.
pub(crate) async fn hook(
    target: &Target<'_>,
    handler: &LifecycleHandler,
    limit: Duration,
) -> Result<(), String> {
    let run = async {
        if let Some(action) = &handler.exec {
            exec(target, action, limit).await
        } else if let Some(action) = &handler.http_get {
            http_get(target, action).await
        } else if let Some(action) = &handler.tcp_socket {
            tcp(target, action).await
        } else if let Some(action) = &handler.sleep {
            tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
            Ok(())
        } else {
            Ok(())
        }
    };
    tokio::time::timeout(limit, run).await.unwrap_or_else(|_| Err(format!("timed out after {limit:?}")))
}

async fn exec(target: &Target<'_>, action: &ExecAction, timeout: Duration) -> Result<(), String> {
    let command = action.command.as_deref().unwrap_or_default();
    let answer = target.shared.runtime.exec(target.container_id, command, timeout).await;
    let answer = answer.map_err(|error| error.message)?;
    if answer.exit_code == 0 {
        return Ok(());
    }
    let mut output = answer.stdout;
    output.extend_from_slice(&answer.stderr);
    output.truncate(OUTPUT_BYTES_MAX);
    let output = String::from_utf8_lossy(&output).trim().to_owned();
    Err(if output.is_empty() { format!("command exited with {}", answer.exit_code) } else { output })
}

async fn http_get(target: &Target<'_>, action: &HTTPGetAction) -> Result<(), String> {
    if action.scheme.as_deref() == Some("HTTPS") {
        // Upstream does not verify the certificate; a handshake says as much as we can say.
        let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(target.ip);
        return tcp_connect(host, port(target.container, &action.port)?).await;
    }
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(target.ip);
    let port = port(target.container, &action.port)?;
    let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut request =
        Request::builder().uri(&path).header("user-agent", "kube-probe/1.36").header("accept", "*/*");
    for header in action.http_headers.iter().flatten() {
        request = request.header(&header.name, &header.value);
    }
    let request =
        request.header("connection", "close").body(Full::new(Bytes::new())).map_err(|e| e.to_string())?;
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let response = HttpClient::new(&authority, None).send(request).await.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    let _ = Limited::new(response.into_body(), OUTPUT_BYTES_MAX).collect().await;
    if (200..400).contains(&status) {
        return Ok(());
    }
    Err(format!("HTTP probe failed with statuscode: {status}"))
}

async fn tcp(target: &Target<'_>, action: &TCPSocketAction) -> Result<(), String> {
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(target.ip);
    tcp_connect(host, port(target.container, &action.port)?).await
}

async fn tcp_connect(host: &str, port: u16) -> Result<(), String> {
    tokio::net::TcpStream::connect((host, port))
        .await
        .map(drop)
        .map_err(|e| format!("dial tcp {host}:{port}: {e}"))
}

/// A port by number, or by the name that the container gives it.
fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => name.parse().ok().or_else(|| {
            let ports = container.ports.as_deref().unwrap_or_default();
            ports.iter().find(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port)
        }),
    };
    let number = number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0);
    number.ok_or_else(|| format!("no such port: {port:?}"))
}

/// The address at which a Pod's probes find it.
pub(crate) fn address<'a>(shared: &'a Shared, pod: &Pod, ips: &'a [String]) -> &'a str {
    if spec::spec(pod).host_network == Some(true) {
        return &shared.config.node_ip;
    }
    ips.first().map_or(&shared.config.node_ip, |ip| ip)
}
