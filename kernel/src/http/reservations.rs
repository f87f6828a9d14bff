//! Operations on an agent's resources by operators: RESERVE_RESOURCES, UNRESERVE_RESOURCES, CREATE_VOLUMES and DESTROY_VOLUMES,
//! and their old forms `/reserve`, `/unreserve`, `/create-volumes` and `/destroy-volumes`.

use hyper::{Request, body::Incoming};
use kernel_core::master::OperatorCall;
use kernel_model::{
    caller::Caller,
    resources::{ConversionKind, Resources},
};
use kernel_wire::{Invalid, codec::from_json, resources, v1};
use serde_json::Value;

use super::{Answer, Handlers, change, query::Query};

/// The operator call, with the resources of a message.
pub(super) fn build(
    kind: ConversionKind,
    agent_id: &str,
    caller: &Caller,
    source: Vec<v1::Resource>,
    resources: Vec<v1::Resource>,
) -> Result<OperatorCall, Invalid> {
    let agent_id = agent_id.into();
    let principal = match caller {
        Caller::Principal(principal) => Some(principal.clone()),
        Caller::InProcess | Caller::Anonymous => None,
    };
    let resources = parse("resources", resources)?;
    if source.is_empty() {
        return Ok(OperatorCall::Convert { agent_id, kind, principal, resources });
    }
    let source = parse("source", source)?;
    Ok(OperatorCall::ChangeReservation { agent_id, principal, source, resources })
}

fn parse(name: &str, list: Vec<v1::Resource>) -> Result<Resources, Invalid> {
    let parsed = resources::to_convert_from_wire(list)
        .map_err(|Invalid(why)| Invalid(format!("Invalid {name}: {why}")))?;
    match parsed.is_empty() {
        // A genuine master aborts.
        true => Err(Invalid(format!("Invalid {name}: Resource cannot be empty"))),
        false => Ok(parsed),
    }
}

/// Handles a POST with a form: `slaveId` and `resources` or `volumes`, a JSON array.
pub(super) async fn serve(
    handlers: &Handlers,
    kind: ConversionKind,
    caller: &Caller,
    request: Request<Incoming>,
) -> Answer {
    change::from_form(handlers, request, |form| call(form, kind, caller)).await
}

fn call(form: &Query, kind: ConversionKind, caller: &Caller) -> Result<OperatorCall, String> {
    let agent_id = change::required(form, "slaveId")?;
    let (field, may_change) = match kind {
        ConversionKind::Reserve => ("resources", true),
        ConversionKind::Unreserve => ("resources", false),
        ConversionKind::Create | ConversionKind::Destroy => ("volumes", false),
    };
    let resources = list(field, change::required(form, field)?)?;
    let source = form.get("source").filter(|_| may_change).map(|text| list("source", text)).transpose()?;
    build(kind, agent_id, caller, source.unwrap_or_default(), resources).map_err(|Invalid(why)| why)
}

fn list(name: &str, text: &str) -> Result<Vec<v1::Resource>, String> {
    let wrong = |why: String| format!("Error parsing '{name}' query parameter in the request body: {why}");
    match kernel_wire::json::parse(text.as_bytes()) {
        Ok(Value::Array(list)) => {
            list.iter().map(|value| from_json(value).map_err(|error| wrong(error.to_string()))).collect()
        }
        Ok(_) => Err(wrong("Unexpected JSON type parsed".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}
