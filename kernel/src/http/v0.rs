//! The unversioned endpoints that dashboards and exporters read: `/state`, `/slaves`, `/metrics/snapshot` and others.

mod shapes;

use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use kernel_core::master::OperatorCall;
use kernel_model::roles::Role;
use serde_json::{Map, Value, json};

use super::{
    Answer, Handlers, metrics,
    negotiate::{self, text, with_header},
    prometheus,
};

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
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
    Redirect,
}

/// The endpoint of a path without prefix.
pub(super) fn page(path: &str) -> Option<Page> {
    Some(match path {
        "/health" => Page::Health,
        "/version" => Page::Version,
        "/flags" => Page::Flags,
        "/metrics/snapshot" => Page::Metrics,
        "/metrics" => Page::Prometheus,
        "/state" => Page::State,
        "/state-summary" => Page::StateSummary,
        "/slaves" => Page::Slaves,
        "/frameworks" => Page::Frameworks,
        "/tasks" => Page::Tasks,
        "/roles" => Page::Roles,
        "/weights" => Page::Weights,
        "/quota" => Page::Quota,
        "/maintenance/status" => Page::MaintenanceStatus,
        "/maintenance/schedule" => Page::MaintenanceSchedule,
        "/system/stats" => Page::SystemStatistics,
        "/redirect" => Page::Redirect,
        _ => return None,
    })
}

/// Whether this is an endpoint of Mesos that is not implemented.
pub(super) fn is_unsupported(path: &str, method: &Method) -> bool {
    const CHANGES: [&str; 8] = [
        "/reserve",
        "/unreserve",
        "/create-volumes",
        "/destroy-volumes",
        "/machine/down",
        "/machine/up",
        "/logging/toggle",
        "/registrar(1)/registry",
    ];
    let reads = matches!(*method, Method::GET | Method::HEAD);
    CHANGES.contains(&path)
        || (!reads && matches!(path, "/quota" | "/maintenance/schedule"))
        || path.starts_with("/quota/")
        || path.starts_with("/files/")
}

/// Sets weights, in the same form as a GET returns them.
pub(super) async fn put_weights(handlers: &Handlers, request: Request<Incoming>) -> Answer {
    let body = match negotiate::read_body(request.into_body()).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let refuse = |why: String| text(StatusCode::BAD_REQUEST, format!("Failed to parse weights: {why}"));
    let list: Vec<Value> = match serde_json::from_slice(&body) {
        Ok(list) => list,
        Err(error) => return refuse(error.to_string()),
    };
    let mut weights = Vec::with_capacity(list.len());
    for entry in &list {
        let (role, weight) = (entry["role"].as_str(), entry["weight"].as_f64());
        let (Some(role), Some(weight)) = (role, weight) else {
            return refuse("expecting objects with 'role' and 'weight'".to_owned());
        };
        match Role::parse(role) {
            Ok(role) => weights.push((role, weight)),
            Err(error) => return refuse(error.to_string()),
        }
    }
    match handlers.queue.operator(OperatorCall::UpdateWeights { weights }).await {
        Ok(_) => text(StatusCode::OK, ""),
        Err(call_error) => negotiate::call_error(call_error),
    }
}

/// Handles a read.
pub(super) async fn serve(handlers: &Handlers, page: Page, request: &Request<Incoming>) -> Answer {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    match page {
        Page::Health => return text(StatusCode::OK, ""),
        Page::Redirect => {
            let mut response = Response::new(negotiate::full(""));
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            let location = format!("//{}:{}", handlers.info.hostname, handlers.info.port);
            return with_header(response, header::LOCATION, &location);
        }
        Page::Prometheus => {
            return match metrics::snapshot(handlers).await {
                Ok(all) => prometheus::response(all, request.headers()),
                Err(_) => negotiate::stopped(),
            };
        }
        _ => {}
    }
    let Ok(value) = value(handlers, page, &query).await else { return negotiate::stopped() };
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
    let form = Query::parse(&String::from_utf8_lossy(&body));
    let Some(id) = form.get("frameworkId") else {
        return text(StatusCode::BAD_REQUEST, "Missing 'frameworkId' query parameter");
    };
    match handlers.queue.operator(OperatorCall::Teardown { framework_id: id.into() }).await {
        Ok(_) => text(StatusCode::OK, ""),
        Err(call_error) => negotiate::call_error(call_error),
    }
}

async fn value(
    handlers: &Handlers,
    page: Page,
    query: &Query,
) -> Result<Value, crate::master_driver::Stopped> {
    let query = query.clone();
    Ok(match page {
        Page::Version => {
            json!({ "version": handlers.info.version, "build_date": "", "build_time": 0.0, "build_user": "" })
        }
        Page::Flags => json!({ "flags": shapes::flags(&handlers.flags) }),
        Page::Metrics => {
            let all = metrics::snapshot(handlers).await?;
            Value::Object(all.into_iter().map(|(name, value)| (name, json!(value))).collect::<Map<_, _>>())
        }
        Page::State => {
            let (flags, started) = (shapes::flags(&handlers.flags), handlers.started_at());
            handlers.queue.view(move |master| shapes::state(master, flags, started)).await?
        }
        Page::StateSummary => handlers.queue.view(shapes::state_summary).await?,
        Page::Slaves => {
            handlers.queue.view(move |master| shapes::slaves(master, query.get("slave_id"))).await?
        }
        Page::Frameworks => {
            handlers.queue.view(move |master| shapes::frameworks(master, query.get("framework_id"))).await?
        }
        Page::Tasks => handlers.queue.view(move |master| shapes::tasks(master, &query)).await?,
        Page::Roles => handlers.queue.view(shapes::roles).await?,
        Page::Quota => json!({}),
        Page::MaintenanceStatus | Page::MaintenanceSchedule => json!({}),
        Page::SystemStatistics => metrics::system_statistics(),
        Page::Weights => handlers.queue.view(shapes::weights).await?,
        Page::Health | Page::Redirect | Page::Prometheus => Value::Null,
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
