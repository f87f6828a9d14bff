//! Validation as tables: what is required, closed sets, formats, bounds and lengths of a kind's fields, in the order in
//! which upstream reports them. A rule across fields is a function in the same table ([`Rule::Code`]), so that the order
//! of errors is the table's.
//!
//! A [`Site`] is a member of an object together with its path. Absent members have sites too, because errors name them.

use std::fmt;

use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;

/// A member of an object and its path, as a chain of borrowed steps: the path is formatted only if there is an error.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    parent: Option<&'a Site<'a>>,
    step: Step<'a>,
    /// The value; null if absent.
    pub value: &'a Value,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root(&'a str),
    Member(&'a str),
    Index(usize),
    Key(&'a str),
}

impl fmt::Display for Site<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nested = match self.parent {
            None => false,
            Some(parent) => {
                fmt::Display::fmt(parent, f)?;
                parent.parent.is_some() || !matches!(parent.step, Step::Root(""))
            }
        };
        match self.step {
            Step::Root(path) => f.write_str(path),
            Step::Member(name) if nested => write!(f, ".{name}"),
            Step::Member(name) => f.write_str(name),
            Step::Index(at) => write!(f, "[{at}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

impl<'a> Site<'a> {
    /// The site of a whole object.
    pub fn root(value: &'a Value) -> Self {
        Site::below("", value)
    }

    /// The site of a value whose path is `path`.
    pub fn below(path: &'a str, value: &'a Value) -> Self {
        Site { parent: None, step: Step::Root(path), value }
    }

    /// The member called `name`.
    pub fn at<'b>(&'b self, name: &'b str) -> Site<'b> {
        let value = self.value.get(name).unwrap_or(&Value::Null);
        Site { parent: Some(self), step: Step::Member(name), value }
    }

    /// The elements of a list.
    pub fn items<'b>(&'b self) -> impl Iterator<Item = Site<'b>> {
        let items = self.value.as_array().map_or(&[][..], Vec::as_slice);
        items.iter().enumerate().map(|(at, value)| Site { parent: Some(self), step: Step::Index(at), value })
    }

    /// The members of a map.
    pub fn entries<'b>(&'b self) -> impl Iterator<Item = (&'b str, Site<'b>)> {
        let members = self.value.as_object().into_iter().flatten();
        members.map(|(key, value)| (key.as_str(), Site { parent: Some(self), step: Step::Key(key), value }))
    }

    /// Whether the member is present.
    pub fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether the member is absent or has the zero value of its type.
    pub fn is_zero(&self) -> bool {
        access::is_zero(self.value)
    }

    /// The text, or `""`.
    pub fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or("")
    }

    /// The integer, if it is one.
    pub fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// The boolean, or `false`.
    pub fn flag(&self) -> bool {
        self.value.as_bool().unwrap_or(false)
    }

    /// Number of elements or members.
    pub fn len(&self) -> usize {
        match self.value {
            Value::Array(items) => items.len(),
            Value::Object(members) => members.len(),
            _ => 0,
        }
    }

    /// A required value is missing.
    pub fn required(&self, detail: &str) -> FieldError {
        FieldError::required(self, detail)
    }

    /// The value is invalid.
    pub fn invalid(&self, detail: impl Into<String>) -> FieldError {
        FieldError::invalid(self, self.value.clone(), detail)
    }

    /// What is here is invalid, and the value is not shown.
    pub fn wrong(&self, detail: impl Into<String>) -> FieldError {
        FieldError::invalid_shown(self, "", detail)
    }

    /// The value is not one of a closed set.
    pub fn not_supported(&self, supported: &[&str]) -> FieldError {
        FieldError::not_supported(self, self.shown(), supported)
    }

    /// The value must not be set or changed.
    pub fn forbidden(&self, detail: impl Into<String>) -> FieldError {
        FieldError::forbidden(self, detail)
    }

    /// The value occurs twice.
    pub fn duplicate(&self) -> FieldError {
        FieldError::duplicate(self, self.value.clone())
    }

    /// Errors of a format.
    pub fn format(&self, check: fn(&str) -> Vec<String>) -> impl Iterator<Item = FieldError> {
        check(self.text()).into_iter().map(|detail| self.invalid(detail))
    }

    /// The value as errors show it: an absent text is shown as an empty one.
    fn shown(&self) -> Value {
        if self.value.is_null() { "".into() } else { self.value.clone() }
    }
}

