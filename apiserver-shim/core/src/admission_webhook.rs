//! Admission webhooks: what their configurations say, which requests they match, the AdmissionReview that they receive, and
//! what their response means. The caller finds objects and namespaces and sends the requests.

mod failure;
mod reinvocation;
mod review;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use shim_model::access;
use shim_model::schema::{self, ObjectType, Strictness};
use shim_model::{field::FieldError, patch};

use crate::admission_policy::MatchConditions;
use crate::admission_policy::matching::MatchResources;

pub use failure::{CallError, Failure};
pub use reinvocation::Reinvocation;
pub use review::{Answer, Review};

/// Time for an answer if a configuration does not say it (upstream's default).
const TIMEOUT_DEFAULT: i64 = 10;

/// A webhook of a configuration.
#[derive(Debug)]
pub struct Webhook {
    /// Names it among all webhooks of its kind: configuration, name, and a number if the name occurs twice.
    pub id: String,
    /// The name of the configuration.
    pub configuration: String,
    /// Its own name.
    pub name: String,
    /// Rules and selectors.
    pub matching: MatchResources,
    /// The match conditions.
    pub conditions: MatchConditions,
    /// Whether its errors admit requests.
    pub ignores_failures: bool,
    /// Whether a dry run may call it.
    pub supports_dry_run: bool,
    /// Whether it is called again after changes by later plugins.
    pub reinvoked: bool,
    /// Time for an answer.
    pub timeout: Duration,
    /// The `clientConfig`.
    pub client_config: Value,
    /// `admissionReviewVersions`, in its order of preference.
    review_versions: Vec<String>,
}

impl Webhook {
    fn parse(configuration: &str, webhook: &Value, number: usize) -> Webhook {
        let text = |member: &str| access::text(webhook, &[member]);
        let name = text("name");
        let versions = access::list(webhook, &["admissionReviewVersions"]).iter();
        let seconds = access::int(webhook, &["timeoutSeconds"]).unwrap_or(TIMEOUT_DEFAULT);
        Webhook {
            id: format!("{configuration}/{name}/{number}"),
            configuration: configuration.to_owned(),
            name: name.to_owned(),
            matching: MatchResources::of_webhook(webhook),
            conditions: MatchConditions::compile(webhook),
            ignores_failures: text("failurePolicy") == "Ignore",
            supports_dry_run: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            reinvoked: text("reinvocationPolicy") == "IfNeeded",
            timeout: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
            client_config: webhook.get("clientConfig").cloned().unwrap_or_default(),
            review_versions: versions.filter_map(|v| v.as_str().map(str::to_owned)).collect(),
        }
    }
}

/// The webhooks of a configuration, in its order.
pub fn webhooks(configuration: &Value) -> Vec<Webhook> {
    let name = access::text(configuration, &["metadata", "name"]);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let parse = |webhook| {
        let number = seen.entry(access::text(webhook, &["name"])).or_default();
        *number += 1;
        Webhook::parse(name, webhook, *number - 1)
    };
    access::list(configuration, &["webhooks"]).iter().map(parse).collect()
}

/// The errors of the match conditions of a webhook at `path`.
pub(crate) fn condition_errors(webhook: &Value, path: &str) -> Vec<FieldError> {
    MatchConditions::compile(webhook).errors(&format!("{path}."))
}

/// Applies the JSON patch of a webhook, and decodes the result as the body of a request. Unknown members are dropped. `ty` is
/// `None` for kinds that have no schema, such as the options of a connection.
///
/// # Errors
/// The patch does not apply, or its result is no object of the type.
pub fn mutated(ty: Option<&ObjectType>, object: &Value, operations: &[Value]) -> Result<Value, String> {
    let mut new = object.clone();
    patch::json::apply(&mut new, operations).map_err(|error| error.to_string())?;
    for member in ["apiVersion", "kind"] {
        if new.get(member) != object.get(member) {
            return Err(format!("the patch of a webhook must not change {member}"));
        }
    }
    match ty {
        Some(ty) => {
            schema::check_patched(new, ty, Vec::new(), Strictness::Ignore).map(|decoded| decoded.value)
        }
        None => Ok(new),
    }
}

/// The value of the audit annotation that says whether a webhook has changed the object.
pub fn mutation_annotation(webhook: &Webhook, mutated: bool) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let (configuration, name) = (quoted(&webhook.configuration), quoted(&webhook.name));
    format!(r#"{{"configuration":{configuration},"webhook":{name},"mutated":{mutated}}}"#)
}

/// The value of the audit annotation that has the patch of a webhook.
pub fn patch_annotation(webhook: &Webhook, operations: &[Value]) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let (configuration, name) = (quoted(&webhook.configuration), quoted(&webhook.name));
    let patch = Value::from(operations);
    format!(r#"{{"configuration":{configuration},"webhook":{name},"patch":{patch},"patchType":"JSONPatch"}}"#)
}

#[cfg(test)]
mod tests;
