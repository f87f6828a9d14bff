//! The unversioned endpoints that dashboards and exporters read: `/state`, `/slaves`, `/metrics/snapshot` and others.

mod shapes;

use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use kernel_core::master::OperatorCall;
use kernel_model::roles::Role;
use kernel_wire::{Invalid, codec::from_json, operator as operator_wire, v1::WeightInfo};
use serde_json::{Map, Value, json};

use super::{
    Answer, Handlers, metrics,
    negotiate::{self, text, with_header},
    prometheus,
};
use crate::access::Realm;

/// An unversioned endpoint of the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum V0Endpoint {
    Health,
    Version,
    Flags,
    Metrics,
    Prometheus,
    State,
    StateSummary,
    Slaves,
    Frameworks,
    Tasks,
    Roles,
    Weights,
    Quota,
    MaintenanceStatus,
    MaintenanceSchedule,
    SystemStatistics,
    /// The master serves no files: Mesos' has at most its log.
    FilesDebug,
    Files,
    Redirect,
}

impl V0Endpoint {
    /// The realm that clients authenticate in; `None` for the endpoints that Mesos leaves open.
    pub(super) fn realm(self) -> Option<Realm> {
        match self {
            V0Endpoint::Health | V0Endpoint::Version | V0Endpoint::Redirect => None,
            V0Endpoint::Weights | V0Endpoint::Quota | V0Endpoint::MaintenanceSchedule => {
                Some(Realm::MasterReadWrite)
            }
            V0Endpoint::Flags
            | V0Endpoint::Metrics
            | V0Endpoint::Prometheus
            | V0Endpoint::State
            | V0Endpoint::StateSummary
            | V0Endpoint::Slaves
            | V0Endpoint::Frameworks
            | V0Endpoint::Tasks
            | V0Endpoint::Roles
            | V0Endpoint::MaintenanceStatus
            | V0Endpoint::FilesDebug
            | V0Endpoint::Files
            | V0Endpoint::SystemStatistics => Some(Realm::MasterReadOnly),
        }
    }
}

impl V0Endpoint {
    /// The methods that it answers; empty means all.
    pub(super) fn methods(self) -> &'static [&'static str] {
        match self {
            V0Endpoint::Flags | V0Endpoint::MaintenanceStatus => &["GET"],
            V0Endpoint::MaintenanceSchedule => &["GET", "POST"],
            V0Endpoint::Weights => &["GET", "PUT"],
            V0Endpoint::Quota => &["GET", "POST", "DELETE"],
            _ => &[],
        }
    }
}

/// The endpoint of a path without prefix.
pub(super) fn endpoint(path: &str) -> Option<V0Endpoint> {
    Some(match path {
        "/health" => V0Endpoint::Health,
        "/version" => V0Endpoint::Version,
        "/flags" => V0Endpoint::Flags,
        "/metrics/snapshot" => V0Endpoint::Metrics,
        "/metrics" => V0Endpoint::Prometheus,
        "/state" => V0Endpoint::State,
        "/state-summary" => V0Endpoint::StateSummary,
        "/slaves" => V0Endpoint::Slaves,
        "/frameworks" => V0Endpoint::Frameworks,
        "/tasks" => V0Endpoint::Tasks,
        "/roles" => V0Endpoint::Roles,
        "/weights" => V0Endpoint::Weights,
        "/quota" => V0Endpoint::Quota,
        "/maintenance/status" => V0Endpoint::MaintenanceStatus,
        "/maintenance/schedule" => V0Endpoint::MaintenanceSchedule,
        "/system/stats" => V0Endpoint::SystemStatistics,
        "/files/debug" => V0Endpoint::FilesDebug,
        "/files/browse" | "/files/read" | "/files/download" => V0Endpoint::Files,
        "/redirect" => V0Endpoint::Redirect,
        _ => return None,
    })
}

/// 501 for an endpoint of Mesos that is not implemented.
pub(super) fn unsupported(path: &str) -> Answer {
    text(StatusCode::NOT_IMPLEMENTED, format!("{path} is not carried out by this version of Catamaran"))
}

/// Sets weights, in the same form as a GET returns them.
pub(super) async fn put_weights(handlers: &Handlers, request: Request<Incoming>) -> Answer {
    let body = match negotiate::read_body(request.into_body()).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    match weights(&body) {
        Ok(weights) => match handlers.queue.operator(OperatorCall::UpdateWeights { weights }).await {
            Ok(_) => text(StatusCode::OK, ""),
            Err(call_error) => negotiate::call_error(call_error),
        },
        Err(why) => text(StatusCode::BAD_REQUEST, why),
    }
}

/// The weights of a body, or Mesos' message.
fn weights(body: &[u8]) -> Result<Vec<(Role, f64)>, String> {
    let shown = String::from_utf8_lossy(body);
    let wrong =
        |why: &dyn std::fmt::Display| format!("Failed to parse update weights request JSON '{shown}': {why}");
    let list = match kernel_wire::json::parse(body) {
        Ok(Value::Array(list)) => list,
        Ok(_) => return Err(wrong(&"Unexpected JSON type parsed")),
        Err(why) => return Err(wrong(&why)),
    };
    let infos = list.iter().map(from_json::<WeightInfo>).collect::<Result<Vec<_>, _>>();
    let infos =
        infos.map_err(|why| format!("Failed to convert weights JSON array to protobuf '{shown}': {why}"))?;
    operator_wire::weights_from_wire(infos).map_err(|Invalid(why)| why)
}