/// A rule of a kind.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// Checks of a member.
    Field(&'static str, &'static [Check]),
    /// Rules of the object at a member, if it is present.
    Within(&'static str, &'static [Rule]),
    /// Rules of each element of the list at a member.
    Each(&'static str, &'static [Rule]),
    /// A rule across fields.
    Code(fn(&Site<'_>, &mut Vec<FieldError>)),
}

/// A check of one member. All but the first two skip an absent member.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// It must have a value that is not the zero value; further checks are skipped if it does not.
    Required,
    /// The same with a text.
    RequiredBecause(&'static str),
    /// A closed set of texts.
    Enum(&'static [&'static str]),
    /// At least 0.
    NonNegative,
    /// At most, with the text of the error.
    AtMost(i64, &'static str),
    /// At least, with the text of the error.
    AtLeast(i64, &'static str),
    /// A format of texts.
    Format(fn(&str) -> Vec<String>),
    /// Bytes of a text.
    MaxBytes(usize),
    /// Any other rule about it.
    Code(fn(&Site<'_>, &mut Vec<FieldError>)),
}

/// Applies the rules of a table to the object at `site`.
pub(super) fn apply(rules: &[Rule], site: &Site<'_>, errors: &mut Vec<FieldError>) {
    for rule in rules {
        match rule {
            Rule::Field(name, checks) => check(checks, &site.at(name), errors),
            Rule::Within(name, rules) => {
                let member = site.at(name);
                if member.is_set() {
                    apply(rules, &member, errors);
                }
            }
            Rule::Each(name, rules) => {
                let list = site.at(name);
                list.items().for_each(|item| apply(rules, &item, errors));
            }
            Rule::Code(code) => code(site, errors),
        }
    }
}

/// The errors of an object by a table.
pub(super) fn validate(rules: &[Rule], object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    apply(rules, &Site::root(object), &mut errors);
    errors
}

fn check(checks: &[Check], site: &Site<'_>, errors: &mut Vec<FieldError>) {
    for check in checks {
        match check {
            Check::Required if site.is_zero() => return errors.push(site.required("")),
            Check::RequiredBecause(why) if site.is_zero() => return errors.push(site.required(why)),
            Check::Required | Check::RequiredBecause(_) => {}
            _ if !site.is_set() => return,
            check => one(*check, site, errors),
        }
    }
}

fn one(check: Check, site: &Site<'_>, errors: &mut Vec<FieldError>) {
    let number = site.int().unwrap_or(0);
    match check {
        Check::Enum(known) if !known.contains(&site.text()) => errors.push(site.not_supported(known)),
        Check::NonNegative => errors.extend(non_negative(site)),
        Check::AtMost(most, why) if number > most => errors.push(site.invalid(why)),
        Check::AtLeast(least, why) if number < least => errors.push(site.invalid(why)),
        Check::Format(format) => errors.extend(site.format(format)),
        Check::MaxBytes(most) if site.text().len() > most => errors.push(FieldError::too_long(site, most)),
        Check::Code(code) => code(site, errors),
        _ => {}
    }
}

/// The error of a negative number.
pub(super) fn non_negative(site: &Site<'_>) -> Option<FieldError> {
    (site.int().unwrap_or(0) < 0).then(|| site.invalid("must be greater than or equal to 0"))
}

/// Errors of an update that changes fields that are fixed. `fields` are paths with dots.
pub(super) fn immutable(new: &Value, old: &Value, fields: &[&str]) -> Vec<FieldError> {
    let value = |object, field: &str| {
        let path: Vec<&str> = field.split('.').collect();
        access::get(object, &path).filter(|value| !access::is_zero(value))
    };
    let changed = fields.iter().filter(|field| value(new, field) != value(old, field));
    // An absent text is an empty one, unless it is a pointer.
    const POINTERS: [&str; 4] =
        ["spec.nodeName", "spec.completionMode", "reclaimPolicy", "volumeBindingMode"];
    changed
        .map(|field| {
            let is_text = value(old, field).is_some_and(Value::is_string) && !POINTERS.contains(field);
            let absent = || if is_text { Value::from("") } else { Value::Null };
            let shown = value(new, field).cloned().unwrap_or_else(absent);
            FieldError::invalid(*field, shown, "field is immutable")
        })
        .collect()
}

/// A domain, a slash, and a path.
pub(super) fn domain_prefixed_path(site: &Site<'_>, errors: &mut Vec<FieldError>) {
    check_domain_prefixed_path(site.text(), site, errors);
}

/// [`domain_prefixed_path`] of a text.
pub(crate) fn check_domain_prefixed_path(
    text: &str,
    site: impl std::fmt::Display,
    errors: &mut Vec<FieldError>,
) {
    const PATH: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
    if text.is_empty() {
        return errors.push(FieldError::required(site, ""));
    }
    let (host, path) = match text.split_once('/') {
        Some((host, path)) if !host.is_empty() && !path.is_empty() => (host, path),
        _ => {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            return errors.push(FieldError::invalid(site, text, why));
        }
    };
    errors.extend(names::dns_subdomain(host).into_iter().map(|why| FieldError::invalid(&site, host, why)));
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !path.bytes().all(valid) {
        let why = format!("Invalid path (regex used for validation is '{PATH}')");
        errors.push(FieldError::invalid(site, path, why));
    }
}

#[cfg(test)]
#[path = "rules/tests.rs"]
mod tests;
