//! Reservations by operators: RESERVE_RESOURCES and UNRESERVE_RESOURCES, and their old forms `/reserve` and `/unreserve`.

use hyper::{Request, body::Incoming};
use kernel_core::master::OperatorCall;
use kernel_model::{caller::Caller, resources::Resources};
use kernel_wire::{Invalid, codec::from_json, resources, v1};
use serde_json::Value;

use super::{Answer, Handlers, change, query::Query};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReservationCall {
    Reserve,
    Unreserve,
}

impl ReservationCall {
    /// The operator call, with the resources of a message.
    pub(super) fn build(
        self,
        agent_id: &str,
        caller: &Caller,
        source: Vec<v1::Resource>,
        resources: Vec<v1::Resource>,
    ) -> Result<OperatorCall, Invalid> {
        let agent_id = agent_id.into();
        let resources = parse("resources", resources)?;
        let source = if source.is_empty() { Resources::new() } else { parse("source", source)? };
        Ok(match self {
            ReservationCall::Reserve => {
                let principal = match caller {
                    Caller::Principal(principal) => Some(principal.clone()),
                    Caller::InProcess | Caller::Anonymous => None,
                };
                OperatorCall::Reserve { agent_id, principal, source, resources }
            }
            ReservationCall::Unreserve => OperatorCall::Unreserve { agent_id, resources },
        })
    }
}

fn parse(name: &str, list: Vec<v1::Resource>) -> Result<Resources, Invalid> {
    let parsed =
        resources::from_wire(list).map_err(|Invalid(why)| Invalid(format!("Invalid {name}: {why}")))?;
    match parsed.is_empty() {
        // A genuine master aborts.
        true => Err(Invalid(format!("Invalid {name}: Resource cannot be empty"))),
        false => Ok(parsed),
    }
}

/// Handles a POST with a form: `slaveId` and `resources`, a JSON array.
pub(super) async fn serve(
    handlers: &Handlers,
    kind: ReservationCall,
    caller: &Caller,
    request: Request<Incoming>,
) -> Answer {
    change::from_form(handlers, request, |form| call(form, kind, caller)).await
}

fn call(form: &Query, kind: ReservationCall, caller: &Caller) -> Result<OperatorCall, String> {
    let agent_id = change::required(form, "slaveId")?;
    let resources = list("resources", change::required(form, "resources")?)?;
    let source = form.get("source").map(|text| list("source", text)).transpose()?.unwrap_or_default();
    kind.build(agent_id, caller, source, resources).map_err(|Invalid(why)| why)
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
