//! Conditions of the common type (`metav1.Condition`), in the status of several kinds.

use std::collections::BTreeSet;

use super::rules::Site;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;

/// Bounds in bytes.
const REASON_MAX: usize = 1024;
const MESSAGE_MAX: usize = 32 * 1024;

/// The errors of a list of conditions.
pub(super) fn validate(list: &Site<'_>, errors: &mut Vec<FieldError>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for condition in list.items() {
        let kind = condition.at("type");
        let text = access::text(condition.value, &["type"]);
        if !seen.insert(text) {
            errors.push(FieldError::duplicate(kind, text));
        }
        one(&condition, errors);
    }
}

fn one(condition: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (kind, status) = (condition.at("type"), condition.at("status"));
    let wrong = names::qualified(kind.text()).into_iter();
    errors.extend(wrong.map(|why| FieldError::invalid(kind, kind.text(), why)));
    if !["False", "True", "Unknown"].contains(&status.text()) {
        errors.push(status.not_supported(&["False", "True", "Unknown"]));
    }
    let generation = condition.at("observedGeneration");
    if generation.int().is_some_and(|generation| generation < 0) {
        errors.push(generation.invalid("must be greater than or equal to zero"));
    }
    if !condition.at("lastTransitionTime").is_set() {
        errors.push(condition.at("lastTransitionTime").required(""));
    }
    let (reason, message) = (condition.at("reason"), condition.at("message"));
    if reason.text().is_empty() {
        errors.push(reason.required(""));
    } else {
        if !is_reason(reason.text()) {
            let why = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
            errors.push(reason.invalid(why));
        }
        if reason.text().len() > REASON_MAX {
            errors.push(FieldError::too_long(reason, REASON_MAX));
        }
    }
    if message.text().len() > MESSAGE_MAX {
        errors.push(FieldError::too_long(message, MESSAGE_MAX));
    }
}

fn is_reason(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && text.bytes().all(|b| word(b) || matches!(b, b',' | b':'))
        && text.bytes().next_back().is_some_and(word)
}