/// Handles a read.
pub(super) async fn serve(handlers: &Handlers, endpoint: V0Endpoint, request: &Request<Incoming>) -> Answer {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    match endpoint {
        V0Endpoint::Health => return text(StatusCode::OK, handlers.access.health()),
        V0Endpoint::Redirect => {
            let mut response = Response::new(negotiate::full(""));
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            let location = format!("//{}:{}", handlers.info.hostname, handlers.info.port);
            return with_header(response, header::LOCATION, &location);
        }
        V0Endpoint::Files => {
            return match query.get("path").is_some_and(|path| !path.is_empty()) {
                true => text(StatusCode::NOT_FOUND, ""),
                false => text(StatusCode::BAD_REQUEST, "Expecting 'path=value' in query.\n"),
            };
        }
        V0Endpoint::Prometheus => {
            return match metrics::snapshot(handlers).await {
                Ok(all) => prometheus::response(all, request.headers()),
                Err(_) => negotiate::stopped(),
            };
        }
        _ => {}
    }
    let Ok(value) = value(handlers, endpoint, &query).await else { return negotiate::stopped() };
    let Ok(body) = tokio::task::spawn_blocking(move || value.to_string()).await else {
        return negotiate::stopped();
    };
    match query.get("jsonp") {
        Some(function) => {
            negotiate::ok("text/javascript", format!("{function}({body});").into(), request.headers())
        }
        None => negotiate::ok("application/json", body.into(), request.headers()),
    }
}

/// Terminates a framework, named by the form field `frameworkId`.
pub(super) async fn teardown(handlers: &Handlers, request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        return negotiate::wrong_method(request.method(), &["POST"]);
    }
    let body = match negotiate::read_body(request.into_body()).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let body = String::from_utf8_lossy(&body);
    if let Some(why) = malformed_escape(&body) {
        return text(StatusCode::BAD_REQUEST, format!("Unable to decode query string: {why}"));
    }
    let form = Query::parse(&body);
    let Some(id) = form.get("frameworkId") else {
        return text(StatusCode::BAD_REQUEST, "Missing 'frameworkId' query parameter in the request body");
    };
    match handlers.queue.operator(OperatorCall::Teardown { framework_id: id.into() }).await {
        Ok(_) => text(StatusCode::OK, ""),
        Err(call_error) => negotiate::call_error(call_error),
    }
}

async fn value(
    handlers: &Handlers,
    endpoint: V0Endpoint,
    query: &Query,
) -> Result<Value, crate::master_driver::Stopped> {
    let query = query.clone();
    Ok(match endpoint {
        V0Endpoint::Version => {
            json!({ "version": handlers.info.version, "build_date": "", "build_time": 0.0, "build_user": "" })
        }
        V0Endpoint::Flags => json!({ "flags": shapes::flags(&handlers.flags) }),
        V0Endpoint::Metrics => {
            let all = metrics::snapshot(handlers).await?;
            Value::Object(all.into_iter().map(|(name, value)| (name, json!(value))).collect::<Map<_, _>>())
        }
        V0Endpoint::State => {
            let (flags, started) = (shapes::flags(&handlers.flags), handlers.started_at());
            handlers.queue.view(move |master| shapes::state(master, flags, started)).await?
        }
        V0Endpoint::StateSummary => handlers.queue.view(shapes::state_summary).await?,
        V0Endpoint::Slaves => {
            handlers.queue.view(move |master| shapes::slaves(master, query.get("slave_id"))).await?
        }
        V0Endpoint::Frameworks => {
            handlers.queue.view(move |master| shapes::frameworks(master, query.get("framework_id"))).await?
        }
        V0Endpoint::Tasks => handlers.queue.view(move |master| shapes::tasks(master, &query)).await?,
        V0Endpoint::Roles => handlers.queue.view(shapes::roles).await?,
        V0Endpoint::Quota | V0Endpoint::FilesDebug => json!({}),
        V0Endpoint::MaintenanceStatus | V0Endpoint::MaintenanceSchedule => json!({}),
        V0Endpoint::SystemStatistics => metrics::system_statistics(),
        V0Endpoint::Weights => handlers.queue.view(shapes::weights).await?,
        V0Endpoint::Health | V0Endpoint::Redirect | V0Endpoint::Prometheus | V0Endpoint::Files => Value::Null,
    })
}

/// The decoded parameters of a query.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Mesos' message for a percent sign without two hexadecimal digits.
fn malformed_escape(form: &str) -> Option<String> {
    let parts = form.split(['&', ';', '=']);
    let mut escapes = parts.flat_map(|part| part.match_indices('%').map(move |(at, _)| (part, at)));
    let (part, at) = escapes.find(|(part, at)| {
        let digits = part.as_bytes().get(at + 1..at + 3);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })?;
    let escape: String = part[at..].chars().take(3).collect();
    Some(format!("Malformed % escape in '{part}': '{escape}'"))
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        let hex = more
            .get(..2)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match (byte, hex) {
            (b'%', Some(decoded)) => {
                bytes.push(decoded);
                rest = &more[2..];
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
