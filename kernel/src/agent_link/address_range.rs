//! The address range of a machine: which addresses it may give to its tasks. The machine asks with its certificate; the
//! join authority decides. The kernel itself uses no ranges.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{ADDRESS_RANGE_PATH, JoinRefusal, LinkError, dial};

/// The answer to a machine's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressRange {
    /// The range, in CIDR notation.
    Assigned(String),
    /// No range is left, with a sentence for the machine's operator.
    Exhausted(String),
}

/// Why a machine gets no answer about its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressRangeError {
    /// The requested range cannot be had.
    #[error("{0}")]
    Refused(String),
    /// Ranges cannot be read or written now.
    #[error("{0}")]
    Unavailable(String),
}

/// Asks a master for this machine's range. `tls` presents the node's certificate. A range that cannot be had is
/// [`LinkError::Refused`] with status 409.
pub async fn request_address_range(
    master: &str,
    tls: &Arc<rustls::ClientConfig>,
    requested: Option<&str>,
) -> Result<AddressRange, LinkError> {
    let answer = dial::post_json(master, tls, ADDRESS_RANGE_PATH, &json!({ "requested": requested })).await?;
    match (answer["range"].as_str(), answer["exhausted"].as_str()) {
        (Some(range), _) => Ok(AddressRange::Assigned(range.to_owned())),
        (None, Some(why)) => Ok(AddressRange::Exhausted(why.to_owned())),
        (None, None) => Err(LinkError::Unreachable("the answer has no 'range'".to_owned())),
    }
}

/// The requested range in the body of a request.
pub(crate) fn requested_from_json(body: &[u8]) -> Result<Option<String>, JoinRefusal> {
    let value: Value =
        serde_json::from_slice(body).map_err(|e| JoinRefusal(format!("the body is not JSON: {e}")))?;
    match &value["requested"] {
        Value::Null => Ok(None),
        Value::String(range) => Ok(Some(range.clone())),
        _ => Err(JoinRefusal("'requested' must be a string".to_owned())),
    }
}

/// The body of an answer.
pub(crate) fn answer_to_json(answer: &AddressRange) -> String {
    match answer {
        AddressRange::Assigned(range) => json!({ "range": range }),
        AddressRange::Exhausted(why) => json!({ "exhausted": why }),
    }
    .to_string()
}
