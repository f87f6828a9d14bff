//! The unversioned endpoints that dashboards and exporters read: `/state`, `/slaves`, `/metrics/snapshot` and others.

pub(super) mod quota;
mod shapes;

use hyper::{Request, Response, StatusCode, body::Incoming, header};
use kernel_core::master::OperatorCall;
use kernel_model::roles::Role;
use kernel_wire::{Invalid, codec::from_json, operator as operator_wire, v1::WeightInfo};
use serde_json::{Map, Value, json};

use super::{
    Answer, Handlers, change, explain, metrics,
    negotiate::{self, text, with_header},
    prometheus,
    query::{self, Query},
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
    FilesBrowse,
    FilesRead,
    FilesDownload,
    LoggingToggle,
    Redirect,
    /// Not of Mesos: why something waits.
    Explain,
}

impl V0Endpoint {
    /// The realm that clients authenticate in; `None` for the endpoints that Mesos leaves open.
    pub(super) fn realm(self) -> Option<Realm> {
        match self {
            V0Endpoint::Health | V0Endpoint::Version | V0Endpoint::Redirect => None,
            V0Endpoint::Weights
            | V0Endpoint::Quota
            | V0Endpoint::MaintenanceSchedule
            | V0Endpoint::LoggingToggle => Some(Realm::MasterReadWrite),
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
            | V0Endpoint::FilesBrowse
            | V0Endpoint::FilesRead
            | V0Endpoint::FilesDownload
            | V0Endpoint::Explain
            | V0Endpoint::SystemStatistics => Some(Realm::MasterReadOnly),
        }
    }
}

impl V0Endpoint {
    /// The methods that it answers; empty means all.
    pub(super) fn methods(self) -> &'static [&'static str] {
        match self {
            V0Endpoint::Flags | V0Endpoint::MaintenanceStatus | V0Endpoint::Explain => &["GET"],
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
        path if path.starts_with("/quota/") => V0Endpoint::Quota,
        "/maintenance/status" => V0Endpoint::MaintenanceStatus,
        "/maintenance/schedule" => V0Endpoint::MaintenanceSchedule,
        "/system/stats" => V0Endpoint::SystemStatistics,
        "/files/debug" => V0Endpoint::FilesDebug,
        "/files/browse" => V0Endpoint::FilesBrowse,
        "/files/read" => V0Endpoint::FilesRead,
        "/files/download" => V0Endpoint::FilesDownload,
        "/logging/toggle" => V0Endpoint::LoggingToggle,
        "/redirect" => V0Endpoint::Redirect,
        "/explain" => V0Endpoint::Explain,
        _ => return None,
    })
}

/// 501 for an endpoint of Mesos that is not implemented.
pub(super) fn unsupported(path: &str) -> Answer {
    text(StatusCode::NOT_IMPLEMENTED, format!("{path} is not carried out by this version of Catamaran"))
}

/// Sets weights, in the same form as a GET returns them.
pub(super) async fn put_weights(handlers: &Handlers, request: Request<Incoming>) -> Answer {
    let parse = |body: &[u8]| Ok(OperatorCall::UpdateWeights { weights: weights(body)? });
    change::from_body(handlers, request, parse).await
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
    let query = match Query::parse(request.uri().query().unwrap_or_default()) {
        Ok(query) => query,
        Err(why) => return text(StatusCode::BAD_REQUEST, change::undecodable(&why)),
    };
    match endpoint {
        V0Endpoint::Health => return text(StatusCode::OK, handlers.access.health()),
        V0Endpoint::Redirect if request.uri().path().ends_with("/redirect") => {
            let mut response = Response::new(negotiate::full(""));
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            let location = format!("//{}:{}", handlers.info.hostname, handlers.info.port);
            return with_header(response, header::LOCATION, &location);
        }
        V0Endpoint::Redirect => return negotiate::not_found(),
        V0Endpoint::FilesRead | V0Endpoint::FilesBrowse | V0Endpoint::FilesDownload => {
            let path = match endpoint {
                V0Endpoint::FilesRead => query::file_range(&query).map(|range| range.path),
                _ => query::file_path(&query),
            };
            return match (path, endpoint) {
                (Err(why), _) => text(StatusCode::BAD_REQUEST, why),
                (Ok(_), V0Endpoint::FilesDownload) => negotiate::not_found(),
                (Ok(_), _) => text(StatusCode::NOT_FOUND, ""),
            };
        }
        V0Endpoint::Metrics => {
            if let Err(why) = query::metrics_timeout(&query) {
                return text(StatusCode::BAD_REQUEST, why);
            }
        }
        V0Endpoint::LoggingToggle => return negotiate::logging_toggle(&query),
        V0Endpoint::Explain => return explain::serve(handlers, &query).await,
        V0Endpoint::Prometheus => {
            return match metrics::snapshot(handlers).await {
                Ok(all) => prometheus::response(all),
                Err(_) => negotiate::stopped(),
            };
        }
        _ => {}
    }
    let Ok(value) = value(handlers, endpoint, &query).await else { return negotiate::stopped() };
    let Ok(body) = tokio::task::spawn_blocking(move || value.to_string()).await else {
        return negotiate::stopped();
    };
    negotiate::json(body, query.get("jsonp"))
}

/// Terminates a framework, named by the form field `frameworkId`.
pub(super) async fn teardown(handlers: &Handlers, request: Request<Incoming>) -> Answer {
    let parse = |form: &Query| {
        let framework_id = change::required(form, "frameworkId")?.into();
        Ok(OperatorCall::Teardown { framework_id })
    };
    change::from_form(handlers, request, parse).await
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
            let all = metrics::full_snapshot(handlers).await?;
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
        V0Endpoint::Quota => handlers.queue.view(shapes::quota).await?,
        V0Endpoint::FilesDebug => json!({}),
        V0Endpoint::MaintenanceStatus | V0Endpoint::MaintenanceSchedule => json!({}),
        V0Endpoint::SystemStatistics => metrics::system_statistics(),
        V0Endpoint::Weights => handlers.queue.view(shapes::weights).await?,
        V0Endpoint::Health
        | V0Endpoint::Redirect
        | V0Endpoint::Prometheus
        | V0Endpoint::LoggingToggle
        | V0Endpoint::FilesBrowse
        | V0Endpoint::FilesRead
        | V0Endpoint::FilesDownload
        | V0Endpoint::Explain => Value::Null,
    })
}
