//! Changes through `/quota`: POST sets the quota of a role, DELETE of `/quota/ROLE` removes it.

use hyper::{Request, StatusCode, body::Incoming};
use kernel_core::master::OperatorCall;
use kernel_model::roles::Role;
use kernel_wire::{
    Invalid,
    codec::from_json,
    quota::{self, SetQuota},
    v1::quota::QuotaRequest,
};
use serde_json::Value;

use super::{Answer, Handlers, change, text};

/// Sets the quota of a role without one.
pub(in crate::http) async fn set(handlers: &Handlers, request: Request<Incoming>) -> Answer {
    let parse = |body: &[u8]| {
        let SetQuota { role, quota, force } = parse(body)?;
        Ok(OperatorCall::SetQuota { role, quota, force })
    };
    change::from_body(handlers, request, parse).await
}

/// Removes the quota of the role that the path names.
pub(in crate::http) async fn remove(handlers: &Handlers, path: &str) -> Answer {
    let refusal = format!("Failed to remove quota for path '/master{path}'");
    let name = path.strip_prefix("/quota/").unwrap_or_default().trim_matches('/');
    if name.is_empty() {
        let why = format!(
            "Failed to parse remove quota request for path '/master{path}': expected 3 tokens, found 2 tokens"
        );
        return text(StatusCode::BAD_REQUEST, why);
    }
    match Role::parse(name) {
        Ok(role) => change::carry_out(handlers, OperatorCall::RemoveQuota { role, refusal }).await,
        Err(_) => text(StatusCode::BAD_REQUEST, format!("{refusal}: Role '{name}' has no quota set")),
    }
}

/// The request of a body, or Mesos' message.
fn parse(body: &[u8]) -> Result<SetQuota, String> {
    let shown = String::from_utf8_lossy(body);
    let unparsed =
        |why: &dyn std::fmt::Display| format!("Failed to parse set quota request JSON '{shown}': {why}");
    let json = match kernel_wire::json::parse(body) {
        Ok(json @ Value::Object(_)) => json,
        Ok(_) => return Err(unparsed(&"Unexpected JSON type parsed")),
        Err(why) => return Err(unparsed(&why)),
    };
    let request = from_json::<QuotaRequest>(&json)
        .map_err(|why| format!("Failed to validate set quota request JSON '{shown}': {why}"))?;
    quota::request_from_wire(request).map_err(|Invalid(why)| why)
}
