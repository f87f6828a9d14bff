//! Validation of probes and life-cycle hooks.

use serde_json::Value;
use shim_model::access::{self, Members};
use shim_model::field::{At, FieldError};
use shim_model::names;

const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const HOOKS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];

/// Validates a container's probes.
pub(super) fn validate(container: &Members<'_>, at: At<'_>, errors: &mut Vec<FieldError>) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(kind) else { continue };
        let at = format_args!("{at}.{kind}");
        handler(probe, at, &HANDLERS, errors);
        for key in
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            if let Some(n) = access::int(probe, &[key]).filter(|n| *n < 0) {
                errors.push(FieldError::invalid(
                    format!("{at}.{key}"),
                    n,
                    "must be greater than or equal to 0",
                ));
            }
        }
        let grace = access::int(probe, &["terminationGracePeriodSeconds"]);
        let at_grace = format_args!("{at}.terminationGracePeriodSeconds");
        if let Some(grace) = grace.filter(|grace| *grace <= 0) {
            errors.push(FieldError::invalid(at_grace, grace, "must be greater than 0"));
        }
        if let Some(grace) = grace.filter(|_| kind == "readinessProbe") {
            errors.push(FieldError::invalid(at_grace, grace, "must not be set for readinessProbes"));
        }
        let successes = access::int(probe, &["successThreshold"]).unwrap_or(1);
        if kind != "readinessProbe" && successes != 1 {
            errors.push(FieldError::invalid(format!("{at}.successThreshold"), successes, "must be 1"));
        }
    }
}

/// Validates a container's hooks. `grace` is the Pod's grace period.
pub(super) fn lifecycle(
    container: &Members<'_>,
    at: At<'_>,
    grace: Option<i64>,
    errors: &mut Vec<FieldError>,
) {
    let Some(hooks) = container.get("lifecycle") else { return };
    for hook in ["postStart", "preStop"] {
        if let Some(h) = hooks.get(hook) {
            let others = HOOKS[..3].iter().any(|kind| h.get(*kind).is_some());
            handler(h, format_args!("{at}.lifecycle.{hook}"), &HOOKS, errors);
            if others {
                continue;
            }
            let (seconds, grace) = (access::int(h, &["sleep", "seconds"]), grace.unwrap_or(i64::MAX));
            if let Some(seconds) = seconds.filter(|seconds| *seconds < 0 || *seconds > grace) {
                let detail =
                    format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                errors.push(FieldError::invalid(format!("{at}.lifecycle.{hook}.sleep"), seconds, detail));
            }
        }
    }
}

fn handler(value: &Value, at: At<'_>, kinds: &[&str], errors: &mut Vec<FieldError>) {
    let mut found = 0;
    for kind in kinds {
        let Some(action) = value.get(*kind) else { continue };
        let at = format_args!("{at}.{kind}");
        found += 1;
        if found > 1 {
            errors.push(FieldError::forbidden(at, "may not specify more than 1 handler type"));
            continue;
        }
        match *kind {
            "exec" if access::list(action, &["command"]).is_empty() => {
                errors.push(FieldError::required(format!("{at}.command"), ""));
            }
            "httpGet" => http_get(action, at, errors),
            "tcpSocket" => port(&action["port"], format_args!("{at}.port"), errors),
            "grpc" => {
                let n = access::int(action, &["port"]).unwrap_or(0);
                errors.extend(
                    names::port_number(n)
                        .into_iter()
                        .map(|d| FieldError::invalid(format!("{at}.port"), n, d)),
                );
            }
            _ => {}
        }
    }
    if found == 0 {
        errors.push(FieldError::required(at, "must specify a handler type"));
    }
}

fn http_get(action: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    if access::text(action, &["path"]).is_empty() {
        errors.push(FieldError::required(format!("{at}.path"), ""));
    }
    port(&action["port"], format_args!("{at}.port"), errors);
    let scheme = access::text(action, &["scheme"]);
    if !["HTTP", "HTTPS"].contains(&scheme) {
        errors.push(FieldError::not_supported(format!("{at}.scheme"), scheme, &["HTTP", "HTTPS"]));
    }
    for header in access::list(action, &["httpHeaders"]) {
        const WHY: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
        let name = access::text(header, &["name"]);
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            errors.push(FieldError::invalid(format!("{at}.httpHeaders"), name, WHY));
        }
    }
}

/// Validates a port number or name.
fn port(port: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    match port {
        Value::String(name) => errors
            .extend(names::port_name(name).into_iter().map(|d| FieldError::invalid(at, name.as_str(), d))),
        other => {
            let n = other.as_i64().unwrap_or(0);
            errors.extend(names::port_number(n).into_iter().map(|d| FieldError::invalid(at, n, d)));
        }
    }
}
