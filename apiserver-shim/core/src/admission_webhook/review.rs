//! AdmissionReview: the request to a webhook, and the checks of its response.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use shim_model::resource::split_api_version;
use shim_model::schema::plain_json;
use shim_model::status::Status;

use super::{CallError, Webhook, failure};

const GROUP: &str = "admission.k8s.io";
const KIND: &str = "AdmissionReview";
const JSON_PATCH: &str = "JSONPatch";

/// A request to a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    uid: String,
    version: &'static str,
}

/// What a webhook answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// Annotations of the audit event, without the webhook's name.
    pub annotations: Vec<(String, String)>,
    allowed: bool,
    result: Option<Value>,
    patch: Vec<u8>,
    patch_type: String,
}

/// The answer as it is sent. Like Go, null is the same as absent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentReview {
    api_version: Option<String>,
    kind: Option<String>,
    response: Option<SentResponse>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentResponse {
    uid: Option<String>,
    allowed: Option<bool>,
    status: Option<Value>,
    patch: Option<String>,
    patch_type: Option<String>,
    audit_annotations: Option<BTreeMap<String, String>>,
    warnings: Option<Vec<String>>,
}

impl Review {
    /// A request in the version that the webhook prefers.
    ///
    /// # Errors
    /// It knows none of ours.
    pub fn new(webhook: &Webhook, uid: &str) -> Result<Review, CallError> {
        let known = ["v1", "v1beta1"];
        let mut wanted = webhook.review_versions.iter();
        let version = wanted.find_map(|wanted| known.into_iter().find(|known| wanted == known));
        Ok(Review { uid: uid.to_owned(), version: version.ok_or(CallError::NoVersion)? })
    }

    /// The request's body. Absent objects are null; for `request` see [`crate::admission_policy::request`].
    pub fn body(&self, mut request: Value, object: &Value, old_object: &Value) -> Value {
        request["uid"] = self.uid.as_str().into();
        request["object"] = object.clone();
        request["oldObject"] = old_object.clone();
        json!({"kind": KIND, "apiVersion": format!("{GROUP}/{}", self.version), "request": request})
    }

    /// Reads and checks the answer.
    ///
    /// # Errors
    /// It is no AdmissionReview, or breaks a rule. The messages are upstream's.
    pub fn answer(&self, mutating: bool, body: Value) -> Result<Answer, CallError> {
        let sent: SentReview = serde_json::from_value(body)
            .map_err(|error| CallError::Call { reason: error.to_string(), code: 503 })?;
        let found = (sent.api_version.unwrap_or_default(), sent.kind.unwrap_or_default());
        let response = sent.response.ok_or_else(|| invalid("webhook response was absent"))?;
        let patch = match response.patch.as_deref().map(shim_model::base64::decode) {
            None => Vec::new(),
            Some(Some(bytes)) => bytes,
            Some(None) => {
                let reason = "illegal base64 data in response.patch".to_owned();
                return Err(CallError::Call { reason, code: 503 });
            }
        };
        if self.version == "v1" {
            let uid = response.uid.unwrap_or_default();
            self.check(&uid, (&found.0, &found.1))?;
            check_patch(mutating, &patch, response.patch_type.as_deref())?;
        }
        // In v1beta1 the type of a patch was not checked, and only JSON patches were known.
        let patch_type = match self.version {
            "v1" => response.patch_type.unwrap_or_default(),
            _ => JSON_PATCH.to_owned(),
        };
        Ok(Answer {
            warnings: response.warnings.unwrap_or_default(),
            annotations: response.audit_annotations.unwrap_or_default().into_iter().collect(),
            allowed: response.allowed.unwrap_or_default(),
            result: response.status.filter(|status| !status.is_null()),
            patch: if mutating { patch } else { Vec::new() },
            patch_type,
        })
    }

    fn check(&self, uid: &str, (api_version, kind): (&str, &str)) -> Result<(), CallError> {
        if uid != self.uid {
            let (expected, got) = (Value::from(self.uid.as_str()), Value::from(uid));
            return Err(invalid(format!("expected response.uid={expected}, got {got}")));
        }
        let (group, version) = split_api_version(api_version);
        if (group, version, kind) != (GROUP, self.version, KIND) {
            return Err(invalid(format!(
                "expected webhook response of {GROUP}/{}, Kind={KIND}, got {group}/{version}, Kind={kind}",
                self.version
            )));
        }
        Ok(())
    }
}

fn invalid(why: impl Into<String>) -> CallError {
    CallError::Response(why.into())
}

fn check_patch(mutating: bool, patch: &[u8], patch_type: Option<&str>) -> Result<(), CallError> {
    match (mutating, patch.is_empty(), patch_type) {
        (false, false, _) => Err(invalid("validating webhook may not return response.patch")),
        (false, true, Some(_)) => Err(invalid("validating webhook may not return response.patchType")),
        (true, false, None) => Err(invalid("webhook returned response.patch but not response.patchType")),
        (true, true, Some(_)) => Err(invalid("webhook returned response.patchType but not response.patch")),
        (true, false, Some("")) => Err(invalid("webhook returned invalid response.patchType of \"\"")),
        _ => Ok(()),
    }
}

impl Answer {
    /// The status of the refused request; `None` if the request is allowed.
    pub fn denial(&self, webhook: &str) -> Option<Status> {
        (!self.allowed).then(|| failure::denial(webhook, self.result.as_ref()))
    }

    /// The operations of its JSON patch.
    ///
    /// # Errors
    /// The patch is malformed or of another type.
    pub fn operations(&self) -> Result<Vec<Value>, CallError> {
        if self.patch.is_empty() {
            return Ok(Vec::new());
        }
        let operations = match plain_json(&self.patch).map_err(CallError::Patch)? {
            Value::Array(operations) => operations,
            Value::Null => Vec::new(),
            _ => return Err(CallError::Patch("the patch is not a list of operations".to_owned())),
        };
        if !operations.is_empty() && self.patch_type != JSON_PATCH {
            return Err(CallError::PatchType(Value::from(self.patch_type.as_str())));
        }
        Ok(operations)
    }
}
