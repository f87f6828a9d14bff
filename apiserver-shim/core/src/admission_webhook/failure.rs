//! Why a webhook does not admit a request, with upstream's messages.

use std::borrow::Cow;

use serde_json::Value;
use shim_model::access;
use shim_model::status::{self, Cause, Details, Status};

/// Why there is no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The webhook knows no version of AdmissionReview that this server sends.
    #[error(
        "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)"
    )]
    NoVersion,
    /// The webhook could not be called, or its answer cannot be read.
    #[error("failed to call webhook: {reason}")]
    Call {
        /// Why.
        reason: String,
        /// The status code of its answer, or 503.
        code: u16,
    },
    /// The answer breaks a rule of AdmissionReview.
    #[error("received invalid webhook response: {0}")]
    Response(String),
    /// The patch is no list of operations.
    #[error("received undecodable patch in webhook response: {0}")]
    Patch(String),
    /// The patch has another type than JSON patch.
    #[error("unsupported patch type {0}")]
    PatchType(Value),
}

impl CallError {
    /// The status code for metrics.
    pub fn code(&self) -> u16 {
        match self {
            CallError::NoVersion | CallError::PatchType(_) => 400,
            CallError::Call { code, .. } => *code,
            CallError::Response(_) | CallError::Patch(_) => 503,
        }
    }
}

/// Why a webhook does not admit a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It gave no usable answer; the failure policy decides.
    Calling(CallError),
    /// It has denied the request.
    Denied(Status),
    /// The server's fault, or the request's; denies the request whatever the failure policy is.
    Server(Status),
}

impl Failure {
    /// The status of the refused request.
    pub fn into_status(self, webhook: &str) -> Status {
        match self {
            Failure::Calling(error) => {
                status::internal(format!("failed calling webhook {}: {error}", Value::from(webhook)))
            }
            Failure::Denied(status) | Failure::Server(status) => status,
        }
    }

    /// A dry run that would call a webhook with side effects.
    pub fn no_dry_run(webhook: &str) -> Failure {
        let name = Value::from(webhook);
        Failure::Server(status::bad_request(format!("admission webhook {name} does not support dry run")))
    }

    /// A patch for a request that has no object, such as a deletion.
    pub fn no_object(webhook: &str) -> Failure {
        let name = Value::from(webhook);
        Failure::Server(status::internal(format!(
            "admission webhook {name} attempted to modify the object, which is not supported for this operation"
        )))
    }
}

/// The status of a request that a webhook has denied; `result` is what its answer says.
pub(super) fn denial(webhook: &str, result: Option<&Value>) -> Status {
    let result = result.unwrap_or(&Value::Null);
    let (message, reason) = (access::text(result, &["message"]), access::text(result, &["reason"]));
    let by = format!("admission webhook {} denied the request", Value::from(webhook));
    let message = match (message, reason) {
        ("", "") => format!("{by} without explanation"),
        ("", why) | (why, _) => format!("{by}: {why}"),
    };
    // A denial is never a success; and no HTTP status has more than three digits.
    let code = access::int(result, &["code"]).unwrap_or(0).clamp(400, 999);
    let mut status = Status::failure(u16::try_from(code).unwrap_or(400), "", message);
    status.reason = Cow::Owned(reason.to_owned());
    status.details =
        result.get("details").filter(|details| details.is_object()).map(|d| Box::new(details(d)));
    access::text(result, &["metadata", "continue"]).clone_into(&mut status.continue_token);
    status
}

fn details(value: &Value) -> Details {
    let text = |value: &Value, member: &str| access::text(value, &[member]).to_owned();
    let cause = |cause: &Value| Cause {
        reason: text(cause, "reason"),
        message: text(cause, "message"),
        field: text(cause, "field"),
    };
    Details {
        name: text(value, "name"),
        group: text(value, "group"),
        kind: text(value, "kind"),
        uid: text(value, "uid"),
        causes: access::list(value, &["causes"]).iter().map(cause).collect(),
        retry_after_seconds: access::int(value, &["retryAfterSeconds"])
            .and_then(|seconds| u32::try_from(seconds).ok())
            .unwrap_or(0),
    }
}
