//! `/statusz` and `/flagz` of the node. The settings have the names of the kubelet's flags; they come from the agent, in a file.

use std::collections::BTreeMap;

use exposition::zpages::{self, AVAILABLE, Form, Page, Status, Version, Wanted};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use jiff::Timestamp;
use serde_json::Value;

use super::{Body, StatusError, full};
use crate::config::Config;

/// The component's name, which is the kubelet's: its clients expect this server here.
const COMPONENT: &str = "kubelet";
/// The version of Kubernetes whose kubelet this is.
const EMULATED: &str = "1.36";
/// The paths of the node's server.
const PATHS: [&str; 9] = [
    "/attach",
    "/containerLogs",
    "/exec",
    "/flagz",
    "/healthz",
    "/metrics",
    "/pods",
    "/portForward",
    "/stats",
];

/// Serves a page.
pub(super) fn answer(
    page: Page,
    headers: &HeaderMap,
    config: &Config,
) -> Result<Response<Body>, StatusError> {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let form = zpages::negotiate(page, accept.flat_map(Wanted::parse)).ok_or_else(|| {
        let available = AVAILABLE.join(", ");
        let why = format!("only the following media types are accepted: {available}");
        StatusError::new(StatusCode::NOT_ACCEPTABLE, why)
    })?;
    let now = Timestamp::now().as_second();
    let paths = PATHS.map(str::to_owned);
    let status = Status {
        component: COMPONENT,
        started: exposition::process_start().unwrap_or(now),
        now,
        version: env!("CARGO_PKG_VERSION"),
        emulated: EMULATED,
        paths: &paths,
    };
    let object = |version: Version| -> Value {
        match page {
            Page::Statusz => status.object(version),
            Page::Flagz => zpages::flags_object(COMPONENT, &settings(config), version),
        }
    };
    let (text, version) = match (form, page) {
        // JSON is YAML, too.
        (Form::Json(version) | Form::Yaml(version), _) => (format!("{:#}\n", object(version)), Some(version)),
        (Form::Text, Page::Statusz) => (status.text(), None),
        (Form::Text, Page::Flagz) => (zpages::flags_text(COMPONENT, &settings(config)), None),
    };
    let mut response = Response::new(full(text));
    if let Ok(media_type) = HeaderValue::from_str(&form.media_type(page)) {
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    }
    let warning = version.and_then(|version| version.warning(page)).map(|text| format!("299 - \"{text}\""));
    if let Some(Ok(warning)) = warning.map(|text| HeaderValue::from_str(&text)) {
        response.headers_mut().insert(header::WARNING, warning);
    }
    Ok(response)
}

/// The node's settings. None of them is secret: keys and certificates are files.
fn settings(config: &Config) -> BTreeMap<String, String> {
    let path = |path: &std::path::Path| path.display().to_string();
    let grace = config.stop_grace_max_ms.map(|millis| format!("{}s", millis.div_ceil(1000)));
    let settings = [
        ("allowed-unsafe-sysctls", config.allowed_unsafe_sysctls.join(",")),
        ("client-ca-file", path(&config.ca_file)),
        ("container-runtime-endpoint", config.cri_endpoint.clone().unwrap_or_default()),
        ("eviction-hard", config.eviction_hard.clone().unwrap_or_default()),
        ("hostname-override", config.node_name.clone()),
        ("node-ip", config.node_ip.clone()),
        ("pod-cidr", config.pod_cidr.clone().unwrap_or_default()),
        ("pod-infra-container-image", config.sandbox_image.clone()),
        ("root-dir", path(&config.root_dir)),
        ("shutdown-grace-period", grace.unwrap_or_default()),
        ("tls-cert-file", path(&config.cert_file)),
        ("tls-private-key-file", path(&config.key_file)),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
