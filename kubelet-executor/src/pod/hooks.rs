//! Runs probes and lifecycle hooks: exec, HTTP, TCP, gRPC, sleep.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use executor_core::{probe::ProbeKind, spec};
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use k8s_openapi::{
    api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Pod, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};
use transport::{
    client::{Client, ClientOptions, dial},
    tls::unverified_client_config,
};

use crate::pod::context::NodeContext;

/// How much of a probe's output is shown.
const OUTPUT_BYTES_MAX: usize = 10 * 1024;

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
pub(crate) async fn probe(target: &Target<'_>, kind: ProbeKind) -> Result<(), String> {
    let Some(probe) = kind.of(target.container) else { return Ok(()) };
    let seconds = probe.timeout_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(1).max(1);
    let timeout = Duration::from_secs(seconds);
    let check = async {
        if let Some(action) = &probe.exec {
            exec(target, action, timeout).await
        } else if let Some(action) = &probe.http_get {
            http_get(target.container, target.ip, action).await
        } else if let Some(action) = &probe.tcp_socket {
            tcp(target, action).await
        } else if let Some(action) = &probe.grpc {
            let address = authority(target.ip, u16::try_from(action.port).unwrap_or(0));
            cri::health::check(&address, action.service.as_deref().unwrap_or_default(), timeout).await
        } else {
            Ok(())
        }
    };
    match tokio::time::timeout(timeout, check).await {
        Ok(result) => result,
        Err(_) => Err(format!("timed out after {seconds}s")),
    }
}

/// Runs a hook to completion.
pub(crate) async fn hook(
    target: &Target<'_>,
    handler: &LifecycleHandler,
    limit: Duration,
) -> Result<(), String> {
    let run = async {
        if let Some(action) = &handler.exec {
            exec(target, action, limit).await
        } else if let Some(action) = &handler.http_get {
            http_get(target.container, target.ip, action).await
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
    let answer = target.context.runtime.exec(target.container_id, command, timeout).await;
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

async fn http_get(container: &Container, ip: &str, action: &HTTPGetAction) -> Result<(), String> {
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(ip);
    let authority = authority(host, port(container, &action.port)?);
    let scheme = if action.scheme.as_deref() == Some("HTTPS") { "https" } else { "http" };
    // A client of its own: like upstream's, a probe never reuses a connection.
    let options = ClientOptions { tls: Some(Arc::new(unverified_client_config)), ..ClientOptions::default() };
    let client = Client::new(options);
    let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let mut path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    for _ in 0..=REDIRECTS_MAX {
        let url = format!("{scheme}://{authority}{path}");
        let mut request = Request::get(&url).header("user-agent", "kube-probe/1.36").header("accept", "*/*");
        let headers = || action.http_headers.iter().flatten();
        if !headers().any(|header| header.name.eq_ignore_ascii_case("host")) {
            request = request.header("host", &authority);
        }
        for header in headers() {
            request = request.header(&header.name, &header.value);
        }
        let request =
            request.header("connection", "close").body(Full::new(Bytes::new())).map_err(|e| e.to_string())?;
        let failed = |e| format!("Get \"{url}\": {e}");
        let response = client.send(request).await.map_err(failed)?;
        let status = response.status().as_u16();
        let redirected = redirect(response.headers(), &authority);
        let _ = Limited::new(response.into_body(), OUTPUT_BYTES_MAX).collect().await;
        match (status, redirected) {
            (301 | 302 | 303 | 307 | 308, Some(redirected)) => path = redirected,
            (200..400, _) => return Ok(()),
            _ => return Err(format!("HTTP probe failed with statuscode: {status}")),
        }
    }
    Err(format!("stopped after {REDIRECTS_MAX} redirects"))
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

/// Resolves a port number or a named port.
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

/// The address for the Pod's probes.
pub(crate) fn address<'a>(context: &'a NodeContext, pod: &Pod, ips: &'a [String]) -> &'a str {
    if spec::spec(pod).host_network == Some(true) {
        return &context.config.node_ip;
    }
    ips.first().map_or(&context.config.node_ip, |ip| ip)
}

#[cfg(test)]
mod tests;
