//! Validation of the members of one version: its deprecation, printer columns and subresources.

use shim_model::field::FieldError;

use crate::kinds::rules::Site;

/// Bytes of a deprecation warning.
const WARNING_MAX: usize = 256;
const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: &[&str] =
    &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

pub(super) fn deprecation(version: &Site<'_>, errors: &mut Vec<FieldError>) {
    let warning = version.at("deprecationWarning");
    if !warning.is_set() {
        return;
    }
    if !version.at("deprecated").flag() {
        return errors.push(warning.invalid("can only be set for deprecated versions"));
    }
    let text = warning.text();
    if text.len() > WARNING_MAX {
        errors.push(warning.invalid("must be <= 256 characters long"));
    }
    if text.is_empty() {
        errors.push(warning.invalid("must not be an empty string"));
    }
    let odd = |c: char| c != ' ' && (c.is_control() || c.is_whitespace());
    if let Some((at, _)) = text.char_indices().find(|(_, c)| odd(*c)) {
        errors.push(warning.invalid(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        )));
    }
}

pub(super) fn column(column: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (name, ty, format, path) =
        (column.at("name"), column.at("type"), column.at("format"), column.at("jsonPath"));
    if name.text().is_empty() {
        errors.push(name.required(""));
    }
    let types = format!("must be one of {}", COLUMN_TYPES.join(","));
    if ty.text().is_empty() {
        errors.push(ty.required(&types));
    } else if !COLUMN_TYPES.contains(&ty.text()) {
        errors.push(ty.invalid(types));
    }
    if !format.text().is_empty() && !COLUMN_FORMATS.contains(&format.text()) {
        errors.push(format.invalid(format!("must be one of {}", COLUMN_FORMATS.join(","))));
    }
    let shown = format!("{column}.JSONPath");
    match path.text() {
        "" => errors.push(FieldError::required(shown, "")),
        text if !text.starts_with('.') => {
            errors.push(FieldError::invalid(shown, text, "must be a simple json path starting with ."));
        }
        _ => {}
    }
}

pub(super) fn subresources(subresources: &Site<'_>, errors: &mut Vec<FieldError>) {
    let scale = subresources.at("scale");
    if !scale.is_set() {
        return;
    }
    for (member, prefixes, required, why) in [
        ("specReplicasPath", &[".spec."][..], true, "should be a json path under .spec"),
        ("statusReplicasPath", &[".status."], true, "should be a json path under .status"),
        (
            "labelSelectorPath",
            &[".spec.", ".status."],
            false,
            "should be a json path under either .spec or .status",
        ),
    ] {
        let path = scale.at(member);
        match path.text() {
            "" if required => errors.push(path.required("")),
            "" => {}
            text if !text.starts_with('.') => {
                errors.push(path.invalid("must be a simple json path starting with ."));
            }
            text if !prefixes.iter().any(|prefix| text.starts_with(prefix)) => errors.push(path.invalid(why)),
            _ => {}
        }
    }
}
