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

/// The addresses that a machine is told about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The machine's own range.
    pub range: AddressRange,
    /// Ranges of virtual addresses, in CIDR notation: they are on no network, so packets to them must not leave the
    /// machine.
    pub virtual_ranges: Vec<String>,
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
) -> Result<Addresses, LinkError> {
    let answer = dial::post_json(master, tls, ADDRESS_RANGE_PATH, &json!({ "requested": requested })).await?;
    let range = match (answer["range"].as_str(), answer["exhausted"].as_str()) {
        (Some(range), _) => AddressRange::Assigned(range.to_owned()),
        (None, Some(why)) => AddressRange::Exhausted(why.to_owned()),
        (None, None) => return Err(LinkError::Unreachable("the answer has no 'range'".to_owned())),
    };
    let ranges = answer["virtual_ranges"].as_array().into_iter().flatten();
    let virtual_ranges = ranges.filter_map(|range| range.as_str().map(str::to_owned)).collect();
    Ok(Addresses { range, virtual_ranges })
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
pub(crate) fn answer_to_json(answer: &Addresses) -> String {
    let (member, text) = match &answer.range {
        AddressRange::Assigned(range) => ("range", range),
        AddressRange::Exhausted(why) => ("exhausted", why),
    };
    json!({ member: text, "virtual_ranges": answer.virtual_ranges }).to_string()
}
