//! `pods/log`, `exec`, `attach` and `portforward`. Requests are checked here and carried out by the node's executor;
//! upgraded connections are copied unchanged.

use http::HeaderMap;
use serde_json::{Value, json};
use shim_core::authorization::{AccessRequest, RequestedResource};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::go_quote::Quoted;
use shim_model::resource::GroupVersionKind;
use shim_model::status::{self, Status};
use shim_model::time::Instant;

use crate::auth::authorization::refusal;
use crate::http::body::{Request, Response};
use crate::http::negotiation::{self, Endpoint};
use crate::http::node_proxy;
use crate::http::objects::ResourceRequest;
use crate::http::service::Api;
use crate::http::websocket;
use crate::pipeline::{Attributes, Operation, Preconditions};
use crate::request::query::Query;

/// The values of the option `stream`; the first is the default.
const LOG_STREAMS: [&str; 3] = [ALL_STREAMS, "Stderr", "Stdout"];
const ALL_STREAMS: &str = "All";
/// The type of logs.
const TEXT: &str = "text/plain";
/// The path of an error about several options, as Go prints an empty path.
const NO_FIELD: &str = "[]";

pub(super) async fn serve(
    api: &Api,
    asked: &ResourceRequest<'_>,
    mut request: Request,
) -> Result<Response, Status> {
    if asked.target.subresource == "log" && websocket::is_wanted(request.headers()) {
        let upgrade = request.extensions_mut().remove();
        let headers = std::mem::take(request.headers_mut());
        let log = answer(api, asked, request).await?;
        return websocket::carry_log(&headers, upgrade, log);
    }
    answer(api, asked, request).await
}

async fn answer(api: &Api, asked: &ResourceRequest<'_>, request: Request) -> Result<Response, Status> {
    let (namespace, name) = (&asked.target.namespace, &asked.target.name);
    let subresource = asked.target.subresource.as_str();
    if subresource == "log" {
        check_accepted(asked.headers)?;
        check_log_options(name, asked.query)?;
    }
    // What is wrong with the options is said before the Pod is looked up.
    let ports = if subresource == "portforward" { ports(asked.query)? } else { String::new() };
    if subresource != "log" {
        may_create(api, asked).await?;
        admit_connect(api, asked).await?;
    }
    let pod = api.registry.get(asked.resource, namespace, name).await?.value();
    let container = match subresource {
        "portforward" => String::new(),
        _ => container(&pod, name, asked.query.text("container"))?,
    };
    let node = access::text(&pod, &["spec", "nodeName"]);
    if node.is_empty() {
        // As upstream, a Pod without a node has no logs, which is not an error.
        return match subresource {
            "log" => Ok(crate::http::reply::no_content()),
            _ => Err(status::bad_request(format!("pod {name} does not have a host assigned"))),
        };
    }
    if subresource == "log" && asked.query.get("previous").is_none() {
        refuse_unstarted(&pod, name, &container)?;
    }
    let path = match subresource {
        "log" => format!("/containerLogs/{namespace}/{name}/{container}"),
        "portforward" => format!("/portForward/{namespace}/{name}"),
        subresource => format!("/{subresource}/{namespace}/{name}/{container}"),
    };
    let raw_query = match subresource {
        "portforward" => ports,
        _ => request.uri().query().unwrap_or("").to_owned(),
    };
    let uri = if raw_query.is_empty() { path } else { format!("{path}?{raw_query}") };
    match subresource {
        "log" => node_proxy::fetch(&api.node_client, &api.nodes, node, &uri).await,
        _ => node_proxy::upgrade(&api.node_client, &api.nodes, node, &uri, request).await,
    }
}

/// The query with the ports to forward, for the node.
fn ports(query: &Query) -> Result<String, Status> {
    let mut ports = Vec::new();
    for text in query.all("ports").flat_map(|list| list.split(',')) {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u16>() {
            Ok(port) if digits => ports.push(format!("ports={port}")),
            _ => {
                let why = if digits { "value out of range" } else { "invalid syntax" };
                return Err(status::bad_request(format!(
                    "cannot convert to []int32: strconv.ParseUint: parsing {}: {why}",
                    Quoted(text)
                )));
            }
        }
    }
    Ok(ports.join("&"))
}

/// A WebSocket is opened with GET. As upstream, it needs the permission that POST needs.
async fn may_create(api: &Api, asked: &ResourceRequest<'_>) -> Result<(), Status> {
    const CREATE: &str = "create";
    if asked.verb == CREATE {
        return Ok(());
    }
    let target = asked.target;
    let resource = RequestedResource {
        group: &target.group,
        resource: &target.plural,
        subresource: &target.subresource,
        namespace: &target.namespace,
        name: &target.name,
        fields: &[],
    };
    let request = AccessRequest::resource(CREATE, resource);
    let user = &asked.context.user;
    let decision = api.access().decide(user, &request).await;
    if decision.allowed { Ok(()) } else { Err(refusal(user, &request, &decision.reason)) }
}

/// Runs admission for a connection to an object.
pub(super) async fn admit_connect(api: &Api, asked: &ResourceRequest<'_>) -> Result<(), Status> {
    let target = asked.target;
    let subresource = asked.resource.subresource(&target.subresource).ok_or_else(status::unknown_path)?;
    let options = connect_options(&subresource.kind, asked);
    let mut attributes = Attributes::new(Operation::Connect, asked.resource, &target.namespace);
    (attributes.name, attributes.subresource) = (&target.name, &target.subresource);
    (attributes.kind, attributes.object) = (subresource.kind.as_ref(), Some(options.clone()));
    // A connection has no transaction, so preconditions that plugins add have no effect.
    let admitted = api.pipeline.admit_only(asked.context, attributes, &mut Preconditions::default()).await?;
    match admitted == Some(options) {
        true => Ok(()),
        false => Err(status::internal(
            "an admission plugin changed the options of a connection, which is not supported",
        )),
    }
}

/// The options of a connection, which admission sees as its object.
fn connect_options(kind: &GroupVersionKind, asked: &ResourceRequest<'_>) -> Value {
    let query = asked.query;
    let mut options = json!({"kind": kind.kind, "apiVersion": kind.as_ref().api_version()});
    match kind.kind.as_str() {
        "PodExecOptions" | "PodAttachOptions" => {
            for flag in ["stdin", "stdout", "stderr", "tty"].into_iter().filter(|flag| query.flag(flag)) {
                options[flag] = true.into();
            }
            if !query.text("container").is_empty() {
                options["container"] = query.text("container").into();
            }
            if kind.kind == "PodExecOptions" {
                options["command"] = query.all("command").map(Value::from).collect();
            }
        }
        "PodPortForwardOptions" => {
            let ports = query.all("ports").flat_map(|ports| ports.split(','));
            let ports: Vec<i64> = ports.filter_map(|port| port.parse().ok()).collect();
            if !ports.is_empty() {
                options["ports"] = ports.into();
            }
        }
        // Those of `proxy`.
        _ => {
            if let Some(path) = &asked.target.rest {
                options["path"] = format!("/{path}").into();
            }
        }
    }
    options
}

/// Refuses a container that had not started when its Pod ended. It never will, and the node may not know the Pod any
/// more.
fn refuse_unstarted(pod: &Value, name: &str, container: &str) -> Result<(), Status> {
    if !matches!(access::text(pod, &["status", "phase"]), "Succeeded" | "Failed") {
        return Ok(());
    }
    let lists = ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"];
    let mut statuses = lists.iter().flat_map(|list| access::list(pod, &["status", list]));
    let Some(own) = statuses.find(|c| access::text(c, &["name"]) == container) else { return Ok(()) };
    match access::text(own, &["state", "waiting", "reason"]) {
        "" => Ok(()),
        _ if !access::text(own, &["lastState", "terminated", "containerID"]).is_empty() => Ok(()),
        reason => Err(status::bad_request(format!(
            "container \"{container}\" in pod \"{name}\" is waiting to start: {reason}"
        ))),
    }
}

/// The container to use: the requested one, or the default.
fn container(pod: &Value, name: &str, asked: &str) -> Result<String, Status> {
    let names = |member: &str| -> Vec<String> {
        let list = access::list(pod, &["spec", member]).iter();
        list.map(|c| access::text(c, &["name"]).to_owned()).collect()
    };
    let (init, main, ephemeral) =
        (names("initContainers"), names("containers"), names("ephemeralContainers"));
    if !asked.is_empty() {
        let known = init.iter().chain(&main).chain(&ephemeral).any(|n| n == asked);
        return match known {
            true => Ok(asked.to_owned()),
            false => Err(status::bad_request(format!("container {asked} is not valid for pod {name}"))),
        };
    }
    match main.as_slice() {
        [one] if init.is_empty() && ephemeral.is_empty() => Ok(one.clone()),
        _ => {
            let default =
                access::text(pod, &["metadata", "annotations", "kubectl.kubernetes.io/default-container"]);
            if main.iter().any(|n| n == default) {
                return Ok(default.to_owned());
            }
            let all: Vec<&str> = init.iter().chain(&main).chain(&ephemeral).map(String::as_str).collect();
            Err(status::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                all.join(" ")
            )))
        }
    }
}

/// Refuses a client of a log that accepts no encoding of objects: as upstream, that of errors is chosen before there is a log.
fn check_accepted(headers: &HeaderMap) -> Result<(), Status> {
    let clauses = negotiation::clauses(headers);
    if clauses.iter().any(negotiation::is_known) {
        return negotiation::accept(headers, Endpoint { tables: false, ..Endpoint::DOCUMENT }).map(drop);
    }
    match clauses.iter().any(|clause| clause.media == TEXT) {
        true => Err(negotiation::only_these()),
        false => Err(status::unacceptable(&[
            TEXT,
            "application/json",
            "application/yaml",
            shim_model::protobuf::MEDIA_TYPE,
        ])),
    }
}

fn check_log_options(name: &str, query: &Query) -> Result<(), Status> {
    let mut errors = Vec::new();
    if let Some(text) = query.get("sinceTime").filter(|text| Instant::parse(text).is_none()) {
        let text = Quoted(text);
        let layout = "2006-01-02T15:04:05Z07:00";
        let why = format!("parsing time {text} as \"{layout}\": cannot parse {text} as \"2006\"");
        return Err(status::bad_request(why));
    }
    let tail = query.number("tailLines")?;
    let bytes = query.number("limitBytes")?;
    let since = query.number("sinceSeconds")?;
    if let Some(n) = tail.filter(|n| *n < 0) {
        errors.push(FieldError::invalid("tailLines", n, "must be greater than or equal to 0"));
    }
    if let Some(n) = bytes.filter(|n| *n < 1) {
        errors.push(FieldError::invalid("limitBytes", n, "must be greater than 0"));
    }
    if since.is_some() && query.get("sinceTime").is_some() {
        let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::forbidden(NO_FIELD, detail));
    } else if let Some(n) = since.filter(|n| *n < 1) {
        errors.push(FieldError::invalid("sinceSeconds", n, "must be greater than 0"));
    }
    let stream = query.get("stream").unwrap_or(ALL_STREAMS);
    if !LOG_STREAMS.contains(&stream) {
        errors.push(FieldError::not_supported("stream", stream, &LOG_STREAMS));
    }
    if stream != ALL_STREAMS && tail.is_some() {
        let detail = "`tailLines` and specific `stream` are mutually exclusive for now";
        errors.push(FieldError::forbidden(NO_FIELD, detail));
    }
    if errors.is_empty() { Ok(()) } else { Err(status::invalid("", "PodLogOptions", name, &errors)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_numbers_of_sixteen_bits() {
        let found = |query: &str| ports(&Query::parse(query)).unwrap_or_else(|status| status.message);
        assert_eq!(found("ports=80,81&ports=0&x=1"), "ports=80&ports=81&ports=0");
        assert_eq!(found("ports=80;81"), "", "as Go, pairs with a semicolon are left out");
        for (text, why) in
            [("70000", "value out of range"), ("+80", "invalid syntax"), ("", "invalid syntax")]
        {
            let query = format!("ports={}", text.replace('+', "%2B"));
            let expected = format!("cannot convert to []int32: strconv.ParseUint: parsing \"{text}\": {why}");
            assert_eq!(found(&query), expected);
        }
    }

    #[test]
    fn log_options_are_validated_as_upstream_does() {
        let table = [
            ("stream=Stderr&limitBytes=1&sinceSeconds=1", ""),
            ("stream=All&tailLines=0", ""),
            (
                "stream=stderr",
                "stream: Unsupported value: \"stderr\": supported values: \"All\", \"Stderr\", \"Stdout\"",
            ),
            (
                "stream=Stdout&tailLines=1",
                "[]: Forbidden: `tailLines` and specific `stream` are mutually exclusive for now",
            ),
            ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ];
        for (query, expected) in table {
            let message =
                check_log_options("p", &Query::parse(query)).err().map_or(String::new(), |e| e.message);
            let message = message.strip_prefix("PodLogOptions \"p\" is invalid: ").unwrap_or(&message);
            assert_eq!(message, expected, "{query}");
        }
    }

    #[test]
    fn a_container_that_never_started_is_refused_with_its_waiting_reason() {
        let pod = |phase: &str, last: Value| {
            json!({ "status": { "phase": phase, "containerStatuses": [
                { "name": "m", "state": { "waiting": { "reason": "PodInitializing" } }, "lastState": last },
                { "name": "n", "state": { "terminated": { "exitCode": 1 } } },
            ]}})
        };
        let refused = refuse_unstarted(&pod("Failed", json!({})), "p", "m").unwrap_err();
        assert_eq!(refused.message, "container \"m\" in pod \"p\" is waiting to start: PodInitializing");
        assert!(refuse_unstarted(&pod("Failed", json!({})), "p", "n").is_ok());
        assert!(refuse_unstarted(&pod("Pending", json!({})), "p", "m").is_ok(), "the node knows better");
        let ran = json!({ "terminated": { "containerID": "containerd://1" } });
        assert!(refuse_unstarted(&pod("Failed", ran), "p", "m").is_ok());
    }
}
